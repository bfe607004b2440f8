// What vectors are compared by, and how they are brought to a common length.

import { BitnetError } from "../system/errors.js";

export { euclidean, type Normalization, normalizeVector } from "../engine/normalization.js";

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
