// Tools: what is rendered, what an answer may be, and what becomes of its text.

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type AnswerPiece,
  type ChatFormat,
  type FormatMessage,
  loadModel,
  type Model,
  planTools,
  planToolsAsync,
  type ToolPlan,
  type ToolRequest,
} from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";
import { now, type ToolFormats, toolFormats, weather } from "../support/tool-formats.js";

let model: Model;
let formats: ToolFormats;

beforeAll(async () => {
  model = await loadModel(tinyModel);
  formats = toolFormats(model.tokenizer);
});
afterAll(() => {
  model.close();
});

const tools = [weather, now];
const hi: FormatMessage = { role: "user", content: "Hi" };

function plan(format: ChatFormat, request: Partial<ToolRequest> = {}): ToolPlan {
  return planTools(format, model.tokenizer, { messages: [hi], tools, ...request });
}

function accepts({ grammar }: ToolPlan, text: string): boolean {
  return grammar?.matches(text) ?? true;
}

/** What a text is read as, with stretches of a kind joined. */
function read(toolPlan: ToolPlan, stretches: readonly string[]) {
  const parser = toolPlan.createParser();
  const pieces = [...stretches.flatMap((stretch) => parser.push(stretch)), ...parser.finish()];
  const joined: AnswerPiece[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (last !== undefined && last.kind !== "call" && piece.kind !== "call" && last.kind === piece.kind) {
      last.text += piece.text;
    } else {
      joined.push({ ...piece });
    }
  }
  return { pieces: joined, isComplete: parser.isComplete };
}

test("a plan whose grammar is compiled on another thread is the same, and leaves the thread free meanwhile", async () => {
  const named = weather.function.name;
  const many = Array.from({ length: 128 }, (_, i) => ({
    ...weather,
    function: { ...weather.function, name: `${named}_${i}` },
  }));
  for (const format of Object.values(formats)) {
    let isFree = false;
    setImmediate(() => {
      isFree = true;
    });
    const request = { messages: [hi], tools: many };
    const planned = await planToolsAsync(format, model.tokenizer, request);
    expect(isFree).toBe(true);
    const again = planTools(format, model.tokenizer, request);
    expect(again.grammar).toBe(planned.grammar);
    expect([again.messages, again.options, again.kind]).toEqual([planned.messages, planned.options, planned.kind]);
  }
  const odd = { ...weather, function: { ...weather.function, parameters: { $dynamicRef: "#a" } } };
  const unused = { messages: [hi], tools: [odd], choice: "none" } as const;
  expect((await planToolsAsync(formats.generic, model.tokenizer, unused)).kind).toBe("none");
  const wrong = { messages: [hi], tools, choice: { name: "none" } };
  await expect(planToolsAsync(formats.generic, model.tokenizer, wrong)).rejects.toMatchObject({ code: "USAGE" });
});

const call = (index: number, name: string): AnswerPiece => ({ kind: "call", index, name });
const args = (index: number, text: string): AnswerPiece => ({ kind: "arguments", index, text });
const text = (said: string): AnswerPiece => ({ kind: "text", text: said });
const thinking = (thought: string): AnswerPiece => ({ kind: "thinking", text: thought });

const place = '{"place": "K\\u00f6ln", "days": 2}';
const hermesCall = `<tool_call>\n{"name": "get_weather", "arguments": ${place}}\n</tool_call>`;
const hermesNow = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>';

