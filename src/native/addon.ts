// The native addon, and the types of its whole surface. Everything here is thin: the library's faces (model.ts, gguf.ts,
// tokenizer.ts) are what callers use.

import { type AddonOrigin, loadFirst } from "./locate.js";

export interface NativeTensorInfo {
  name: string;
  type: string;
  shape: number[]; // ne order: fastest dimension first
  offset: number; // bytes from the start of the file
  bytes: number;
  part?: number; // of a model in several files: the one that it lies in, from 1
}

/**
 * `badRows`: with an impossible code, or a scale or value that is not finite; they do not count elsewhere. `constantRows`:
 * of -1 or of +1 alone, of floats: of 0 alone.
 */
export type NativeTensorStatistics = { readable: boolean; badRows: number; constantRows: number } & (
  | { ternary: true; minus: number; zero: number; plus: number; leastScale: number; mostScale: number }
  | { ternary: false; least: number; most: number; rms: number }
);

/** What is known of a tensor type, in the order in which lists show them. */
export interface NativeTensorType {
  name: string; // "I2_S"
  id: number; // in GGUF files
  blockElements: number; // the columns of a row are a multiple of it
  blockBytes: number; // 0 where a tensor is more than its blocks
  ternary: boolean; // holds ternary matrices
  readable: boolean; // as floats: can be an embedding, a head, a vector or a dense matrix
  writable: boolean; // as such
  fileType?: number; // can be the type of all matrices of a model: its general.file_type then
  substitute?: string; // what an embedding becomes instead if its rows are not whole blocks
}

/** A metadata value: scalars as they are (64-bit integers beyond 2^53 as bigint), arrays summarized. */
export type NativeMetadataValue = string | number | bigint | boolean | { arrayOf: string; length: number };

export interface NativeGguf {
  readonly path: string;
  readonly paths: readonly string[]; // of all parts of a model in several files; else the path alone
  readonly version: number;
  readonly fileSize: number; // of all parts
  readonly dataOffset: number; // in the first part
  metadata(): Record<string, NativeMetadataValue>; // in file order
  metadataKeys(): string[]; // in file order; bytes that are no UTF-8 as U+FFFD, here as in every name and text
  /** Elements [start, start + count) of an array value, clamped to its length. */
  metadataArray(key: string, start: number, count: number): (string | number | bigint | boolean)[];
  tensors(): NativeTensorInfo[];
  /** What the weights of the tensor at this place in tensors() are like; reads all of it, on other threads. */
  examineTensor(index: number): Promise<NativeTensorStatistics>;
  /** Bytes of the file that lie in memory; undefined where the OS does not tell. Linux calls files of others wholly there. */
  residentBytes(): number | undefined;
  /** Throws what loading it would, weights aside; a family that is only written and a vocabulary alone are right. */
  checkModel(options: { tokenizerPre?: string }): void;
}

export interface NativeTokenizerInfo {
  model: string; // "gpt2" | "llama"
  pre: string;
  vocabSize: number;
  bos: number; // -1 if none; likewise below
  eos: number;
  eot: number;
  pad: number;
  unk: number;
  addBos: boolean;
  addEos: boolean;
  eog: number[]; // every end-of-generation token
  warnings: string[]; // what the file says of its tokens and cannot mean: a sentence each
}

export interface NativeTokenizer {
  readonly info: NativeTokenizerInfo;
  encode(text: string | Uint8Array, addSpecial: boolean, parseSpecial: boolean): Int32Array;
  /** The same on another thread. */
  encodeAsync(text: string | Uint8Array, addSpecial: boolean, parseSpecial: boolean): Promise<Int32Array>;
  decode(ids: Int32Array, special: boolean): string; // invalid UTF-8 as U+FFFD
  piece(id: number, special: boolean): string; // one token's bytes as text; parts of characters as U+FFFD
  bytes(id: number): Uint8Array; // of one token, control tokens as their names
  token(id: number): string; // the vocabulary entry itself
  createDecoder(special: boolean): NativeDecoder;
}

export interface NativeDecoder {
  push(id: number): string; // only whole characters; "" while one is unfinished
  flush(): string;
}

