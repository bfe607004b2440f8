// Writes safetensors files one tensor at a time: of the numbers, only those of one tensor are in memory.

import { type FileHandle, open } from "node:fs/promises";
import { BitnetError } from "../system/errors.js";

export interface WrittenTensor {
  name: string;
  dtype: "F32" | "BF16" | "F16" | "U8";
  /** Slowest dimension first. */
  shape: readonly number[];
  /** Its bytes, little-endian; asked for once, in the order of the list. */
  data: () => Uint8Array | Promise<Uint8Array>;
}

const elementBytes = { F32: 4, BF16: 2, F16: 2, U8: 1 } as const;

/** Bytes that a tensor has by its shape. */
function sizeOf({ dtype, shape }: WrittenTensor): number {
  return shape.reduce((product, extent) => product * extent, elementBytes[dtype]);
}

/**
 * Writes `path` and has it on the disk when it returns. Tensors lie in the order of the list, which is also that of the
 * header. Throws INTERNAL if a tensor has not the bytes of its shape.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly WrittenTensor[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const file = await open(path, "w");
  try {
    await writeAll(file, encodeHeader(tensors, metadata));
    for (const tensor of tensors) {
      const bytes = await tensor.data();
      if (bytes.byteLength !== sizeOf(tensor)) {
        throw new BitnetError(
          "INTERNAL",
          `${path}: ${tensor.name} has ${bytes.byteLength} bytes, not those of its shape`,
        );
      }
      await writeAll(file, bytes);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function encodeHeader(tensors: readonly WrittenTensor[], metadata: Readonly<Record<string, string>>): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: "pt", ...metadata } };
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + sizeOf(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  const padding = Buffer.alloc((8 - (json.length % 8)) % 8, " "); // data on a multiple of 8
  length.writeBigUInt64LE(BigInt(json.length + padding.length));
  return Buffer.concat([length, json, padding]);
}

/** A single call may write less than it is given. */
async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    done += (await file.write(bytes, done, bytes.byteLength - done)).bytesWritten;
  }
}

/** The bytes of f32 numbers, not copied: every platform that is supported is little-endian. */
export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
