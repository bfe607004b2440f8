// What the border to C++ says of models in training.

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

/** A model in training; src/train/core/trainable.ts says what each does. Tensors are named as in GGUF files. */
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
