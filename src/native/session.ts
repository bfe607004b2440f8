// What the border to C++ says of sequences of tokens: how the next one is chosen, adapters, generations, the engine.

/** How the hidden states of a text become its embedding; "none": there is one for each token. */
export type Pooling = "none" | "mean" | "cls" | "last";
export const poolings: readonly Pooling[] = ["none", "mean", "cls", "last"];

/** How keys and values are kept: q8 is int8 with one factor per vector, half the memory. Default: f16. */
export type CacheType = "f16" | "q8";
export const cacheTypes: readonly CacheType[] = ["f16", "q8"];

/** How the next token is chosen. Bounds, defaults and the command line's options: `samplingParameters()`. */
export interface NativeSampling {
  /** Below or at 0: always the likeliest token. */
  temperature?: number;
  /** Keep the k likeliest tokens; 0 keeps all. */
  topK?: number;
  /** Keep the likeliest tokens that together have this probability. */
  topP?: number;
  /** Drop tokens below this share of the likeliest one's probability. */
  minP?: number;
  /** Keep tokens whose logit is within n standard deviations of the best; 0 or below is off. */
  topNSigma?: number;
  /** Locally typical sampling; 1 is off. */
  typicalP?: number;
  /** XTC: how likely it is that the top choices are excluded at a token; 0 is off. */
  xtcProbability?: number;
  /** XTC: the top choices are the tokens of at least this probability, but for the least likely of them. */
  xtcThreshold?: number;
  /** Divides the logits of recent tokens; 1 is off. */
  repeatPenalty?: number;
  /** How many recent tokens the penalties see; -1: the whole context. */
  repeatLastN?: number;
  /** Subtracted from the logit of every recent token. */
  presencePenalty?: number;
  /** Subtracted from the logit of a recent token once per occurrence. */
  frequencyPenalty?: number;
  /** DRY: penalty of tokens that would go on with a repetition; 0 is off. */
  dryMultiplier?: number;
  /** DRY: factor of the penalty for each further token of the repetition. */
  dryBase?: number;
  /** DRY: how many tokens may be repeated without a penalty. */
  dryAllowedLength?: number;
  /** DRY: how many recent tokens are searched; -1: the whole context. */
  dryPenaltyLastN?: number;
  /** DRY: texts at which a repetition ends. */
  drySequenceBreakers?: readonly string[];
  /** Dynamic temperature: how far it goes up and down with the entropy of the choice; 0 is off. */
  dynatempRange?: number;
  /** Dynamic temperature: exponent of the entropy, which counts from 0 to 1. */
  dynatempExponent?: number;
  /** The chain in its order; what is left out is off. Default: as in docs/sampling.md. */
  samplers?: readonly string[];
  /** Same seed, same tokens. */
  seed?: number;
  /** Report each token's log-probability and the n likeliest. */
  logprobs?: number;
  /** Report how likely each token was to be drawn, after the whole chain, and the n likeliest to be. */
  postSamplingProbs?: number;
  logitBias?: [id: number, bias: number][];
}

/** A row of the core's table of sampling parameters (native/run/sampler.h). */
export type NativeSamplingParameter = {
  name: Exclude<keyof NativeSampling, "logitBias">;
  least: number; // of a number; of the bytes of each text
  most: number;
  option: string; // "--top-k <n>"; "": no sampling option of the command line
  aliases: string; // other spellings of it, separated by spaces
  help: string; // one line, without the default
} & ({ kind: "real" | "whole"; standard: number } | { kind: "texts"; standard: string[] }); // standard: the default

export interface NativeTokenProb {
  id: number;
  logprob: number;
}

export interface NativeTokenProbability {
  id: number;
  prob: number;
}

export interface NativeStep {
  id: number;
  logprob?: number; // with logprobs >= 1
  top?: NativeTokenProb[];
  prob?: number; // with postSamplingProbs >= 1
  topProbs?: NativeTokenProbability[];
}

export interface NativePassTimes {
  prefill: number; // seconds
  decode: number;
  evaluated: number; // tokens, of both parts
}

