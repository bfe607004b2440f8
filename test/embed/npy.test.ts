// Files of numpy, its own and hostile ones, and the vectors in them that are nearest to a query.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { NpyFile, type NpyType, npyBytes, npyHeader, npyHeaderBytes } from "../../src/embed/npy.js";
import { type Precision, quantizeEmbeddings } from "../../src/embed/quantize.js";
import { searchVectors } from "../../src/embed/search.js";
import { cosine } from "../../src/embed/vectors.js";
import { createRandom } from "../support/random.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-npy-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileOf(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.npy`);
  writeFileSync(path, bytes);
  return path;
}

async function rowsOf(bytes: Uint8Array): Promise<number[][]> {
  await using file = await NpyFile.open(fileOf(bytes));
  return (await file.read(0, file.shape.rows)).map((row) => Array.from(row));
}

// numpy.save of [[1.5, -2], [0.1, 3]] as float32.
const ofNumpy = Buffer.concat([
  Buffer.from("934e554d505901007600", "hex"),
  Buffer.from(`${"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }".padEnd(117)}\n`),
  Buffer.from("0000c03f000000c0cdcccc3d00004040", "hex"),
]);
const headed = (header: string, data: Uint8Array, version = 1) => {
  const text = Buffer.from(header);
  const prefix = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  const length = Buffer.alloc(version === 1 ? 2 : 4);
  length.writeUIntLE(text.length, 0, length.length);
  return Buffer.concat([prefix, length, text, data]);
};

test("what numpy writes is read, and what is written is what numpy writes", async () => {
  expect(await rowsOf(ofNumpy)).toEqual([
    [1.5, -2],
    [Math.fround(0.1), 3],
  ]);
  const rows = [Float32Array.of(1.5, -2), Float32Array.of(0.1, 3)];
  expect(Buffer.concat([npyHeader("float32", 2, 2), ...rows.map(npyBytes)]).equals(ofNumpy)).toBe(true);
});

test("doubles, signed and unsigned bytes, a vector alone and later versions are read", async () => {
  const doubles = Buffer.from(Float64Array.of(0.1, 2).buffer);
  expect(await rowsOf(headed("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", doubles))).toEqual([
    [Math.fround(0.1), 2],
  ]);
  const bytes = Buffer.from([1, 255, 128, 127]);
  const of = (descr: string) => `{'shape': (2, 2), 'fortran_order': False, 'descr': '${descr}'}`;
  expect(await rowsOf(headed(of("|i1"), bytes, 2))).toEqual([
    [1, -1],
    [-128, 127],
  ]);
  expect(await rowsOf(headed(of("|u1"), bytes, 3))).toEqual([
    [1, 255],
    [128, 127],
  ]);
});

test("hostile files are BAD_FILE with what is wrong, and take no memory", async () => {
  const form = (shape: string, descr = "<f4", order = "False") =>
    `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }`;
  const cases: [Uint8Array, RegExp][] = [
    [Buffer.from("not numpy at all"), /does not begin as one/],
    [Buffer.alloc(0), /does not begin as one/],
    [ofNumpy.subarray(0, 60), /header has 118 bytes: expected at most 60/],
    [headed(form("(2, 2)"), Buffer.alloc(16), 9), /version is 9/],
    [headed(form("(2, 2)"), Buffer.alloc(15)), /expected \d+ of 2 x 2 float32/],
    [headed(form("(2, 2)"), Buffer.alloc(17)), /expected \d+ of 2 x 2 float32/],
    [headed(form("(999999999999999, 1048576)"), Buffer.alloc(16)), /expected 4.*e\+21 of/],
    [headed(form("(1, 99999999)"), Buffer.alloc(16)), /99999999 dimensions: expected 1 to/],
    [headed(form("(4, 0)"), Buffer.alloc(0)), /0 dimensions/],
    [headed(form("(2, 2, 1)"), Buffer.alloc(16)), /shape is not/],
    [headed(form("(-2, 2)"), Buffer.alloc(16)), /shape is not/],
    [headed(form("(2, 2)", "|O"), Buffer.alloc(16)), /numbers are "\|O": expected float32/],
    [headed(form("(2, 2)", ">f4"), Buffer.alloc(16)), /numbers are ">f4"/],
    [headed(form("(2, 2)", "<f4", "True"), Buffer.alloc(16)), /column after column/],
    [headed(" ".repeat(2 ** 17), Buffer.alloc(16), 2), /header has 131072 bytes: expected at most 65536/],
  ];
  for (const [bytes, message] of cases) {
    await expect(NpyFile.open(fileOf(bytes)), String(message)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(message),
    });
  }
  await expect(NpyFile.open(join(folder, "none.npy"))).rejects.toMatchObject({ code: "NOT_FOUND" });
});