/** How the hidden states of a text become its embedding; "none": there is one for each token. */
export type Pooling = "none" | "mean" | "cls" | "last";
export const poolings: readonly Pooling[] = ["none", "mean", "cls", "last"];

export interface NativeModelInfo {
  architecture: string;
  name: string | null;
  chatTemplate: string | null;
  contextLength: number; // trained context
  embeddingLength: number;
  blockCount: number;
  feedForwardLength: number;
  headCount: number;
  headCountKv: number;
  headDim: number;
  vocabSize: number;
  parameterCount: number;
  weightType: string; // of the ternary (or, if none, the linear) matrices: "I2_S"
  embeddingType: string;
  pooling: Pooling; // how the file wants embeddings made; "none" where it says nothing
  embedsOnly: boolean; // it was made for embeddings and predicts no tokens
  fileSize: number;
  copiedBytes: number; // memory for weights that could not be used in place
  kernel: string; // "avx2"
  threads: number;
  prefetchBytes: number; // as tuned, given or measured when the model was loaded
  warnings: string[]; // what the file says and cannot mean, though it runs: a sentence each
}

/** Speed only, never results; native/base/tuning.h says what each does. What is left out has its default. */
export interface NativeTuning {
  batchRows?: number;
  decodeRows?: number;
  prefetchBytes?: number;
  blockBytes?: number;
  tileTokens?: number;
  spinMicroseconds?: number;
}

export interface NativeTuningParameter {
  name: keyof NativeTuning;
  least: number;
  most: number;
  step: number; // values are multiples of it
  standard: number; // the default
}

export interface NativeLoadOptions {
  threads?: number; // default: physical cores the process may use
  kernel?: string; // default: BITNET_KERNEL, else the best this CPU has
  tokenizerPre?: string; // overrides the file's pre-tokenizer
  inPlace?: boolean; // default false: copy large weights to huge pages; true shares the file's pages, slower
  fastHead?: boolean; // default true: a compact copy of a large float head, see docs/kernels.md
  /** Of ternary weights. "lut" is an earlier name for pairs of a TL1 file, else triples. Default: BITNET_LAYOUT, else auto. */
  layout?: "auto" | WeightLayout | "lut";
  kernelConfig?: string; // path of a kernel_config.ini for TL1 and TL2 files
  tuning?: NativeTuning; // USAGE for a value out of bounds
  /** What keys and values of sessions that are gone may keep, for prompts that begin alike. Default: 512 MiB. */
  promptCacheBytes?: number;
  parallel?: number; // operations that run at once, 0: all; default 0
  kvBytes?: number; // of keys and values in use, 0: no bound; default 0
  stepRows?: number; // of a step at most, 2 to 256; default 256
  stepMs?: number; // of a step in which something decodes; default 200
}

/** How keys and values are kept: q8 is int8 with one factor per vector, half the memory. Default: f16. */
export type CacheType = "f16" | "q8";
export const cacheTypes: readonly CacheType[] = ["f16", "q8"];

export interface NativeModel {
  readonly info: NativeModelInfo;
  readonly gguf: NativeGguf;
  readonly tokenizer: NativeTokenizer;
  createSession(options: NativeSessionOptions): NativeSession; // throws NO_MEMORY, USAGE
  cost(cacheType?: CacheType): NativeModelCost; // default: "f16"
  /** For measuring; waits for the end of a step. Throws USAGE. */
  setTuning(tuning: NativeTuning): void;
  stats(): NativeEngineStats;
  /** Sessions of any salt share this beginning of prompts. Before the first session. */
  shareBeginning(tokens: Int32Array): void;
  fingerprint(): string; // of the file: 16 hexadecimal digits, which other weights do not have
  /** Of shapes and norms: the same for all files of the same weights, whatever their types. */
  baseHash(): string;
  /**
   * Reads the matrices of an adapter, off the main thread. Rejects USAGE for one that is not for this model, BAD_FILE,
   * UNSUPPORTED, NO_MEMORY.
   */
  loadAdapter(matrices: readonly NativeAdapterMatrix[], options: NativeAdapterOptions): Promise<NativeAdapter>;
  close(): void; // frees the weights once no session is left; idempotent
}

