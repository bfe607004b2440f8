// KL divergence against what llama.cpp and bitnet.cpp print, and their file of distributions, whole and damaged.

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BaseFile, encodeRow } from "../../src/eval/base-file.js";
import { normalizerOf } from "../../src/eval/softmax.js";
import {
  compareModels,
  convertCheckpoint,
  evaluateDivergence,
  evaluatePerplexity,
  loadModel,
} from "../../src/index.js";
import { findFixture, readFixture, tinyModel } from "../support/fixtures.js";

type Numbers = Record<string, number>;
const golden = JSON.parse(readFixture("eval", "kl.json").toString()) as {
  base_ppl_exact: [number, number];
  base_ppl_from_file: [number, number];
  models: Record<string, { sha256: string; peer: Record<string, number[]>; our_logits_same_base: Numbers }>;
};
const text = readFixture("eval", "text.txt").toString();
const peerBase = findFixture("eval", "base-ctx32.kld") ?? "";

let folder: string;
let base: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-kl-"));
  base = join(folder, "base.kld");
  await using model = await loadModel(tinyModel);
  await evaluatePerplexity(model, text, { contextSize: 128, chunks: 24, saveLogits: base });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The same file as other programs write it, without exact values. */
function withoutExactValues(): string {
  const path = join(folder, "peers.kld");
  const bytes = readFileSync(base);
  writeFileSync(path, bytes.subarray(0, bytes.lastIndexOf("bitnll01", undefined, "latin1")));
  return path;
}

async function convertTo(type: string): Promise<string> {
  const outfile = join(folder, `${type}.gguf`);
  await convertCheckpoint({ source: tinyModel, outfile, outtype: "i2_s", embeddingType: type });
  return outfile;
}

describe("divergence", () => {
  for (const [type, { sha256, peer, our_logits_same_base: own }] of Object.entries(golden.models)) {
    test(`of a ${type} embedding is what the peers find`, async () => {
      const path = await convertTo(type);
      expect(createHash("sha256").update(readFileSync(path)).digest("hex")).toBe(sha256);
      await using model = await loadModel(path);
      const result = await evaluateDivergence(model, withoutExactValues());
      const value = (name: string) => peer[name]?.[0] ?? Number.NaN;
      const near = (actual: number, expected: number, tolerance: number, what: string) =>
        expect(Math.abs(actual - expected), `${what}: ${actual} and ${expected}`).toBeLessThanOrEqual(tolerance);
      near(result.divergence.value, value("kld"), 0.0004 + 0.1 * value("kld"), "KLD");
      near(Math.log(result.perplexity.value / value("ppl_q")), 0, 0.005, "PPL");
      near(Math.log(result.basePerplexity.value / value("ppl_base")), 0, 0.01, "PPL of the base");
      near(100 * result.correlation, value("cor"), 0.1, "correlation");
      near(result.lnRatio.value, value("ln_ratio"), 0.006, "ln ratio");
      near(result.lnRatio.error, peer.ln_ratio?.[1] ?? 0, 0.0005, "its error");
      near(100 * result.sameTop.value, value("same_top"), 1, "same top");
      near(100 * result.changeRms.value, value("dp_rms"), 0.15, "RMS");
      near(result.perplexity.value, own.ppl_q ?? 0, 0.003 * (own.ppl_q ?? 0), "PPL as measured before");
      expect(result.scored).toBe(own.count);
      expect(result.isBaseExact).toBe(false);
      expect(Math.abs(result.floored - (own.floor ?? 0))).toBeLessThanOrEqual(5);
    });
  }

  test("with exact values has the perplexity of the base that the run itself had, not what the floor makes of it", async () => {
    await using model = await loadModel(tinyModel);
    const exact = await evaluateDivergence(model, base);
    const floored = await evaluateDivergence(model, withoutExactValues());
    expect(Math.abs(exact.basePerplexity.value / golden.base_ppl_exact[0] - 1)).toBeLessThan(0.003);
    expect(Math.abs(floored.basePerplexity.value / golden.base_ppl_from_file[0] - 1)).toBeLessThan(0.01);
    // Of the same model: what remains is the rounding of the file, but for the base's own values.
    expect(exact.lnRatio.value).toBe(0);
    expect(exact.correlation).toBeCloseTo(1, 9);
    expect(Math.abs(exact.divergence.value)).toBeLessThan(1e-4);
    expect(exact.sameTop.value).toBe(1);
    expect(floored.lnRatio.value).toBeGreaterThan(0.05);
  });

  test("from a model that runs beside is that from its file, and none from itself", async () => {
    await using model = await loadModel(await convertTo("q4_0"));
    await using before = await loadModel(tinyModel);
    const from = { model: before, text, contextSize: 128 };
    const beside = await evaluateDivergence(model, from, { chunks: 24, top: 5 });
    const read = await evaluateDivergence(model, base, { top: 5 });
    expect(Math.abs(beside.divergence.value - read.divergence.value)).toBeLessThan(1e-5);
    expect(beside.basePerplexity.value).toBeCloseTo(read.basePerplexity.value, 9);
    expect(beside.top.map(({ chunk, place }) => [chunk, place])).toEqual(
      read.top.map(({ chunk, place }) => [chunk, place]),
    );
    expect(beside.top[0]?.divergence).toBeCloseTo(beside.divergencePercentiles?.maximum ?? 0, 9);
    const itself = await evaluateDivergence(before, from, { chunks: 2 });
    expect(itself.divergence).toEqual({ value: 0, error: 0 });
    expect(itself.changeRms).toEqual({ value: 0, error: 0 });
  });

  test("has the percentiles of at least a hundred places only, as the peers print them", async () => {
    await using model = await loadModel(tinyModel);
    const few = await evaluateDivergence(model, peerBase);
    expect(few).toMatchObject({ scored: 15, contextSize: 32, chunks: 1, divergencePercentiles: undefined });
    expect(few.divergence.value).toBeLessThan(0.01);
    expect(few.sameTop.value).toBeGreaterThan(0.9);
    const many = await evaluateDivergence(model, base, { chunks: 2 });
    expect(many.divergencePercentiles).toMatchObject({ median: expect.any(Number) });
  });

  test("of another vocabulary is refused", async () => {
    const other = findFixture("golden", "llama-TQ2_0-q6_k.gguf") ?? "";
    await using model = await loadModel(tinyModel);
    await using strange = await loadModel(other);
    if (strange.tokenizer.info.vocabSize !== model.tokenizer.info.vocabSize) {
      await expect(evaluateDivergence(strange, base)).rejects.toMatchObject({ code: "USAGE" });
    }
    const bytes = readFileSync(base);
    bytes.writeInt32LE(2047, 12); // an odd vocabulary takes the same rows
    const path = join(folder, "vocabulary.kld");
    writeFileSync(path, bytes);
    await expect(evaluateDivergence(model, path)).rejects.toMatchObject({
      code: expect.stringMatching(/USAGE|BAD_FILE/),
    });
  });
});

