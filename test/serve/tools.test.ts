// Tools over HTTP: calls whole and streamed, what clients choose, and what they cannot do.

import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Grammar } from "../../src/index.js";
import { readError, startTestServer, type TestServer } from "../support/serve.js";
import { now, weather } from "../support/tool-formats.js";

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer({});
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const path = "/v1/chat/completions";
const asked = { messages: [{ role: "user", content: "Will it rain?" }], tools: [weather, now], max_tokens: 150 };
const random = { temperature: 3, top_k: 0, top_p: 1, min_p: 0, seed: 3 };
const forced = { tool_choice: { type: "function", function: { name: "get_weather" } } };
const accepts = (text: string) => Grammar.fromJsonSchema(weather.function.parameters ?? {}).matches(text);

test("a call comes with an id, its name and arguments of the schema", async () => {
  const { choices } = await server.ask(path, { ...asked, ...random, ...forced });
  expect(choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { role: "assistant", content: null } });
  const [call, ...more] = choices[0].message.tool_calls;
  expect(more).toEqual([]);
  expect(call).toMatchObject({ id: expect.stringMatching(/^call_\w+$/), type: "function" });
  expect(call.function.name).toBe("get_weather");
  expect(accepts(call.function.arguments)).toBe(true);
});

test("the grammar of a request's tools is never compiled on the thread that serves", async () => {
  const compile = vi.spyOn(Grammar, "fromParts");
  try {
    const more = { ...now, function: { ...now.function, name: "not_asked_before" } };
    const { choices } = await server.ask(path, { ...asked, tools: [weather, more], ...forced, max_tokens: 4 });
    expect(choices).toHaveLength(1);
    expect(compile).not.toHaveBeenCalled();
  } finally {
    compile.mockRestore();
  }
});

test("a streamed call has its id once, its index always, and the same arguments in fragments", async () => {
  const whole = await server.ask(path, { ...asked, ...random, ...forced });
  const events = await server.stream(path, { ...asked, ...random, ...forced, stream: true });
  const deltas = events.flatMap((event) => event.choices[0]?.delta?.tool_calls ?? []);
  expect(deltas[0]).toEqual({
    index: 0,
    id: expect.stringMatching(/^call_/),
    type: "function",
    function: { name: "get_weather", arguments: "" },
  });
  expect(
    deltas.slice(1).every((delta: { index: number }) => delta.index === 0 && !("id" in delta) && !("type" in delta)),
  ).toBe(true);
  const joined = deltas.map((delta: { function: { arguments: string } }) => delta.function.arguments).join("");
  expect(joined).toBe(whole.choices[0].message.tool_calls[0].function.arguments);
  expect(events.at(-1)?.choices[0]?.finish_reason).toBe("tool_calls");
});

describe("a request with functions, as before there were tools", () => {
  const old = { ...asked, tools: undefined, functions: [weather.function, now.function], ...random };
  const named = { function_call: { name: "get_weather" } };

  test("is answered with a function_call", async () => {
    const { choices } = await server.ask(path, { ...old, ...named });
    expect(choices[0]).toMatchObject({ finish_reason: "function_call", message: { role: "assistant", content: null } });
    const { function_call: call, tool_calls: calls } = choices[0].message;
    expect([call.name, accepts(call.arguments), calls]).toEqual(["get_weather", true, undefined]);
    const events = await server.stream(path, { ...old, ...named });
    const deltas = events.flatMap((event) => event.choices[0]?.delta?.function_call ?? []);
    expect(deltas[0]).toEqual({ name: "get_weather", arguments: "" });
    expect(deltas.map((delta: { arguments: string }) => delta.arguments).join("")).toBe(call.arguments);
    expect(JSON.stringify(events)).not.toContain("tool_calls");
    expect(events.at(-1)?.choices[0]?.finish_reason).toBe("function_call");
  });

  test("may have none, and has the calls and results of before", async () => {
    const content = (await server.ask(path, { ...old, function_call: "none" })).choices[0].message.content;
    expect(content).toEqual(expect.any(String));
    const called = { name: "get_weather", arguments: '{"city": "Paris"}' };
    const turns = (assistant: object, result: object) => ({
      messages: [
        ...asked.messages,
        { role: "assistant", content: null, ...assistant },
        { content: "Rain.", ...result },
      ],
      ...{ tools: asked.tools, max_tokens: 4 },
    });
    const before = turns({ function_call: called }, { role: "function", name: "get_weather" });
    const since = turns(
      { tool_calls: [{ type: "function", function: called }] },
      { role: "tool", name: "get_weather" },
    );
    const texts = [before, since].map(async (body) => (await server.ask("/apply-template", body)).prompt);
    const [earlier, later] = await Promise.all(texts);
    expect(earlier).toContain("Paris");
    expect(earlier).toBe(later);
  });

  test("is refused together with tools", async () => {
    const response = await server.post(path, { ...old, tools: asked.tools });
    expect(await readError(response)).toMatchObject({ code: "invalid_value", param: "functions" });
  });
});

