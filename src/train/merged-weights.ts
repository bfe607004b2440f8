// The master weights of a checkpoint with adapters added to them.

import type { AdapterFile } from "../adapter/adapter.js";
import { openAdapter } from "../adapter/open.js";
import { moduleName } from "../adapter/peft.js";
import { needsOrder } from "../adapter/write.js";
import { readWritten } from "../adapter/written.js";
import { openCheckpoint } from "../checkpoint/checkpoint.js";
import { readModelConfig } from "../checkpoint/config.js";
import { readFloats } from "../checkpoint/floats.js";
import { weightKindOf } from "../checkpoint/master.js";
import { checkpointNameOf, chooseFamily, isDeclaredTernary, matchTensors } from "../checkpoint/names.js";
import type { CheckpointTensor } from "../checkpoint/safetensors.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { MasterWeights } from "./export-model.js";
import { countChanges, ternarize } from "./ternary.js";

/** An adapter that is merged, and how much of it. */
export interface MergedAdapter {
  path: string;
  /** Default: 1. */
  scale?: number;
}

/** What adapters add to one matrix: factor * B A, in Hugging Face's order of rows. */
export interface Delta {
  factor: number;
  rank: number;
  rows: number;
  cols: number;
  a: Float32Array; // [rank, cols]
  b: Float32Array; // [rows, rank]
}

/** By the names of modules: "model.layers.0.self_attn.q_proj". `headDim`: of the base. */
export async function readDeltas(adapters: readonly MergedAdapter[], headDim: number): Promise<Map<string, Delta[]>> {
  const deltas = new Map<string, Delta[]>();
  for (const { path, scale: share = 1 } of adapters) {
    const file = await openAdapter(path);
    const { matrices } = await readWritten(file, needsOrder(file.architecture) ? headDim : 0);
    for (const [i, { layer, name, rank, rows, cols, a, b }] of matrices.entries()) {
      const module = moduleName(layer, name);
      if (![a, b].every((values) => values.every(Number.isFinite))) {
        throw new BitnetError("BAD_FILE", `${path}: ${module} has a number that is NaN or infinite`);
      }
      const delta = { factor: share * scaleOf(file, i), ...{ rank, rows, cols, a, b } };
      deltas.set(module, [...(deltas.get(module) ?? []), delta]);
    }
  }
  return deltas;
}

function scaleOf({ matrices }: AdapterFile, i: number): number {
  return at(matrices, i).scale;
}

/** Adds to the `values` of a matrix, row by row in f64. Throws USAGE where shapes differ. */
export function addDeltas(module: string, values: Float32Array, deltas: readonly Delta[]): void {
  for (const { factor, rank, rows, cols, a, b } of deltas) {
    if (rows * cols !== values.length) {
      throw new BitnetError(
        "USAGE",
        `${module}: the adapter is for a matrix of ${rows} x ${cols}, not for that of the base`,
      );
    }
    const sum = new Float64Array(cols);
    for (let row = 0; row < rows; row++) {
      sum.fill(0);
      for (let r = 0; r < rank; r++) {
        addScaled(sum, a, r * cols, factor * at(b, row * rank + r));
      }
      const start = row * cols;
      for (let col = 0; col < cols; col++) {
        values[start + col] = (values[start + col] ?? 0) + (sum[col] ?? 0);
      }
    }
  }
}

function addScaled(sum: Float64Array, a: Float32Array, start: number, factor: number): void {
  for (let col = 0; col < sum.length; col++) {
    sum[col] = (sum[col] ?? 0) + factor * (a[start + col] ?? 0);
  }
}

/** A checkpoint whose float weights make ternary ones. */
interface Master {
  headDim: number;
  /** By their names in checkpoints, whatever they are called in this one. */
  tensors: ReadonlyMap<string, CheckpointTensor>;
  /** Names of those that are made ternary. */
  matrices: ReadonlySet<string>;
}

/** Throws UNSUPPORTED where there is no master, or nothing says that its weights are to be ternary. */
async function openMaster(folder: string): Promise<Master> {
  const config = await readModelConfig(folder);
  const family = chooseFamily(config);
  const matched = await matchTensors(await openCheckpoint(folder), family, config);
  const tensors = new Map(matched.map(({ expected, tensor }) => [checkpointNameOf(expected.name), tensor]));
  const linear = matched.filter(({ expected }) => expected.role === "linear");
  if ((await weightKindOf(linear.map(({ tensor }) => tensor))) !== "master") {
    throw ternaryBaseError(folder);
  }
  if (!isDeclaredTernary(config, family, matched)) {
    throw new BitnetError("UNSUPPORTED", `${folder}: nothing says that its weights are to be ternary`, {
      hint: "a quantization_config with quant_method bitnet in config.json does",
    });
  }
  const matrices = new Set(linear.map(({ expected }) => checkpointNameOf(expected.name)));
  return { headDim: config.headDim, tensors, matrices };
}

/**
 * The weights of a master with what the adapters add to them. Throws UNSUPPORTED for a checkpoint without master: its weights
 * are ternary, and what is added to them is lost when they are rounded again.
 */
export async function openMerged(base: string, adapters: readonly MergedAdapter[]): Promise<MasterWeights> {
  const { headDim, tensors, matrices } = await openMaster(base);
  const deltas = await readDeltas(adapters, headDim);
  const unknown = [...deltas.keys()].find((module) => !matrices.has(`${module}.weight`));
  if (unknown !== undefined) {
    throw new BitnetError("USAGE", `${unknown}: the adapter has it, but the base does not`);
  }
  return {
    parameters: [...tensors].map(([name, { shape }]) => ({ name, shape })),
    async read(name) {
      const values = await readTensor(tensors, name);
      const module = name.replace(/\.weight$/, "");
      addDeltas(module, values, deltas.get(module) ?? []);
      return values;
    },
  };
}

async function readTensor(tensors: Master["tensors"], name: string): Promise<Float32Array> {
  const tensor = tensors.get(name);
  if (tensor === undefined) {
    throw new BitnetError("BAD_FILE", `the checkpoint has no ${name}`);
  }
  return await readFloats(tensor);
}

export interface ChangedCodes {
  /** Ternary weights that are others. */
  codes: number;
  total: number;
}

/** Compares the ternary weights that two masters of the same shapes make. */
export async function compareMasters(before: string, after: string): Promise<ChangedCodes> {
  const [old, made] = await Promise.all([openMaster(before), openMaster(after)]);
  const changed = { codes: 0, total: 0 };
  for (const name of old.matrices) {
    const cols = at(old.tensors.get(name)?.shape ?? [], 1);
    const [was, is] = await Promise.all([readTensor(old.tensors, name), readTensor(made.tensors, name)]);
    changed.codes += countChanges(ternarize(was, cols).codes, ternarize(is, cols).codes);
    changed.total += was.length;
  }
  return changed;
}

export function ternaryBaseError(base: string): BitnetError {
  return new BitnetError(
    "UNSUPPORTED",
    `${base}: its weights are ternary: what an adapter adds lies below their steps and vanishes without a trace when they are rounded again`,
    {
      hint: "use the adapter beside them (bitnet run --lora), merge it into their master, or write float matrices: --to f16",
    },
  );
}
