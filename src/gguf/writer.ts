// The head of a GGUF file: metadata and tensor table. The tensor data is written by the native core.

import type { FileHandle } from "node:fs/promises";

const typeIds = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/** A key with its encoded value: type id and content, as they stand in the file. */
export interface MetadataEntry {
  key: string;
  value: Uint8Array;
}

export interface TensorEntry {
  name: string;
  shape: number[]; // ne order: fastest dimension first
  typeId: number;
  offset: number; // from the start of the tensor data
}

export const ggufAlignment = 32;

export function alignUp(n: number): number {
  return Math.ceil(n / ggufAlignment) * ggufAlignment;
}

/** These return undefined for an undefined value, so that optional keys read like the others. */
export function u32(key: string, value: number): MetadataEntry;
export function u32(key: string, value: number | undefined): MetadataEntry | undefined;
export function u32(key: string, value: number | undefined): MetadataEntry | undefined {
  return value === undefined ? undefined : { key, value: Buffer.concat([u32Bytes(typeIds.u32), u32Bytes(value)]) };
}

export function f32(key: string, value: number): MetadataEntry;
export function f32(key: string, value: number | undefined): MetadataEntry | undefined;
export function f32(key: string, value: number | undefined): MetadataEntry | undefined {
  return value === undefined ? undefined : { key, value: Buffer.concat([u32Bytes(typeIds.f32), f32Bytes([value])]) };
}

export function bool(key: string, value: boolean): MetadataEntry;
export function bool(key: string, value: boolean | undefined): MetadataEntry | undefined;
export function bool(key: string, value: boolean | undefined): MetadataEntry | undefined {
  return value === undefined
    ? undefined
    : { key, value: Buffer.concat([u32Bytes(typeIds.bool), Buffer.from([Number(value)])]) };
}

export function string(key: string, value: string): MetadataEntry;
export function string(key: string, value: string | undefined): MetadataEntry | undefined;
export function string(key: string, value: string | undefined): MetadataEntry | undefined {
  return value === undefined
    ? undefined
    : { key, value: Buffer.concat([u32Bytes(typeIds.string), stringBytes(value)]) };
}

export function stringArray(key: string, values: readonly string[]): MetadataEntry {
  return { key, value: Buffer.concat([arrayHead("string", values.length), ...values.map(stringBytes)]) };
}

export function i32Array(key: string, values: readonly number[]): MetadataEntry {
  const body = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) {
    body.writeInt32LE(value, 4 * i);
  }
  return { key, value: Buffer.concat([arrayHead("i32", values.length), body]) };
}

export function f32Array(key: string, values: readonly number[]): MetadataEntry {
  return { key, value: Buffer.concat([arrayHead("f32", values.length), f32Bytes(values)]) };
}

/** The whole head, padded: tensor data begins at its end. */
export function encodeHead(metadata: readonly MetadataEntry[], tensors: readonly TensorEntry[]): Uint8Array[] {
  const parts: Uint8Array[] = [Buffer.from("GGUF"), u32Bytes(3), u64Bytes(tensors.length), u64Bytes(metadata.length)];
  for (const { key, value } of metadata) {
    parts.push(stringBytes(key), value);
  }
  for (const { name, shape, typeId, offset } of tensors) {
    parts.push(stringBytes(name), u32Bytes(shape.length), ...shape.map(u64Bytes), u32Bytes(typeId), u64Bytes(offset));
  }
  const size = byteLength(parts);
  return [...parts, Buffer.alloc(alignUp(size) - size)];
}

export function byteLength(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

export async function writeParts(file: FileHandle, parts: readonly Uint8Array[]): Promise<void> {
  await file.writeFile(Buffer.concat(parts)); // at most some 20 MB: a large vocabulary
}

function arrayHead(element: "i32" | "f32" | "string", length: number): Buffer {
  return Buffer.concat([u32Bytes(typeIds.array), u32Bytes(typeIds[element]), u64Bytes(length)]);
}

function stringBytes(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([u64Bytes(bytes.length), bytes]);
}

function u32Bytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64Bytes(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32Bytes(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) {
    bytes.writeFloatLE(value, 4 * i);
  }
  return bytes;
}
