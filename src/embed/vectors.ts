// What vectors are compared by, and how they are brought to a common length.

import { BitnetError } from "../system/errors.js";

/** -1: as they are; 0: the largest |x| is 32760, as llama.cpp's 16-bit form has it; p: the p-norm is 1. */
export type Normalization = number;

export const euclidean: Normalization = 2;
const largest16Bit = 32760;

/** In place; a vector of zeros stays one. */
export function normalizeVector(vector: Float32Array, kind: Normalization): Float32Array {
  const length = lengthOf(vector, kind);
  const factor = Math.fround(length > 0 ? 1 / length : 0);
  for (const [i, x] of vector.entries()) {
    vector[i] = x * factor;
  }
  return vector;
}

function lengthOf(vector: Float32Array, kind: Normalization): number {
  switch (kind) {
    case -1:
      return 1;
    case 0:
      return vector.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / largest16Bit;
    case 2:
      return Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
    default:
      return vector.reduce((sum, x) => sum + Math.abs(x) ** kind, 0) ** (1 / kind);
  }
}

export type Vector = Float32Array | Float64Array | Int8Array | Uint8Array | readonly number[];

/** From -1 to 1. Two vectors of zeros are equal (1), one beside another vector is like nothing (0). */
export function cosine(a: Vector, b: Vector): number {
  if (a.length !== b.length) {
    throw new BitnetError("USAGE", `cosine: expected two vectors of one length, got ${a.length} and ${b.length}`);
  }
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  if (squaresA === 0 || squaresB === 0) {
    return squaresA === squaresB ? 1 : 0;
  }
  return dot / Math.sqrt(squaresA * squaresB);
}
