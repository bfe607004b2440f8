// Perplexity against bitnet.cpp's, llama.cpp's and that of a reference in double precision; the core that it is made of.

import { describe, expect, test } from "vitest";
import { evaluatePerplexity, listKernels, loadModel, type Model } from "../../src/index.js";
import { findFixture, readFixture, tinyModel } from "../support/fixtures.js";

interface GoldenCase {
  model: string;
  ctx: number;
  tokens: number;
  chunks: number;
  scored: number;
  running: number[];
  ppl: number;
  err: number;
}

const golden = JSON.parse(readFixture("eval", "perplexity.json").toString()) as {
  sha256: string;
  cases: GoldenCase[];
  stride: { context: number; stride: number; chunks: number; running: number[] };
};
const text = readFixture("eval", "text.txt").toString();
const supported = listKernels()
  .filter(({ supported }) => supported)
  .map(({ name }) => name);

function findModel(name: string): string | undefined {
  return name.startsWith("models/") ? tinyModel : findFixture("golden", name.replace("golden/", ""));
}

/** How far running values may be off, in ln: the first windows have few terms. */
function expectRunning(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of actual.entries()) {
    expect(Math.abs(Math.log(value / (expected[i] ?? 0))), `window ${i + 1}`).toBeLessThanOrEqual(
      i < 10 ? 0.03 : 0.008,
    );
  }
}

