// Whose turn it is, what may be found of others, and what the engine tells of both.

import { describe, expect, test } from "vitest";
import { BitnetError, type LoadOptions, loadModel, type SessionOptions } from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";

const story =
  "Once upon a time there was a little dog who lived in a big red house by the sea with a cat and a mouse. ".repeat(4);

function usage(message: RegExp) {
  return expect.objectContaining({ name: "BitnetError", code: "USAGE", message: expect.stringMatching(message) });
}

describe("admission", () => {
  test("with one place, generations run one after the other, and each waits for its turn alone", async () => {
    await using model = await loadModel(tinyModel, { parallel: 1 });
    const log: string[] = [];
    const run = async (name: string) => {
      await using session = model.createSession({ client: name });
      const onStart = () => log.push(`${name} starts`);
      const { tokens, timings } = await session.complete(story, { maxTokens: 8, seed: 1, ignoreEos: true, onStart });
      log.push(`${name} ends`);
      expect(timings.queueMs).toBeGreaterThanOrEqual(0);
      return tokens;
    };
    const [a, b, c] = await Promise.all(["a", "b", "c"].map(run));
    expect(log).toEqual(["a starts", "a ends", "b starts", "b ends", "c starts", "c ends"]);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
  });

  test("work in the background waits for all other", async () => {
    await using model = await loadModel(tinyModel, { parallel: 1 });
    const ended: string[] = [];
    const run = async (name: string, background: boolean) => {
      await using session = model.createSession({ background });
      await session.complete(story, { maxTokens: 20, seed: 1, ignoreEos: true });
      ended.push(name);
    };
    // It holds the place until it is left: nobody reads on.
    await using holder = model.createSession();
    const first = holder.generateTokens(story, { maxTokens: 200, ignoreEos: true });
    await first.next();
    const nightly = run("nightly", true);
    await expect.poll(() => model.stats().waiting).toBe(1);
    const chat = run("chat", false);
    await expect.poll(() => model.stats().waiting).toBe(2);
    await first.return();
    await Promise.all([nightly, chat]);
    expect(ended).toEqual(["chat", "nightly"]);
  });

  test("an aborted generation that waits never starts, and its session goes on", async () => {
    await using model = await loadModel(tinyModel, { parallel: 1 });
    await using busy = model.createSession();
    await using waiting = model.createSession();
    const controller = new AbortController();
    let starts = 0;
    const onStart = () => starts++;
    // The first one is stopped by its window while nobody reads it.
    const first = busy.generateTokens(story, { maxTokens: 200, ignoreEos: true });
    await first.next();
    const second = waiting.complete(story, { maxTokens: 2, signal: controller.signal, onStart });
    await expect.poll(() => model.stats().waiting).toBe(1);
    expect(model.stats()).toMatchObject({ running: 1 });
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: "ABORTED" });
    expect(starts).toBe(0);
    await first.return();
    expect((await waiting.complete(story, { maxTokens: 2, ignoreEos: true, onStart })).tokens).toHaveLength(2);
    expect(starts).toBe(1);
    await expect.poll(() => model.stats()).toMatchObject({ running: 0, waiting: 0, decoding: 0 });
  });

  test.each<[LoadOptions, RegExp]>([
    [{ parallel: -1 }, /^parallel: expected an integer/],
    [{ parallel: 1.5 }, /^parallel: expected an integer/],
    [{ kvBytes: Number.NaN }, /^kvBytes: expected an integer/],
    [{ stepRows: 1 }, /^stepRows: expected an integer from 2 to 256/],
    [{ stepRows: 257 }, /^stepRows: expected an integer from 2 to 256/],
    [{ stepMs: -1 }, /^stepMs: expected an integer/],
  ])("loadModel refuses %o", async (options, message) => {
    await expect(loadModel(tinyModel, options)).rejects.toEqual(usage(message));
  });

  test.each<[SessionOptions, RegExp]>([
    [{ weight: 0 }, /^weight: expected a number/],
    [{ weight: Number.NaN }, /^weight: expected a number/],
    [{ salt: "x".repeat(1025) }, /^salt: expected a text of at most 1024/],
    [{ client: 7 as unknown as string }, /^client: expected a text/],
  ])("createSession refuses %o", async (options, message) => {
    await using model = await loadModel(tinyModel);
    expect(() => model.createSession(options)).toThrow(BitnetError);
    expect(() => model.createSession(options)).toThrow(usage(message));
  });
});

describe("what is known of a prompt", () => {
  test("is told when a generation starts, found under the same salt only, and left alone without cachePrompt", async () => {
    await using model = await loadModel(tinyModel);
    const run = async (salt: string | undefined, cachePrompt?: boolean) => {
      await using session = model.createSession({ salt });
      let reused = -1;
      const onStart = (start: { reused: number }) => {
        reused = start.reused;
      };
      const result = await session.complete(story, { maxTokens: 8, seed: 3, cachePrompt, onStart });
      expect(result.timings.reusedTokens).toBe(reused);
      return { reused, text: result.text };
    };
    const first = await run("a");
    expect(first.reused).toBe(0);
    const again = await run("a");
    expect(again.reused).toBeGreaterThan(0);
    const stats = model.stats();
    expect(stats.reusedTokens).toBe(again.reused);
    expect(stats.promptTokens).toBe(2 * model.tokenizer.encode(story).length);
    expect((await run("b")).reused).toBe(0);
    expect((await run(undefined)).reused).toBe(0);
    const anew = await run("a", false);
    expect(anew.reused).toBe(0);
    expect(new Set([first.text, again.text, anew.text]).size).toBe(1);
  });
});

describe("stats", () => {
  test("count steps, rows and tokens", async () => {
    await using model = await loadModel(tinyModel);
    await using session = model.createSession();
    await session.complete(story, { maxTokens: 10, ignoreEos: true });
    const stats = model.stats();
    expect(stats.sampledTokens).toBe(10);
    expect(stats.preemptions).toBe(0);
    expect(stats.rows).toBe(stats.promptTokens + 9);
    for (const histogram of [stats.stepSeconds, stats.stepRows]) {
      expect(histogram.count).toBe(stats.steps);
      const counts = histogram.buckets.map(({ count }) => count);
      expect(counts).toEqual([...counts].sort((a, b) => a - b));
    }
    expect(stats.stepRows.sum).toBe(stats.rows);
    expect(stats.stepRows.buckets[0]).toEqual({ most: 1, count: 9 });
    expect(stats.kvUsage).toBeGreaterThan(0);
    expect(stats.kvUsage).toBeLessThanOrEqual(1);
  });
});