export interface NativeKvShape {
  layers: number;
  heads: number; // of keys and values
  headDim: number;
  contextSize: number;
  cacheType?: CacheType; // default: "f16"
}

/** One of the two matrices of an adapted matrix, and where its file has it. */
export interface NativeAdapterTensor {
  name: string; // in the file, for errors
  type: string; // "F32"
  rows: number;
  cols: number;
  file: string;
  offset: number; // of its data in that file
  bytes: number;
}

export interface NativeAdapterMatrix {
  layer: number;
  name: string; // "attn_q"
  rank: number;
  scale: number; // alpha / rank
  a: NativeAdapterTensor; // [rank, columns]
  b: NativeAdapterTensor; // [rows, rank]
  ropeHeads: number; // > 0: rows of `b` go from NEOX to NORM order within so many heads
}

export interface NativeAdapterOptions {
  /** What is added is multiplied by the scale of the matrix. Default: false. */
  scaledByWeights?: boolean;
}

/** An adapter in memory, of the model that loaded it. */
export interface NativeAdapter {
  readonly hash: string; // of its matrices and scales: equal whatever file it came from
  readonly parameters: number;
  readonly bytes: number; // in memory
  readonly type: string; // of its matrices there: "F32", "F16" or "BF16"
  close(): void; // lets it go, once no session has it; idempotent
}

export interface NativeAdapterUse {
  adapter: NativeAdapter;
  scale: number;
}

export interface NativeSessionOptions {
  contextSize: number;
  cacheType?: CacheType;
  /** Find the beginnings of prompts that other sessions evaluated, and be found by them. Default: true. */
  sharePrompts?: boolean;
  salt?: string; // only sessions of the same salt find each other; default ""
  client?: string; // whose turns its operations take; default ""
  weight?: number; // of the client; default 1
  background?: boolean; // default false
  adapters?: readonly NativeAdapterUse[]; // in any order; default: none
}

/** A grammar made ready to be matched; for any number of generations. */
export interface NativeGrammar {
  matches(text: string): boolean;
}

export interface NativeGenerateRequest {
  maxTokens: number;
  sampling: NativeSampling;
  /** What the tokens must spell. */
  grammar?: NativeGrammar;
  /** Whether a text begins with the first of them: SentencePiece's loses its leading space then. */
  startsText?: boolean;
  /** Tokens at the end of the prompt that the grammar has seen already. */
  begun?: Int32Array;
  /** Tokens that may be sampled beyond those that were acknowledged. */
  window: number;
  /** Evaluates every token of the prompt, whatever is known. Default: false. */
  anew?: boolean;
}

/** How a generation ended, and what it took. */
export interface NativeOutcome {
  finish: "length" | "eog" | "context";
  reused: number; // tokens of the prompt that were known
  evaluated: number; // tokens, of prompt and text
  queueMs: number; // before it was admitted
  promptMs: number; // to the first token
  generateMs: number; // from there on
}

/** What a step did for a generation. */
export interface NativeProgress {
  steps: NativeStep[];
  queueMs?: number; // told once, when it is admitted
  reused?: number; // while the prompt is read
  evaluated?: number;
  done?: NativeOutcome; // the last call has one of these two
  error?: Error;
}

export interface NativeSlot {
  tokens: number;
  bytes: number; // of the file
}

export interface NativeScores {
  logprobs: Float64Array; // natural logarithms, of tokens[from ...]
  likeliest: Uint8Array; // 1 where no token has a larger logit
  topIds?: Int32Array; // [positions, top], best first, -1 where there are fewer tokens
  topLogprobs?: Float64Array; // the same
  reused: number;
  evaluated: number;
}

/** How many values there were up to each bound, as Prometheus counts them. */
export interface NativeHistogram {
  buckets: { most: number; count: number }[];
  count: number;
  sum: number;
}

