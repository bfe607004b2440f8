// Files of vectors that are written as they come: what an earlier run has left, and what it must not be mixed with.

import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Embedder, embedTexts } from "../../src/embed/embedder.js";
import { JsonlOutput } from "../../src/embed/jsonl-output.js";
import { NpyFile } from "../../src/embed/npy.js";
import { NpyOutput, readRanges } from "../../src/embed/npy-output.js";
import { type EmbeddingOutput, withoutKept } from "../../src/embed/outputs.js";
import { type EmbeddingRanges, type Precision, quantizeEmbeddings } from "../../src/embed/quantize.js";
import { readInfo, type StoreInfo } from "../../src/embed/store-info.js";
import { evaluateSts, readStsPairs } from "../../src/embed/sts.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-embed-outputs-"));
afterAll(() => rmSync(folder, { recursive: true }));

const dimensions = 16;
const info: StoreInfo = {
  ...{ model: "0123456789abcdef", modelPath: "model.gguf", pooling: "mean", dimensions, normalize: 2 },
  ...{ prefix: "", parseSpecial: true, truncate: false, lines: "" },
};

/** A vector that is a text's own. */
function vectorOf(text: string): Float32Array {
  return Float32Array.from({ length: dimensions }, (_, i) =>
    Math.sin((text.charCodeAt(i % text.length) + 1) * (i + 1)),
  );
}

const calls: string[][] = [];
const fake: Embedder = {
  async embed(texts) {
    calls.push([...texts]);
    return { vectors: texts.map(vectorOf), tokens: texts.map(({ length }) => length), pooling: "mean", dimensions };
  },
};

const texts = Array.from({ length: 150 }, (_, i) => `text ${i} of "many"\nlines`);
async function* asStream(list: readonly string[]) {
  yield* list;
}

/** Embeds what is missing; ends after `most` texts as if it were killed. */
async function fill(output: EmbeddingOutput, path: string, list = texts, most = Number.POSITIVE_INFINITY) {
  let done = 0;
  for await (const batch of embedTexts(fake, withoutKept(asStream(list), output, path), {}, output.kept)) {
    expect(batch.first).toBe(output.kept + done);
    await output.add(
      batch.texts.map((text, i) => ({
        text,
        tokens: batch.tokens[i] ?? 0,
        vector: batch.vectors[i] ?? new Float32Array(),
      })),
    );
    done += batch.texts.length;
    if (done >= most) {
      return output.close();
    }
  }
}

async function rowsOf(path: string) {
  await using file = await NpyFile.open(path);
  return file.read(0, file.shape.rows);
}

test("a .npy file has the vectors, with their texts and how they were made beside it", async () => {
  const path = join(folder, "whole.npy");
  const output = await NpyOutput.open(path, info);
  await fill(output, path);
  expect(existsSync(path)).toBe(false);
  expect(await output.finish()).toEqual([]);
  expect(await rowsOf(path)).toEqual(texts.map(vectorOf));
  const lines = readFileSync(join(folder, "whole.texts.jsonl"), "utf8").trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual(texts);
  expect(await readInfo(join(folder, "whole.json"))).toMatchObject({ ...info, precision: "float32" });
  expect(readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
});

test("a run that was ended anywhere is gone on with, to the bytes of one that was not", async () => {
  const path = join(folder, "killed.npy");
  await fill(await NpyOutput.open(path, info), path, texts, 100);
  appendFileSync(`${path}.partial`, Buffer.alloc(11)); // half a vector
  const textsPath = join(folder, "killed.texts.jsonl.partial");
  truncateSync(textsPath, readFileSync(textsPath).length - 5); // and a torn line
  calls.length = 0;
  const second = await NpyOutput.open(path, info);
  expect(second.kept).toBe(127);
  await fill(second, path);
  expect(calls.flat()).toEqual(texts.slice(127));
  await second.finish();
  expect(readFileSync(path).equals(readFileSync(join(folder, "whole.npy")))).toBe(true);
  expect(readFileSync(join(folder, "killed.texts.jsonl")).equals(readFileSync(join(folder, "whole.texts.jsonl")))).toBe(
    true,
  );
});

test("lines are gone on with in the same way", async () => {
  const path = join(folder, "lines.jsonl");
  const form = { dimensions, isList: false };
  await fill(await JsonlOutput.open(path, info, form), path, texts, 64);
  appendFileSync(`${path}.partial`, '{"index": 64, "te');
  const second = await JsonlOutput.open(path, info, form);
  expect(second.kept).toBe(64);
  await fill(second, path);
  await second.finish();
  const lines = readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.map(({ index }) => index)).toEqual(texts.map((_, i) => i));
  expect(lines.map(({ text }) => text)).toEqual(texts);
  expect(lines.map(({ embedding }) => Float32Array.from(embedding))).toEqual(texts.map(vectorOf));
  expect(existsSync(`${path}.partial.json`)).toBe(false);
});

