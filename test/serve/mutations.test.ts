// Bodies that are nearly right: whatever is changed in a valid request, the server says what is wrong with it or answers,
// and is afterwards as it was.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRandom } from "../support/random.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const schema = {
  type: "object",
  properties: { name: { enum: ["Tom", "Lily"] }, ages: { type: "array", items: { type: "integer" }, maxItems: 2 } },
  required: ["name"],
  additionalProperties: false,
};
const messages = [
  { role: "system", content: "You are kind." },
  { role: "user", content: [{ type: "text", text: "Who has a ball?" }] },
];
const called = [
  { role: "user", content: "Weather?" },
  {
    role: "assistant",
    content: null,
    tool_calls: [{ id: "call_1", type: "function", function: { name: "find", arguments: '{"name":"Tom"}' } }],
  },
  { role: "tool", tool_call_id: "call_1", content: "here" },
];
const tools = [{ type: "function", function: { name: "find", description: "Finds.", parameters: schema } }];
const sampling = { temperature: 0.7, top_p: 0.9, seed: 3, stop: ["\n"], logit_bias: { 5: -1 }, presence_penalty: 0.1 };

/** Valid requests: answers are short. */
const calls: readonly [path: string, body: object][] = [
  ["/v1/chat/completions", { messages, max_completion_tokens: 4, ...sampling, top_k: 5, min_p: 0.1, n: 2 }],
  ["/v1/chat/completions", { messages, max_tokens: 4, stream: true, stream_options: { include_usage: true } }],
  ["/v1/chat/completions", { messages, max_tokens: 2, logprobs: true, top_logprobs: 2, cache_prompt: false }],
  [
    "/v1/chat/completions",
    {
      messages,
      max_tokens: 8,
      response_format: { type: "json_schema", json_schema: { name: "a", strict: true, schema } },
    },
  ],
  ["/v1/chat/completions", { messages: called, max_tokens: 4, tools, tool_choice: "auto", parallel_tool_calls: false }],
  [
    "/v1/chat/completions",
    { messages, max_tokens: 8, tools, tool_choice: { type: "function", function: { name: "find" } } },
  ],
  ["/v1/chat/completions", { messages, max_tokens: 4, grammar: 'root ::= "a" [b-d]{1,3} | "e"' }],
  ["/v1/chat/completions", { messages, max_tokens: 4, structured_outputs: { regex: "[a-c]+\\d{2}" } }],
  ["/v1/completions", { prompt: ["Once upon", "The cat"], max_tokens: 3, echo: true, logprobs: 2, n: 2, best_of: 2 }],
  ["/v1/completions", { prompt: [[772, 724], [706]], max_tokens: 2, temperature: 0, stream: true }],
  ["/completion", { prompt: [772, "upon", 258], n_predict: 3, n_probs: 2, cache_prompt: true, stop: ["a"] }],
  ["/completion", { prompt: "Once", n_predict: 3, json_schema: schema, stream: true, return_tokens: true }],
  ["/tokenize", { content: "Once upon", add_special: true, with_pieces: true }],
  ["/tokenize", { messages, add_generation_prompt: true }],
  ["/detokenize", { tokens: [772, 724, 258] }],
  ["/apply-template", { messages, tools, chat_template_kwargs: { enable_thinking: false } }],
  ["/v1/responses", { input: "Who?", max_output_tokens: 4, instructions: "Be kind.", temperature: 0 }],
  [
    "/v1/responses",
    {
      input: [
        { role: "user", content: [{ type: "input_text", text: "Who?" }] },
        { type: "function_call", call_id: "c", name: "find", arguments: "{}" },
        { type: "function_call_output", call_id: "c", output: "Tom" },
      ],
      max_output_tokens: 4,
      stream: true,
      tools: [{ type: "function", name: "find", parameters: schema }],
      text: { format: { type: "json_schema", name: "a", schema } },
    },
  ],
  ["/v1/responses/input_tokens", { input: "Who?" }],
  [
    "/v1/messages",
    {
      max_tokens: 4,
      system: [{ type: "text", text: "Be kind." }],
      messages: [
        { role: "user", content: "Who?" },
        { role: "assistant", content: [{ type: "tool_use", id: "t", name: "find", input: { name: "Tom" } }] },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: [{ type: "text", text: "x" }] }] },
      ],
      tools: [{ name: "find", input_schema: schema }],
      stop_sequences: ["."],
    },
  ],
  [
    "/v1/messages",
    { max_tokens: 4, stream: true, messages: [{ role: "user", content: "Who?" }], temperature: 1, top_k: 4 },
  ],
  ["/v1/messages/count_tokens", { messages: [{ role: "user", content: "Who?" }] }],
  ["/v1/embeddings", { input: ["a", "b"], encoding_format: "base64", dimensions: 8 }],
  ["/api/chat", { model: "m", messages: [{ role: "user", content: "Hi" }], options: { num_predict: 3 } }],
  ["/api/generate", { prompt: "Once", format: schema, options: { num_predict: 3, stop: ["."] }, stream: false }],
  ["/api/show", { model: "tiny-bitnet" }],
  ["/infill", { input_prefix: "a", input_suffix: "b", input_extra: [{ filename: "f", text: "t" }] }],
  ["/rerank", { query: "a", documents: ["b", "c"] }],
  ["/slots/0?action=erase", {}],
];

