// The library as its users see it, on the bundled model.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BitnetError, type GenerateOptions, loadModel, type Model, type Piece } from "../../src/index.js";
import { root, tinyModel } from "../support/fixtures.js";

const story = "Once upon a time";
let model: Model;

beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
});

function usage(message: RegExp) {
  return expect.objectContaining({ name: "BitnetError", code: "USAGE", message: expect.stringMatching(message) });
}

describe("loadModel", () => {
  test("tells what the model is", () => {
    expect(model.info).toMatchObject({ vocabSize: 2048, blockCount: 4, embeddingLength: 256, contextLength: 512 });
    expect(model.info.threads).toBeGreaterThanOrEqual(1);
    expect(model.gguf.metadata()["general.architecture"]).toBe(model.info.architecture);
    expect(model.gguf.tensors().length).toBeGreaterThan(4 * 9);
  });

  test("rejects a missing file", async () => {
    await expect(loadModel("/nowhere/model.gguf")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test.each([0, -1, 1.5, Number.NaN, 100_000])("rejects %d threads", async (threads) => {
    await expect(loadModel(tinyModel, { threads })).rejects.toEqual(usage(/^threads: expected an integer/));
  });

  test("rejects an unknown kernel", async () => {
    await expect(loadModel(tinyModel, { kernel: "abacus" })).rejects.toMatchObject({ name: "BitnetError" });
  });

  test("does not load when the signal has fired", async () => {
    await expect(loadModel(tinyModel, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("a closed model makes no sessions, and may be closed twice", async () => {
    const other = await loadModel(tinyModel);
    const session = other.createSession();
    other.close();
    other.close();
    expect(() => other.createSession()).toThrow(BitnetError);
    expect((await session.complete(story, { maxTokens: 2, temperature: 0 })).tokens).toHaveLength(2);
    session.close();
  });
});

describe("createSession", () => {
  test("keeps keys and values as asked", async () => {
    await using f16 = model.createSession({ contextSize: 64 });
    await using same = model.createSession({ contextSize: 64, cacheType: "f16" });
    await using q8 = model.createSession({ contextSize: 64, cacheType: "q8" });
    expect(same.kvBytes).toBe(f16.kvBytes);
    expect(q8.kvBytes).toBeLessThan(0.6 * f16.kvBytes);
    expect(q8.kvBytes).toBeGreaterThan(0.5 * f16.kvBytes);
    expect(() => model.createSession({ cacheType: "q4" as "q8" })).toThrow(usage(/^cacheType/));
  });

  test.each([0, -1, 2.5, Number.NaN])("rejects a context of %d tokens", (contextSize) => {
    expect(() => model.createSession({ contextSize })).toThrow(usage(/^contextSize/));
  });

  test("a closed session refuses everything and may be closed twice", async () => {
    const session = model.createSession();
    session.close();
    session.close();
    expect(() => session.tokens()).toThrow(usage(/closed/));
    await expect(session.prefill([1])).rejects.toEqual(usage(/closed/));
    await expect(session.complete(story)).rejects.toEqual(usage(/closed/));
  });
});

describe("generate", () => {
  test("streams one piece per token, and the pieces are the text", async () => {
    await using session = model.createSession();
    const generation = session.generate(story, { maxTokens: 20, temperature: 0 });
    const pieces: Piece[] = [];
    let next = await generation.next();
    for (; !next.done; next = await generation.next()) {
      pieces.push(next.value);
    }
    const result = next.value;
    expect(pieces.map((piece) => piece.id)).toEqual(result.tokens);
    expect(pieces.map((piece) => piece.text).join("")).toBe(model.tokenizer.decode(result.tokens));
    expect(result.finishReason).toBe("length");
    expect(result.timings).toMatchObject({ promptTokens: 5, reusedTokens: 0, generatedTokens: 20 });
    expect(session.timings).toEqual(result.timings);
  });

  test("gives the same text for a string, an array and an Int32Array", async () => {
    const options = { maxTokens: 10, temperature: 0 };
    const ids = model.tokenizer.encode(story);
    const texts: string[] = [];
    for (const prompt of [story, [...ids], ids]) {
      await using session = model.createSession();
      texts.push((await session.complete(prompt, options)).text);
    }
    expect(new Set(texts).size).toBe(1);
  });

  test("gives the same text for the same seed, on any number of threads, and another for another", async () => {
    const complete = async (threads: number, seed: number) => {
      await using other = await loadModel(tinyModel, { threads });
      await using session = other.createSession();
      return await session.complete(story, { maxTokens: 40, temperature: 1.5, topK: 0, topP: 1, minP: 0, seed });
    };
    const first = await complete(1, 7);
    expect(first.seed).toBe(7);
    expect((await complete(2, 7)).text).toBe(first.text);
    expect((await complete(1, 8)).text).not.toBe(first.text);
  });

  test("reports the seed that it chose, and that seed repeats the text", async () => {
    await using session = model.createSession();
    const options = { maxTokens: 30, temperature: 1.2 };
    const first = await session.complete(story, options);
    expect((await session.complete(story, { ...options, seed: first.seed })).text).toBe(first.text);
  });

  test("tokens alone are those of the text", async () => {
    await using session = model.createSession();
    const options = { maxTokens: 12, seed: 3, logprobs: 2 };
    const expected = await session.complete(story, options);
    const generation = session.generateTokens(story, options);
    const ids: number[] = [];
    for await (const { id, top } of generation) {
      expect(top).toHaveLength(2);
      ids.push(id);
    }
    const { timings, ...result } = await generation.result;
    expect(ids).toEqual(expected.tokens);
    expect(result).toEqual({ finishReason: "length", tokens: ids, seed: 3 });
    expect(timings.generatedTokens).toBe(12);
  });

  test("the result can be awaited without a loop", async () => {
    await using session = model.createSession();
    const { text } = await session.complete(story, { maxTokens: 5, temperature: 0 });
    expect(await session.generate(story, { maxTokens: 5, temperature: 0 }).result).toMatchObject({
      text,
      finishReason: "length",
    });
  });

  test("reuses what the session has evaluated", async () => {
    await using session = model.createSession();
    const { tokens } = await session.complete(story, { maxTokens: 8, temperature: 0 });
    const ids = [...model.tokenizer.encode(story), ...tokens];
    // The last token was not evaluated yet.
    expect([...session.tokens()]).toEqual(ids.slice(0, -1));
    const { timings } = await session.complete([...ids, 13], { maxTokens: 1, temperature: 0 });
    expect(timings).toMatchObject({ promptTokens: ids.length + 1, reusedTokens: ids.length - 1 });
  });

  test("continues as if the text had been generated at once", async () => {
    await using whole = model.createSession();
    await using parts = model.createSession();
    const ids = [...model.tokenizer.encode(story)];
    const { tokens } = await whole.complete(ids, { maxTokens: 24, temperature: 0 });
    const { tokens: first } = await parts.complete(ids, { maxTokens: 12, temperature: 0 });
    const { tokens: second } = await parts.complete([...ids, ...first], { maxTokens: 12, temperature: 0 });
    expect([...first, ...second]).toEqual(tokens);
  });

  test("ends at a stop string and does not show it", async () => {
    await using session = model.createSession();
    const whole = await session.complete(story, { maxTokens: 40, temperature: 0 });
    const stop = whole.text.slice(20, 27);
    const stopped = await session.complete(story, { maxTokens: 40, temperature: 0, stop: ["never seen", stop] });
    expect(stopped).toMatchObject({ finishReason: "stop", stopString: stop });
    expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
  });

  test("ends when the model ends, unless told to go on", async () => {
    await using session = model.createSession();
    const prompt = "User: What is BitNet?<|eot_id|>Assistant: ";
    const options = { parseSpecial: true, temperature: 0, maxTokens: 60 };
    const ended = await session.complete(prompt, options);
    expect(ended.finishReason).toBe("eog");
    expect(model.tokenizer.isEog(ended.tokens.at(-1) ?? -1)).toBe(true);
    expect(ended.text).toBe(model.tokenizer.decode(ended.tokens.slice(0, -1)));
    const unended = await session.complete(prompt, { ...options, ignoreEos: true });
    expect(unended.finishReason).toBe("length");
    expect(unended.tokens.some((id) => model.tokenizer.isEog(id))).toBe(false);
  });

  test("ends when the context is full, using all of it", async () => {
    await using session = model.createSession({ contextSize: 16 });
    const { finishReason, tokens } = await session.complete(story, { temperature: 0, ignoreEos: true });
    expect(finishReason).toBe("context");
    expect(tokens).toHaveLength(16 - 5 + 1);
    expect(session.tokens()).toHaveLength(16);
  });

  test("a prompt that fills the context gets one token", async () => {
    await using session = model.createSession({ contextSize: 5 });
    expect(await session.complete(story, { temperature: 0 })).toMatchObject({ finishReason: "context", tokens: [11] });
  });

  test("maxTokens 0 evaluates the prompt alone", async () => {
    await using session = model.createSession();
    expect(await session.complete(story, { maxTokens: 0 })).toMatchObject({
      text: "",
      finishReason: "length",
      tokens: [],
    });
    expect(session.tokens()).toHaveLength(5);
  });

  test("forbids and forces tokens by their bias", async () => {
    await using session = model.createSession();
    const options = { maxTokens: 1, temperature: 0 };
    const { tokens } = await session.complete(story, options);
    const best = tokens[0] ?? -1;
    const without = await session.complete(story, { ...options, logitBias: { [best]: Number.NEGATIVE_INFINITY } });
    expect(without.tokens).not.toEqual(tokens);
    const forced = await session.complete(story, { ...options, logitBias: new Map([[100, 1000]]) });
    expect(forced.tokens).toEqual([100]);
  });

  test("reports log-probabilities that are those of the logits", async () => {
    await using session = model.createSession();
    await session.prefill(model.tokenizer.encode(story));
    const logits = session.logits();
    const logSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    const generation = session.generate(story, { maxTokens: 1, temperature: 0, logprobs: 5 });
    const piece = (await generation.next()).value as Piece;
    await generation.return(undefined as never);
    expect(piece.top).toHaveLength(5);
    expect(piece.top?.[0]).toEqual({ id: piece.id, logprob: piece.logprob });
    for (const { id, logprob } of piece.top ?? []) {
      expect(logprob).toBeCloseTo((logits[id] ?? Number.NaN) - logSum, 3);
    }
  });
});

describe("stopping early", () => {
  test("leaving the loop leaves the session usable", async () => {
    await using session = model.createSession();
    const expected = await session.complete(story, { maxTokens: 10, temperature: 0 });
    let seen = 0;
    for await (const _ of session.generate(story, { temperature: 0 })) {
      if (++seen === 3) {
        break;
      }
    }
    expect((await session.complete(story, { maxTokens: 10, temperature: 0 })).text).toBe(expected.text);
  });

  test("a signal during the generation throws ABORTED and leaves the session usable", async () => {
    await using session = model.createSession();
    const expected = await session.complete(story, { maxTokens: 10, temperature: 0 });
    const controller = new AbortController();
    const generation = session.generate(story, { temperature: 0, signal: controller.signal });
    await generation.next();
    controller.abort();
    await expect(generation.next()).rejects.toMatchObject({ code: "ABORTED" });
    expect((await session.complete(story, { maxTokens: 10, temperature: 0 })).text).toBe(expected.text);
  });

  test("a signal during the prompt throws ABORTED and leaves the session usable", async () => {
    await using session = model.createSession();
    const ids = Array.from({ length: 500 }, (_, i) => (i * 7) % 2000);
    const controller = new AbortController();
    const prefill = session.prefill(ids, { signal: controller.signal });
    setImmediate(() => controller.abort());
    await prefill.catch((error: unknown) => expect(error).toMatchObject({ code: "ABORTED" }));
    await using fresh = model.createSession();
    await session.prefill(ids);
    await fresh.prefill(ids);
    expect(session.tokens()).toEqual(fresh.tokens());
    expect(session.logits()).toEqual(fresh.logits());
  });

  test("a signal that fired before starts nothing", async () => {
    await using session = model.createSession();
    await expect(session.complete(story, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    expect(session.tokens()).toHaveLength(0);
  });

  test("a generation that nobody reads any more does not keep the process", async () => {
    const script = `
      const { loadModel } = await import(${JSON.stringify(join(root, "dist", "index.js"))});
      const model = await loadModel(${JSON.stringify(tinyModel)});
      const generation = model.createSession().generate("Once", { ignoreEos: true });
      await generation[Symbol.asyncIterator]().next();
      process.stdout.write("read one");`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      timeout: 120_000,
    });
    expect(stdout).toBe("read one");
  });

  test("closing a session while it generates ends the generation", async () => {
    const session = model.createSession();
    const generation = session.generate(story, { temperature: 0 });
    await generation.next();
    const pending = generation.next();
    session.close();
    await pending.then(
      () => expect(generation.next()).rejects.toBeInstanceOf(BitnetError),
      (error: unknown) => expect(error).toBeInstanceOf(BitnetError),
    );
  });
});

describe("several at a time", () => {
  test("a session does one thing at a time", async () => {
    await using session = model.createSession();
    const generation = session.generate(story, { temperature: 0 });
    await generation.next();
    await expect(session.complete(story)).rejects.toEqual(usage(/busy/));
    await expect(session.prefill([1])).rejects.toEqual(usage(/busy/));
    await generation.return(undefined as never);
    expect((await session.complete(story, { maxTokens: 1 })).tokens).toHaveLength(1);
  });

  test("sessions of one model that run together give what they give alone", async () => {
    const prompts = [story, "User: What is BitNet?", "The cat", "One day, a dog"];
    const complete = async (prompt: string) => {
      await using session = model.createSession();
      return (await session.complete(prompt, { maxTokens: 24, temperature: 0 })).text;
    };
    const alone: string[] = [];
    for (const prompt of prompts) {
      alone.push(await complete(prompt));
    }
    expect(await Promise.all(prompts.map(complete))).toEqual(alone);
  });

  test("the main thread stays free while a prompt is evaluated", async () => {
    await using session = model.createSession();
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await session.prefill(Array.from({ length: 512 }, (_, i) => i % 2000));
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(0);
  });
});

describe("score", () => {
  const text = "Once upon a time, there was a little dog named Max. He liked to play.";

  /** From all logits, in double precision. */
  async function reference(ids: readonly number[]): Promise<number[]> {
    await using session = model.createSession();
    await session.prefill(ids, { logits: "all" });
    const logits = session.logits();
    const { vocabSize } = model.info;
    return ids.slice(1).map((id, row) => {
      const of = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      const most = of.reduce((a, b) => Math.max(a, b));
      const sum = of.reduce((total, logit) => total + Math.exp(logit - most), 0);
      return (of[id] ?? Number.NaN) - most - Math.log(sum);
    });
  }

  test("gives the log-probability of each token after those before it", async () => {
    const ids = [...model.tokenizer.encode(text)];
    const expected = await reference(ids);
    await using session = model.createSession();
    const { logprobs, likeliest } = await session.score(text);
    expect([logprobs.length, likeliest.length]).toEqual([ids.length - 1, ids.length - 1]);
    for (const [i, score] of logprobs.entries()) {
      expect(Math.abs(score - (expected[i] ?? Number.NaN))).toBeLessThan(1e-4);
    }
  });

  test("is the same whatever the session has computed before, and from any token on", async () => {
    const ids = model.tokenizer.encode(text);
    await using session = model.createSession();
    const { logprobs, likeliest } = await session.score(ids);
    for (const from of [1, 7, ids.length - 1]) {
      const expected = { logprobs: logprobs.slice(from - 1), likeliest: likeliest.slice(from - 1) };
      expect(await session.score(ids, { from })).toMatchObject(expected);
      await session.complete(story, { maxTokens: 5, temperature: 0 });
      expect(await session.score(ids, { from })).toMatchObject(expected);
    }
  });

  test("a token that a generation chose has the log-probability that it reported", async () => {
    await using session = model.createSession();
    const ids = [...model.tokenizer.encode(story)];
    const pieces: Piece[] = [];
    for await (const piece of session.generate(ids, { maxTokens: 8, temperature: 0, logprobs: 1 })) {
      pieces.push(piece);
    }
    const scored = [...ids, ...pieces.map(({ id }) => id)];
    const { logprobs, likeliest } = await session.score(scored, { from: ids.length });
    expect([...likeliest]).toEqual(pieces.map(() => 1));
    for (const [i, { logprob }] of pieces.entries()) {
      expect(logprobs[i]).toBeCloseTo(logprob ?? Number.NaN, 4);
    }
  });

  test("is ended by a signal", async () => {
    await using session = model.createSession();
    await expect(session.score(text, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    expect((await session.score("Once upon")).logprobs.length).toBeGreaterThan(0);
  });

  test.each([
    [{ from: 0 }, /^from: expected an integer from 1 to/],
    [{ from: 1000 }, /^from: expected an integer from 1 to/],
    [{ form: 1 }, /^score has no option "form"/],
  ])("refuses %j", async (options, message) => {
    await using session = model.createSession();
    await expect(session.score(text, options as never)).rejects.toEqual(usage(message));
    await expect(session.score([1])).rejects.toEqual(usage(/at least two tokens/));
  });
});

describe("options", () => {
  test("DRY keeps a model from repeating itself, but not across a breaker", async () => {
    const prompt = [11, 12, 13, 14, 11, 12, 13];
    const choose = async (options: GenerateOptions) => {
      await using session = model.createSession();
      return (await session.complete(prompt, { temperature: 0, maxTokens: 1, logitBias: { 14: 100 }, ...options }))
        .tokens;
    };
    expect(await choose({})).toEqual([14]);
    expect(await choose({ dryMultiplier: 1000 })).not.toEqual([14]);
    expect(await choose({ dryMultiplier: 1000, drySequenceBreakers: [model.tokenizer.decode([13])] })).toEqual([14]);
    expect(await choose({ dryMultiplier: 1000, dryAllowedLength: 4 })).toEqual([14]);
  });

  test.each([
    [{ temperature: Number.NaN }, /^temperature/],
    [{ topK: -1 }, /^topK/],
    [{ topK: 1.5 }, /^topK/],
    [{ topP: 2 }, /^topP/],
    [{ minP: -0.1 }, /^minP/],
    [{ typicalP: 1.1 }, /^typicalP/],
    [{ repeatPenalty: 0 }, /^repeatPenalty/],
    [{ repeatLastN: -2 }, /^repeatLastN/],
    [{ dryBase: 0.9 }, /^dryBase/],
    [{ drySequenceBreakers: [""] }, /^drySequenceBreakers must be .* of 1 to 40 bytes/],
    [{ drySequenceBreakers: new Array(65).fill("x") }, /^drySequenceBreakers must be at most 64 texts/],
    [{ xtcThreshold: "0.1" as unknown as number }, /^xtcThreshold must be a number/],
    [{ seed: -1 }, /^seed/],
    [{ seed: 2 ** 53 }, /^seed/],
    [{ maxTokens: -2 }, /^maxTokens/],
    [{ logprobs: -1 }, /^logprobs/],
    [{ stop: [""] }, /^stop/],
    [{ logitBias: { 99999: 1 } }, /99999 is not a token id/],
    [{ logitBias: { 1: Number.NaN } }, /^logitBias/],
    [{ stop: "\n" as never }, /^stop/],
  ])("%j is refused by name", async (options, message) => {
    await using session = model.createSession();
    await expect(session.complete(story, options)).rejects.toEqual(usage(message));
    expect(() => session.generate(story, options)).toThrow(usage(message));
  });

  test("an unknown name is refused wherever options are taken, with the nearest one, before any work", async () => {
    const unknown = (message: string, hint: string) => expect.objectContaining({ code: "USAGE", message, hint });
    await expect(loadModel("/nowhere.gguf", { thread: 1 } as never)).rejects.toEqual(
      unknown('loadModel has no option "thread"', "did you mean threads?"),
    );
    expect(() => model.createSession({ contextsize: 1 } as never)).toThrow(
      unknown('createSession has no option "contextsize"', "did you mean contextSize?"),
    );
    await using session = model.createSession();
    expect(() => session.generate("", { max_tokens: 1 } as never)).toThrow(
      unknown('generate has no option "max_tokens"', "did you mean maxTokens?"),
    );
    expect(() => session.generateTokens("", { topk: 1 } as never)).toThrow(
      unknown('generateTokens has no option "topk"', "did you mean topK?"),
    );
    await expect(session.prefill([], { lastOnly: true } as never)).rejects.toEqual(
      unknown('prefill has no option "lastOnly"', "its options: logits, signal"),
    );
    await expect(loadModel(tinyModel, { tuning: { batchRow: 1 } as never })).rejects.toEqual(
      unknown('loadModel: tuning has no option "batchRow"', "did you mean batchRows?"),
    );
    expect(() => model.tokenizer.encode("a", { addspecial: false } as never)).toThrow(
      unknown('encode has no option "addspecial"', "did you mean addSpecial?"),
    );
    expect(() => model.tokenizer.decode([1], { constructor: true } as never)).toThrow(
      unknown('decode has no option "constructor"', "its options: special"),
    );
    expect(() => session.generate("", "fast" as never)).toThrow(
      usage(/^generate: expected an object with options, got fast/),
    );
  });

  test("tokens without text have no stop strings", async () => {
    await using session = model.createSession();
    expect(() => session.generateTokens(story, { stop: ["."] } as never)).toThrow(usage(/no option "stop"/));
  });

  test.each([
    [[], /prompt is empty/],
    [[2048], /2048 is not a token id/],
    [[-1], /-1 is not a token id/],
    [[1.5], /1.5 is not a token id/],
    [[Number.NaN], /NaN is not a token id/],
    [new Array(17).fill(1), /17 tokens, but the context holds 16/],
  ])("the prompt %j is refused", async (prompt, message) => {
    await using session = model.createSession({ contextSize: 16 });
    await expect(session.complete(prompt)).rejects.toEqual(usage(message));
    await expect(session.prefill(prompt)).rejects.toEqual(usage(message));
  });
});