const random = createRandom(11);
const dimensions = 48;
const vectors = Array.from({ length: 300 }, () => Float32Array.from({ length: dimensions }, () => random() - 0.5));
const query = Float32Array.from(vectors[123] ?? [], (x) => x + 0.1 * (random() - 0.5));

function fileOfVectors(rows: readonly (Float32Array | Int8Array | Uint8Array)[], type: NpyType): string {
  const header = npyHeader(type, rows.length, rows[0]?.length ?? 1);
  expect(header).toHaveLength(npyHeaderBytes);
  return fileOf(Buffer.concat([header, ...rows.map(npyBytes)]));
}

test("a search finds the nearest vectors in their order", async () => {
  await using file = await NpyFile.open(fileOfVectors(vectors, "float32"));
  const expected = vectors
    .map((vector, row) => ({ row, score: cosine(query, vector) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, 5);
  expect(await searchVectors(file, query, { top: 5 })).toEqual(expected);
  expect(expected[0]?.row).toBe(123);
  expect(await searchVectors(file, query, { top: 1000 })).toHaveLength(300);
});

test("codes of every precision are told by their number and lead to the same vector", async () => {
  for (const precision of ["int8", "uint8", "int4", "int2", "binary", "ubinary"] as Precision[]) {
    const { vectors: codes, ranges } = quantizeEmbeddings(vectors, precision);
    const type = precision === "int8" || precision === "binary" ? "int8" : "uint8";
    await using file = await NpyFile.open(fileOfVectors(codes, type));
    const hits = await searchVectors(file, query, { top: 3, ranges });
    expect(hits[0]?.row, precision).toBe(123);
    expect(hits.map(({ score }) => score)).toEqual(hits.map(({ score }) => score).sort((a, b) => b - a));
  }
});

test("binary codes are found by their bits and ordered by the query's own numbers", async () => {
  // Row 0 differs from the query's signs in one bit of great weight, row 1 in two of none.
  const wanted = Float32Array.of(1, 1, 1, 1, 0.001, 0.001, 1, 9);
  const rows = [Float32Array.of(1, 1, 1, 1, 1, 1, 1, -1), Float32Array.of(1, 1, 1, 1, -1, -1, 1, 1)];
  await using file = await NpyFile.open(fileOfVectors(quantizeEmbeddings(rows, "ubinary").vectors, "uint8"));
  expect((await searchVectors(file, wanted, { top: 1 })).map(({ row }) => row)).toEqual([1]);
});

test("a query of another length than the file's vectors is refused", async () => {
  await using floats = await NpyFile.open(fileOfVectors(vectors, "float32"));
  await expect(searchVectors(floats, new Float32Array(47), { top: 1 })).rejects.toMatchObject({ code: "USAGE" });
  await using codes = await NpyFile.open(fileOfVectors(quantizeEmbeddings(vectors, "int4").vectors, "uint8"));
  await expect(searchVectors(codes, new Float32Array(500), { top: 1 })).rejects.toThrow(/no code of 500 dimensions/);
});

test("vectors with values that are not finite are refused by their row", async () => {
  const broken = [Float32Array.of(1, 2), Float32Array.of(3, Number.NaN), Float32Array.of(Number.POSITIVE_INFINITY, 4)];
  await using file = await NpyFile.open(fileOfVectors(broken, "float32"));
  await expect(searchVectors(file, Float32Array.of(1, 1), { top: 1 })).rejects.toMatchObject({
    code: "BAD_FILE",
    message: expect.stringContaining("row 1 has a value that is not finite"),
  });
});
