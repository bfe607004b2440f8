// Vectors as lines of JSON: {"index", "text", "tokens", "embedding"}, with "scale" for int4 and int2.

import { createHash } from "node:crypto";
import { npyBytes } from "./npy.js";
import {
  beginOrGoOn,
  countLines,
  type EmbeddingOutput,
  GrowingFile,
  type OutputRow,
  partialOf,
  publish,
  readLines,
} from "./outputs.js";
import { type EmbeddingRanges, type Precision, quantizeEmbeddings } from "./quantize.js";
import { removeFiles, type StoreInfo } from "./store-info.js";

/** How lines have their vectors. */
export interface LineForm {
  /** Numbers of a vector; with the pooling "none" a text has several. */
  dimensions: number;
  isList: boolean;
  precision?: Precision;
  ranges?: EmbeddingRanges;
}

/** Nine digits tell a float32 from every other. */
export function roundFloat32(x: number): number {
  return Number(x.toPrecision(9));
}

/** The vectors of a text. */
export function splitVector(vector: Float32Array, dimensions: number): Float32Array[] {
  return Array.from({ length: Math.round(vector.length / dimensions) }, (_, i) =>
    vector.subarray(i * dimensions, (i + 1) * dimensions),
  );
}

/** A vector as numbers, or its codes. */
export function writeVector(vector: Float32Array, { precision, ranges }: Pick<LineForm, "precision" | "ranges">) {
  if (precision === undefined) {
    return { embedding: Array.from(vector, roundFloat32) };
  }
  const { vectors, scales } = quantizeEmbeddings([vector], precision, ranges === undefined ? {} : { ranges });
  const [scale] = scales ?? [];
  return { embedding: Array.from(vectors[0] ?? []), ...(scale === undefined ? {} : { scale: roundFloat32(scale) }) };
}

export function jsonLine(index: number, { text, tokens, vector }: OutputRow, form: LineForm): string {
  const written = form.isList
    ? { embedding: splitVector(vector, form.dimensions).map((one) => writeVector(one, form).embedding) }
    : writeVector(vector, form);
  return `${JSON.stringify({ index, text, tokens, ...written })}\n`;
}

export class JsonlOutput implements EmbeddingOutput {
  readonly kept: number;
  readonly #path: string;
  readonly #form: LineForm;
  readonly #lines: GrowingFile;
  #rows: number;

  private constructor(path: string, form: LineForm, lines: GrowingFile, kept: number) {
    this.#path = path;
    this.#form = form;
    this.#lines = lines;
    this.kept = kept;
    this.#rows = kept;
  }

  static async open(path: string, made: StoreInfo, form: LineForm, fresh = false): Promise<JsonlOutput> {
    const partial = partialOf(path);
    const info = { ...made, lines: describeForm(form) };
    if (fresh) {
      await removeFiles([partial, infoOf(path)]);
    }
    await beginOrGoOn(path, infoOf(path), info);
    const { lines, bytes } = await countLines(partial);
    return new JsonlOutput(path, form, await GrowingFile.open(partial, bytes), lines);
  }

  keptTexts(): AsyncIterable<string> {
    return readLines(this.#lines.path, this.kept, (line) => String((JSON.parse(line) as { text?: unknown }).text));
  }

  async add(rows: readonly OutputRow[]): Promise<void> {
    await this.#lines.add(rows.map((row, i) => jsonLine(this.#rows + i, row, this.#form)).join(""));
    this.#rows += rows.length;
  }

  async finish(): Promise<string[]> {
    await this.close();
    await publish([[partialOf(this.#path), this.#path]]);
    await removeFiles([infoOf(this.#path)]);
    return [];
  }

  async close(): Promise<void> {
    await this.#lines.close();
  }
}

function describeForm({ precision, ranges }: LineForm): string {
  const hash = createHash("sha256");
  for (const side of ranges === undefined ? [] : [ranges.min, ranges.max]) {
    hash.update(npyBytes(side));
  }
  return ranges === undefined ? (precision ?? "float32") : `${precision} ${hash.digest("hex").slice(0, 16)}`;
}

/** How the lines of a partial file were made. */
function infoOf(path: string): string {
  return `${partialOf(path)}.json`;
}
