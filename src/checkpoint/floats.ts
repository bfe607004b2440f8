// Floats of tensors: read from their files, rounded to 16 bits and back. Little-endian, as all files here are.

import { open } from "node:fs/promises";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { CheckpointTensor } from "./safetensors.js";

export type FloatType = "f32" | "bf16" | "f16";

const readAtOnce = 2 ** 30; // bytes: a call of the system takes less than 2^31

/** The numbers of a tensor. Throws BAD_FILE where they end early, UNSUPPORTED for a type that is none of floats. */
export async function readFloats(tensor: Omit<CheckpointTensor, "shape">): Promise<Float32Array> {
  const { file, offset, bytes, dtype, name } = tensor;
  const handle = await open(file);
  try {
    const buffer = new ArrayBuffer(bytes);
    for (let done = 0; done < bytes; ) {
      const part = new Uint8Array(buffer, done, Math.min(readAtOnce, bytes - done));
      const { bytesRead } = await handle.read(part, 0, part.length, offset + done);
      if (bytesRead === 0) {
        throw new BitnetError("BAD_FILE", `${file}: tensor ${name} ends beyond the end of the file`);
      }
      done += bytesRead;
    }
    const values = decodeFloats(buffer, dtype);
    if (values === undefined) {
      throw new BitnetError("UNSUPPORTED", `${file}: tensor ${name} is of type ${dtype}; F32, F16 or BF16 expected`);
    }
    return values;
  } finally {
    await handle.close();
  }
}

function decodeFloats(buffer: ArrayBuffer, dtype: string): Float32Array | undefined {
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "F16":
      return Float32Array.from(new Uint16Array(buffer), fromHalf);
    case "BF16":
      return fromBf16(new Uint16Array(buffer));
    default:
      return undefined;
  }
}

export function fromHalf(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 31) {
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  }
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

export function fromBf16(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    words[i] = (halves[i] ?? 0) << 16;
  }
  return new Float32Array(words.buffer);
}

/** Rounded half to even. What is not finite stays so. */
export function encodeFloats(values: Float32Array, type: FloatType): Buffer {
  const words = new Uint32Array(values.slice().buffer);
  if (type === "f32") {
    return Buffer.from(words.buffer);
  }
  const halves = type === "bf16" ? roundToBf16(words) : Uint16Array.from(values, toHalf);
  return Buffer.from(halves.buffer, halves.byteOffset, halves.byteLength);
}

/** The upper halves of f32 numbers, the lower ones rounded half to even. */
function roundToBf16(words: Uint32Array): Uint16Array {
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = at(words, i);
    const isNone = (word & 0x7fffffff) > 0x7f800000; // whose fraction may lie in the lower half alone
    halves[i] = isNone ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** The bf16 numbers that are nearest, as bits. */
export function toBf16(values: Float32Array): Uint16Array {
  return roundToBf16(new Uint32Array(values.buffer, values.byteOffset, values.length));
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
