// Files of numpy's .npy format, version 1 to 3: matrices of numbers, row after row. Files come from anywhere, so the header is
// bounded and the size of the file must be what it says.

import { type FileHandle, open } from "node:fs/promises";
import { BitnetError, withContext } from "../system/errors.js";

/** As numpy's header names them: little-endian. */
const descriptions = { float32: "<f4", float64: "<f8", int8: "|i1", uint8: "|u1" } as const;
const elementBytes = { float32: 4, float64: 8, int8: 1, uint8: 1 } as const;

export type NpyType = keyof typeof descriptions;
export type NpyRow = Float32Array | Int8Array | Uint8Array;

const magic = Buffer.from("\x93NUMPY", "latin1");
const prefixBytes = { 1: 10, 2: 12, 3: 12 } as const;
const maxHeader = 64 * 2 ** 10; // bytes; numpy itself reads 10,000 characters
const maxColumns = 2 ** 20;
/** Of every header that is written, a multiple of 64: the shape may change without moving the rows. */
export const npyHeaderBytes = 128;

/** The header of a matrix, always of npyHeaderBytes. */
export function npyHeader(type: NpyType, rows: number, columns: number): Buffer {
  const text = `{'descr': '${descriptions[type]}', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`;
  const header = Buffer.alloc(npyHeaderBytes, " ");
  magic.copy(header);
  header.set([1, 0], magic.length);
  header.writeUInt16LE(npyHeaderBytes - prefixBytes[1], 8);
  header.write(text, prefixBytes[1], "latin1");
  header.write("\n", npyHeaderBytes - 1, "latin1");
  return header;
}

/** Bytes of a row. */
export function npyRowBytes(type: NpyType, columns: number): number {
  return elementBytes[type] * columns;
}

/** The bytes of a vector as a row; CPUs that have kernels here are little-endian, as the file is. */
export function npyBytes({ buffer, byteOffset, byteLength }: NpyRow): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

export interface NpyShape {
  type: NpyType;
  rows: number;
  columns: number;
  /** Where the rows begin. */
  offset: number;
}

/** A matrix in a file, read a few rows at a time. */
export class NpyFile {
  readonly path: string;
  readonly shape: NpyShape;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, shape: NpyShape) {
    this.path = path;
    this.#file = file;
    this.shape = shape;
  }

  /** BAD_FILE for what is no such matrix, or not all of one. */
  static async open(path: string): Promise<NpyFile> {
    const file = await open(path, "r").catch((error: unknown) => {
      throw withContext(path, error);
    });
    try {
      return new NpyFile(path, file, await readShape(path, file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** `count` rows from `first` on, in one block; doubles become float32. */
  async read(first: number, count: number): Promise<NpyRow[]> {
    const { type, columns, offset } = this.shape;
    const rowBytes = npyRowBytes(type, columns);
    const block = Buffer.from(new ArrayBuffer(count * rowBytes));
    let done = 0;
    while (done < block.length) {
      const at = offset + first * rowBytes + done;
      const { bytesRead } = await this.#file.read(block, done, block.length - done, at);
      if (bytesRead === 0) {
        throw bad(this.path, `it ends within row ${first + Math.floor(done / rowBytes)}`);
      }
      done += bytesRead;
    }
    const rows = Array.from({ length: count }, (_, i) => viewRow(type, block, i * columns, columns));
    const broken = rows.findIndex((row) => !isFiniteRow(row));
    if (broken >= 0) {
      throw bad(this.path, `row ${first + broken} has a value that is not finite`);
    }
    return rows;
  }

  /** The same of a file of floats; BAD_FILE for codes. */
  async readFloats(first: number, count: number): Promise<Float32Array[]> {
    const rows = await this.read(first, count);
    return rows.map((row) => {
      if (row instanceof Float32Array) {
        return row;
      }
      throw new BitnetError("BAD_FILE", `${this.path} has codes (${this.shape.type}): expected vectors of floats`);
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** One addition for each value: a store may have hundreds of millions. */
function isFiniteRow(row: NpyRow): boolean {
  let zeros = 0;
  for (const value of row) {
    zeros += value * 0; // NaN for infinities, too
  }
  return zeros === 0;
}

/** Of a block that has its memory for itself. */
function viewRow(type: NpyType, { buffer, byteOffset }: Buffer, first: number, columns: number): NpyRow {
  const at = byteOffset + first * elementBytes[type];
  switch (type) {
    case "float32":
      return new Float32Array(buffer, at, columns);
    case "float64":
      return Float32Array.from(new Float64Array(buffer, at, columns));
    case "int8":
      return new Int8Array(buffer, at, columns);
    case "uint8":
      return new Uint8Array(buffer, at, columns);
  }
}

function bad(path: string, what: string): BitnetError {
  return new BitnetError("BAD_FILE", `${path} is no .npy file of vectors: ${what}`);
}

async function readShape(path: string, file: FileHandle): Promise<NpyShape> {
  const { size } = await file.stat();
  const start = Buffer.alloc(12);
  const { bytesRead } = await file.read(start, 0, start.length, 0);
  const version = start[6] ?? 0;
  if (bytesRead < start.length || !start.subarray(0, magic.length).equals(magic)) {
    throw bad(path, "it does not begin as one");
  }
  if (!isVersion(version)) {
    throw bad(path, `its version is ${version}: expected 1, 2 or 3`);
  }
  const length = version === 1 ? start.readUInt16LE(8) : start.readUInt32LE(8);
  const offset = prefixBytes[version] + length;
  if (length > maxHeader || offset > size) {
    throw bad(path, `its header has ${length} bytes: expected at most ${Math.min(maxHeader, size)}`);
  }
  const header = Buffer.alloc(length);
  await file.read(header, 0, length, prefixBytes[version]);
  const shape = { ...parseHeader(path, header.toString("latin1")), offset };
  const expected = offset + shape.rows * npyRowBytes(shape.type, shape.columns);
  if (expected !== size) {
    throw bad(path, `it has ${size} bytes: expected ${expected} of ${shape.rows} x ${shape.columns} ${shape.type}`);
  }
  return shape;
}

function isVersion(version: number): version is keyof typeof prefixBytes {
  return Object.hasOwn(prefixBytes, version);
}

/** The header is a Python dictionary of three entries; a vector alone is a row. */
function parseHeader(path: string, text: string): Omit<NpyShape, "offset"> {
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const type = (Object.keys(descriptions) as NpyType[]).find((name) => descriptions[name] === descr);
  if (type === undefined) {
    const known = Object.entries(descriptions).map(([name, code]) => `${name} (${code})`);
    throw bad(path, `its numbers are ${JSON.stringify(descr?.slice(0, 20) ?? "")}: expected ${known.join(", ")}`);
  }
  if (!/'fortran_order':\s*False/.test(text)) {
    throw bad(path, "its numbers lie column after column: expected rows (numpy.ascontiguousarray)");
  }
  const shape = /'shape':\s*\(\s*(\d{1,15})\s*,\s*(?:(\d{1,15})\s*,?\s*)?\)/.exec(text);
  if (shape === null) {
    throw bad(path, "its shape is not (rows, dimensions)");
  }
  const [, first = "", second] = shape;
  const [rows, columns] = second === undefined ? [1, Number(first)] : [Number(first), Number(second)];
  if (columns < 1 || columns > maxColumns) {
    throw bad(path, `it has ${columns} dimensions: expected 1 to ${maxColumns}`);
  }
  return { type, rows, columns };
}
