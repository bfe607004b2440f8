// llama.cpp's file of log-probabilities (`--kl-divergence-base`), little-endian:
//
//   "_logits_", u32 n_ctx, i32 n_vocab, i32 n_chunk, i32 ids[n_chunk n_ctx] as the text has them,
//   and for every scored place a row of u16: f32 scale, f32 floor, code[n_vocab], padded to an even number of codes.
//
// log p = scale code + floor. Codes reach 16 below the largest logit only; what is less likely is told as that floor, which
// makes the perplexity that such a file gives too small. So the exact values of the text's own tokens follow at the end:
//
//   "bitnll01", f64 nll[n_chunk][rows of a chunk]
//
// llama.cpp and bitnet.cpp read no further than the rows, so they take both kinds.

import { type FileHandle, open } from "node:fs/promises";
import { endianness } from "node:os";
import { BitnetError, convertingAsync } from "../system/errors.js";
import type { Normalizer } from "./softmax.js";

const magic = "_logits_";
const trailerMagic = "bitnll01";
const headerBytes = 20;
/** Of a row before its codes. */
const codesAt = 4;
const depth = 16;
const mostCode = 65535;
const maxContext = 2 ** 24;
const maxVocab = 2 ** 24;

export interface BaseShape {
  contextSize: number;
  vocabSize: number;
  chunks: number;
}

/** Scored places of a chunk. */
export function rowsOf({ contextSize }: Pick<BaseShape, "contextSize">): number {
  return contextSize - 1 - Math.floor(contextSize / 2);
}

function rowBytes({ vocabSize }: Pick<BaseShape, "vocabSize">): number {
  return 2 * (2 * Math.floor((vocabSize + 1) / 2) + codesAt);
}

function idsEnd({ chunks, contextSize }: BaseShape): number {
  return headerBytes + 4 * chunks * contextSize;
}

function rowsEnd(shape: BaseShape): number {
  return idsEnd(shape) + shape.chunks * rowsOf(shape) * rowBytes(shape);
}

/** What a file of this shape takes on disk, with the exact values at its end. */
export function baseFileBytes(shape: BaseShape): number {
  return rowsEnd(shape) + trailerMagic.length + 8 * shape.chunks * rowsOf(shape);
}

/** Writes the logits of one place as a row. The arithmetic is llama.cpp's, in float32. */
export function encodeRow(logits: Float32Array, { most, least, logSum }: Normalizer, row: DataView): void {
  const min = Math.max(least, Math.fround(most - depth));
  const scale = Math.fround(Math.fround(most - min) / mostCode);
  row.setFloat32(0, scale, true);
  row.setFloat32(4, Math.fround(Math.fround(min - most) - Math.fround(logSum)), true);
  const inverse = Math.fround(1 / scale);
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i] as number;
    const isAbove = scale > 0 && logit > min;
    const code = isAbove ? roundHalfEven(Math.fround(inverse * Math.fround(logit - min))) : 0;
    row.setUint16(2 * (codesAt + i), Math.min(code, mostCode), true);
  }
}

function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

/** Writes the file from its beginning to its end: the header, the rows of every place, the exact values. */
export class BaseWriter {
  readonly #file: FileHandle;
  readonly #shape: BaseShape;
  readonly #row: DataView;
  readonly #nll: number[] = [];

  private constructor(file: FileHandle, shape: BaseShape) {
    this.#file = file;
    this.#shape = shape;
    this.#row = new DataView(new ArrayBuffer(rowBytes(shape)));
  }

