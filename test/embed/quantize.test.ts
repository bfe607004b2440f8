// Vectors of fewer bits: the codes of sentence-transformers, and what is kept of a vector.

import { expect, test } from "vitest";
import { type Precision, quantizeEmbeddings, readCodes } from "../../src/embed/quantize.js";
import { cosine, normalizeVector } from "../../src/embed/vectors.js";
import { readFixture } from "../support/fixtures.js";
import { createRandom } from "../support/random.js";

const golden = JSON.parse(readFixture("eval/embed", "quantize.json").toString("utf8"));
const input: Float32Array[] = golden.input.map((row: number[]) => Float32Array.from(row));
const { length: dimensions } = input[0] ?? [];
const ranges = { min: new Float32Array(dimensions).fill(-0.4), max: new Float32Array(dimensions).fill(0.4) };

const codesOf = (precision: Precision, options = {}) =>
  quantizeEmbeddings(input, precision, options).vectors.map((row) => Array.from(row));

test("int8, uint8, binary and ubinary are the codes of sentence-transformers", () => {
  expect(codesOf("int8", { ranges })).toEqual(golden.int8);
  expect(codesOf("uint8", { ranges })).toEqual(golden.uint8);
  expect(codesOf("binary")).toEqual(golden.binary);
  expect(codesOf("ubinary")).toEqual(golden.ubinary);
  expect(codesOf("int8")).toEqual(golden.int8_own_ranges);
  expect(codesOf("int8", { calibration: input })).toEqual(golden.int8_own_ranges);
});

test("int4 and int2 have the codes and scales of their definition, the first dimension in the lowest bits", () => {
  const four = quantizeEmbeddings(input, "int4");
  const two = quantizeEmbeddings(input, "int2");
  const packed4 = golden.int4.codes.map((codes: number[]) =>
    Array.from(
      { length: dimensions / 2 },
      (_, i) => ((codes[2 * i] ?? 0) & 15) | (((codes[2 * i + 1] ?? 0) & 15) << 4),
    ),
  );
  const packed2 = golden.int2.codes.map((codes: number[]) =>
    Array.from({ length: dimensions / 4 }, (_, i) =>
      [0, 1, 2, 3].reduce((byte, k) => byte | ((codes[4 * i + k] ?? 0) << (2 * k)), 0),
    ),
  );
  expect(four.vectors.map((row) => Array.from(row))).toEqual(packed4);
  expect(two.vectors.map((row) => Array.from(row))).toEqual(packed2);
  for (const [i, vector] of input.entries()) {
    expect(four.scales?.[i]).toBeCloseTo(golden.int4.scale[i], 8);
    expect(two.scales?.[i]).toBeCloseTo(golden.int2.rms[i], 7);
    const keeps = (codes: ArrayLike<number> | undefined, precision: Precision) =>
      cosine(vector, readCodes(Uint8Array.from(codes ?? []), precision, dimensions));
    expect(keeps(four.vectors[i], "int4")).toBeCloseTo(golden.int4.cosine[i], 4);
    expect(keeps(two.vectors[i], "int2")).toBeCloseTo(golden.int2.cosine[i], 4);
  }
});

test("a vector of many dimensions keeps its direction as far as its bits go", () => {
  const random = createRandom(7);
  const gauss = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const vectors = Array.from({ length: 120 }, () => normalizeVector(Float32Array.from({ length: 512 }, gauss), 2));
  const kept = { int8: 0.9998, uint8: 0.9998, int4: 0.985, int2: 0.93, binary: 0.78, ubinary: 0.78 };
  for (const [precision, least] of Object.entries(kept) as [Precision, number][]) {
    const quantized = quantizeEmbeddings(vectors, precision);
    expect(quantized.warnings).toEqual([]);
    const cosines = vectors.map((vector, i) =>
      cosine(vector, readCodes(quantized.vectors[i] ?? new Int8Array(), precision, 512, quantized.ranges)),
    );
    expect(cosines.reduce((sum, x) => sum + x, 0) / cosines.length, precision).toBeGreaterThan(least);
  }
});

test("dimensions without a range and vectors of zeros have codes", () => {
  const zeros = [new Float32Array(8), new Float32Array(8)];
  for (const [precision, code] of [
    ["int8", -128],
    ["uint8", 0],
    ["int4", 0],
    ["int2", 0],
    ["binary", -128],
  ]) {
    const { vectors } = quantizeEmbeddings(zeros, precision as Precision);
    expect(
      Array.from(vectors[0] ?? []).every((each) => each === code),
      String(precision),
    ).toBe(true);
  }
  expect(quantizeEmbeddings([], "int8").vectors).toEqual([]);
});

test("values outside the ranges are cut to the ends, and few vectors are told to be few", () => {
  const narrow = { min: Float32Array.of(-1, -1), max: Float32Array.of(1, 1) };
  expect(quantizeEmbeddings([Float32Array.of(-9, 9)], "int8", { ranges: narrow }).vectors).toEqual([
    Int8Array.of(-128, 127),
  ]);
  expect(quantizeEmbeddings(input, "uint8").warnings[0]).toMatch(/6 vectors: 100 or more/);
  expect(quantizeEmbeddings(input, "uint8", { ranges }).warnings).toEqual([]);
});

test("vectors of several lengths, ranges of another and unknown names are refused", () => {
  expect(() => quantizeEmbeddings([new Float32Array(3), new Float32Array(4)], "int4")).toThrow(/vector 1 has 4/);
  expect(() => quantizeEmbeddings(input, "int8", { ranges: { ...ranges, max: new Float32Array(3) } })).toThrow(
    /max has 3/,
  );
  expect(() => quantizeEmbeddings(input, "int3" as Precision)).toThrow(/expected one of int8, uint8/);
  expect(() => quantizeEmbeddings(input, "int8", { range: ranges } as object)).toThrow(/no option "range"/);
});