export interface NativeEngineStats {
  steps: number; // since the model was loaded
  rows: number; // tokens in them
  decoding: number; // operations that sample now
  running: number; // operations that were admitted, those that sample included
  waiting: number; // operations that wait to be admitted
  promptTokens: number; // of all prompts since the model was loaded
  reusedTokens: number; // of these, found and not evaluated
  sampledTokens: number;
  preemptions: number; // of operations in the background, which are computed again later
  stepSeconds: NativeHistogram;
  stepRows: NativeHistogram;
  maskSeconds: NativeHistogram; // what a grammar took for a token
  kvUsage: number; // heldBytes as a share of kvBytes, else of the machine's memory: 0 to 1
  heldBytes: number; // keys and values of sessions
  cachedBytes: number; // of sessions that are gone, to be found by others
  msSinceProgress: number; // of a layer; 0 if nothing runs
}

/** One sequence of tokens. One operation at a time; those of all sessions of a model are joined into steps. */
export interface NativeSession {
  readonly contextSize: number;
  readonly kvBytes: number; // of a full context
  /** The tokens whose keys and values are in the cache. */
  tokens(): Int32Array;
  /**
   * Makes `tokens` the session's sequence: keeps what is known of its beginning, evaluates the rest off the main thread.
   * At least the last token is always evaluated. `logits`: which positions to keep; "all" takes nothing from others.
   * Rejects USAGE if empty, too long for the context or with an id outside the vocabulary; ABORTED after abort().
   */
  prefill(tokens: Int32Array, logits: "last" | "all"): Promise<{ reused: number; evaluated: number }>;
  /**
   * The same, then samples tokens without waiting for anybody, as far as `window` allows, to maxTokens, an
   * end-of-generation token or the end of the context. The last token is not in the cache. `listen` is called once a step.
   */
  generate(tokens: Int32Array, request: NativeGenerateRequest, listen: (progress: NativeProgress) => void): void;
  /** So many tokens of the generation have been seen. Throws USAGE if the session is closed. */
  acknowledge(tokens: number): void;
  /** Whether a reader waits for the generation that runs: while it does, the process does not end by itself. */
  setWaiting(isWaiting: boolean): void;
  /** Forgets all but the first tokens of the sequence, and its logits. */
  truncate(tokens: number): void;
  /** Log-probabilities of tokens[from ...], each given all before it; the logits of a whole prompt never exist. */
  score(tokens: Int32Array, from: number, top: number): Promise<NativeScores>;
  /** The embedding of the tokens: [embeddingLength], without pooling [tokens, embeddingLength]. The session is empty then. */
  embed(tokens: Int32Array, pooling: Pooling): Promise<Float32Array>;
  /**
   * Makes `tokens` the sequence and keeps the hidden states of the positions from `from` on. At least these are evaluated,
   * whatever is known.
   */
  keepHidden(tokens: Int32Array, from: number): Promise<{ reused: number; evaluated: number }>;
  /**
   * Logits [rows, tokens of the vocabulary] of those states from the `first` on, at most 32, into `out`, off the main thread.
   * Rejects USAGE where they are not there any more.
   */
  logitsOf(first: number, rows: number, out: Float32Array): Promise<void>;
  /** float32 [positions, vocabSize] of the last prefill ("all": the evaluated positions only) or token. */
  logits(): Float32Array;
  /**
   * One pass of a measurement, timed in the core: `tokens` become the sequence and the next token is sampled (prefill),
   * then `generate` tokens are evaluated, each with the sampling of the next (decode). Times in seconds.
   */
  timePass(tokens: Int32Array, generate: number): Promise<NativePassTimes>;
  /**
   * The sequence as a file, and back. Rejects BAD_FILE for what is no such file or damaged, USAGE for one of another model,
   * kernel set or cache type or a longer context; the session is as before then.
   */
  save(path: string): Promise<NativeSlot>;
  restore(path: string): Promise<NativeSlot>;
  /** Ends a running operation within a step, with ABORTED. What was evaluated completely stays. */
  abort(): void;
  close(): void; // ends a running operation and lets the cache go; idempotent
}
