// The training core as TypeScript sees it: a model whose gradients are computed, row by row, and whose parameters an
// optimizer changes. Arithmetic, determinism and memory are the core's; when to do what is the trainer's.
//
// Names of parameters are those of Hugging Face checkpoints ("model.layers.0.self_attn.q_proj.weight"), of adapters those
// of the module with ".lora_A" [rank, in] and ".lora_B" [out, rank] ("model.layers.0.self_attn.q_proj.lora_A"). Rows of
// q_proj and k_proj are in Hugging Face's order, whatever the order of the base. Values are f32, row-major.

/** "lora": adapters beside frozen ternary weights. "full": every parameter, from a float master. */
export type TrainMode = "lora" | "full";

/** The matrices of a layer, in the order of the core. */
export const trainTargets = ["q", "k", "v", "o", "gate", "up", "down"] as const;
export type TrainTarget = (typeof trainTargets)[number];

export interface AdapterShape {
  /** Rows of lora_A, 1 to 1024. */
  rank: number;
  /** The adapter's product is multiplied by alpha / rank, with `rslora` by alpha / sqrt(rank). */
  alpha: number;
  rslora?: boolean; // default false
  /** Share of the inputs of lora_A that is zeroed while gradients are computed, 0 to below 1. Default 0. */
  dropout?: number;
  targets?: readonly TrainTarget[]; // default: all seven
  layers?: readonly number[]; // from 0; default: all
}

/** What is trained. */
export type TrainableSource =
  /** A GGUF file with ternary matrices (mode "lora") or float ones. */
  | { gguf: string }
  /** A folder with a Hugging Face checkpoint: a master, or packed (mode "lora"). */
  | { checkpoint: string }
  /** A folder with config.json: weights N(0, 0.02), norms 1 (mode "full"). */
  | { config: string };

export interface TrainableOptions {
  mode: TrainMode;
  adapter?: AdapterShape; // mode "lora" needs it
  /** Of initial weights and dropout, 0 to 2^32 - 1. */
  seed: number;
  /** The longest row in tokens: bounds the memory. */
  maxLength: number;
  /** Keep only the inputs of layers and compute each layer's forward pass again: same bits, less memory. Default false. */
  checkpointing?: boolean;
  threads?: number; // default: physical cores that the process may use; never changes a bit
  kernel?: string; // default: the best of this CPU
  signal?: AbortSignal;
}

/** Bytes that a training holds, by what they are for. */
export interface MemoryPlan {
  weights: number; // frozen weights, and the ternary copies of a master
  master: number; // trained parameters
  gradients: number;
  optimizer: number; // the two moments
  activations: number; // kept for the backward pass, of maxLength tokens
  scratch: number; // of the pass and of all threads
  logits: number; // of a chunk of positions
  total: number;
}

/** One row: documents side by side, which never see each other; positions restart at 0 at each. No padding. */
export interface TrainRow {
  ids: Int32Array;
  /** As in Hugging Face: labels[t] is predicted at t - 1, -100 does not count; the first of a document is -100. */
  labels: Int32Array;
  /** Where documents begin, ascending, the first one 0. */
  documents: Int32Array;
}

export interface LossSum {
  lossSum: number; // natural logarithm, summed over the labels that count
  labels: number;
  tokens: number;
}

export interface BackwardOptions {
  /** Labels that count in the whole optimizer step: the loss is the sum over all its rows divided by this. */
  labels: number;
  /** Number of the optimizer step from 0: keys dropout, with the row's number within the step. */
  step: number;
  signal?: AbortSignal;
}

export interface StepOptions {
  lr: number;
  weightDecay: number; // of matrices of layers and adapters; embedding, head and norms have none
  beta1: number;
  beta2: number;
  epsilon: number;
  clip: number; // largest global norm of the gradient; 0: no limit
}

export interface StepResult extends LossSum {
  /** Of all rows since the last step: the same bits however they were divided among calls of backward(). */
  lossSum: number;
  gradNorm: number; // L2, before clipping
  /** Set if nothing was changed, as the loss or the norm is not finite; the tensor is the first one that is not. */
  skipped?: { reason: string; tensor?: string };
}

export interface ParameterInfo {
  name: string;
  shape: number[]; // slowest dimension first
  decays: boolean; // by weightDecay
}

/** What of a parameter: its value, its gradient since the last step, or a moment of the optimizer. */
export type ParameterPart = "value" | "gradient" | "m" | "v";

export interface TrainableInfo {
  architecture: string;
  mode: TrainMode;
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
  memory: MemoryPlan;
}

/**
 * A model in training. One operation at a time: USAGE for a second one while one runs. Results depend neither on threads
 * nor on how rows are divided among calls.
 */
export interface Trainable {
  readonly info: TrainableInfo;
  /** The parameters that are trained, in the order of the norm and of files. */
  readonly parameters: readonly ParameterInfo[];
  /** Optimizer steps that were taken (skipped ones do not count); set it with the moments when resuming. */
  optimizerSteps: number;
  /**
   * Forward and backward of the rows, one after the other: adds to the gradients. Another thread computes. Aborted
   * (ABORTED), it has dropped all gradients and losses since the last step: begin the step again.
   */
  backward(rows: readonly TrainRow[], options: BackwardOptions): Promise<LossSum>;
  /** One step of AdamW on the gradients since the last one, which it clears. */
  step(options: StepOptions): Promise<StepResult>;
  /** The loss alone, without dropout; changes nothing. */
  evaluate(rows: readonly TrainRow[], options?: { signal?: AbortSignal }): Promise<LossSum>;
  /** [tokens, vocabulary] of one row, for tests and tools. */
  logits(row: TrainRow): Promise<Float32Array>;
  /** A copy. Throws USAGE for an unknown name. */
  read(name: string, part?: ParameterPart): Float32Array;
  write(name: string, values: Float32Array, part?: ParameterPart): void;
  /** Frees the memory; idempotent. */
  close(): void;
}