describe("a base file", () => {
  test("of a peer is read, and its rows written again are the same", async () => {
    const file = await BaseFile.open(peerBase);
    try {
      expect(file.shape).toEqual({ contextSize: 32, vocabSize: 2048, chunks: 1 });
      expect(file.nll).toBeUndefined();
      for (let index = 0; index < 15; index++) {
        const { scale, floor, codes } = await file.row(index);
        const logits = Float32Array.from(codes, (code) => scale * code + floor);
        const row = new DataView(new ArrayBuffer(2 * (codes.length + 4)));
        encodeRow(logits, normalizerOf(logits), row);
        const again = Uint16Array.from(codes, (_, i) => row.getUint16(2 * (i + 4), true));
        const differing = codes.reduce((n, code, i) => n + (Math.abs(code - (again[i] ?? 0)) > 1 ? 1 : 0), 0);
        expect(differing).toBe(0);
      }
    } finally {
      await file.close();
    }
  });

  test("keeps each logit within half a step, and what is less likely at the floor", () => {
    const logits = Float32Array.from({ length: 301 }, (_, i) => 12 - i / 10);
    const normalizer = normalizerOf(logits);
    const row = new DataView(new ArrayBuffer(2 * (302 + 4)));
    encodeRow(logits, normalizer, row);
    const scale = row.getFloat32(0, true);
    const floor = row.getFloat32(4, true);
    expect(scale).toBeCloseTo(16 / 65535, 9);
    for (const [i, logit] of logits.entries()) {
      const code = row.getUint16(2 * (4 + i), true);
      const logprob = logit - normalizer.most - normalizer.logSum;
      if (i < 160) {
        expect(Math.abs(scale * code + floor - logprob)).toBeLessThan(scale * 0.51);
      } else {
        expect(code).toBe(0);
      }
    }
    const equal = new Float32Array(8).fill(3);
    encodeRow(equal, normalizerOf(equal), row);
    expect(row.getFloat32(0, true)).toBe(0);
    expect(row.getFloat32(4, true)).toBeCloseTo(-Math.log(8), 6);
  });

  test("that is cut anywhere is BAD_FILE, and so is one with a wrong field or more at its end", async () => {
    const bytes = readFileSync(peerBase);
    const path = join(folder, "damaged.kld");
    const refused = async (content: Uint8Array, what: string) => {
      writeFileSync(path, content);
      await expect(BaseFile.open(path), what).rejects.toMatchObject({ code: "BAD_FILE" });
    };
    for (const length of [0, 1, 7, 8, 11, 19, 20, 21, 147, 148, 149, 4000, bytes.length - 4104, bytes.length - 1]) {
      await refused(bytes.subarray(0, length), `cut to ${length}`);
    }
    await refused(Buffer.concat([bytes, Buffer.from([0])]), "one byte more");
    const own = readFileSync(base);
    for (const cut of [1, 8, 4096, own.length - 30]) {
      await refused(own.subarray(0, own.length - cut), `own, ${cut} bytes less`);
    }
    for (const [offset, value, what] of [
      [0, 0, "magic"],
      [8, 0, "context"],
      [8, 0xffffffff, "context"],
      [12, 0, "vocabulary"],
      [12, 0x7fffffff, "vocabulary"],
      [16, 0, "chunks"],
      [16, 0x7fffffff, "chunks"],
      [24, 5000, "an id"],
    ] as const) {
      const copy = Buffer.from(bytes);
      copy.writeUInt32LE(value, offset);
      await refused(copy, what);
    }
    const scale = Buffer.from(bytes);
    scale.writeFloatLE(Number.NaN, 20 + 4 * 32);
    writeFileSync(path, scale);
    const file = await BaseFile.open(path);
    await expect(file.row(0)).rejects.toMatchObject({ code: "BAD_FILE" });
    await file.close();
  });

  test("is not left behind half written", async () => {
    await using model = await loadModel(tinyModel);
    const controller = new AbortController();
    const path = join(folder, "stopped.kld");
    const stopped = evaluatePerplexity(model, text, {
      contextSize: 128,
      saveLogits: path,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(() => readFileSync(path)).toThrow();
  });
});

describe("a comparison", () => {
  test("of a model with itself answers that nothing changed, and of two cache types how much", async () => {
    const side = { label: "a", path: tinyModel };
    const options = { contextSize: 128, chunks: 12 };
    const same = await compareModels(side, side, text, options);
    expect(same).toMatchObject({ verdict: "same", sentence: expect.stringContaining("to the last bit") });
    expect(same.after).toMatchObject({ label: "a", perplexity: same.before.perplexity });
    const other = await compareModels(side, { label: "q8", path: tinyModel, cacheType: "q8" }, text, options);
    expect(other.after.cacheType).toBe("q8");
    expect(other.after.cacheBytes).toBeLessThan(other.before.cacheBytes);
    expect(other.divergence.divergence.value).toBeGreaterThan(0);
    expect(other.running.after).toHaveLength(12);
    expect(other.sentence).toMatch(/KL divergence .* same likeliest token/);
  });

  test("measures the speed of both in turns, after each has run once", async () => {
    const { inTurns } = await import("../../src/eval/compare.js");
    const order: string[] = [];
    const measure = (side: string) => async () => order.push(side);
    expect(await inTurns(measure("before"), measure("after"))).toEqual([
      [3, 6],
      [4, 5],
    ]);
    expect(order).toEqual(["before", "after", "before", "after", "after", "before"]);
  });

  test("tells a real loss from one that the text cannot show", async () => {
    const { judgeChange } = await import("../../src/eval/verdict.js");
    await using model = await loadModel(await convertTo("q4_0"));
    const statistics = await evaluateDivergence(model, base);
    const judge = (value: number, error: number) =>
      judgeChange({ ...statistics, lnRatio: { value, error }, ratio: { value: Math.exp(value), error } });
    expect(judge(0.01, 0.001)).toMatchObject({ verdict: "cost", sentence: expect.stringMatching(/^Yes: .*\+1\.0 %/) });
    expect(judge(-0.01, 0.001)).toMatchObject({ verdict: "gain", sentence: expect.stringMatching(/^No: .* falls/) });
    expect(judge(0.01, 0.006)).toMatchObject({ verdict: "no cost", sentence: expect.stringMatching(/^None that/) });
  });
});
