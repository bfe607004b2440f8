// The two objects of the library: a model (weights, tokenizer) and its sessions (one sequence with its KV cache each).

import { Gguf } from "../gguf/gguf.js";
import {
  type CacheType,
  cacheTypes,
  loadAddon,
  type NativeEngineStats,
  type NativeModel,
  type NativeModelInfo,
  type NativeSession,
  type NativeSlot,
  type NativeTuning,
  type WeightLayout,
} from "../native/addon.js";
import { BitnetError, converting, convertingAsync, throwIfAborted } from "../system/errors.js";
import { findTarget, writeThenRename } from "../system/files.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import {
  type Adapter,
  type AdapterOptions,
  type AdapterUse,
  loadAdapter,
  toNativeUses,
  withAdapters,
} from "./adapter.js";
import { type Embeddings, type EmbedInput, type EmbedOptions, embed } from "./embed.js";
import {
  type GenerateResult,
  type GenerateTimings,
  generateText,
  generateTokens,
  newTimings,
  type Piece,
  runAbortable,
  type Token,
  type TokensResult,
} from "./generate.js";
import { Generation } from "./generation.js";
import {
  checkGenerateOptions,
  checkNumber,
  checkPromptTokens,
  checkTokenOptions,
  type DistributionOptions,
  type GenerateOptions,
  maxCount,
  type Prompt,
  planDistributions,
  planGeneration,
  planScore,
  type ScoreOptions,
  type TokenOptions,
} from "./request.js";
import { type LogitBlock, type LogitSink, readDistributions, type ScoreResult, toScoreResult } from "./score.js";
import { checkTokens, Tokenizer } from "./tokenizer.js";
import { type AppliedTuning, applyTuning } from "./tuning.js";

export type ModelInfo = NativeModelInfo;
export type EngineStats = NativeEngineStats;
export type SavedSession = NativeSlot;
export type TuningParameters = NativeTuning;

export interface LoadOptions {
  /** Default: the physical cores that this process may use. */
  threads?: number;
  /** Name of the kernels to use. Default: BITNET_KERNEL, else the best that this CPU has. */
  kernel?: string;
  /** Pre-tokenizer to use instead of the one that the file names. */
  tokenizerPre?: string;
  /** How ternary weights are kept in memory; results are the same. Default: BITNET_LAYOUT, else the fastest. */
  layout?: "auto" | WeightLayout | "lut";
  /**
   * Whether a large float head gets a compact copy that finds the likeliest tokens; they and their logits stay the same,
   * bit for bit. Default: true.
   */
  fastHead?: boolean;
  /** Leaves large weights in the file's pages, which other processes share, instead of huge pages. Default: false. */
  inPlace?: boolean;
  /** Path of the kernel_config.ini that a TL1 or TL2 file was made with, if the file does not say its tiles. */
  kernelConfig?: string;
  /**
   * Tile and thread parameters: speed only, never results. Default: what `bitnet tune` has saved for this machine, also
   * for `threads` and `kernel` where they are left out. {} is the built-in defaults.
   */
  tuning?: TuningParameters;
  /**
   * What keys and values of sessions that are closed may keep, in bytes, so that later prompts which begin alike need not
   * be evaluated again. Default: 512 MiB.
   */
  promptCacheBytes?: number;
  /**
   * How many generations, prefills and scores of all sessions run at once; the others wait and take no memory for keys and
   * values. They are admitted in turn: work in the background after all other, then by what their clients have used.
   * Default: 0, no limit.
   */
  parallel?: number;
  /**
   * What keys and values that are in use may take, in bytes, beside `promptCacheBytes`. What does not fit waits until it
   * does, with all that its `maxTokens` may come to; work in the background gives way to other work and is computed again
   * later; sessions on which nothing runs give way to all. A text that reaches the bound ends with "context".
   * Default: 0, no bound.
   */
  kvBytes?: number;
  /** Tokens that are evaluated in one step at most, 2 to 256. Never changes results. Default: 256. */
  stepRows?: number;
  /** How long a step may take while something is generated, in milliseconds: bounds what is read of prompts beside it. Default: 200. */
  stepMs?: number;
  signal?: AbortSignal;
}

const loadOptions: OptionNames<LoadOptions> = {
  threads: true,
  kernel: true,
  tokenizerPre: true,
  layout: true,
  fastHead: true,
  inPlace: true,
  kernelConfig: true,
  tuning: true,
  promptCacheBytes: true,
  parallel: true,
  kvBytes: true,
  stepRows: true,
  stepMs: true,
  signal: true,
};

