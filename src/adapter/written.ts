// An adapter that is to be written: its numbers in memory, in the order that Hugging Face has the rows in.

import { open } from "node:fs/promises";
import { at } from "../system/at.js";
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
    const values = await readFloats(b);
    matrices.push({
      ...{ layer, name, rank, rows: b.rows, cols: a.cols },
      alpha: alpha === 0 ? scale * rank : alpha,
      a: await readFloats(a),
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

async function readFloats({ file, offset, bytes, type, rows, cols, name }: AdapterTensor): Promise<Float32Array> {
  const handle = await open(file);
  try {
    const buffer = new ArrayBuffer(bytes);
    const { bytesRead } = await handle.read(new Uint8Array(buffer), 0, bytes, offset);
    if (bytesRead < bytes) {
      throw new BitnetError("BAD_FILE", `${file}: tensor ${name} ends beyond the end of the file`);
    }
    const values = decodeFloats(buffer, type);
    if (values === undefined) {
      throw new BitnetError("UNSUPPORTED", `${file}: tensor ${name} is of type ${type}; F32, F16 or BF16 expected`);
    }
    if (values.length !== rows * cols) {
      throw new BitnetError("BAD_FILE", `${file}: the bytes of tensor ${name} do not fit its shape`);
    }
    return values;
  } finally {
    await handle.close();
  }
}

function decodeFloats(buffer: ArrayBuffer, type: string): Float32Array | undefined {
  switch (type) {
    case "F32":
      return new Float32Array(buffer);
    case "F16":
      return Float32Array.from(new Uint16Array(buffer), fromHalf);
    case "BF16": {
      const bits = Uint32Array.from(new Uint16Array(buffer), (half) => (half << 16) >>> 0);
      return new Float32Array(bits.buffer);
    }
    default:
      return undefined;
  }
}

function fromHalf(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 31) {
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  }
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Little-endian, rounded half to even. */
export function encodeFloats(values: Float32Array, dtype: "f32" | "bf16" | "f16"): Buffer {
  if (dtype === "f32") {
    return Buffer.from(values.slice().buffer);
  }
  const bits = new Uint32Array(values.slice().buffer);
  const halves = Uint16Array.from(values, (value, i) =>
    dtype === "bf16" ? roundBits(at(bits, i), 16) : toHalf(value),
  );
  return Buffer.from(halves.buffer);
}

/** The upper bits of a word, the rest rounded half to even. */
function roundBits(word: number, dropped: number): number {
  const kept = Math.floor(word / 2 ** dropped);
  const rest = word % 2 ** dropped;
  const half = 2 ** (dropped - 1);
  return kept + (rest > half || (rest === half && kept % 2 === 1) ? 1 : 0);
}

function toHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) {
    return sign | 0x7c00;
  }
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -24)));
  const scaled = size / 2 ** (exponent - 10); // 1024 to 2048, of subnormal numbers less
  const whole = Math.floor(scaled);
  const rest = scaled - whole;
  const rounded = whole + (rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? 1 : 0);
  return sign | (rounded + (exponent + 14) * 1024); // what rounds up to the next power carries over
}