/** What the parts of a model's arithmetic that grow with its size ask for. */
export interface NativeModelCost {
  weightBytes: number; // read once per batch, without the head
  headBytes: number; // read once per sampled token
  kvBytes: number; // read per decoded token for each position before it
  ternaryOperations: number; // per token; a multiply-add counts as two
  batchTokens: number; // tokens that share one reading of the weights in prefill
}

export interface NativeLimits {
  readBandwidth: number; // bytes per second
  int8Peak: number; // operations per second
}

/** How ternary weights lie in memory, see docs/layouts.md. */
export type WeightLayout = "i2_s" | "trits" | "pairs" | "triples";

export interface NativeKernelCase {
  kernel?: string;
  layout: WeightLayout;
  threads: number;
  rows: number;
  cols: number;
  tokens: number;
  /** Size of the copies of the weights that take turns. 0: one copy, from the caches if it fits. */
  bytes: number;
  repetitions: number;
  seconds: number; // of one repetition, about
}

export interface NativeKernelTimes {
  seconds: number[]; // of one product, per repetition
  weightBytes: number;
  operations: number;
}

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

/** How many rows or columns a tensor has: "query" is heads times head size, "keyValue" the same for keys and values. */
export type NativeExtent = "one" | "hidden" | "ffn" | "query" | "keyValue" | "head";

/** One tensor of every layer, blk.N.NAME.weight; a linear one may have a bias beside it. */
export interface NativeLayerTensor {
  name: string;
  role: "norm" | "linear";
  /** Of a norm: where it stands; see native/model/family.h. */
  norm?: "pre" | "sub" | "qk" | "post" | "input";
  rows: NativeExtent;
  cols: NativeExtent;
  optional: boolean;
  rotated: boolean; // by RoPE: the order of its rows follows from ropePairs
}

/** What the models of one architecture have in common: a row of native/model/family.cpp. */
export interface NativeFamily {
  architecture: string; // "bitnet-b1.58"
  activation: "silu" | "relu2" | "gelu_tanh";
  ropePairs: "halves" | "neighbours"; // which elements of a head are rotated together
  ownHead: boolean; // a model may have an output tensor of its own
  pooled: boolean; // a model may be one of text embeddings
  ternary: boolean; // every model is
  tensors: NativeLayerTensor[]; // in the order in which files are written
}

/** A key of a GGUF file that is to be written: its type and value. A key whose value is undefined is left out. */
export type NativeMetadataEntry = readonly [key: string, ...NativeMetadataContent];
type NativeMetadataContent =
  | [type: "u32" | "f32", value: number | undefined]
  | [type: "bool", value: boolean | undefined]
  | [type: "string", value: string | undefined]
  | [type: "i32s" | "f32s", value: readonly number[] | undefined]
  | [type: "strings", value: readonly string[] | undefined]
  | [type: "copy", from: NativeGguf, index: number]; // the key at this place there, bit by bit

export interface NativeConvertSource {
  kind: "tensor" | "hf-packed" | "random";
  type?: string; // "tensor": how its bytes lie
  file?: string; // path of the file that holds it; not of "random"
  offset?: number; // of its data in that file
  bytes?: number;
  i2sLayout?: string; // "canonical"
  factor?: number; // multiplies the scale of ternary sources; of the other kinds, is the scale
  seed?: number; // "random"; mean and deviation of floats
  mean?: number;
  deviation?: number;
}

export interface NativeConvertTensor {
  name: string;
  shape: number[]; // ne order: fastest dimension first
  type: string; // of the output
  source: NativeConvertSource;
  ternary: boolean; // floats are ternarized, whatever the output type
  declared: boolean; // ... even if that rounds them
  ropeHeads: number; // > 0: rows go from NEOX to NORM order within so many heads
  add: number; // to every float
}

export type NativeConvertResult = { ternary: false } | NativeTernaryResult;

export interface NativeTernaryResult {
  ternary: true;
  rounded: boolean; // floats that were not ternary already
  scale: number; // of the file: what +1 stands for
  minus: number; // weights of -1; likewise the next two
  zero: number;
  plus: number;
  relativeError: number; // RMS(w - code * scale) / RMS(w)
}

