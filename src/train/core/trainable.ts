// The training core as TypeScript sees it: a model whose gradients are computed, row by row, and whose parameters an
// optimizer changes. Arithmetic, determinism and memory are the core's; when to do what is the trainer's.
//
// Names of parameters are those of Hugging Face checkpoints ("model.layers.0.self_attn.q_proj.weight"), of adapters those
// of the module with ".lora_A" [rank, in] and ".lora_B" [out, rank] ("model.layers.0.self_attn.q_proj.lora_A"). Rows of
// q_proj and k_proj are in Hugging Face's order, whatever the order of the base. Values are f32, row-major.

import { checkpointNameOf } from "../../checkpoint/names.js";
import {
  loadAddon,
  type NativeMemoryPlan,
  type NativeTernaryCounts,
  type NativeTraining,
  type NativeTrainingInfo,
  type NativeTrainOptions,
  type ParameterPart,
} from "../../native/addon.js";
import { BitnetError, converting, convertingAsync, throwIfAborted } from "../../system/errors.js";
import { checkOptionNames, type OptionNames } from "../../system/options.js";
import { planSource, type TrainableSource } from "./source.js";

export type { TrainableSource } from "./source.js";

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
export type MemoryPlan = NativeMemoryPlan;

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

export type { ParameterPart } from "../../native/addon.js";

export interface TrainableInfo extends NativeTrainingInfo {
  mode: TrainMode;
}

const trainableOptions: OptionNames<TrainableOptions> = {
  mode: true,
  adapter: true,
  seed: true,
  maxLength: true,
  checkpointing: true,
  threads: true,
  kernel: true,
  signal: true,
};

export const adapterNames: OptionNames<AdapterShape> = {
  rank: true,
  alpha: true,
  rslora: true,
  dropout: true,
  targets: true,
  layers: true,
};

/**
 * What a training will hold in memory. Reads no weights and allocates nothing. Throws NOT_FOUND, BAD_FILE, UNSUPPORTED
 * (a family whose training is not known), USAGE.
 */
export async function planTraining(source: TrainableSource, options: TrainableOptions): Promise<MemoryPlan> {
  checkOptions(options);
  return convertingAsync(async () => {
    const plan = await planSource(source, options.seed);
    return loadAddon().planTraining(plan, nativeOptionsOf(options, layersOf(plan)));
  });
}

/**
 * Reads the weights. Throws as planTraining(), and UNSUPPORTED where `mode` is "full" and the weights are ternary already,
 * or "lora" and nothing says that they should be ternary; NO_MEMORY.
 */
export async function openTrainable(source: TrainableSource, options: TrainableOptions): Promise<Trainable> {
  checkOptions(options);
  throwIfAborted(options.signal);
  const trainable = await convertingAsync(async () => {
    const plan = await planSource(source, options.seed);
    const native = await loadAddon().openTraining(plan, nativeOptionsOf(options, layersOf(plan)));
    return new Trainable(native, options.mode);
  });
  if (options.signal?.aborted) {
    trainable.close();
    throwIfAborted(options.signal);
  }
  return trainable;
}

function checkOptions(options: TrainableOptions): void {
  checkOptionNames("openTrainable", options, trainableOptions);
  if (options.adapter !== undefined) {
    checkOptionNames("openTrainable: adapter", options.adapter, adapterNames);
  }
  if ((options.mode === "lora") !== (options.adapter !== undefined)) {
    throw new BitnetError("USAGE", 'openTrainable: mode "lora" takes an adapter, mode "full" does not');
  }
}

/** Of a plan: as many as its tensors name. */
function layersOf({ tensors }: { tensors: readonly { name: string }[] }): number {
  return tensors.filter(({ name }) => /^blk\.\d+\.attn_q\.weight$/.test(name)).length;
}

function nativeOptionsOf(options: TrainableOptions, layers: number): NativeTrainOptions {
  const { mode, seed, maxLength, checkpointing, threads, kernel } = options;
  const adapter = options.adapter && nativeAdapterOf(options.adapter, layers);
  return { mode, seed, maxLength, checkpointing, threads, kernel, adapter };
}

