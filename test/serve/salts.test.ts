// Whose prompts are found again: nobody can tell from times or counts what another key has sent.

import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

const systemPrompt = "You are a teller of stories for small children. ".repeat(12);
const content = "Tell me the story of the cat that wanted to fly over the sea and all the hills. ".repeat(8);
const path = "/v1/chat/completions";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ systemPrompt, apiKeys: ["first-key", "second-key"] });
});
afterAll(() => server.server.close());

async function cachedTokens(key: string, body: object): Promise<number> {
  const headers = { authorization: `Bearer ${key}` };
  const { usage } = await server.ask(path, { max_tokens: 1, ...body }, { headers });
  return usage.prompt_tokens_details.cached_tokens;
}

test("a key finds its own prompts, of other keys only the server's own beginning", async () => {
  const body = { messages: [{ role: "user", content }] };
  expect(await cachedTokens("first-key", body)).toBe(0);
  const own = await cachedTokens("first-key", body);
  const foreign = await cachedTokens("second-key", body);
  expect(foreign).toBeGreaterThan(64);
  expect(foreign).toBeLessThanOrEqual(server.server.context.service.prompts.commonBeginning().length);
  expect(own).toBeGreaterThan(foreign + 64);
});

test("cache_salt narrows it further", async () => {
  const messages = [{ role: "system", content }];
  const body = { messages: [...messages, { role: "user", content: "Begin." }] };
  expect(await cachedTokens("first-key", { ...body, cache_salt: "a" })).toBe(0);
  expect(await cachedTokens("first-key", { ...body, cache_salt: "b" })).toBe(0);
  expect(await cachedTokens("first-key", { ...body, cache_salt: "a" })).toBeGreaterThan(64);
});

test("--share-prefix-cache lets all keys find all", async () => {
  await using shared = await startTestServer({ sharePrefixCache: true, apiKeys: ["first-key", "second-key"] });
  const messages = [{ role: "user", content }];
  const usages = [];
  for (const key of ["first-key", "second-key"]) {
    const headers = { authorization: `Bearer ${key}` };
    usages.push((await shared.ask(path, { messages, max_tokens: 1 }, { headers })).usage);
  }
  expect(usages.map((usage) => usage.prompt_tokens_details.cached_tokens > 64)).toEqual([false, true]);
});