export interface SessionOptions {
  /** In tokens. Default: the model's trained context, at most 2048. */
  contextSize?: number;
  /**
   * How keys and values are kept: "q8" takes half the memory of "f16" and is faster with a long context, but rounds
   * them to 8 bits. Default: "f16".
   */
  cacheType?: CacheType;
  /**
   * Whether prompts that begin like those of other sessions of the model take their keys and values from them, and give
   * their own. Results are the same, bit for bit; what differs is the time to the first token. Default: true.
   */
  sharePrompts?: boolean;
  /** Only sessions of the same salt share prompts. Default: "". */
  salt?: string;
  /** In whose name the session computes: clients take turns, whatever the number of their sessions. Default: "". */
  client?: string;
  /** How much of the turns the client gets; one of twice the weight gets twice the tokens. Default: 1. */
  weight?: number;
  /** Whether other work goes first; this still gets a tenth. Default: false. */
  background?: boolean;
  /** What `loadAdapter` gave, each with a scale of its own if wanted. Default: `Model.adapters`. */
  adapters?: readonly AdapterUse[];
}

export const sessionOptions: OptionNames<SessionOptions> = {
  contextSize: true,
  cacheType: true,
  sharePrompts: true,
  salt: true,
  client: true,
  weight: true,
  background: true,
  adapters: true,
};

export interface PrefillOptions {
  /** Whose logits to keep: the last position's, or those of every position that is evaluated anew. Default: "last". */
  logits?: "last" | "all";
  signal?: AbortSignal;
}

const prefillOptions: OptionNames<PrefillOptions> = { logits: true, signal: true };

const defaultContextSize = 2048;
const maxThreads = 1024;
const maxNameLength = 1024;

/** Loads a GGUF model. Large weights are copied to huge pages, which are faster to read; `inPlace` leaves them in the file. */
export function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  return loadModelAs(Model, path, options);
}

/** The same for a class that adds to Model. */
export async function loadModelAs<Kind extends Model>(
  kind: new (native: NativeModel, tuning?: AppliedTuning) => Kind,
  path: string,
  options: LoadOptions = {},
): Promise<Kind> {
  checkOptionNames("loadModel", options, loadOptions);
  const { signal, ...native } = options;
  if (native.tuning !== undefined) {
    const names = loadAddon()
      .tuningParameters()
      .map(({ name }) => [name, true as const]);
    checkOptionNames("loadModel: tuning", native.tuning, Object.fromEntries(names));
  }
  checkLoadCounts(native);
  throwIfAborted(signal);
  const model = await convertingAsync(async () => {
    const { options: tuned, applied } = await applyTuning(native);
    return new kind(await loadAddon().loadModel(path, tuned), applied);
  });
  if (signal?.aborted) {
    model.close();
    throwIfAborted(signal);
  }
  return model;
}

/** USAGE naming the first count that is out of its bounds. */
function checkLoadCounts({ threads, parallel, kvBytes, stepRows, stepMs }: LoadOptions): void {
  const rows = [
    ["threads", threads, 1, maxThreads],
    ["parallel", parallel, 0, maxCount],
    ["kvBytes", kvBytes, 0, Number.MAX_SAFE_INTEGER],
    ["stepRows", stepRows, 2, 256],
    ["stepMs", stepMs, 0, maxCount],
  ] as const;
  for (const [name, value, min, max] of rows) {
    if (value !== undefined) {
      checkNumber(name, value, { min, max, integer: true });
    }
  }
}

/** Kernel names that this build has, best first, and whether this CPU can run each. */
export function listKernels(): { name: string; supported: boolean }[] {
  return converting(() => loadAddon().kernels());
}

/** UNSUPPORTED for models that were made for embeddings. */
export function checkPredicts({ embedsOnly }: Pick<ModelInfo, "embedsOnly">): void {
  if (embedsOnly) {
    throw new BitnetError("UNSUPPORTED", "this model makes embeddings and predicts no text", {
      hint: "`bitnet embed` computes its vectors",
    });
  }
}

export class Model {
  readonly #native: NativeModel;
  readonly info: ModelInfo;
  readonly tokenizer: Tokenizer;
  /** The file's metadata and tensor list. */
  readonly gguf: Gguf;

  #adapters: readonly AdapterUse[] = [];

  /** What of the tuning file is in use, if anything. */
  readonly tuning: AppliedTuning | undefined;

  constructor(native: NativeModel, tuning?: AppliedTuning) {
    this.#native = native;
    this.tuning = tuning;
    this.info = native.info;
    this.tokenizer = new Tokenizer(native.tokenizer);
    this.gguf = new Gguf(native.gguf);
  }

