// The bundled, trained model against its reference: text, tokens, logits.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import { cacheTypes } from "../../src/native/addon.js";
import { argmax, readFixture, relativeRms, tinyModel } from "../support/fixtures.js";

interface Reference {
  prompts: {
    name: string;
    text: string;
    ids: number[];
    bf16: { logits: { argmax: number; top20: [number, number][] }; greedy_ids: number[]; greedy_text: string };
  }[];
}

interface Peer {
  prompts: { name: string; top20: [number, number][]; greedy: number[]; margins: number[] }[];
}

const reference = JSON.parse(readFixture("tiny-bitnet", "reference.json").toString()) as Reference;
const peer = JSON.parse(readFixture("tiny-bitnet", "peer.json").toString()) as Peer;
const logitsBound = 0.03;
const clearMargin = 0.25;

let model: Model;

beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
});

describe.each(reference.prompts)("$name", ({ name, text, ids, bf16 }) => {
  const other = peer.prompts.find((prompt) => prompt.name === name);

  test("is tokenized as the reference", () => {
    expect([...model.tokenizer.encode(text, { addSpecial: false, parseSpecial: true })]).toEqual(ids);
  });

  test("has the reference's logits at its end", async () => {
    await using session = model.createSession();
    await session.prefill(ids);
    const logits = session.logits();
    expect(argmax(logits)).toBe(bf16.logits.argmax);
    for (const top20 of [bf16.logits.top20, other?.top20 ?? []]) {
      const actual = top20.map(([id]) => logits[id] ?? Number.NaN);
      const expected = top20.map(([, logit]) => logit);
      expect(relativeRms(actual, expected)).toBeLessThanOrEqual(logitsBound);
    }
  });

  test.each(cacheTypes)("continues like bitnet.cpp as long as the choice is clear, with %s keys", async (cacheType) => {
    await using session = model.createSession({ cacheType });
    const { greedy = [], margins = [] } = other ?? {};
    const unclear = margins.findIndex((margin) => margin < clearMargin);
    const clear = greedy.slice(0, unclear < 0 ? greedy.length : unclear);
    const { tokens } = await session.complete(ids, { temperature: 0, maxTokens: clear.length });
    expect(clear.length).toBeGreaterThan(0);
    expect(tokens).toEqual(clear);
  });

  test.runIf(["chat_bitnet", "chat_two_turns"].includes(name))(
    "is answered with exactly the reference's text",
    async () => {
      await using session = model.createSession();
      const { text: answer, finishReason } = await session.complete(ids, { temperature: 0 });
      expect(answer).toBe(bf16.greedy_text);
      expect(finishReason).toBe("eog");
    },
  );
});
