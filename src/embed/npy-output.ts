// Vectors in a .npy file:
//
// X.npy          the vectors, or their codes
// X.texts.jsonl  the texts as JSON strings, line i of row i
// X.json         how the vectors were made, with the ranges of int8 and uint8
// X.scales.npy   the scales of int4 and int2
//
// Until all are there they are called *.partial, and the vectors are float32.

import { open, writeFile } from "node:fs/promises";
import { BitnetError } from "../system/errors.js";
import { NpyFile, npyBytes, npyHeader, npyHeaderBytes, npyRowBytes } from "./npy.js";
import {
  beginOrGoOn,
  countLines,
  type EmbeddingOutput,
  GrowingFile,
  type OutputRow,
  partialOf,
  publish,
  readLines,
  sizeOf,
} from "./outputs.js";
import {
  codeBytes,
  type EmbeddingRanges,
  hasRanges,
  type Precision,
  quantizeEmbeddings,
  rangesOf,
  rangeWarnings,
} from "./quantize.js";
import { readRangesJson, removeFiles, type StoreInfo, writeInfo } from "./store-info.js";

export interface NpyQuantization {
  precision: Precision;
  /** Of int8 and uint8. Default: those of all vectors of the file. */
  ranges?: EmbeddingRanges;
}

const blockRows = 1024;

function namesOf(path: string) {
  const stem = path.replace(/\.npy$/i, "");
  return { vectors: path, texts: `${stem}.texts.jsonl`, info: `${stem}.json`, scales: `${stem}.scales.npy` };
}

/** Where the texts of X.npy are, and how it was made. */
export function besideNpy(path: string): { texts: string; info: string } {
  return namesOf(path);
}

export class NpyOutput implements EmbeddingOutput {
  readonly kept: number;
  readonly #path: string;
  readonly #info: StoreInfo;
  readonly #quantization: NpyQuantization | undefined;
  readonly #vectors: GrowingFile;
  readonly #texts: GrowingFile;
  #rows: number;

  private constructor(
    path: string,
    info: StoreInfo,
    quantization: NpyQuantization | undefined,
    files: { vectors: GrowingFile; texts: GrowingFile; kept: number },
  ) {
    this.#path = path;
    this.#info = info;
    this.#quantization = quantization;
    this.#vectors = files.vectors;
    this.#texts = files.texts;
    this.kept = files.kept;
    this.#rows = files.kept;
  }

  static async open(
    path: string,
    info: StoreInfo,
    { quantization, fresh = false }: { quantization?: NpyQuantization; fresh?: boolean } = {},
  ): Promise<NpyOutput> {
    if (info.pooling === "none") {
      throw new BitnetError(
        "USAGE",
        "the pooling none has a vector for each token: a .npy file has a row for each text",
        {
          hint: "take jsonl, or another pooling",
        },
      );
    }
    const names = namesOf(path);
    const [vectors, texts] = [partialOf(names.vectors), partialOf(names.texts)];
    if (fresh) {
      await removeFiles([names.vectors, names.texts, names.info].map(partialOf));
    }
    await beginOrGoOn(path, partialOf(names.info), info);
    const rowBytes = npyRowBytes("float32", info.dimensions);
    const rows = Math.max(0, Math.floor(((await sizeOf(vectors)) - npyHeaderBytes) / rowBytes));
    const { lines: kept, bytes } = await countLines(texts, rows);
    const files = {
      vectors: await GrowingFile.open(vectors, npyHeaderBytes + kept * rowBytes),
      texts: await GrowingFile.open(texts, bytes),
      kept,
    };
    return new NpyOutput(path, info, quantization, files);
  }

