// What the border to C++ says of models in memory: how they are loaded, what they are made of, what they cost.

import type { NativeGguf, NativeTokenizer } from "./files.js";
import type {
  CacheType,
  NativeAdapter,
  NativeAdapterMatrix,
  NativeAdapterOptions,
  NativeEngineStats,
  NativeSession,
  NativeSessionOptions,
  Pooling,
} from "./session.js";

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
