// GGUF files taken apart and put together again byte by byte, without the library: to change, drop, add and spread what
// they hold.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface GgufTensorBytes {
  name: string;
  shape: number[]; // the fastest dimension first
  type: number;
  data: Buffer;
}

export interface GgufParts {
  /** Key -> its type and value as they stand in the file. */
  metadata: Map<string, Buffer>;
  tensors: GgufTensorBytes[];
}

const alignment = 32;
const bytesOfType = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8]; // by type id; strings and arrays vary
const [stringType, arrayType] = [8, 9];

export function readGguf(path: string): GgufParts {
  const file = readFileSync(path);
  let pos = 8;
  const takeLength = (): number => {
    pos += 8;
    return Number(file.readBigUInt64LE(pos - 8));
  };
  const takeType = (): number => {
    pos += 4;
    return file.readUInt32LE(pos - 4);
  };
  const takeText = (): string => {
    const length = takeLength();
    pos += length;
    return file.toString("utf8", pos - length, pos);
  };
  const skip = (type: number): void => {
    const length = type === stringType ? takeLength() : bytesOfType[type];
    if (length === undefined) {
      throw new Error(`unknown type ${type} at byte ${pos}`);
    }
    pos += length;
  };
  const skipArray = (): void => {
    const element = takeType();
    for (let left = takeLength(); left > 0; left--) {
      skip(element);
    }
  };
  const tensorCount = takeLength();
  const metadata = new Map<string, Buffer>();
  for (let left = takeLength(); left > 0; left--) {
    const key = takeText();
    const start = pos;
    const type = takeType();
    type === arrayType ? skipArray() : skip(type);
    metadata.set(key, file.subarray(start, pos));
  }
  const heads = Array.from({ length: tensorCount }, () => {
    const name = takeText();
    const shape = Array.from({ length: takeType() }, takeLength);
    return { name, shape, type: takeType(), offset: takeLength() };
  });
  const start = pos + (-pos & (alignment - 1));
  const ends = [...heads.map(({ offset }) => offset), file.length - start].sort((a, b) => a - b);
  const tensors = heads.map(({ offset, ...head }) => {
    const end = ends.find((other) => other > offset) ?? file.length - start;
    return { ...head, data: file.subarray(start + offset, start + end) };
  });
  return { metadata, tensors };
}

export function writeGgufParts(path: string, { metadata, tensors }: GgufParts): void {
  writeFileSync(path, joinGguf({ metadata, tensors }));
}

export function joinGguf({ metadata, tensors }: GgufParts): Buffer {
  const parts = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(metadata.size)];
  for (const [key, value] of metadata) {
    parts.push(text(key), value);
  }
  let offset = 0;
  for (const { name, shape, type, data } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset));
    offset += padded(data).length;
  }
  return Buffer.concat([padded(Buffer.concat(parts)), ...tensors.map(({ data }) => padded(data))]);
}

/** Writes a model as `count` parts, as llama-gguf-split does, and returns their paths. */
export function writeSplit(folder: string, stem: string, { metadata, tensors }: GgufParts, count: number): string[] {
  const each = Math.ceil(tensors.length / count);
  return Array.from({ length: count }, (_, no) => {
    const of = (n: number) => String(n).padStart(5, "0");
    const path = join(folder, `${stem}-${of(no + 1)}-of-${of(count)}.gguf`);
    const split = new Map([
      ...(no === 0 ? metadata : []),
      ["split.no", ggufValue.u16(no)],
      ["split.count", ggufValue.u16(count)],
      ["split.tensors.count", ggufValue.i32(tensors.length)],
    ] as const);
    writeGgufParts(path, { metadata: split, tensors: tensors.slice(no * each, (no + 1) * each) });
    return path;
  });
}

/** Values as they stand in a file, after their key. */
export const ggufValue = {
  u16: (value: number): Buffer => Buffer.concat([u32(2), Buffer.from(Uint16Array.of(value).buffer)]),
  u32: (value: number): Buffer => Buffer.concat([u32(4), u32(value)]),
  i32: (value: number): Buffer => Buffer.concat([u32(5), Buffer.from(Int32Array.of(value).buffer)]),
  f32: (value: number): Buffer => Buffer.concat([u32(6), Buffer.from(Float32Array.of(value).buffer)]),
  f64: (value: number): Buffer => Buffer.concat([u32(12), Buffer.from(Float64Array.of(value).buffer)]),
  u64: (value: bigint): Buffer => Buffer.concat([u32(10), Buffer.from(BigUint64Array.of(value).buffer)]),
  i64: (value: bigint): Buffer => Buffer.concat([u32(11), Buffer.from(BigInt64Array.of(value).buffer)]),
  text: (value: string | Buffer): Buffer => Buffer.concat([u32(stringType), text(value)]),
  texts: (values: readonly (string | Buffer)[]): Buffer =>
    Buffer.concat([u32(arrayType), u32(stringType), u64(values.length), ...values.map(text)]),
  u32s: (values: readonly number[]): Buffer =>
    Buffer.concat([u32(arrayType), u32(4), u64(values.length), ...values.map(u32)]),
};

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & (alignment - 1))]);
}

function u32(value: number): Buffer {
  return Buffer.from(Uint32Array.of(value).buffer);
}

function u64(value: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
}

function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}
