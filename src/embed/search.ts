// The vectors of a file that are nearest to a query. The query stays as it is; what the file has of fewer bits is read as the
// numbers that its codes stand for.

import { BitnetError, throwIfAborted } from "../system/errors.js";
import type { NpyFile, NpyRow } from "./npy.js";
import {
  codeBytes,
  type EmbeddingRanges,
  type Precision,
  precisions,
  quantizeEmbeddings,
  readCodes,
} from "./quantize.js";
import { cosine } from "./vectors.js";

export interface SearchHit {
  /** Of the file, from 0 on. */
  row: number;
  /** The cosine. */
  score: number;
}

export interface SearchOptions {
  top: number;
  /** What the bytes of the file are; default: what their number says. */
  precision?: Precision;
  /** That the codes were made with. Without them int8 and uint8 are compared as they are. */
  ranges?: EmbeddingRanges;
  signal?: AbortSignal;
}

const blockBytes = 2 ** 20;
/** Binary codes are many times as many ties: so many times the hits are looked at again. */
const candidatesPerHit = 4;

/** The best rows first; of equal ones the first. */
export async function searchVectors(
  file: NpyFile,
  query: Float32Array,
  { top, precision, ranges, signal }: SearchOptions,
): Promise<SearchHit[]> {
  const kind = precision ?? precisionOf(file, query.length);
  checkColumns(file, kind, query.length);
  const valuesOf = (row: NpyRow) =>
    row instanceof Float32Array || kind === undefined
      ? (row as Float32Array)
      : readCodes(row, kind, query.length, ranges);
  if (kind !== "binary" && kind !== "ubinary") {
    return (await bestRows(file, top, (row) => cosine(query, valuesOf(row)), signal)).map(({ row, score }) => ({
      row,
      score,
    }));
  }
  const [bits = new Uint8Array()] = quantizeEmbeddings([query], kind).vectors;
  const near = await bestRows(file, candidatesPerHit * top, (row) => -differingBits(bits, row), signal);
  const hits = new BestRows(top);
  for (const { row, values } of [...near].sort((a, b) => a.row - b.row)) {
    hits.add(row, cosine(query, valuesOf(values)), values);
  }
  return hits.list.map(({ row, score }) => ({ row, score }));
}

/** What a file holds for vectors of so many dimensions; undefined: the numbers themselves. */
export function precisionOf({ path, shape }: NpyFile, dimensions: number): Precision | undefined {
  const { type, columns } = shape;
  if (type === "float32" || type === "float64") {
    return undefined;
  }
  const kinds = precisions.filter((name) => (name === "int8" || name === "binary") === (type === "int8"));
  const kind = kinds.find((name) => codeBytes(name, dimensions) === columns);
  if (kind === undefined) {
    throw new BitnetError("USAGE", `${path} has ${columns} bytes a vector: no code of ${dimensions} dimensions`, {
      hint: "search with the model and the dimensions that the file was made with",
    });
  }
  return kind;
}

function checkColumns({ path, shape }: NpyFile, kind: Precision | undefined, dimensions: number): void {
  const expected = kind === undefined ? dimensions : codeBytes(kind, dimensions);
  if (shape.columns !== expected) {
    throw new BitnetError("USAGE", `${path} has ${shape.columns} columns: expected ${expected}, as the query has`, {
      hint: "search with the model and the dimensions that the file was made with",
    });
  }
}

async function bestRows(
  file: NpyFile,
  count: number,
  scoreOf: (row: NpyRow) => number,
  signal: AbortSignal | undefined,
): Promise<readonly Scored[]> {
  const { rows, columns } = file.shape;
  const best = new BestRows(count);
  const perBlock = Math.max(1, Math.floor(blockBytes / (4 * columns)));
  for (let first = 0; first < rows; first += perBlock) {
    throwIfAborted(signal);
    const block = await file.read(first, Math.min(perBlock, rows - first));
    for (const [i, values] of block.entries()) {
      best.add(first + i, scoreOf(values), values);
    }
  }
  return best.list;
}

interface Scored extends SearchHit {
  values: NpyRow;
}

/** The best of those that come, in their order. */
class BestRows {
  readonly #most: number;
  readonly list: Scored[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  add(row: number, score: number, values: NpyRow): void {
    const last = this.list.at(-1);
    if (this.list.length >= this.#most && last !== undefined && !(score > last.score)) {
      return;
    }
    const place = this.list.findIndex((other) => score > other.score);
    this.list.splice(place < 0 ? this.list.length : place, 0, { row, score, values: values.slice() });
    this.list.length = Math.min(this.list.length, this.#most);
  }
}

const bitCounts = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

function differingBits(a: NpyRow, b: NpyRow): number {
  let count = 0;
  for (let i = 0; i < a.length; i++) {
    count += bitCounts[((a[i] ?? 0) ^ (b[i] ?? 0)) & 255] ?? 0;
  }
  return count;
}
