// Whether the matrices of a checkpoint are a master, float weights that ternary ones are made of, or ternary already.

import { readFloats } from "./floats.js";
import type { CheckpointTensor } from "./safetensors.js";

/** "packed": four ternary weights to a byte. "ternary": floats of one magnitude beside 0. */
export type WeightKind = "master" | "packed" | "ternary";

const sameMagnitude = 1e-6; // relative: more than rounding in any exporter leaves

/** Whether all weights but zeros have one magnitude. A matrix of zeros alone has none. */
export function isTernaryAlready(values: Float32Array): boolean {
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (const value of values) {
    const magnitude = Math.abs(value);
    most = Math.max(most, magnitude);
    least = magnitude === 0 ? least : Math.min(least, magnitude);
  }
  return most > 0 && most - least <= sameMagnitude * most;
}

/** Of the matrices of layers. One of two magnitudes makes a master, as training and conversion take it. */
export async function weightKindOf(matrices: readonly CheckpointTensor[]): Promise<WeightKind> {
  for (const tensor of matrices) {
    if (tensor.dtype !== "U8" && !isTernaryAlready(await readFloats(tensor))) {
      return "master";
    }
  }
  return matrices.some(({ dtype }) => dtype === "U8") ? "packed" : "ternary";
}