const deep = (depth: number): unknown => (depth === 0 ? 1 : { properties: { a: deep(depth - 1) }, items: [] });

const hostile: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1, 2, 0.5, -0.0001, 1e308, -1e308, 2 ** 31, 2 ** 53, -(2 ** 53), 4294967296],
  ...["", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "\u202e\u200d\ufeff", "\u{1f9d2}".repeat(40), "x".repeat(3000)],
  ...[
    "__proto__",
    "constructor",
    "<|eot_id|>",
    "{{ 1/0 }}",
    "%s%n",
    "../../etc/passwd",
    "(a+)+$",
    "[",
    "root ::= root",
  ],
  ...[[], {}, [[]], [null], [[[[[[1]]]]]], { a: {} }, Array.from({ length: 300 }, (_, i) => i), deep(20)],
  ...[{ type: "object" }, { $ref: "#" }, { not: {} }, { anyOf: [] }, { type: "string", pattern: "(" }, { enum: [] }],
  ...[
    { role: "user", content: "x" },
    { type: "image_url", image_url: { url: "http://127.0.0.1:1/" } },
  ],
];

/** Fields that might mean something wherever they turn up. */
const names = [
  ...["messages", "prompt", "max_tokens", "stream", "tools", "grammar", "json_schema", "response_format", "n", "stop"],
  ...["temperature", "seed", "logprobs", "echo", "tool_choice", "content", "role", "type", "logit_bias", "best_of"],
  ...["reasoning_effort", "chat_template_kwargs", "samplers", "suffix", "input", "model", "user", "cache_salt"],
  ...["__proto__", "constructor", "toString", "hasOwnProperty", "length", "\0", "\ud800", ""],
];

