// What does not fit a context.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

const contextSize = 192;
const system = { role: "system", content: "You tell stories." };
const turns = ["a cat", "a dog", "the moon", "a red ball", "the rain", "a king"].flatMap((what) => [
  { role: "user", content: `Tell me a story about ${what} and its very best friend, please.` },
  { role: "assistant", content: `Once upon a time there was ${what}. It was happy.` },
]);
const last = { role: "user", content: "Tell me one about a small bird." };
const chat = [system, ...turns, last];
const path = "/v1/chat/completions";

describe("a server that refuses what does not fit", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer({ contextSize });
  });
  afterAll(() => server.server.close());

  test("tells how long the prompt is and what would fit, in words that clients look for", async () => {
    const response = await server.post(path, { messages: [...chat, ...chat] });
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: Record<string, unknown> };
    expect(error).toMatchObject({
      type: "exceed_context_size_error",
      code: "context_length_exceeded",
      n_ctx: contextSize,
    });
    expect(error.n_prompt_tokens).toBeGreaterThan(contextSize);
    expect(error.message).toContain(`maximum context length is ${contextSize} tokens`);
    expect(error.message).toContain("exceeds the available context size");
  });

  test("ends an answer with its context", async () => {
    const answer = await server.ask(path, { messages: [system, last], ignore_eos: true });
    expect(answer.choices[0].finish_reason).toBe("length");
    expect(answer.usage.total_tokens).toBe(contextSize);
  });
});

describe("a server with --context-shift", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer({ contextSize, contextShift: true });
  });
  afterAll(() => server.server.close());

  test("forgets the oldest turns, and answers as if they had never been", async () => {
    const answer = await server.ask(path, {
      messages: [...chat, { role: "assistant", content: "No." }, last],
      max_tokens: 30,
    });
    const { prompt_tokens } = answer.usage;
    expect(prompt_tokens).toBeLessThanOrEqual((contextSize * 3) / 4);
    const shorter = [];
    for (let dropped = 0; dropped <= turns.length; dropped += 2) {
      const messages = [system, ...turns.slice(dropped), last, { role: "assistant", content: "No." }, last];
      const other = await server.ask(path, { messages, max_tokens: 30 });
      if (other.usage.prompt_tokens === prompt_tokens) {
        shorter.push(other.choices[0].message.content);
      }
    }
    expect(shorter).toContain(answer.choices[0].message.content);
  });

  test("goes on with an answer that fills the context", async () => {
    const messages = [system, ...turns.slice(0, 4), last];
    const answer = await server.ask(path, { messages, ignore_eos: true, max_tokens: 120 });
    expect(answer.usage.completion_tokens).toBe(120);
    expect(answer.usage.total_tokens).toBeGreaterThan(contextSize);
  });

  test("refuses one message that is too long by itself", async () => {
    const response = await server.post(path, { messages: [system, { ...last, content: "bird ".repeat(300) }] });
    expect(response.status).toBe(400);
  });
});