/** Answers of every form: which format, what is asked, the text, what it is read as. */
const answers: readonly [string, keyof ToolFormats, Partial<ToolRequest>, string, AnswerPiece[]][] = [
  ["text in a native format", "hermes", {}, "Hello <tool> \n", [text("Hello <tool> \n")]],
  ["a call between tags", "hermes", {}, hermesCall, [call(0, "get_weather"), args(0, place)]],
  [
    "text and calls",
    "hermes",
    {},
    `Let me see.\n${hermesCall}\n${hermesNow}`,
    [text("Let me see."), call(0, "get_weather"), args(0, place), call(1, "now"), args(1, "{}")],
  ],
  [
    "a list of calls with ids",
    "listed",
    {},
    '[CALLS] [{"name": "now", "arguments": {}, "id": "abcdef123"}, {"name": "now", "arguments": {}, "id": "abcdef124"}]',
    [call(0, "now"), args(0, "{}"), call(1, "now"), args(1, "{}")],
  ],
  [
    "a call without tags",
    "bare",
    {},
    `{"name": "get_weather", "parameters": ${place}}`,
    [call(0, "get_weather"), args(0, place)],
  ],
  ["text where calls have no tags", "bare", {}, '\n"name"? {a}', [text('\n"name"? {a}')]],
  [
    "a generic call",
    "generic",
    {},
    `{"tool_call": {"name": "get_weather", "arguments": ${place}}}`,
    [call(0, "get_weather"), args(0, place)],
  ],
  [
    "generic calls",
    "generic",
    {},
    `{"tool_calls": [{"name": "now", "arguments": {}},{ "name":"get_weather","arguments":${place} } ]}`,
    [call(0, "now"), args(0, "{}"), call(1, "get_weather"), args(1, place)],
  ],
  [
    "a generic response, whose escapes are undone",
    "generic",
    {},
    '{"response": "a\\n\\"b\\" \\u00fc \\ud83d\\ude00 \u{1f600}\\\\"}',
    [text('a\n"b" ü 😀 😀\\')],
  ],
  [
    "a generic response that a schema accepts",
    "generic",
    { schema: { type: "object", properties: { a: { type: "number" } }, required: ["a"], additionalProperties: false } },
    '{"response": { "a":1.5}}',
    [text('{ "a":1.5}')],
  ],
  ["a generic number", "generic", { schema: { type: "integer" } }, '{ "response": 12}', [text("12")]],
  [
    "a schema's text beside a native format",
    "hermes",
    { schema: { type: "string" } },
    '"<tool_call>"',
    [text('"<tool_call>"')],
  ],
  [
    "a generic response that a grammar holds, with any ends",
    "generic",
    { grammar: "root ::= [ a}]*" },
    '{"response":  a }} }',
    [text(" a }} ")],
  ],
  [
    "what a grammar holds where calls have no tags",
    "bare",
    { grammar: 'root ::= "{\\"name\\"}"' },
    '{"response": {"name"}}',
    [text('{"name"}')],
  ],
  ["what a grammar holds beside a native format", "hermes", { grammar: 'root ::= "a<"*' }, "a<a<", [text("a<a<")]],
  [
    "a call where a grammar holds text",
    "hermes",
    { grammar: 'root ::= "a<"*' },
    hermesNow,
    [call(0, "now"), args(0, "{}")],
  ],
  [
    "thinking before a call, which may say anything",
    "thinker",
    {},
    `<think>\nI could <tool_call>\n</think>\n\nWait.${hermesCall}`,
    [thinking("I could <tool_call>"), text("Wait."), call(0, "get_weather"), args(0, place)],
  ],
  ["an answer that could have had thinking", "thinker", {}, "Hello", [text("Hello")]],
  [
    "thinking before JSON",
    "thinker",
    { tools: [], schema: { type: "boolean" } },
    "<think>{</think>true",
    [thinking("{"), text("true")],
  ],
];

