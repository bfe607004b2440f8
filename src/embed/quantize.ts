// Vectors of fewer bits. int8, uint8, binary and ubinary are those of sentence-transformers, code for code: its arithmetic
// is numpy's in float32. int4 and int2 scale each vector by itself.

import { BitnetError } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";

export const precisions = ["int8", "uint8", "binary", "ubinary", "int4", "int2"] as const;
export type Precision = (typeof precisions)[number];

/** The least and the largest value of each dimension. */
export interface EmbeddingRanges {
  min: Float32Array;
  max: Float32Array;
}

export interface QuantizeOptions {
  /** Of int8 and uint8. Default: those of `calibration`. */
  ranges?: EmbeddingRanges;
  /** Vectors like those to come, at least 100. Default: the vectors themselves. */
  calibration?: readonly Float32Array[];
}

const quantizeOptions: OptionNames<QuantizeOptions> = { ranges: true, calibration: true };

export interface QuantizedEmbeddings {
  precision: Precision;
  /** Of the vectors before. */
  dimensions: number;
  /** Codes: one a byte (int8, uint8), two (int4), four (int2) or eight (binary, ubinary). */
  vectors: (Int8Array | Uint8Array)[];
  /** That int8 and uint8 were made with: queries and later vectors want the same. */
  ranges?: EmbeddingRanges;
  /** Of int4 and int2: what a code of 1 is, and the root of the mean square. */
  scales?: Float32Array;
  /** What should be known of the result. */
  warnings: string[];
}

// The best three thresholds and four levels of values with a normal distribution, in standard deviations (Max, 1960).
const threshold2 = 0.9816;
const levels2 = [-1.51, -0.4528, 0.4528, 1.51] as const;

const fewVectors = 100;
const { fround } = Math;

/** Whether codes of a precision are told by ranges of the dimensions. */
export function hasRanges(precision: Precision): boolean {
  return precision === "int8" || precision === "uint8";
}

/** Bytes of a vector's codes. */
export function codeBytes(precision: Precision, dimensions: number): number {
  const perByte = { int8: 1, uint8: 1, int4: 2, int2: 4, binary: 8, ubinary: 8 }[precision];
  return Math.ceil(dimensions / perByte);
}

/** Codes of vectors that have one length. */
export function quantizeEmbeddings(
  vectors: readonly Float32Array[],
  precision: Precision,
  options: QuantizeOptions = {},
): QuantizedEmbeddings {
  checkOptionNames("quantizeEmbeddings", options, quantizeOptions);
  if (!precisions.includes(precision)) {
    throw new BitnetError("USAGE", `precision: expected one of ${precisions.join(", ")}, got ${String(precision)}`);
  }
  const dimensions = commonLength(vectors);
  const common = { precision, dimensions, warnings: [] };
  switch (precision) {
    case "int8":
    case "uint8":
      return quantizeToBytes(vectors, precision, dimensions, options);
    case "binary":
    case "ubinary":
      return { ...common, vectors: vectors.map((vector) => packSigns(vector, precision === "binary")) };
    case "int4": {
      const scales = Float32Array.from(vectors, (vector) => largestOf(vector) / 7);
      return { ...common, scales, vectors: vectors.map((vector, i) => pack4(vector, scales[i] ?? 0)) };
    }
    case "int2": {
      const scales = Float32Array.from(vectors, rootMeanSquare);
      return { ...common, scales, vectors: vectors.map(pack2) };
    }
  }
}

function commonLength(vectors: readonly Float32Array[]): number {
  const { length = 0 } = vectors[0] ?? [];
  const other = vectors.findIndex((vector) => vector.length !== length);
  if (other >= 0) {
    const got = vectors[other]?.length;
    throw new BitnetError("USAGE", `vector ${other} has ${got} dimensions: expected ${length}, as vector 0 has`);
  }
  return length;
}

function quantizeToBytes(
  vectors: readonly Float32Array[],
  precision: "int8" | "uint8",
  dimensions: number,
  { ranges, calibration }: QuantizeOptions,
): QuantizedEmbeddings {
  const measured = calibration ?? vectors;
  const used = ranges ?? rangesOf(measured);
  for (const [name, side] of Object.entries({ min: used.min, max: used.max })) {
    if (vectors.length > 0 && side.length !== dimensions) {
      throw new BitnetError("USAGE", `ranges: ${name} has ${side.length} dimensions, the vectors have ${dimensions}`);
    }
  }
  const toCodes = precision === "int8" ? toInt8 : toUint8;
  return {
    ...{ precision, dimensions, ranges: used },
    vectors: vectors.map((vector) => toCodes(vector, used)),
    warnings: ranges === undefined ? rangeWarnings(precision, measured.length) : [],
  };
}