/** How TL1 or TL2 cuts a matrix of rows x cols, in bitnet.cpp's names. */
export interface NativeTileSizes {
  type: string; // "TL2"
  rows: number;
  cols: number;
  BM: number; // rows of a tile
  BK: number; // columns of a tile
  bm: number; // rows of a part of it
}

/** A planned conversion: every size and offset is known, nothing is written yet. */
export interface NativeConversion {
  readonly fileBytes: number; // of the whole output
  readonly tensorBytes: number[]; // of the data of each tensor
  readonly tiles: NativeTileSizes[]; // of every shape that becomes TL1 or TL2
  readonly hasOwnTiles: boolean; // they are not all bitnet.cpp's own, and the file says them
  /** Writes the file, flushes, reads it back and compares; what is written of it when it fails, stays. */
  run(outfile: string): Promise<NativeConvertResult[]>; // one per tensor
  progress(): { tensor: number; doneBytes: number }; // every byte counts twice: written, verified
  abort(): void; // run() rejects with ABORTED
}

/** Bytes that a training holds, by what they are for. */
export interface NativeMemoryPlan {
  weights: number; // frozen, and the ternary weights of a master
  master: number; // trained parameters
  gradients: number;
  optimizer: number; // the two moments
  activations: number; // kept for the backward pass, of maxLength tokens
  scratch: number; // of the passes and of all threads
  logits: number; // of a chunk of positions
  total: number;
}

export interface NativeTrainOptions {
  mode: "lora" | "full";
  adapter?: {
    rank: number;
    alpha: number;
    rslora: boolean;
    dropout: number;
    matrices: Int32Array; // numbers of those of a layer: q, k, v, o, gate, up, down
    layers?: Int32Array; // [layers]: 1 where there is an adapter; undefined: everywhere
  };
  seed: number;
  maxLength: number;
  checkpointing?: boolean;
  threads?: number;
  kernel?: string;
}

export interface NativeTrainRow {
  ids: Int32Array;
  labels: Int32Array;
  documents: Int32Array;
}

export interface NativeLossSum {
  lossSum: number;
  labels: number;
  tokens: number;
}

/** The ternary weights of a matrix, as they are now. */
export interface NativeTernaryCounts {
  name: string;
  scale: number; // what +1 stands for; of a matrix whose rows have scales of their own that of the first
  minus: number; // weights of -1; likewise the next two
  zero: number;
  plus: number;
}

/** What of a parameter: its value, its gradient since the last step, or a moment of the optimizer. */
export type ParameterPart = "value" | "gradient" | "m" | "v";

export interface NativeTrainingInfo {
  architecture: string;
  layers: number;
  embeddingLength: number;
  feedForwardLength: number;
  headCount: number;
  headCountKv: number;
  headDim: number;
  vocabSize: number;
  contextLength: number; // trained
  trainedParameters: number; // elements
  totalParameters: number; // of the model and its adapters
  kernel: string;
  threads: number;
  memory: NativeMemoryPlan;
}

/** A model in training; src/train/core.ts says what each does. Tensors are named as in GGUF files. */
export interface NativeTraining {
  readonly info: NativeTrainingInfo;
  readonly parameters: readonly { name: string; rows: number; cols: number; decays: boolean }[];
  backward(rows: readonly NativeTrainRow[], options: { labels: number; step: number }): Promise<NativeLossSum>;
  step(options: {
    lr: number;
    weightDecay: number;
    beta1: number;
    beta2: number;
    epsilon: number;
    clip: number;
  }): Promise<NativeLossSum & { gradNorm: number; skipped?: { reason: string; tensor?: string } }>;
  evaluate(rows: readonly NativeTrainRow[]): Promise<NativeLossSum>;
  logits(row: NativeTrainRow): Promise<Float32Array>;
  read(name: string, part: ParameterPart): Float32Array;
  write(name: string, values: Float32Array, part: ParameterPart): void;
  matrices(): NativeTernaryCounts[]; // of all layers
  steps(): number; // of the optimizer
  setSteps(n: number): void;
  abort(): void; // the pass that runs rejects with ABORTED
  close(): void; // idempotent
}

/** What a model is made of: keys and tensors with their sources, as a conversion takes them. */
export interface NativeModelSource {
  metadata: readonly NativeMetadataEntry[];
  tensors: readonly NativeConvertTensor[];
  kernelConfig?: string; // of sources of type TL1 or TL2
}

