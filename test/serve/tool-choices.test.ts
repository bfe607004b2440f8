import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ contextSize: 0 });
});
afterAll(() => server[Symbol.asyncDispose]());

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: {
      type: "object",
      properties: { city: { enum: ["Berlin", "Paris"] }, celsius: { type: "boolean" } },
      required: ["city", "celsius"],
      additionalProperties: false,
    },
  },
};
const clock = { type: "function", function: { name: "get_time", parameters: { type: "object", properties: {} } } };
const messages = [{ role: "user", content: "Hi" }];

describe("test_tool_call", () => {
  it("required_tool_tiny: an answer that must call has arguments that the schema accepts", async () => {
    const body = { messages, tools: [weather], tool_choice: "required", parallel_tool_calls: false, max_tokens: 100 };
    const { choices } = await server.ask("/v1/chat/completions", body);
    expect(choices[0].finish_reason).toBe("tool_calls");
    expect(choices[0].message.content).toBeNull();
    const [call, ...others] = choices[0].message.tool_calls;
    expect(others).toEqual([]);
    expect(call).toMatchObject({ id: expect.stringMatching(/^call_/), type: "function" });
    expect(call.function.name).toBe("get_weather");
    expect(JSON.parse(call.function.arguments)).toEqual({
      city: expect.stringMatching(/^(Berlin|Paris)$/),
      celsius: expect.any(Boolean),
    });
  });

  it("a tool that is chosen by name is the one that is called", async () => {
    const tool_choice = { type: "function", function: { name: "get_time" } };
    const body = { messages, tools: [weather, clock], tool_choice, max_tokens: 100 };
    const { choices } = await server.ask("/v1/chat/completions", body);
    expect(choices[0].message.tool_calls.map((call: typeof clock) => call.function.name)).toEqual(["get_time"]);
  });

  it("allowed tools are the only ones that are called", async () => {
    const tools = [{ type: "function", function: { name: "get_time" } }];
    const tool_choice = { type: "allowed_tools", allowed_tools: { mode: "required", tools } };
    const body = { messages, tools: [weather, clock], tool_choice, parallel_tool_calls: false, max_tokens: 100 };
    const { choices } = await server.ask("/v1/chat/completions", body);
    expect(choices[0].message.tool_calls.map((call: typeof clock) => call.function.name)).toEqual(["get_time"]);
  });

  it("without_tool_call: with tool_choice none the answer is text", async () => {
    const body = { messages, tools: [weather], tool_choice: "none", max_tokens: 8 };
    const { choices } = await server.ask("/v1/chat/completions", body);
    expect(choices[0].message.tool_calls).toBeUndefined();
    expect(choices[0].message.content).not.toBe("");
  });

  it("calls and results of earlier turns are part of the prompt", async () => {
    const turns = [
      ...messages,
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "call_1", type: "function", function: { name: "get_time", arguments: "{}" } }],
      },
      { role: "tool", tool_call_id: "call_1", content: "12:34" },
    ];
    const { prompt } = await server.ask("/apply-template", { messages: turns, tools: [clock] });
    expect(prompt).toContain("12:34");
    expect(prompt).toContain("get_time");
  });

  it("older functions and function_call are tools", async () => {
    const body = { messages, functions: [clock.function], function_call: { name: "get_time" }, max_tokens: 100 };
    const { choices } = await server.ask("/v1/chat/completions", body);
    expect(choices[0].message.function_call.name).toBe("get_time");
  });

  it("a schema beside tools holds the answer that is no call", async () => {
    const schema = {
      type: "object",
      properties: { ok: { const: true } },
      required: ["ok"],
      additionalProperties: false,
    };
    const response_format = { type: "json_schema", json_schema: { name: "a", schema } };
    const tool_choice = { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [] } };
    const body = { messages, tools: [clock], tool_choice, response_format, max_tokens: 60 };
    const { choices } = await server.ask("/v1/chat/completions", body);
    expect(JSON.parse(choices[0].message.content)).toEqual({ ok: true });
  });
});