/** What is to be said of ranges that so many vectors have. */
export function rangeWarnings(precision: Precision, vectors: number): string[] {
  return vectors < fewVectors
    ? [`the ranges of ${precision} are those of ${vectors} vectors: ${fewVectors} or more are steadier`]
    : [];
}

/** Of vectors of one length. */
export function rangesOf(vectors: readonly Float32Array[]): EmbeddingRanges {
  const dimensions = commonLength(vectors);
  const min = new Float32Array(dimensions).fill(Number.POSITIVE_INFINITY);
  const max = new Float32Array(dimensions).fill(Number.NEGATIVE_INFINITY);
  for (const vector of vectors) {
    for (const [i, x] of vector.entries()) {
      min[i] = Math.min(min[i] ?? x, x);
      max[i] = Math.max(max[i] ?? x, x);
    }
  }
  return { min, max };
}

/** Of one code; a dimension without a range has steps of 1. */
function stepOf({ min, max }: EmbeddingRanges, i: number): number {
  const step = fround(fround((max[i] ?? 0) - (min[i] ?? 0)) / 255);
  return step > 0 ? step : 1;
}

function toUint8(vector: Float32Array, ranges: EmbeddingRanges): Uint8Array {
  return Uint8Array.from(vector, (x, i) => {
    const code = Math.floor(fround(fround(x - (ranges.min[i] ?? 0)) / stepOf(ranges, i)));
    return Math.max(0, Math.min(255, code));
  });
}

function toInt8(vector: Float32Array, ranges: EmbeddingRanges): Int8Array {
  return Int8Array.from(toUint8(vector, ranges), (code) => code - 128);
}

/** A bit for each dimension, the first one in the highest place. */
function packSigns(vector: Float32Array, isSigned: boolean): Int8Array | Uint8Array {
  const bytes = new Uint8Array(codeBytes("ubinary", vector.length));
  for (const [i, x] of vector.entries()) {
    if (x > 0) {
      bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (0x80 >> (i & 7));
    }
  }
  return isSigned ? Int8Array.from(bytes, (byte) => byte - 128) : bytes;
}

function largestOf(vector: Float32Array): number {
  return vector.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
}

function rootMeanSquare(vector: Float32Array): number {
  return Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0) / Math.max(1, vector.length));
}

/** Two's complement, the first dimension in the low half. */
function pack4(vector: Float32Array, scale: number): Uint8Array {
  const bytes = new Uint8Array(codeBytes("int4", vector.length));
  for (const [i, x] of vector.entries()) {
    const code = scale > 0 ? Math.max(-7, Math.min(7, roundHalfToEven(fround(x / scale)))) : 0;
    bytes[i >> 1] = (bytes[i >> 1] ?? 0) | ((code & 15) << (4 * (i & 1)));
  }
  return bytes;
}

function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  const isHalf = x - below === 0.5;
  return isHalf ? 2 * Math.round(below / 2) : Math.round(x);
}

/** Which of four levels, the first dimension in the lowest bits. */
function pack2(vector: Float32Array): Uint8Array {
  const edge = threshold2 * rootMeanSquare(vector);
  const bytes = new Uint8Array(codeBytes("int2", vector.length));
  for (const [i, x] of vector.entries()) {
    const code = Number(x > -edge) + Number(x > 0) + Number(x > edge);
    bytes[i >> 2] = (bytes[i >> 2] ?? 0) | (code << (2 * (i & 3)));
  }
  return bytes;
}

/** What codes stand for, without the scale of the vector: enough for a cosine. */
export function readCodes(
  codes: Int8Array | Uint8Array,
  precision: Precision,
  dimensions: number,
  ranges?: EmbeddingRanges,
): Float32Array {
  const values = new Float32Array(dimensions);
  for (let i = 0; i < dimensions; i++) {
    values[i] = readCode(codes, precision, i, ranges);
  }
  return values;
}

function readCode(
  codes: Int8Array | Uint8Array,
  precision: Precision,
  i: number,
  ranges: EmbeddingRanges | undefined,
): number {
  switch (precision) {
    case "int8":
    case "uint8": {
      const code = codes[i] ?? 0;
      const step = precision === "int8" ? code + 128 : code;
      // Codes are rounded down: the middle of a step is the best guess.
      return ranges === undefined ? code : (ranges.min[i] ?? 0) + (step + 0.5) * stepOf(ranges, i);
    }
    case "int4": {
      const code = ((codes[i >> 1] ?? 0) >> (4 * (i & 1))) & 15;
      return code > 7 ? code - 16 : code;
    }
    case "int2":
      return levels2[((codes[i >> 2] ?? 0) >> (2 * (i & 3))) & 3] ?? 0;
    case "binary":
    case "ubinary": {
      const byte = (codes[i >> 3] ?? 0) + (precision === "binary" ? 128 : 0);
      return byte & (0x80 >> (i & 7)) ? 1 : -1;
    }
  }
}
