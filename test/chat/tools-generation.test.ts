// Answers of a real model under the grammars of tools. It knows nothing of tools: what it calls is as good as random.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  answerMessages,
  type FormatMessage,
  Grammar,
  loadModel,
  type MessagesResult,
  type Model,
  type Session,
  type Tool,
} from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";
import { now, type ToolFormats, toolFormats, weather } from "../support/tool-formats.js";

let model: Model;
let session: Session;
let formats: ToolFormats;

beforeAll(async () => {
  model = await loadModel(tinyModel);
  session = model.createSession({ contextSize: 2048 });
  formats = toolFormats(model.tokenizer);
});
afterAll(() => {
  session.close();
  model.close();
});

const wide: Tool = {
  type: "function",
  function: {
    name: "wide",
    parameters: {
      properties: {
        list: { type: "array", items: { type: "integer", minimum: 0, maximum: 99 }, maxItems: 3 },
        kind: { enum: ["a b", '"', null] },
        inner: { $ref: "#/$defs/inner" },
      },
      required: ["inner", "kind"],
      additionalProperties: false,
      $defs: {
        inner: {
          type: "object",
          properties: { text: { type: "string", maxLength: 4 } },
          required: ["text"],
          additionalProperties: false,
        },
      },
    },
  },
};
const tools = [weather, now, wide];
const messages: FormatMessage[] = [{ role: "user", content: "What is the weather?" }];
const random = { temperature: 3, maxTokens: 250, topK: 0, topP: 1, minP: 0 };

function checkCalls({ calls }: MessagesResult): void {
  for (const { function: called } of calls) {
    const { parameters } = tools.find((tool) => tool.function.name === called.name)?.function ?? {};
    const schema = parameters ?? { type: "object", additionalProperties: false };
    expect(Grammar.fromJsonSchema(schema).matches(String(called.arguments))).toBe(true);
  }
}

describe("an answer of a model", () => {
  test.each(["hermes", "thinker", "listed", "bare", "generic"] as const)("has valid calls: %s", async (name) => {
    for (const seed of [1, 2, 3, 4]) {
      const options = { ...random, seed, tools, toolChoice: "required", thinking: false } as const;
      const answer = await answerMessages(formats[name], session, messages, options).result;
      checkCalls(answer);
      if (answer.finishReason === "eog") {
        expect(answer.isComplete).toBe(true);
        expect(answer.calls.length).toBeGreaterThan(0);
        expect(answer.message).toEqual({ role: "assistant", content: null, tool_calls: answer.calls });
      }
    }
  });

  test("ends after one call where more are not allowed", async () => {
    for (const name of ["hermes", "listed", "bare", "generic"] as const) {
      const options = { ...random, seed: 5, tools, toolChoice: { name: "get_weather" } };
      const { calls, finishReason, text } = await answerMessages(formats[name], session, messages, options).result;
      expect([finishReason, text]).toEqual(["eog", ""]);
      expect(calls.map((call) => call.function.name)).toEqual(["get_weather"]);
    }
  });

  test("is text without marks, or calls, where it may choose", async () => {
    for (const [seed, name] of (["hermes", "bare", "generic"] as const).entries()) {
      const answer = await answerMessages(formats[name], session, messages, { ...random, seed, tools }).result;
      checkCalls(answer);
      expect(answer.text).not.toContain("<tool_call>");
      expect(answer.text.length + answer.calls.length).toBeGreaterThan(0);
    }
  });

  test("comes in pieces that are what the result says", async () => {
    const options = { ...random, seed: 6, tools, toolChoice: { mode: "required", names: ["wide"] } } as const;
    const answer = answerMessages(formats.generic, session, messages, options);
    const written: string[] = [];
    for await (const piece of answer) {
      if (piece.kind === "call") {
        expect(piece).toEqual({ kind: "call", index: written.length, name: "wide" });
        written.push("");
      } else if (piece.kind === "arguments") {
        written[piece.index] += piece.text;
      }
    }
    const { calls } = await answer.result;
    expect(written.slice(0, calls.length)).toEqual(calls.map((call) => call.function.arguments));
    expect(new Set(calls.map((call) => call.id)).size).toBe(calls.length);
  });

  test("that is cut has no half calls, and says so", async () => {
    const options = { temperature: 0, maxTokens: 20, tools, toolChoice: { name: "get_weather" } };
    const answer = await answerMessages(formats.generic, session, messages, options).result;
    expect(answer).toMatchObject({ finishReason: "length", isComplete: false, calls: [], text: "" });
  });

  test("follows the results of its calls", async () => {
    await using own = model.createSession({ contextSize: 2048 });
    const options = { ...random, seed: 7, tools };
    const asked = await model.answer(own, messages, { ...options, toolChoice: { name: "now" } }).result;
    const result = { role: "tool", content: "noon", tool_call_id: asked.calls[0]?.id };
    const answer = await model.answer(own, [...messages, asked.message, result], options).result;
    expect(answer.timings.reusedTokens).toBeGreaterThan(100);
    checkCalls(answer);
  });

  test("is refused with options that do not exist, before anything is computed", () => {
    expect(() => model.answer(session, messages, { toolchoice: "auto" } as object)).toThrow(/no option "toolchoice"/);
  });
});
