// What length a vector is brought to.

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