test("the client of OpenAI puts streamed calls together", async () => {
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const body = { model: "any", ...asked, ...forced, seed: 3, temperature: 1 } as unknown as Parameters<
    typeof client.chat.completions.stream
  >[0];
  const { choices } = await client.chat.completions.stream(body).finalChatCompletion();
  const [call] = choices[0]?.message.tool_calls ?? [];
  expect(call).toMatchObject({ type: "function", function: { name: "get_weather" } });
  expect(call?.type === "function" && accepts(call.function.arguments)).toBe(true);
});

test("a response without a call is plain text, unescaped", async () => {
  const { choices } = await server.ask(path, { ...asked, ...random, tools: [], tool_choice: undefined });
  expect(choices[0].message.tool_calls).toBeUndefined();
  const chosen = {
    type: "allowed_tools",
    allowed_tools: { mode: "auto", tools: [{ type: "function", function: { name: "now" } }] },
  };
  const { choices: others } = await server.ask(path, { ...asked, ...random, tool_choice: chosen });
  for (const call of others[0].message.tool_calls ?? []) {
    expect(call.function.name).toBe("now");
  }
});

test("calls that are cut end with length", async () => {
  const { choices } = await server.ask(path, { ...asked, ...random, ...forced, max_tokens: 12 });
  expect(choices[0].finish_reason).toBe("length");
});

test("results of calls are part of the chat", async () => {
  const call = { id: "call_1", type: "function", function: { name: "now", arguments: "{}" } };
  const turns = [
    ...asked.messages,
    { role: "assistant", content: null, tool_calls: [call] },
    { role: "tool", tool_call_id: "call_1", content: "noon" },
  ];
  const answer = await server.ask(path, { ...asked, ...random, messages: turns, tool_choice: "none" });
  expect(answer.choices[0].message.content).not.toBe("");
  expect(answer.choices[0].message.tool_calls).toBeUndefined();
});

test("an answer that has begun goes on in JSON of a schema", async () => {
  const messages = [...asked.messages, { role: "assistant", content: '{"age": 1' }];
  const schema = {
    type: "object",
    properties: { age: { type: "integer", minimum: 10, maximum: 19 } },
    required: ["age"],
  };
  const format = { type: "json_schema", json_schema: { schema: { ...schema, additionalProperties: false } } };
  const { choices } = await server.ask(path, { messages, ...random, max_tokens: 20, response_format: format });
  expect(choices[0].message.content).toMatch(/^[0-9] ?}$/);
});

describe("a request is refused", () => {
  const named = (name: string, parameters: object) => [{ type: "function", function: { name, parameters } }];
  test.each([
    [
      "with a name of other characters",
      { tools: named("a b", {}) },
      "tools[0].function.name",
      /tools\[0\]\.function\.name/,
    ],
    [
      "with a schema that cannot be held to",
      { tools: named("f", { properties: { a: { pattern: "(?=a)" } } }) },
      "tools",
      /tool f: .*\/a\/pattern/,
    ],
    [
      "with a tool that is not there",
      { tool_choice: { type: "function", function: { name: "g" } } },
      "tool_choice",
      /no tool "g"/,
    ],
    [
      "where a call is required of no tools",
      { tools: [], tool_choice: "required" },
      "tool_choice",
      /there are no tools/,
    ],
  ])("%s", async (_, fields, param, message) => {
    const { error } = await server.ask(path, { ...asked, ...fields });
    expect(error).toMatchObject({ type: "invalid_request_error", param, message: expect.stringMatching(message) });
  });
});
