// What a request gets is a function of the model, the kernels, the request and its seed alone: neighbours, sizes of steps,
// threads, caches, memory and who leaves never show.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ServeOptions } from "../../src/serve/options.js";
import { createRandom } from "../support/random.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const subjects = ["a cat", "the old king", "a red ball", "Lily and her dog", "the moon", "a very small train", "rain"];
const schema = {
  type: "object",
  properties: { name: { enum: ["Tom", "Lily"] }, age: { type: "integer", minimum: 1, maximum: 99 } },
  required: ["name", "age"],
  additionalProperties: false,
};

interface Call {
  path: string;
  body: Record<string, unknown>;
}

function createCalls(count: number): Call[] {
  const random = createRandom(7);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  return Array.from({ length: count }, (_, i) => {
    const subject = pick(subjects);
    // Beginnings of many lengths, which others share.
    const story = `Once upon a time there was ${subject}. `.repeat(1 + Math.floor(random() * 12));
    const sampling = random() < 0.4 ? { temperature: 0 } : { temperature: 1, seed: i, top_k: pick([0, 5, 40]) };
    const shared = { ...sampling, max_tokens: 1 + Math.floor(random() * 40), n: random() < 0.15 ? 2 : 1 };
    if (random() < 0.5) {
      const logprobs = random() < 0.3 ? { logprobs: 3, echo: random() < 0.5 } : {};
      return { path: "/v1/completions", body: { prompt: story, ...shared, ...logprobs } };
    }
    const extra = [
      {},
      { logprobs: true, top_logprobs: 2 },
      { response_format: { type: "json_schema", json_schema: { schema } } },
    ];
    const messages = [
      { role: "system", content: `You tell stories about ${subject}.` },
      { role: "user", content: story },
    ];
    return { path: "/v1/chat/completions", body: { messages, ...shared, ...pick(extra) } };
  });
}

/** The part of an answer that must repeat. */
async function answerTo(server: TestServer, { path, body }: Call, init?: RequestInit): Promise<string> {
  const answer = await server.ask(path, body, init);
  expect(answer.error).toBeUndefined();
  const { prompt_tokens, completion_tokens } = answer.usage;
  return JSON.stringify([answer.choices, prompt_tokens, completion_tokens]);
}

/** All answers, `width` requests at a time, begun in the order of `order`. */
async function answersTo(server: TestServer, calls: readonly Call[], order: readonly number[], width: number) {
  const answers: string[] = [];
  const waiting = [...order];
  const work = async () => {
    for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
      answers[i] = await answerTo(server, calls[i] as Call);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return answers;
}

function shuffled(count: number, seed: number): number[] {
  const random = createRandom(seed);
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** Requests that leave before their end, until told to stop. */
function disturb(server: TestServer, calls: readonly Call[]): () => Promise<void> {
  let isOver = false;
  const leave = async () => {
    for (let i = 0; !isOver; i = (i + 1) % calls.length) {
      const { path, body } = calls[i] as Call;
      const gone = new AbortController();
      const answer = server.post(path, { ...body, stream: true, max_tokens: 60 }, { signal: gone.signal });
      const reader = (await answer).body?.getReader();
      await reader?.read().catch(() => {});
      gone.abort();
    }
  };
  const leaving = [leave(), leave()];
  return async () => {
    isOver = true;
    await Promise.all(leaving);
  };
}

const count = 200;
const calls = createCalls(count);
const inOrder = calls.map((_, i) => i);
let alone: string[];

beforeAll(async () => {
  await using server = await startTestServer({ parallel: 1, promptCacheBytes: 0, load: { threads: 1 } });
  alone = await answersTo(server, calls, inOrder, 1);
});

describe("200 requests give the same bytes as each alone", () => {
  const cases: [string, Partial<ServeOptions>, number][] = [
    ["8 at once", { parallel: 8 }, 8],
    ["two threads, steps of at most 16 tokens", { parallel: 8, stepRows: 16, load: { threads: 2 } }, 12],
    ["many that wait, and no prompt cache", { parallel: 3, promptCacheBytes: 0 }, 24],
    ["keys and values of which few fit", { parallel: 8, kvBytes: 6 * 2 ** 20 }, 12],
  ];
  test.each(cases)("%s", async (_, options, width) => {
    await using server = await startTestServer(options);
    expect(await answersTo(server, calls, shuffled(count, width), width)).toEqual(alone);
  });

  test("among others that leave in the middle", async () => {
    await using server = await startTestServer({ parallel: 6 });
    const settle = disturb(
      server,
      calls.filter(({ body }) => body.n === 1),
    );
    const answers = await answersTo(server, calls, shuffled(count, 3), 6);
    await settle();
    expect(answers).toEqual(alone);
  });

  test("a second time, from the prompt cache", async () => {
    await using server = await startTestServer({ parallel: 4 });
    await answersTo(server, calls, inOrder, 4);
    expect(await answersTo(server, calls, inOrder, 4)).toEqual(alone);
    const stats = server.server.context.service.model.stats();
    expect(stats.reusedTokens).toBeGreaterThan(0);
  });
});

afterAll(() => {
  // Else all of the above would hold for empty answers, too.
  expect(new Set(alone).size).toBeGreaterThan(count / 2);
});