  keptTexts(): AsyncIterable<string> {
    return readLines(this.#texts.path, this.kept, (line) => String(JSON.parse(line)));
  }

  /** Vectors first: a text stands for a row that is whole. */
  async add(rows: readonly OutputRow[]): Promise<void> {
    const { dimensions } = this.#info;
    const wrong = rows.find(({ vector }) => vector.length !== dimensions);
    if (wrong !== undefined) {
      throw new BitnetError("INTERNAL", `a vector has ${wrong.vector.length} dimensions: expected ${dimensions}`);
    }
    await this.#vectors.add(Buffer.concat(rows.map(({ vector }) => npyBytes(vector))));
    await this.#texts.add(rows.map(({ text }) => `${JSON.stringify(text)}\n`).join(""));
    this.#rows += rows.length;
  }

  async finish(): Promise<string[]> {
    await this.close();
    const names = namesOf(this.#path);
    const partial = { vectors: partialOf(names.vectors), texts: partialOf(names.texts), info: partialOf(names.info) };
    await writeHeader(partial.vectors, npyHeader("float32", this.#rows, this.#info.dimensions));
    const texts = [partial.texts, names.texts] as const;
    if (this.#quantization === undefined) {
      await removeFiles([names.scales]);
      await writeInfo(partial.info, { ...this.#info, precision: "float32" });
      await publish([texts, [partial.info, names.info], [partial.vectors, names.vectors]]);
      return [];
    }
    const codes = `${names.vectors}.codes.partial`;
    const scales = `${names.scales}.partial`;
    const { ranges, warnings, hasScales } = await writeCodes(partial.vectors, this.#quantization, codes, scales);
    await writeInfo(partial.info, { ...this.#info, precision: this.#quantization.precision, ranges });
    await removeFiles([names.scales]);
    const more = hasScales ? [[scales, names.scales] as const] : [];
    await publish([texts, [partial.info, names.info], ...more, [codes, names.vectors]]);
    await removeFiles([partial.vectors]);
    return warnings;
  }

  async close(): Promise<void> {
    await this.#vectors.close();
    await this.#texts.close();
  }
}

async function writeHeader(path: string, header: Buffer): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(header, 0, header.length, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The least and the largest value of each dimension of a file of floats. */
export async function rangesOfNpy(path: string): Promise<{ ranges: EmbeddingRanges; rows: number }> {
  await using file = await NpyFile.open(path);
  const { rows } = file.shape;
  if (rows === 0) {
    throw new BitnetError("BAD_FILE", `${path} has no vectors`);
  }
  let ends: Float32Array[] = [];
  for (let first = 0; first < rows; first += blockRows) {
    const block = await file.readFloats(first, Math.min(blockRows, rows - first));
    const { min, max } = rangesOf([...ends, ...block]);
    ends = [min, max];
  }
  return { ranges: rangesOf(ends), rows };
}

/** Two rows: the least and the largest values, as sentence-transformers has them; of JSON, X.json too. */
export async function readRanges(path: string): Promise<EmbeddingRanges> {
  if (!path.toLowerCase().endsWith(".npy")) {
    return readRangesJson(path);
  }
  await using file = await NpyFile.open(path);
  const { rows } = file.shape;
  if (rows !== 2) {
    throw new BitnetError("BAD_FILE", `${path} has ${rows} rows: expected two, the least and the largest values`, {
      hint: "--calibration takes vectors",
    });
  }
  const [min = new Float32Array(), max = new Float32Array()] = await file.readFloats(0, 2);
  return { min, max };
}

/** Codes of a file of floats, block after block. */
async function writeCodes(
  from: string,
  { precision, ranges }: NpyQuantization,
  codesPath: string,
  scalesPath: string,
): Promise<{ ranges?: EmbeddingRanges; warnings: string[]; hasScales: boolean }> {
  await using file = await NpyFile.open(from);
  const { rows, columns } = file.shape;
  const measured = hasRanges(precision) && ranges === undefined && rows > 0 ? await rangesOfNpy(from) : undefined;
  const used = hasRanges(precision) ? (ranges ?? measured?.ranges) : undefined;
  const type = precision === "int8" || precision === "binary" ? "int8" : "uint8";
  const codes = await open(codesPath, "w");
  const scales: Float32Array[] = [];
  try {
    await codes.appendFile(npyHeader(type, rows, codeBytes(precision, columns)));
    for (let first = 0; first < rows; first += blockRows) {
      const block = await file.readFloats(first, Math.min(blockRows, rows - first));
      const coded = quantizeEmbeddings(block, precision, used === undefined ? {} : { ranges: used });
      await codes.appendFile(Buffer.concat(coded.vectors.map(npyBytes)));
      scales.push(...(coded.scales === undefined ? [] : [coded.scales]));
    }
    await codes.sync();
  } finally {
    await codes.close();
  }
  if (scales.length > 0) {
    await writeFile(scalesPath, Buffer.concat([npyHeader("float32", rows, 1), ...scales.map(npyBytes)]));
  }
  const warnings = measured === undefined ? [] : rangeWarnings(precision, measured.rows);
  return { ranges: used, warnings, hasScales: scales.length > 0 };
}
