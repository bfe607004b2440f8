// Writes small GGUF files for tests: metadata only, no tensors.

import { writeFileSync } from "node:fs";

type Value = string | boolean | number | bigint | readonly string[] | Int32Array | Float32Array;
export type GgufMetadata = Record<string, Value>;

const types = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9, uint64: 10 };

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function array(type: number, count: number, body: Buffer): Buffer {
  return Buffer.concat([u32(types.array), u32(type), u64(count), body]);
}

/** Numbers become unsigned 32-bit integers, or floats if they are none; a bigint has 64 bits. */
function encodeValue(value: GgufMetadata[string]): Buffer {
  if (typeof value === "string") {
    return Buffer.concat([u32(types.string), text(value)]);
  }
  if (typeof value === "boolean") {
    return Buffer.concat([u32(types.bool), Buffer.from([Number(value)])]);
  }
  if (typeof value === "bigint") {
    return Buffer.concat([u32(types.uint64), u64(value)]);
  }
  if (typeof value === "number" && !Number.isInteger(value)) {
    return Buffer.concat([u32(types.float32), Buffer.from(Float32Array.of(value).buffer)]);
  }
  if (typeof value === "number") {
    return Buffer.concat([u32(types.uint32), u32(value)]);
  }
  if (value instanceof Int32Array || value instanceof Float32Array) {
    const type = value instanceof Int32Array ? types.int32 : types.float32;
    return array(type, value.length, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
  }
  return array(types.string, value.length, Buffer.concat(value.map(text)));
}

export function writeGguf(path: string, metadata: GgufMetadata): void {
  const entries = Object.entries(metadata);
  const parts = [Buffer.from("GGUF"), u32(3), u64(0), u64(entries.length)];
  for (const [key, value] of entries) {
    parts.push(text(key), encodeValue(value));
  }
  const bytes = Buffer.concat(parts);
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(-bytes.length & 31)]));
}
