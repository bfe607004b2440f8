// An adapter that is to be written: its numbers in memory, in the order that Hugging Face has the rows in.

import { readFloats } from "../checkpoint/floats.js";
import { BitnetError } from "../system/errors.js";
import { type AdapterFile, type AdapterOrigin, type AdapterTensor, adaptedMatrices } from "./adapter.js";

export interface WrittenMatrix {
  layer: number;
  name: string; // "attn_q"
  rank: number;
  alpha: number;
  rows: number;
  cols: number;
  a: Float32Array; // [rank, cols]
  b: Float32Array; // [rows, rank]
}

export interface WrittenAdapter {
  matrices: readonly WrittenMatrix[];
  origin: AdapterOrigin;
}

/** Throws USAGE for a matrix that does not fit what it says of itself. */
export function checkWritten({ matrices }: WrittenAdapter): void {
  if (matrices.length === 0) {
    throw new BitnetError("USAGE", "an adapter without matrices cannot be written");
  }
  for (const { layer, name, rank, rows, cols, a, b } of matrices) {
    const isKnown = adaptedMatrices.some((matrix) => matrix.name === name);
    if (!isKnown || a.length !== rank * cols || b.length !== rows * rank) {
      throw new BitnetError("USAGE", `blk.${layer}.${name}: rank ${rank}, ${rows} x ${cols} do not fit its numbers`);
    }
    if (!a.every(Number.isFinite) || !b.every(Number.isFinite)) {
      throw new BitnetError("BAD_FILE", `blk.${layer}.${name}: a number of it is NaN or infinite`);
    }
  }
}

/** The numbers of an adapter's file. `headDim`: of a family whose GGUF files have the rows of q and k in another order. */
export async function readWritten(file: AdapterFile, headDim = 0): Promise<WrittenAdapter> {
  const matrices: WrittenMatrix[] = [];
  for (const { layer, name, rank, alpha, scale, a, b } of file.matrices) {
    const rotated = file.form === "gguf" && headDim > 0 && isRotated(name);
    const values = await readMatrix(b);
    matrices.push({
      ...{ layer, name, rank, rows: b.rows, cols: a.cols },
      alpha: alpha === 0 ? scale * rank : alpha,
      a: await readMatrix(a),
      b: rotated ? reorder(values, b.rows, rank, headDim, "halves") : values,
    });
  }
  return { matrices, origin: file.origin };
}

export function isRotated(name: string): boolean {
  return name === "attn_q" || name === "attn_k";
}

/**
 * Rows of q or k from neighbours to halves or back: in a GGUF file of Llama row 2i + s of a head is the row s * d / 2 + i
 * that Hugging Face has.
 */
export function reorder(
  values: Float32Array,
  rows: number,
  rank: number,
  headDim: number,
  to: "halves" | "neighbours",
): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const head = row - (row % headDim);
    const r = row % headDim;
    const other = head + (r % 2) * (headDim / 2) + (r >> 1);
    const [from, target] = to === "neighbours" ? [other, row] : [row, other];
    out.set(values.subarray(from * rank, (from + 1) * rank), target * rank);
  }
  return out;
}

async function readMatrix(tensor: AdapterTensor): Promise<Float32Array> {
  const { file, type, rows, cols, name } = tensor;
  const values = await readFloats({ ...tensor, dtype: type });
  if (values.length !== rows * cols) {
    throw new BitnetError("BAD_FILE", `${file}: the bytes of tensor ${name} do not fit its shape`);
  }
  return values;
}