  /** `ids` [chunks x contextSize] are those of the text. */
  static async create(path: string, shape: BaseShape, ids: Int32Array): Promise<BaseWriter> {
    const file = await open(path, "w");
    const writer = new BaseWriter(file, shape);
    try {
      const head = Buffer.alloc(idsEnd(shape));
      head.write(magic, 0, "latin1");
      head.writeUInt32LE(shape.contextSize, 8);
      head.writeInt32LE(shape.vocabSize, 12);
      head.writeInt32LE(shape.chunks, 16);
      for (let i = 0; i < shape.chunks * shape.contextSize; i++) {
        head.writeInt32LE(ids[i] ?? 0, headerBytes + 4 * i);
      }
      await writeAll(file, head);
      return writer;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The next place: its logits, and -log p of the text's own token. */
  async add(logits: Float32Array, normalizer: Normalizer, nll: number): Promise<void> {
    encodeRow(logits, normalizer, this.#row);
    this.#nll.push(nll);
    await writeAll(this.#file, new Uint8Array(this.#row.buffer));
  }

  async finish(): Promise<void> {
    const expected = this.#shape.chunks * rowsOf(this.#shape);
    if (this.#nll.length !== expected) {
      throw new BitnetError("INTERNAL", `a base file of ${expected} places got ${this.#nll.length}`);
    }
    const trailer = Buffer.alloc(trailerMagic.length + 8 * this.#nll.length);
    trailer.write(trailerMagic, 0, "latin1");
    for (const [i, nll] of this.#nll.entries()) {
      trailer.writeDoubleLE(nll, trailerMagic.length + 8 * i);
    }
    await writeAll(this.#file, trailer);
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await file.write(bytes, at)).bytesWritten;
  }
}

/** What a row says. */
export interface BaseRow {
  scale: number;
  floor: number;
  /** [vocabulary]; the next row that is read overwrites it. */
  codes: Uint16Array;
}

export class BaseFile {
  readonly path: string;
  readonly shape: BaseShape;
  /** [chunks x contextSize], as the text has them. */
  readonly ids: Int32Array;
  /** Exact -log p of every scored token; undefined in files of other programs. */
  readonly nll: Float64Array | undefined;
  readonly #file: FileHandle;
  readonly #bytes: Uint8Array;

  private constructor(path: string, file: FileHandle, parts: Pick<BaseFile, "shape" | "ids" | "nll">) {
    this.path = path;
    this.#file = file;
    this.shape = parts.shape;
    this.ids = parts.ids;
    this.nll = parts.nll;
    this.#bytes = new Uint8Array(rowBytes(parts.shape));
  }

  /** BAD_FILE for what is no such file, or is cut or longer. */
  static async open(path: string): Promise<BaseFile> {
    return await convertingAsync(async () => {
      const file = await open(path, "r");
      try {
        const { size } = await file.stat();
        const shape = await readShape(path, file);
        const hasTrailer = size === baseFileBytes(shape);
        if (!hasTrailer && size !== rowsEnd(shape)) {
          throw new BitnetError(
            "BAD_FILE",
            `${path}: ${shape.chunks} chunks of ${shape.contextSize} tokens take ${rowsEnd(shape)} bytes, or ` +
              `${baseFileBytes(shape)} with exact values, but the file has ${size}`,
            { hint: "write it again: bitnet eval perplexity --save-all-logits FILE" },
          );
        }
        const ids = await readIds(path, file, shape);
        return new BaseFile(path, file, { shape, ids, nll: hasTrailer ? await readNll(path, file, shape) : undefined });
      } catch (error) {
        await file.close();
        throw error;
      }
    });
  }

  /** Row `index` of all rows of all chunks. */
  async row(index: number): Promise<BaseRow> {
    const size = this.#bytes.length;
    await readFully(this.path, this.#file, this.#bytes, idsEnd(this.shape) + index * size);
    const view = new DataView(this.#bytes.buffer);
    const scale = view.getFloat32(0, true);
    const floor = view.getFloat32(4, true);
    if (!(scale >= 0) || !Number.isFinite(scale) || !(floor <= 0) || !Number.isFinite(floor)) {
      throw new BitnetError("BAD_FILE", `${this.path}: place ${index} has a scale of ${scale} and a floor of ${floor}`);
    }
    const codes = new Uint16Array(this.#bytes.buffer, 2 * codesAt, this.shape.vocabSize);
    return { scale, floor, codes: endianness() === "LE" ? codes : codes.map((code) => (code >> 8) | (code << 8)) };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function readShape(path: string, file: FileHandle): Promise<BaseShape> {
  const head = Buffer.alloc(headerBytes);
  await readFully(path, file, head, 0);
  if (head.toString("latin1", 0, magic.length) !== magic) {
    throw new BitnetError("BAD_FILE", `${path} is no file of log-probabilities: it does not begin with ${magic}`, {
      hint: "bitnet eval perplexity --save-all-logits FILE writes one",
    });
  }
  const shape = { contextSize: head.readUInt32LE(8), vocabSize: head.readInt32LE(12), chunks: head.readInt32LE(16) };
  const check = (name: string, value: number, least: number, most: number) => {
    if (value < least || value > most) {
      throw new BitnetError("BAD_FILE", `${path}: ${name} is ${value}, expected ${least} to ${most}`);
    }
  };
  check("the context", shape.contextSize, 3, maxContext);
  check("the vocabulary", shape.vocabSize, 1, maxVocab);
  check("the number of chunks", shape.chunks, 1, 2 ** 31 - 1);
  return shape;
}

async function readIds(path: string, file: FileHandle, shape: BaseShape): Promise<Int32Array> {
  const bytes = Buffer.alloc(idsEnd(shape) - headerBytes);
  await readFully(path, file, bytes, headerBytes);
  const ids = Int32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * i));
  const wrong = ids.find((id) => id < 0 || id >= shape.vocabSize);
  if (wrong !== undefined) {
    throw new BitnetError("BAD_FILE", `${path}: token ${wrong} is not in its vocabulary of ${shape.vocabSize}`);
  }
  return ids;
}

async function readNll(path: string, file: FileHandle, shape: BaseShape): Promise<Float64Array> {
  const bytes = Buffer.alloc(baseFileBytes(shape) - rowsEnd(shape));
  await readFully(path, file, bytes, rowsEnd(shape));
  if (bytes.toString("latin1", 0, trailerMagic.length) !== trailerMagic) {
    throw new BitnetError("BAD_FILE", `${path}: its exact values do not begin with ${trailerMagic}`);
  }
  const count = (bytes.length - trailerMagic.length) / 8;
  const nll = Float64Array.from({ length: count }, (_, i) => bytes.readDoubleLE(trailerMagic.length + 8 * i));
  if (nll.some((value) => !(value >= 0) || !Number.isFinite(value))) {
    throw new BitnetError("BAD_FILE", `${path}: a probability at its end is not between 0 and 1`);
  }
  return nll;
}

async function readFully(path: string, file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) {
      throw new BitnetError("BAD_FILE", `${path} ends after ${position + at} bytes, within what it should hold`);
    }
    at += bytesRead;
  }
}
