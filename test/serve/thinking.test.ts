// What a model thinks before it answers, as each dialect tells it.

import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TextEvent } from "../../src/serve/request.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const usage = { promptTokens: 5, cachedTokens: 0, completionTokens: 4, reasoningTokens: 2 };
const timings = { queueMs: 0, promptMs: 1, promptTokens: 5, generateMs: 1, generatedTokens: 4 };
/** An answer that thinks, says something and calls a tool, in stretches as they come. */
const thoughtful: TextEvent[] = [
  { kind: "started", promptTokens: 5, cachedTokens: 0, queueMs: 0 },
  ...(
    [
      [{ kind: "thinking", text: "Hm, " }],
      [{ kind: "thinking", text: "well." }],
      [{ kind: "text", text: "Yes" }],
      [
        { kind: "text", text: "!" },
        { kind: "call", index: 0, name: "f" },
        { kind: "arguments", index: 0, text: '{"a":1}' },
      ],
    ] as const
  ).map((pieces, i): TextEvent => ({ kind: "delta", choice: 0, pieces, tokens: [i], logprobs: [] })),
  { kind: "finish", choice: 0, finish: "tool_calls", detail: { type: "eos", seed: 1, truncated: false } },
  { kind: "end", usage, timings },
];
const scripted = 4711; // the seed of requests that get it

let server: TestServer;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-thinking-"));
  const chatTemplate = join(folder, "thinks.jinja");
  const answer = "{% if add_generation_prompt %}Assistant: <think>\n{% endif %}";
  const turns = "{% for m in messages %}{{ m.role }}: {{ m.reasoning_content }}|{{ m.content }}\n{% endfor %}";
  writeFileSync(chatTemplate, `${turns}${answer}{# </think> #}`);
  server = await startTestServer({ chatTemplate });
  server.server.context.stages.push((request, _, next) =>
    request.sampling.seed === scripted
      ? (async function* () {
          yield* thoughtful;
        })()
      : next(request),
  );
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const messages = [{ role: "user", content: "Is it?" }];
const f = { name: "f", description: "", parameters: { type: "object" } };

async function eventsOf(path: string, body: object) {
  const text = await (await server.post(path, { ...body, stream: true })).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith("data: ") && !line.endsWith("[DONE]"))
    .map((line) => JSON.parse(line.slice("data: ".length)));
}

