// Answers that are found again.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ResponseCache } from "../../src/serve/cache.js";
import type { TextEvent } from "../../src/serve/request.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const events = (text: string): TextEvent[] => [
  { kind: "delta", choice: 0, pieces: [{ kind: "text", text }], tokens: [1], logprobs: [] },
];

describe("the cache", () => {
  test("keeps those used last within its bytes", () => {
    const probe = new ResponseCache(2 ** 20);
    probe.keep("probe", events("aaaa"));
    const cache = new ResponseCache(3 * probe.bytes);
    for (const key of ["k1xxx", "k2xxx", "k3xxx"]) {
      cache.keep(key, events("aaaa"));
    }
    cache.find("k1xxx");
    cache.keep("k4xxx", events("aaaa"));
    expect(["k1xxx", "k2xxx", "k3xxx", "k4xxx"].map((key) => cache.find(key) !== undefined)).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect(cache.bytes).toBeLessThanOrEqual(3 * probe.bytes);
    cache.keep("large", events("a".repeat(10_000)));
    expect([cache.find("large"), cache.size]).toEqual([undefined, 3]);
  });

  test("forgets after an hour", () => {
    let now = 0;
    const cache = new ResponseCache(2 ** 20, () => now);
    cache.keep("key", events("a"));
    now = 3600_000;
    expect(cache.find("key")).toBeDefined();
    now++;
    expect(cache.find("key")).toBeUndefined();
    expect([cache.size, cache.bytes]).toEqual([0, 0]);
  });
});

describe("a server with a cache", () => {
  let server: TestServer;

  beforeAll(async () => {
    server = await startTestServer({
      apiKeys: ["one", "two"],
      responseCacheBytes: 2 ** 20,
      sampling: { temperature: 0.8 },
    });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const path = "/v1/chat/completions";
  const messages = [{ role: "user", content: "Tell me a story" }];
  const ask = async (body: object, key = "one") => {
    const answer = await server.post(path, { messages, max_tokens: 8, ...body }, { headers: { "x-api-key": key } });
    const text = await answer.text();
    return { hit: answer.headers.get("x-bitnet-cache"), text };
  };
  const contentOf = ({ text }: { text: string }) => JSON.parse(text).choices[0].message.content;

  test("finds what comes out the same: greedy or with a seed, in any order of fields, whole and streamed", async () => {
    for (const body of [{ temperature: 0 }, { seed: 7 }]) {
      const first = await ask(body);
      expect(first.hit).toBe("miss");
      const second = await ask({ stream: false, ...body, user: "somebody" });
      expect(second.hit).toBe("hit");
      expect(contentOf(second)).toBe(contentOf(first));
      expect(JSON.parse(second.text).usage).toEqual(JSON.parse(first.text).usage);
      const streamed = await ask({ ...body, stream: true });
      expect(streamed.hit).toBe("hit");
      const deltas = [...streamed.text.matchAll(/^data: (\{.*)$/gm)].map(([, data = ""]) => JSON.parse(data));
      expect(deltas.length).toBeGreaterThan(3);
      expect(deltas.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe(contentOf(first));
    }
  });

  test("does not keep what is drawn anew, and nothing for other keys, other requests or other lengths", async () => {
    expect([(await ask({})).hit, (await ask({})).hit]).toEqual([null, null]);
    await ask({ temperature: 0 });
    expect((await ask({ temperature: 0 }, "two")).hit).toBe("miss");
    expect((await ask({ temperature: 0, max_tokens: 9 })).hit).toBe("miss");
    expect((await ask({ temperature: 0, response_format: { type: "json_object" } })).hit).toBe("miss");
    expect((await ask({ temperature: 0, logprobs: true })).hit).toBe("miss");
    expect((await ask({ seed: 8 })).hit).toBe("miss");
  });

  test("keeps no answer that was not read to its end", async () => {
    const body = { messages, max_tokens: 500, ignore_eos: true, temperature: 0, stream: true };
    const gone = new AbortController();
    const headers = { "x-api-key": "one" };
    const answer = await server.post(path, body, { headers, signal: gone.signal });
    await answer.body?.getReader().read();
    gone.abort();
    const again = await server.post(path, { ...body, max_tokens: 500 }, { headers });
    expect(again.headers.get("x-bitnet-cache")).toBe("miss");
    await again.text();
  });
});

test("with responseCacheAll also what is sampled is found again", async () => {
  await using server = await startTestServer({
    ...{ responseCacheBytes: 2 ** 20, responseCacheAll: true, sampling: { temperature: 0.8 } },
  });
  const body = { messages: [{ role: "user", content: "Hello" }], max_tokens: 8 };
  const [first, second] = [
    await server.ask("/v1/chat/completions", body),
    await server.ask("/v1/chat/completions", body),
  ];
  expect(second.choices).toEqual(first.choices);
});