function nativeAdapterOf(shape: AdapterShape, layers: number): NativeTrainOptions["adapter"] {
  const targets = shape.targets ?? trainTargets;
  if (![targets, shape.layers ?? []].every(Array.isArray)) {
    throw new BitnetError("USAGE", "targets and layers of an adapter: expected lists");
  }
  const unknown = targets.find((target) => !trainTargets.includes(target));
  if (unknown !== undefined) {
    throw new BitnetError(
      "USAGE",
      `no matrix is named ${JSON.stringify(unknown)}; there are ${trainTargets.join(", ")}`,
    );
  }
  const wrong = shape.layers?.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= layers);
  if (wrong !== undefined) {
    throw new BitnetError("USAGE", `there is no layer ${wrong}; the model has 0 to ${layers - 1}`);
  }
  return {
    rank: shape.rank,
    alpha: shape.alpha,
    rslora: shape.rslora ?? false,
    dropout: shape.dropout ?? 0,
    matrices: Int32Array.from(targets, (target) => trainTargets.indexOf(target)),
    layers: shape.layers && Int32Array.from({ length: layers }, (_, i) => (shape.layers?.includes(i) ? 1 : 0)),
  };
}

/**
 * A model in training. One operation at a time: USAGE for a second one while one runs. Results depend neither on threads
 * nor on how rows are divided among calls.
 */
export class Trainable {
  readonly #native: NativeTraining;
  readonly #names = new Map<string, string>(); // those of checkpoints -> the core's
  readonly info: TrainableInfo;
  /** The parameters that are trained, in the order of the norm and of files. */
  readonly parameters: readonly ParameterInfo[];

  /** Made by openTrainable(). */
  constructor(native: NativeTraining, mode: TrainMode) {
    this.#native = native;
    this.info = { ...native.info, mode };
    this.parameters = native.parameters.map(({ name, rows, cols, decays }) => {
      const ours = checkpointNameOf(name);
      this.#names.set(ours, name);
      return { name: ours, shape: ours.endsWith("norm.weight") ? [cols] : [rows, cols], decays };
    });
  }

  /** Optimizer steps that were taken (skipped ones do not count); set it with the moments when resuming. */
  get optimizerSteps(): number {
    return converting(() => this.#native.steps());
  }
  set optimizerSteps(n: number) {
    converting(() => this.#native.setSteps(n));
  }

  /**
   * Forward and backward of the rows, some side by side: adds to the gradients. Another thread computes. Aborted
   * (ABORTED), it has dropped all gradients and losses since the last step: begin the step again.
   */
  backward(rows: readonly TrainRow[], { labels, step, signal }: BackwardOptions): Promise<LossSum> {
    return this.#abortable(signal, () => this.#native.backward(rows, { labels, step }));
  }

  /** One step of AdamW on the gradients since the last one, which it clears. */
  async step(options: StepOptions): Promise<StepResult> {
    const result = await convertingAsync(() => this.#native.step(options));
    const { skipped } = result;
    return skipped?.tensor === undefined
      ? result
      : { ...result, skipped: { ...skipped, tensor: checkpointNameOf(skipped.tensor) } };
  }

  /** The loss alone, without dropout; changes nothing. */
  evaluate(rows: readonly TrainRow[], { signal }: { signal?: AbortSignal } = {}): Promise<LossSum> {
    return this.#abortable(signal, () => this.#native.evaluate(rows));
  }

  /** [tokens, vocabulary] of one row, for tests and tools. */
  logits(row: TrainRow): Promise<Float32Array> {
    return convertingAsync(() => this.#native.logits(row));
  }

  /** A copy. Throws USAGE for an unknown name. */
  read(name: string, part: ParameterPart = "value"): Float32Array {
    return converting(() => this.#native.read(this.#nameOf(name), part));
  }

  write(name: string, values: Float32Array, part: ParameterPart = "value"): void {
    converting(() => this.#native.write(this.#nameOf(name), values, part));
  }

  /** The ternary weights of every matrix, as a pass would use them now. */
  matrices(): NativeTernaryCounts[] {
    return converting(() => this.#native.matrices()).map((matrix) => ({
      ...matrix,
      name: checkpointNameOf(matrix.name),
    }));
  }

  /** Frees the memory once nothing runs, and ends what runs (ABORTED); idempotent. */
  close(): void {
    this.#native.close();
  }

  #nameOf(name: string): string {
    const found = this.#names.get(name);
    if (found === undefined) {
      throw new BitnetError("USAGE", `no parameter that is trained is named ${name}`);
    }
    return found;
  }

  async #abortable<Result>(signal: AbortSignal | undefined, run: () => Promise<Result>): Promise<Result> {
    throwIfAborted(signal);
    const abort = () => this.#native.abort();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await convertingAsync(run);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}