test("other texts, other settings and fewer texts are refused; --fresh begins anew", async () => {
  const path = join(folder, "other.npy");
  await fill(await NpyOutput.open(path, info), path, texts, 64);
  await expect(NpyOutput.open(path, { ...info, pooling: "last" })).rejects.toMatchObject({
    code: "USAGE",
    message: expect.stringContaining('pooling was "mean", now it is "last"'),
  });
  const changed = await NpyOutput.open(path, info);
  await expect(fill(changed, path, ["another", ...texts.slice(1)])).rejects.toThrow(/text 1 is another one/);
  await changed.close();
  const fewer = await NpyOutput.open(path, info);
  await expect(fill(fewer, path, texts.slice(0, 10))).rejects.toThrow(/it has 64 texts, now there are 10/);
  await fewer.close();
  const fresh = await NpyOutput.open(path, { ...info, pooling: "last" }, { fresh: true });
  expect(fresh.kept).toBe(0);
  await fresh.close();
  const lines = join(folder, "other.jsonl");
  await fill(await JsonlOutput.open(lines, info, { dimensions, isList: false }), lines, texts, 64);
  await expect(JsonlOutput.open(lines, info, { dimensions, isList: false, precision: "binary" })).rejects.toThrow(
    /lines was/,
  );
});

test("codes are those of all vectors at once, whatever the runs, with ranges and scales beside them", async () => {
  const vectors = texts.map(vectorOf);
  for (const precision of ["int8", "uint8", "int4", "int2", "binary", "ubinary"] as Precision[]) {
    const path = join(folder, `${precision}.npy`);
    await fill(await NpyOutput.open(path, info, { quantization: { precision } }), path, texts, 64);
    const output = await NpyOutput.open(path, info, { quantization: { precision } });
    await fill(output, path);
    await output.finish();
    const expected = quantizeEmbeddings(vectors, precision);
    expect(await rowsOf(path), precision).toEqual(expected.vectors);
    const written = await readInfo(join(folder, `${precision}.json`));
    expect(written?.precision).toBe(precision);
    expect(written?.ranges).toEqual(expected.ranges);
    if (expected.scales !== undefined) {
      const scales = (await rowsOf(join(folder, `${precision}.scales.npy`))).flatMap((row) => Array.from(row));
      expect(scales).toEqual(Array.from(expected.scales));
    }
  }
  const ranges = (await readRanges(join(folder, "int8.json"))) satisfies EmbeddingRanges;
  expect(ranges).toEqual(quantizeEmbeddings(vectors, "int8").ranges);
  expect(readdirSync(folder).filter((name) => name.includes("codes"))).toEqual([]);
});

test("few vectors without ranges are told, and the pooling none has no rows", async () => {
  const path = join(folder, "few.npy");
  const output = await NpyOutput.open(path, info, { quantization: { precision: "int8" } });
  await fill(output, path, texts.slice(0, 5));
  expect(await output.finish()).toEqual([expect.stringMatching(/those of 5 vectors/)]);
  await expect(NpyOutput.open(path, { ...info, pooling: "none" })).rejects.toMatchObject({ code: "USAGE" });
});

test("similarity is the correlation of cosines with what people say, each sentence embedded once", async () => {
  const axes: Record<string, number[]> = { a: [1, 0], b: [1, 0.1], c: [1, 1], d: [0, 1] };
  const seen: string[] = [];
  const model: Embedder = {
    async embed(list) {
      seen.push(...list);
      const vectors = list.map((text) => Float32Array.from(axes[text.at(-1) ?? ""] ?? []));
      return { vectors, tokens: list.map(() => 3), pooling: "last", dimensions: 2 };
    },
  };
  const rows = [
    ["a", "b", 5],
    ["a", "c", "3.5"],
    ["a", "d", 0],
    ["b", "d", 0.5],
  ].map(([sentence1, sentence2, score]) => ({ sentence1, sentence2, score, split: "test" }));
  const result = await evaluateSts(model, readStsPairs(rows, "data"));
  expect(result).toMatchObject({ spearman: 1, pairs: 4, tokens: 12, pooling: "last", dimensions: 2 });
  expect(result.pearson).toBeCloseTo(0.99994639, 7);
  expect(seen.sort()).toEqual(
    ["a", "b", "c", "d"].map((text) => `Instruct: Retrieve semantically similar text\nQuery:${text}`),
  );
  seen.length = 0;
  await evaluateSts(model, readStsPairs(rows, "data"), { instruction: "" });
  expect(seen.sort()).toEqual(["a", "b", "c", "d"]);
});

test("pairs that are wrong or too few are told with their row and column", async () => {
  const row = { sentence1: "a", sentence2: "b", score: 1 };
  expect(() => readStsPairs([row, { ...row, score: "high" }], "data.jsonl")).toThrow(
    "data.jsonl: row 2: score: expected a number, got string",
  );
  expect(() => readStsPairs([{ ...row, sentence2: undefined }], "data.jsonl")).toThrow(
    /row 1: sentence2: expected a text/,
  );
  await expect(evaluateSts(fake, [row, row])).rejects.toThrow(/at least 3 pairs/);
  await expect(evaluateSts(fake, [row, row, row], { pooling: "none" })).rejects.toThrow(/none gives no vector/);
});