describe("an answer", () => {
  test.each(answers)("may be %s", (_, format, request, written, pieces) => {
    const made = plan(formats[format], request);
    expect(accepts(made, written)).toBe(true);
    expect(read(made, [written])).toEqual({ pieces, isComplete: true });
  });

  test("is read the same however it is cut", () => {
    const cut = fc
      .tuple(fc.nat(answers.length - 1), fc.array(fc.nat(150), { maxLength: 20 }), fc.nat(150))
      .map(([row, places, end]) => ({ row, places: places.toSorted((a, b) => a - b), end }));
    fc.assert(
      fc.property(cut, ({ row, places, end }) => {
        const [, format, request, written] = answers[row] ?? [];
        if (format === undefined || written === undefined) {
          return;
        }
        const made = plan(formats[format], request);
        const shown = written.slice(0, end); // cut short as well
        const stretches = [0, ...places].map((from, i) => shown.slice(from, places[i]));
        expect(read(made, stretches)).toEqual(read(made, [shown]));
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ["a call of another tool", "hermes", {}, '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>'],
    ["arguments that the schema refuses", "hermes", {}, hermesCall.replace("2", "4")],
    ["a tag in text that begins no call", "hermes", {}, "I say <tool_call> and"],
    ["a call that does not end", "hermes", {}, hermesCall.replace("</tool_call>", "")],
    ["text where a call is required", "hermes", { choice: "required" }, "Hello"],
    ["a second call where one is allowed", "hermes", { parallel: false }, `${hermesCall}\n${hermesNow}`],
    ["a tool that is not the one required", "hermes", { choice: { name: "now" } }, hermesCall],
    ["a tool that is not allowed", "hermes", { choice: { mode: "auto", names: ["now"] } }, hermesCall],
    ["text that begins like a bare call", "bare", {}, '{"name": 1}'],
    ["text beside the generic object", "generic", {}, 'Hello {"response": "a"}'],
    [
      "several calls where one is allowed",
      "generic",
      { parallel: false },
      '{"tool_calls": [{"name": "now", "arguments": {}}]}',
    ],
    ["a response where a call is required", "generic", { choice: "required" }, '{"response": "a"}'],
    ["thinking that does not end", "thinker", {}, `<think> ${hermesCall}`],
    [
      "thinking where it is switched off",
      "thinker",
      { thinking: false, choice: "required" },
      `<think></think>${hermesCall}`,
    ],
    ["a tag where no call is allowed", "hermes", { choice: "none" }, "a <tool_call>"],
  ] as const)("may not be %s", (_, format, request, written) => {
    expect(accepts(plan(formats[format], request), written)).toBe(false);
  });

  test.each([
    ["text", "hermes", {}, "Hel", "", "lo", "Hello"],
    ["a schema's JSON", "generic", { tools: [], schema: { type: "array" } }, "[1", "", ",2]", "[1,2]"],
    ["a generic response", "generic", {}, 'a "b', '{"response": "a \\"b', '\\n"}', 'a "b\n'],
    ["a generic response of a schema", "generic", { schema: { type: "array" } }, "[1", '{"response": [1', "]}", "[1]"],
    ["an answer that could have had thinking", "thinker", {}, "Hel", "", "lo", "Hello"],
  ] as [string, keyof ToolFormats, Partial<ToolRequest>, string, string, string, string][])(
    "is continued where the prompt has its beginning: %s",
    (_, format, request, said, begun, rest, whole) => {
      const messages: FormatMessage[] = [hi, { role: "assistant", content: said }];
      const made = plan(formats[format], { ...request, messages });
      expect(made.begun).toBe(begun === "" ? said : begun);
      expect(made.messages.filter(({ role }) => role === "assistant")).toEqual([]);
      // The second as vocabularies have it whose tokens begin with a space.
      expect([made.begun + rest, ` ${made.begun}${rest}`].map((whole) => accepts(made, whole))).toEqual([true, true]);
      expect(read(made, [rest]).pieces).toEqual([text(whole.slice(said.length))]);
    },
  );

  test("that was cut has what there is of it, and says so", () => {
    const made = plan(formats.hermes);
    expect(read(made, [`Hm. ${hermesCall.slice(0, 60)}`])).toEqual({
      pieces: [text("Hm."), call(0, "get_weather"), args(0, hermesCall.slice(49, 60))],
      isComplete: false,
    });
    const listed = '[CALLS] [{"name": "now", "arguments": {}, "id": "abcdef123"}, {"name": ';
    for (const [format, whole, cut] of [
      ["hermes", hermesNow, -1],
      ["hermes", `${hermesNow}${hermesNow}`, -20],
      ["listed", listed, -1],
      ["bare", '{"name": "now", "parameters": {}}', -1],
      ["generic", '{"tool_call": {"name": "now", "arguments": {}}}', -1],
      ["generic", '{"tool_calls": [{"name": "now", "arguments": {}}]}', -1],
    ] as const) {
      expect(read(plan(formats[format]), [whole.slice(0, cut)]).isComplete).toBe(false);
    }
    expect(read(plan(formats.generic), ['{"response": "Hello \\ud83d'])).toEqual({
      pieces: [text("Hello ")],
      isComplete: false,
    });
  });
});