describe("perplexity", () => {
  for (const { model: name, ctx, ...expected } of golden.cases) {
    const path = findModel(name);
    test.skipIf(path === undefined)(`of ${name} at ${ctx} tokens is that of the peer, window by window`, async () => {
      await using model = await loadModel(path ?? "");
      const seen: number[] = [];
      const result = await evaluatePerplexity(model, text, {
        contextSize: ctx,
        onProgress: ({ perplexity }) => seen.push(perplexity),
      });
      expect(Math.abs(result.perplexity / expected.ppl - 1)).toBeLessThanOrEqual(0.002);
      expect(Math.abs((result.error ?? 0) / expected.err - 1)).toBeLessThanOrEqual(0.01);
      expectRunning(result.running, expected.running);
      expect(seen).toEqual(result.running);
      expect(result).toMatchObject({
        tokens: expected.tokens,
        chunks: expected.chunks,
        scored: expected.scored,
        textSha256: golden.sha256,
        algorithm: "windows",
        replacesFirst: true,
        modelFingerprint: model.fingerprint(),
      });
    });
  }

  test("with a stride is that of the peer, without BOS before each window", async () => {
    await using model = await loadModel(tinyModel);
    const { stride, chunks, running } = golden.stride;
    const result = await evaluatePerplexity(model, text, { contextSize: 128, stride });
    expect(result).toMatchObject({ chunks, algorithm: "strided windows", replacesFirst: false });
    expectRunning(result.running, running);
    expect(result.scored).toBe(chunks * stride);
  });

  test("and its bits per byte are those of its definition", async () => {
    await using model = await loadModel(tinyModel);
    const result = await evaluatePerplexity(model, text, { contextSize: 128, chunks: 4 });
    expect(result.bitsPerByte).toBeCloseTo((result.nll * result.scored) / Math.LN2 / result.scoredBytes, 10);
    const ids = model.tokenizer.encode(text.slice(0, -1));
    let bytes = 0;
    for (let chunk = 0; chunk < 4; chunk++) {
      for (const id of ids.subarray(chunk * 128 + 65, (chunk + 1) * 128)) {
        bytes += model.tokenizer.bytes(id).length;
      }
    }
    expect(result.scoredBytes).toBe(bytes);
  });

  test("does not depend on threads, and with every kernel is within half a percent of the scalar one", async () => {
    const measure = async (kernel: string, threads: number) => {
      await using model = await loadModel(tinyModel, { kernel, threads });
      return await evaluatePerplexity(model, text, { contextSize: 64, chunks: 4 });
    };
    const scalar = await measure("scalar", 1);
    for (const kernel of supported) {
      const one = await measure(kernel, 1);
      const two = await measure(kernel, 2);
      expect(two.running, kernel).toEqual(one.running);
      expect(Math.abs(one.perplexity / scalar.perplexity - 1), kernel).toBeLessThan(0.005);
    }
  });

  test("names the tokens that a short text would need, and takes a text of exactly two windows", async () => {
    await using model = await loadModel(tinyModel);
    const words = model.tokenizer.decode(model.tokenizer.encode(text).subarray(1, 900));
    let short = words;
    while (model.tokenizer.encode(short).length > 256) {
      short = short.slice(0, -1);
    }
    const exact = model.tokenizer.encode(short).length;
    expect(exact).toBe(256);
    expect((await evaluatePerplexity(model, short, { contextSize: 128 })).chunks).toBe(2);
    for (const tooShort of ["", "a", short]) {
      await expect(evaluatePerplexity(model, tooShort, { contextSize: 129 })).rejects.toMatchObject({
        code: "USAGE",
        message: expect.stringContaining("needs at least 258"),
      });
    }
    await expect(evaluatePerplexity(model, "")).rejects.toMatchObject({ hint: "take a longer text" });
  });

  test("reads names of control tokens as text unless told otherwise", async () => {
    await using model = await loadModel(tinyModel);
    const { eos } = model.tokenizer.info;
    const named = `${model.tokenizer.token(eos)}${text.slice(0, 3000)}`;
    const options = { contextSize: 64, chunks: 2 };
    const plain = await evaluatePerplexity(model, named, options);
    const special = await evaluatePerplexity(model, named, { ...options, parseSpecial: true });
    expect(special.tokens).toBeLessThan(plain.tokens);
  });

  test("is stopped by a signal, after which the model can be used", async () => {
    await using model = await loadModel(tinyModel);
    const controller = new AbortController();
    const stopped = evaluatePerplexity(model, text, {
      contextSize: 128,
      signal: controller.signal,
      onProgress: ({ done }) => done === 2 && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect((await evaluatePerplexity(model, text, { contextSize: 128, chunks: 1 })).chunks).toBe(1);
  });

  test("refuses a context beyond the model's and a stride that leaves out text", async () => {
    await using model = await loadModel(tinyModel);
    await expect(evaluatePerplexity(model, text, { contextSize: 1 << 20 })).rejects.toMatchObject({ code: "USAGE" });
    await expect(evaluatePerplexity(model, text, { contextSize: 128, stride: 128 })).rejects.toMatchObject({
      code: "USAGE",
    });
  });
});

test("an embedding model has no perplexity, and that is what is said", async () => {
  await using model = await loadModel(findFixture("eval", "embed/qwen3-bitnet.gguf") ?? "");
  await expect(evaluatePerplexity(model, text)).rejects.toThrow("makes embeddings and predicts no text");
});

describe("distributions", () => {
  const ids = (model: Model) => model.tokenizer.encode(text).subarray(0, 300);

  test("give the log-probabilities of score, whatever is known and in any batches", async () => {
    for (const stepRows of [2, 256]) {
      await using model = await loadModel(tinyModel, { stepRows, threads: stepRows === 2 ? 1 : 2 });
      const tokens = ids(model);
      await using session = model.createSession({ contextSize: 512 });
      for (const from of [1, 280, 30]) {
        const { logprobs } = await session.score(tokens, { from });
        const sums: number[] = [];
        const { reused } = await session.distributions(tokens, { from }, ({ first, rows, width, logits }) => {
          expect(rows).toBeLessThanOrEqual(32);
          expect(first).toBe(from + sums.length);
          for (let i = 0; i < rows; i++) {
            const row = logits.subarray(i * width, (i + 1) * width);
            const most = row.reduce((a, b) => Math.max(a, b));
            const sum = row.reduce((total, logit) => total + Math.exp(logit - most), 0);
            sums.push((row[tokens[first + i] ?? 0] ?? 0) - most - Math.log(sum));
          }
        });
        expect(reused).toBe(from - 1);
        expect(sums.length).toBe(logprobs.length);
        for (const [i, value] of sums.entries()) {
          expect(Math.abs(value - (logprobs[i] ?? 0))).toBeLessThan(1e-9);
        }
      }
    }
  });

  test("wait for the sink, pass its error on, and end with a signal", async () => {
    await using model = await loadModel(tinyModel);
    await using session = model.createSession({ contextSize: 512 });
    const tokens = ids(model);
    let isBusy = false;
    await session.distributions(tokens, {}, async () => {
      expect(isBusy).toBe(false);
      isBusy = true;
      await new Promise(setImmediate);
      isBusy = false;
    });
    const failing = session.distributions(tokens, {}, () => {
      throw new Error("of the sink");
    });
    await expect(failing).rejects.toThrow("of the sink");
    const controller = new AbortController();
    let blocks = 0;
    const stopped = session.distributions(tokens, { signal: controller.signal }, () => {
      blocks++;
      controller.abort();
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(blocks).toBe(1);
    await expect(session.distributions(tokens, { from: tokens.length }, () => {})).rejects.toMatchObject({
      code: "USAGE",
    });
    expect((await session.score(tokens, { from: 290 })).logprobs.length).toBe(10);
  });
});
