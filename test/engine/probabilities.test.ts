// What is told of probabilities: of a prompt's own tokens, and of what sampling draws from.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel, type Model } from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";

const story = "Once upon a time there was a little dog who lived in a big red house by the sea with a cat and a mouse.";
let model: Model;

beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
});

/** Log-probabilities of a row of logits, in double precision. */
function logSoftmax(logits: Float32Array): number[] {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return Array.from(logits, (logit) => logit - most - Math.log(sum));
}

describe("score", () => {
  test("tells the likeliest tokens of every place as the logits have them", async () => {
    await using plain = model.createSession({ sharePrompts: false });
    await using session = model.createSession({ sharePrompts: false });
    const ids = model.tokenizer.encode(story);
    await plain.prefill(ids, { logits: "all" });
    const logits = plain.logits();
    const { vocabSize } = model.info;
    const from = 4;
    const { logprobs, likeliest, top = [] } = await session.score(ids, { from, top: 5 });
    expect(top).toHaveLength(ids.length - from);
    for (const [i, entries] of top.entries()) {
      const position = from + i - 1;
      const row = logSoftmax(logits.subarray(position * vocabSize, (position + 1) * vocabSize));
      const best = row.map((logprob, id) => ({ id, logprob })).sort((a, b) => b.logprob - a.logprob || a.id - b.id);
      expect(entries.map(({ id }) => id)).toEqual(best.slice(0, 5).map(({ id }) => id));
      for (const [k, { logprob }] of entries.entries()) {
        expect(logprob).toBeCloseTo(best[k]?.logprob ?? Number.NaN, 9);
      }
      expect(logprobs[i]).toBeCloseTo(row[ids[from + i] ?? -1] ?? Number.NaN, 9);
      expect(likeliest[i]).toBe(entries[0]?.id === ids[from + i] ? 1 : 0);
    }
    expect((await session.score(ids, { top: 0 })).top).toBeUndefined();
    for (const bad of [-1, 21, 1.5]) {
      await expect(session.score(ids, { top: bad })).rejects.toMatchObject({ code: "USAGE" });
    }
  });

  test("leaves its work to a generation with the same prompt", async () => {
    await using session = model.createSession({ sharePrompts: false });
    await using alone = model.createSession({ sharePrompts: false });
    const ids = model.tokenizer.encode(story);
    await session.score(ids, { top: 1 });
    const after = await session.complete(ids, { maxTokens: 8, seed: 2 });
    expect(after.timings.reusedTokens).toBe(ids.length - 1);
    expect(after.tokens).toEqual((await alone.complete(ids, { maxTokens: 8, seed: 2 })).tokens);
  });
});

describe("postSamplingProbs", () => {
  test("are what the chain leaves, and change no text", async () => {
    await using session = model.createSession();
    const options = { maxTokens: 30, seed: 5, topK: 4, minP: 0, topP: 1, temperature: 1.5 };
    const generation = session.generate(story, { ...options, postSamplingProbs: 10, logprobs: 1 });
    const ids: number[] = [];
    for await (const { id, prob, topProbs = [], logprob } of generation) {
      ids.push(id);
      expect(topProbs).toHaveLength(4);
      expect(topProbs.reduce((sum, entry) => sum + entry.prob, 0)).toBeCloseTo(1, 5);
      expect(topProbs.find((entry) => entry.id === id)?.prob).toBe(prob);
      expect(logprob).toBeLessThan(0);
    }
    expect((await session.complete(story, options)).tokens).toEqual(ids);
    for await (const piece of session.generate(story, { maxTokens: 3, temperature: 0, postSamplingProbs: 2 })) {
      expect(piece).toMatchObject({ prob: 1, topProbs: [{ id: piece.id, prob: 1 }] });
      expect(piece).not.toHaveProperty("logprob");
    }
  });
});

describe("encodeAsync", () => {
  test("gives the ids of encode", async () => {
    const texts = [
      story,
      "",
      "</s> \u{1f600} \u0000 x",
      "<s>twice",
      "a".repeat(10_000),
      Buffer.from([0xff, 0x41, 0xc3]),
    ];
    for (const options of [{}, { addSpecial: false }, { parseSpecial: true }]) {
      const ids = await Promise.all(texts.map((text) => model.tokenizer.encodeAsync(text, options)));
      expect(ids).toEqual(texts.map((text) => model.tokenizer.encode(text, options)));
    }
  });

  test("refuses what is too long, and unknown options", async () => {
    const { tokenizer } = model;
    await expect(tokenizer.encodeAsync("a".repeat(2 ** 25 + 1))).rejects.toMatchObject({ code: "USAGE" });
    await expect(tokenizer.encodeAsync(story, { special: true } as object)).rejects.toMatchObject({ code: "USAGE" });
  });
});