/** A grammar made ready to be matched; for any number of generations. */
export interface NativeGrammar {
  matches(text: string): boolean;
}

/** What the processor says of itself; texts are empty where it says nothing, as on ARM. */
export interface NativeCpu {
  vendor: string;
  brand: string;
  hypervisor: string; // "KVMKVMKVM"
  features: { name: string; present: boolean }[]; // that kernels make use of
}

export interface NativeAddon {
  /** llama.cpp's syntax. Throws USAGE with line and column. */
  compileGrammar(gbnf: string, maxBytes?: number): NativeGrammar; // by default at most 256 KiB
  compileGrammarAsync(gbnf: string, maxBytes?: number): Promise<NativeGrammar>; // on a thread of its own
  /** Throws UNSUPPORTED if a type cannot hold its shape or no tiles fit it, naming the tensor. Reads no weights. */
  planConversion(request: {
    metadata: readonly NativeMetadataEntry[]; // in the order of the file, like the tensors
    tensors: readonly NativeConvertTensor[];
    threads?: number;
    kernelConfig?: string;
  }): NativeConversion;
  loadModel(path: string, options: NativeLoadOptions): Promise<NativeModel>;
  /** Reads the weights. Throws UNSUPPORTED, BAD_FILE, USAGE, NO_MEMORY. */
  openTraining(source: NativeModelSource, options: NativeTrainOptions): Promise<NativeTraining>;
  planTraining(source: NativeModelSource, options: NativeTrainOptions): NativeMemoryPlan; // allocates nothing
  /** Bytes of keys and values of a full context, as the engine keeps them. */
  kvBytes(shape: NativeKvShape): number;
  tensorTypes(): NativeTensorType[];
  /** Metadata and tensor list only; the tokenizer alone for `bitnet tokenize` on a vocabulary-only file. */
  openGguf(path: string, options?: { alone?: boolean }): NativeGguf; // alone: not the other parts of its model
  openTokenizer(path: string, options: { tokenizerPre?: string }): NativeTokenizer;
  families(): NativeFamily[];
  /** Kernels this build has, best first, and the features that this CPU or its operating system lacks for each. */
  kernels(): { name: string; supported: boolean; lacks: string[] }[];
  /** The layouts in which a supported kernel gives other bits than scalar: none, if all is right. */
  testKernel(name: string): WeightLayout[];
  describeCpu(): NativeCpu;
  /** What the addon was built with: "GCC 12.2.0", "Release". */
  buildInfo(): { compiler: string; build: string };
  /** Cores this process may use, without hyper-threads; only the fast ones on macOS and Windows. */
  physicalCores(): number;
  /** Whether this build is for another CPU than the machine's: translated by Rosetta, or by Windows on Arm. */
  isTranslated(): boolean;
  /** Read bandwidth with a buffer of `bytes` and int8 peak of a kernel; takes about 2 * `seconds`. */
  measureLimits(options: { kernel?: string; threads: number; bytes: number; seconds: number }): Promise<NativeLimits>;
  tuningParameters(): NativeTuningParameter[];
  samplingParameters(): NativeSamplingParameter[];
  /** Throws USAGE, naming it, for a value that is out of its row's bounds or of another kind. */
  checkSampling(options: NativeSampling): void;
  /** Times a ternary product on random weights, after a check against scalar (INTERNAL if it differs). */
  timeKernel(options: NativeKernelCase): Promise<NativeKernelTimes>;
}

// Errors thrown or rejected by the addon are Error objects with a string `code` of errors.ts.

let loaded: { origin: AddonOrigin; addon: NativeAddon } | undefined;

function openAddon(): { origin: AddonOrigin; addon: NativeAddon } {
  if (loaded === undefined) {
    const { origin, exports } = loadFirst();
    loaded = { origin, addon: exports as NativeAddon };
  }
  return loaded;
}

/** The addon, loaded at the first call. Throws what is wrong with the installation, and what to do. */
export function loadAddon(): NativeAddon {
  return openAddon().addon;
}

/** Where the addon that loadAddon() gives comes from; throws as it does. */
export function addonOrigin(): AddonOrigin {
  return openAddon().origin;
}