  /** A new, empty sequence. What sessions of one model do at the same time is computed together. */
  createSession(options: SessionOptions = {}): Session {
    checkOptionNames("createSession", options, sessionOptions);
    checkPredicts(this.info);
    const contextSize = options.contextSize ?? Math.min(this.info.contextLength, defaultContextSize);
    checkNumber("contextSize", contextSize, { min: 1, max: maxCount, integer: true });
    const { cacheType = "f16", sharePrompts } = options;
    if (!cacheTypes.includes(cacheType)) {
      throw new BitnetError("USAGE", `cacheType must be one of ${cacheTypes.join(", ")}, not ${String(cacheType)}`);
    }
    checkShare(options);
    const { salt, client, weight, background } = options;
    const adapters = toNativeUses(options.adapters ?? this.#adapters);
    const native = converting(() =>
      this.#native.createSession({ contextSize, cacheType, sharePrompts, salt, client, weight, background, adapters }),
    );
    return new Session(native, this.tokenizer);
  }

  /**
   * Reads a low-rank adapter (LoRA) for sessions of this model: a folder of PEFT, its safetensors file, or a GGUF file of
   * llama.cpp. BAD_FILE and UNSUPPORTED name what is wrong in it, USAGE tells that it is for another model.
   */
  async loadAdapter(path: string, options: AdapterOptions = {}): Promise<Adapter> {
    return await loadAdapter(this.#native, path, options);
  }

  /** The adapters of sessions and embeddings that name none. */
  get adapters(): readonly AdapterUse[] {
    return this.#adapters;
  }

  /** For those that begin from now on. */
  set adapters(uses: readonly AdapterUse[]) {
    toNativeUses(uses);
    this.#adapters = [...uses];
  }

  /**
   * Vectors of texts, or of token ids that are taken as they are. Inputs of any length up to the context; what is in a
   * vector does not depend on its neighbours. USAGE names the input that is empty or too long. A model that was made to
   * predict tokens has embeddings, too, which are not good for much.
   */
  async embed(inputs: readonly EmbedInput[], options: EmbedOptions = {}): Promise<Embeddings> {
    checkShare(options);
    const adapters = toNativeUses(options.adapters ?? this.#adapters);
    return await embed({ native: this.#native, tokenizer: this.tokenizer, adapters }, inputs, options);
  }

  /** What the engine has done since the model was loaded, and what it does now. */
  stats(): EngineStats {
    return converting(() => this.#native.stats());
  }

  /**
   * Sessions of any salt share the keys and values of this beginning of prompts, which is nobody's secret: a system message
   * that all have. To be called before the first session is made.
   */
  shareBeginning(tokens: Int32Array | readonly number[]): void {
    const checked = checkTokens(tokens, this.tokenizer.info.vocabSize);
    converting(() => this.#native.shareBeginning(checked));
  }

  /**
   * What tells the model from others: 16 hexadecimal digits of its file and of the adapters of sessions that name none, the
   * same at any place.
   */
  fingerprint(): string {
    return converting(() => withAdapters(this.#native.fingerprint(), this.#adapters));
  }

  /** Of its shapes and norms: the same for all files of the same weights, whatever their types. Adapters remember it. */
  baseHash(): string {
    return converting(() => this.#native.baseHash());
  }

  /** Frees the weights once the last session is closed. May be called again. */
  close(): void {
    this.#native.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/** USAGE for a wrong salt, client or weight. */
function checkShare({ salt, client, weight }: Pick<SessionOptions, "salt" | "client" | "weight">): void {
  for (const [name, text] of Object.entries({ salt, client })) {
    if (text !== undefined && (typeof text !== "string" || text.length > maxNameLength)) {
      throw new BitnetError("USAGE", `${name}: expected a text of at most ${maxNameLength} characters`);
    }
  }
  if (weight !== undefined) {
    checkNumber("weight", weight, { min: 1e-6, max: 1e6 });
  }
}

export class Session {
  readonly #native: NativeSession;
  readonly tokenizer: Tokenizer;
  readonly contextSize: number;
  /** Memory of the keys and values of a full context, in bytes; what is taken grows with the sequence. */
  readonly kvBytes: number;
  #busy = false;
  #closed = false;
  #timings = newTimings();

  constructor(native: NativeSession, tokenizer: Tokenizer) {
    this.#native = native;
    this.tokenizer = tokenizer;
    this.contextSize = native.contextSize;
    this.kvBytes = native.kvBytes;
  }

  /** The tokens whose keys and values are in the cache. */
  tokens(): Int32Array {
    this.#checkOpen();
    return this.#native.tokens();
  }

  /**
   * Makes `tokens` the session's sequence. What its beginning shares with the cache is not evaluated again.
   */
  async prefill(
    tokens: Int32Array | readonly number[],
    options: PrefillOptions = {},
  ): Promise<{ reused: number; evaluated: number }> {
    checkOptionNames("prefill", options, prefillOptions);
    const checked = checkPromptTokens(tokens, this.tokenizer.info.vocabSize, this.contextSize);
    this.#begin();
    try {
      return await runAbortable(this.#native, options.signal, () =>
        this.#native.prefill(checked, options.logits ?? "last"),
      );
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Generates text after `prompt`: a loop over the pieces, `result`, or both. A prompt that begins like the session's
   * sequence reuses its cache. The loop may be left early. A wrong prompt or option throws here.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation<Piece, GenerateResult> {
    this.#checkOpen();
    checkGenerateOptions("generate", options);
    const plan = planGeneration(this.tokenizer, this.contextSize, prompt, options);
    return new Generation(this.#run((timings) => generateText(this.#native, this.tokenizer, plan, timings)));
  }

  /** The same without the text: token ids only, and so without stop strings. */
  generateTokens(prompt: Prompt, options: TokenOptions = {}): Generation<Token, TokensResult> {
    this.#checkOpen();
    checkTokenOptions("generateTokens", options);
    const plan = planGeneration(this.tokenizer, this.contextSize, prompt, options);
    return new Generation(this.#run((timings) => generateTokens(this.#native, plan, timings)));
  }

  /** Text and result at once. */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<GenerateResult> {
    return await this.generate(prompt, options).result;
  }

  async *#run<Item, Result>(
    start: (timings: GenerateTimings) => AsyncGenerator<Item, Result, undefined>,
  ): AsyncGenerator<Item, Result, undefined> {
    this.#begin();
    this.#timings = newTimings();
    try {
      return yield* start(this.#timings);
    } finally {
      this.#busy = false;
    }
  }

  /**
   * How likely the model finds the prompt's own tokens, each after all before it: one value for every token from `from`
   * on, whatever the session has computed before. What sampling would change does not count.
   */
  async score(prompt: Prompt, options: ScoreOptions = {}): Promise<ScoreResult> {
    this.#checkOpen();
    const { tokens, from, top } = planScore(this.tokenizer, this.contextSize, prompt, options);
    this.#begin();
    try {
      return toScoreResult(
        await runAbortable(this.#native, options.signal, () => this.#native.score(tokens, from, top)),
      );
    } finally {
      this.#busy = false;
    }
  }

  /**
   * The same for whole distributions: raw logits of every token of the vocabulary, for every place from `from` on, in blocks
   * of at most 32 places. `sink` is waited for; an error of it ends the work. The logits of a whole prompt never exist.
   */
  async distributions(
    prompt: Prompt,
    options: DistributionOptions,
    sink: LogitSink,
  ): Promise<{ reused: number; evaluated: number }> {
    const blocks = this.distributionBlocks(prompt, options);
    for (;;) {
      const { done, value } = await blocks.next();
      if (done) {
        return value;
      }
      try {
        await sink(value);
      } catch (error) {
        await blocks.return({ reused: 0, evaluated: 0 });
        throw error;
      }
    }
  }

  /** The same as a loop, which may be left early. */
  async *distributionBlocks(
    prompt: Prompt,
    options: DistributionOptions = {},
  ): AsyncGenerator<LogitBlock, { reused: number; evaluated: number }, undefined> {
    this.#checkOpen();
    const { tokens, from } = planDistributions(this.tokenizer, this.contextSize, prompt, options);
    this.#begin();
    try {
      const width = this.tokenizer.info.vocabSize;
      return yield* readDistributions(this.#native, tokens, { from, width, signal: options.signal });
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Writes the tokens of the session with their keys and values to a file, for `restore`. The file is there whole or not at
   * all.
   */
  async save(path: string): Promise<SavedSession> {
    return await this.#occupied(async () => {
      const target = await findTarget(path);
      return await writeThenRename(target, (partial) => this.#native.save(partial));
    });
  }

  /**
   * Reads what `save` has written: later prompts that begin like it evaluate their new tokens only. BAD_FILE for anything
   * else, USAGE for a file of another model, kernel set or cache type, or for one that is longer than the context; the
   * session is as before then. Other sessions do not find the prompt.
   */
  async restore(path: string): Promise<SavedSession> {
    return await this.#occupied(() => this.#native.restore(path));
  }

  async #occupied<T>(work: () => Promise<T>): Promise<T> {
    this.#begin();
    try {
      return await convertingAsync(work);
    } finally {
      this.#busy = false;
    }
  }

  /** Of the last generation, also of one that is running or was stopped. */
  get timings(): Readonly<GenerateTimings> {
    return this.#timings;
  }

  /** float32 [positions, vocabulary] of the last prefill or generated token. */
  logits(): Float32Array {
    this.#checkOpen();
    return converting(() => this.#native.logits());
  }

  /** Ends a running operation and frees the cache. May be called again. */
  close(): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    if (this.#busy) {
      this.#native.abort();
    }
    this.#native.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #checkOpen(): void {
    if (this.#closed) {
      throw new BitnetError("USAGE", "the session is closed");
    }
  }

  #begin(): void {
    this.#checkOpen();
    if (this.#busy) {
      throw new BitnetError("USAGE", "the session is busy: one operation at a time");
    }
    this.#busy = true;
  }
}
