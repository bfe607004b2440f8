// Writes an adapter as llama.cpp's converter does: one alpha for all, and rows of q and k in the order of the base's own file.

import { encodeFloats } from "../checkpoint/floats.js";
import { findFamily } from "../gguf/families.js";
import { BitnetError } from "../system/errors.js";
import { writeOutput } from "../system/files.js";
import { ggufKeys } from "./gguf.js";
import { isRotated, reorder, type WrittenAdapter, type WrittenMatrix } from "./written.js";

export interface GgufAdapterOptions {
  architecture: string; // of the base
  headDim: number; // of the base
  dtype?: "f32" | "f16";
}

const alignment = 32;
const typeIds = { f32: 0, f16: 1 } as const;

export async function writeGgufAdapter(
  path: string,
  adapter: WrittenAdapter,
  options: GgufAdapterOptions,
): Promise<void> {
  await writeOutput(path, encodeGguf(adapter, options));
}

/**
 * What readers compute is alpha / rank. So the alpha of the first matrix, times the root of its rank with rsLoRA, stands in the
 * file, and where another matrix has another scale, its B is multiplied by the quotient.
 */
function encodeGguf(
  { matrices, origin }: WrittenAdapter,
  { architecture, headDim, dtype = "f32" }: GgufAdapterOptions,
): Buffer {
  const family = findFamily(architecture);
  if (family === undefined) {
    throw new BitnetError("UNSUPPORTED", `adapters of ${architecture} models cannot be written: no such family`);
  }
  const [first] = matrices;
  if (first === undefined) {
    throw new BitnetError("USAGE", "an adapter without matrices cannot be written");
  }
  const alphaOf = ({ alpha, rank }: WrittenMatrix) => (origin.rslora ? alpha * Math.sqrt(rank) : alpha);
  const alpha = Math.fround(alphaOf(first));
  const tensors = matrices.flatMap((matrix) => {
    const { layer, name, rank, rows, cols } = matrix;
    const ratio = alphaOf(matrix) / alphaOf(first);
    const b = ratio === 1 ? matrix.b : matrix.b.map((value) => value * ratio);
    const permuted = family.ropePairs === "neighbours" && isRotated(name);
    const base = `blk.${layer}.${name}.weight.lora`;
    return [
      { name: `${base}_a`, ne: [cols, rank], data: encodeFloats(matrix.a, dtype) },
      {
        name: `${base}_b`,
        ne: [rank, rows],
        data: encodeFloats(permuted ? reorder(b, rows, rank, headDim, "neighbours") : b, dtype),
      },
    ];
  });
  const entries = [
    stringEntry(ggufKeys.architecture, architecture),
    stringEntry(ggufKeys.kind, "adapter"),
    stringEntry(ggufKeys.type, "lora"),
    Buffer.concat([text(ggufKeys.alpha), u32(6), f32(alpha)]),
    ...(origin.baseName === undefined ? [] : [stringEntry(ggufKeys.baseName, origin.baseName)]),
    ...(origin.baseHash === undefined ? [] : [stringEntry(ggufKeys.baseHash, origin.baseHash)]),
  ];
  let offset = 0;
  const infos = tensors.map(({ name, ne, data }) => {
    const info = Buffer.concat([text(name), u32(ne.length), ...ne.map(u64), u32(typeIds[dtype]), u64(offset)]);
    offset += roundUp(data.length);
    return info;
  });
  const head = Buffer.concat([
    ...[Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(entries.length)],
    ...entries,
    ...infos,
  ]);
  const padded = ({ length }: Buffer) => Buffer.alloc(roundUp(length) - length);
  return Buffer.concat([head, padded(head), ...tensors.flatMap(({ data }) => [data, padded(data)])]);
}

function roundUp(n: number): number {
  return Math.ceil(n / alignment) * alignment;
}

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

function u64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
}

function f32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return out;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function stringEntry(key: string, value: string): Buffer {
  return Buffer.concat([text(key), u32(8), text(value)]);
}