describe("an answer that thinks first", () => {
  test("is reasoning and a message among the items of a response", async () => {
    const body = { input: "Is it?", tools: [{ type: "function", ...f }], seed: scripted };
    const expected = [
      { type: "reasoning", content: [{ type: "reasoning_text", text: "Hm, well." }], status: "completed" },
      { type: "message", content: [{ type: "output_text", text: "Yes!" }] },
      { type: "function_call", name: "f", arguments: '{"a":1}' },
    ];
    const whole = await server.ask("/v1/responses", body);
    expect(whole).toMatchObject({ output: expected, usage: { output_tokens_details: { reasoning_tokens: 2 } } });
    const events = await eventsOf("/v1/responses", body);
    expect(events.at(-1)).toMatchObject({ type: "response.completed", response: { output: expected } });
    const deltas = events.filter(({ type }) => type === "response.reasoning_text.delta");
    expect(deltas.map(({ delta, output_index: place }) => [delta, place])).toEqual([
      ["Hm, ", 0],
      ["well.", 0],
    ]);
    const told = events.map(({ type }) => type);
    expect(told.indexOf("response.reasoning_text.done")).toBeLessThan(told.indexOf("response.output_text.delta"));
  });

  test("is a block of thinking before the text in messages, with the signature that clients send back", async () => {
    const tools = [{ name: "f", input_schema: f.parameters }];
    const body = { messages, max_tokens: 9, tools, seed: scripted };
    const expected = [
      { type: "thinking", thinking: "Hm, well.", signature: "" },
      { type: "text", text: "Yes!" },
      { type: "tool_use", id: expect.stringMatching(/^toolu_/), name: "f", input: { a: 1 } },
    ];
    const whole = await server.ask("/v1/messages", body);
    expect([whole.content, whole.stop_reason]).toEqual([expected, "tool_use"]);
    const events = await eventsOf("/v1/messages", body);
    const ofFirst = events.filter(({ index }) => index === 0).map(({ delta, content_block: block }) => delta ?? block);
    expect(ofFirst).toEqual([
      { type: "thinking", thinking: "", signature: "" },
      { type: "thinking_delta", thinking: "Hm, " },
      { type: "thinking_delta", thinking: "well." },
      { type: "signature_delta", signature: "" },
      undefined,
    ]);
  });

  test("has its thinking in a field of Ollama's messages", async () => {
    const tools = [{ type: "function", function: f }];
    const body = { messages, tools, options: { seed: scripted } };
    const whole = await server.ask("/api/chat", { ...body, stream: false });
    expect(whole.message).toMatchObject({ thinking: "Hm, well.", content: "Yes!" });
    expect(whole.message.tool_calls).toMatchObject([{ function: { name: "f", arguments: { a: 1 } } }]);
    const lines = (await (await server.post("/api/chat", body)).text()).trim().split("\n");
    const parts = lines.map((line) => JSON.parse(line).message);
    const joined = (name: "thinking" | "content") => parts.map((part) => part?.[name] ?? "").join("");
    expect([joined("thinking"), joined("content")]).toEqual(["Hm, well.", "Yes!"]);
  });

  test("has it in reasoning_content of chats", async () => {
    const tools = [{ type: "function", function: f }];
    const { choices } = await server.ask("/v1/chat/completions", { messages, tools, seed: scripted });
    expect(choices[0].message).toMatchObject({ reasoning_content: "Hm, well.", content: "Yes!" });
  });
});

test("what a template opens is thinking in every dialect, if the model never closes it", async () => {
  const limits = { max_tokens: 8, seed: 1 };
  const chat = (await server.ask("/v1/chat/completions", { messages, ...limits })).choices[0].message;
  expect(chat).toMatchObject({ content: "", reasoning_content: expect.stringMatching(/./) });
  const thought = chat.reasoning_content;
  const response = await server.ask("/v1/responses", { input: messages, max_output_tokens: 8, seed: 1 });
  expect(response.output).toMatchObject([{ type: "reasoning", content: [{ text: thought }], status: "incomplete" }]);
  const message = await server.ask("/v1/messages", { messages, ...limits });
  expect(message.content).toMatchObject([{ type: "thinking", thinking: thought }]);
  const options = { num_predict: 8, seed: 1 };
  const ollama = await server.ask("/api/chat", { messages, options, stream: false });
  expect(ollama.message).toMatchObject({ content: "", thinking: thought });
});

test("thinking that clients send back reaches the template in every dialect", async () => {
  const said = { thinking: "Hm.", text: "Yes." };
  const prompts = [
    { role: "assistant", content: said.text, reasoning_content: said.thinking },
    { role: "assistant", content: [{ type: "text", text: said.text }], reasoning_content: said.thinking },
  ].map((turn) => server.ask("/apply-template", { messages: [...messages, turn, ...messages] }));
  for (const { prompt } of await Promise.all(prompts)) {
    expect(prompt).toContain("assistant: Hm.|Yes.\n");
  }
  const counted = async (path: string, body: object) => {
    const answer = await server.ask(path, body);
    return answer.input_tokens;
  };
  const blocks = [
    { type: "thinking", thinking: said.thinking, signature: "" },
    { type: "text", text: said.text },
  ];
  const items = [
    { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: said.thinking }] },
    { role: "assistant", content: said.text },
  ];
  const turn = { role: "assistant", content: blocks };
  const ofMessages = await counted("/v1/messages/count_tokens", { messages: [...messages, turn, ...messages] });
  const ofResponses = await counted("/v1/responses/input_tokens", { input: [...messages, ...items, ...messages] });
  expect(ofMessages).toBe(ofResponses);
});