class Mutator {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = createRandom(seed);
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)] as T;
  }

  /** A body as bytes: mostly JSON. */
  body(valid: object): string | Uint8Array<ArrayBuffer> {
    let value: unknown = structuredClone(valid);
    for (let i = 1 + Math.floor(this.#random() * 3); i > 0; i--) {
      value = this.#mutate(value);
    }
    return this.#spoil(JSON.stringify(value) ?? "");
  }

  /** Changes something at any depth. */
  #mutate(value: unknown): unknown {
    const isDeeper = typeof value === "object" && value !== null && this.#random() < 0.75;
    if (!isDeeper) {
      return this.pick(hostile);
    }
    if (Array.isArray(value)) {
      const i = Math.floor(this.#random() * (value.length + 1));
      const rest = value.slice(i + 1);
      return this.#random() < 0.2
        ? [...value.slice(0, i), ...rest]
        : [...value.slice(0, i), this.#mutate(value[i]), ...rest];
    }
    const entries = Object.entries(value);
    const [name, old] = this.pick(entries.length > 0 ? entries : [["a", 1] as [string, unknown]]);
    const action = this.#random();
    if (action < 0.15) {
      return Object.fromEntries(entries.filter(([other]) => other !== name));
    }
    // As JSON.parse does it, "__proto__" is a field as any other.
    return action < 0.35
      ? Object.fromEntries([...entries, [this.pick(names), this.pick(hostile)]])
      : Object.fromEntries(entries.map(([other, kept]) => [other, other === name ? this.#mutate(old) : kept]));
  }

  /** Changes the text itself, sometimes. */
  #spoil(text: string): string | Uint8Array<ArrayBuffer> {
    const at = Math.floor(this.#random() * text.length);
    switch (Math.floor(this.#random() * 40)) {
      case 0:
        return text.slice(0, at);
      case 1:
        return text.replace("{", `{"${this.pick(names)}":${JSON.stringify(this.pick(hostile))},`);
      case 2:
        return `${text.slice(0, at)}\0${text.slice(at)}`;
      case 3:
        return new Uint8Array([...Buffer.from(text.slice(0, at)), 0xff, 0xc0, ...Buffer.from(text.slice(at))]);
      case 4:
        return `\ufeff${text}`;
      case 5:
        return text.replace(/[0-9]+/, this.pick(["1e999", "-0", "01", "NaN", "9".repeat(400), "1e-400"]));
      case 6:
        return `${'{"a":['.repeat(5000)}${text}`;
      case 7:
        return text.replace("{", '{"__proto__":{"stream":true,"max_tokens":1},"constructor":{"prototype":{"x":1}},');
      default:
        return text;
    }
  }
}

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer({ maxPredict: 32, requestTimeout: 60 });
});

afterAll(() => server[Symbol.asyncDispose]());

/** What answers to valid requests say, which must repeat. */
async function probe(): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const [path, body] of calls.filter(([path, body]) => path.endsWith("completions") && !("stream" in body))) {
    const { choices } = await server.ask(path, body);
    answers.push(JSON.parse(JSON.stringify(choices).replace(/"id":"[^"]*"/g, '"id":""')));
  }
  return answers;
}

describe("bodies that are nearly right", () => {
  const count = 1000;

  test("each of the valid ones is answered or said to be out of reach", async () => {
    for (const [path, body] of calls) {
      const { status } = await server.post(path, body);
      expect([200, 501], `${path} ${JSON.stringify(body)}`).toContain(status);
    }
  });

  test(`${count} mutated ones are answered, or refused with a reason, and leave the server as it was`, async () => {
    const before = await probe();
    const mutator = new Mutator(11);
    const waiting = Array.from({ length: count }, () => {
      const [path, body] = mutator.pick(calls);
      return { path, body: mutator.body(body) };
    });
    const failures: unknown[] = [];
    let refused = 0;
    const work = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const { path, body } = next;
        const headers = { "content-type": "application/json" };
        const response = await fetch(server.url + path, { method: "POST", body, headers });
        const text = await response.text();
        refused += response.status === 200 ? 0 : 1;
        const isKnown = response.status < 500 || response.status === 501;
        const hasReason = response.status === 200 || /"(?:message|error)":\s*"[^"]/.test(text);
        if (!isKnown || !hasReason || text.includes("internal_error") || /\bat \S+ \(|\/src\/|\.ts:/.test(text)) {
          failures.push({ path, body: String(body).slice(0, 2000), status: response.status, text: text.slice(0, 500) });
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, work));
    expect(failures).toEqual([]);
    expect(server.log.filter(({ level }) => level === "error")).toEqual([]);
    // The mutations are neither harmless nor all fatal.
    expect(refused).toBeGreaterThan(count / 4);
    expect(refused).toBeLessThan(count);
    expect(await probe()).toEqual(before);
    const { running, waiting: left } = server.server.context.service.admission;
    expect({ running, left }).toEqual({ running: 0, left: 0 });
  }, 120_000);
});
