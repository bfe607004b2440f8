// Chats, under the names that the tests of llama.cpp's server give to the same behaviour.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readError, startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server[Symbol.asyncDispose]());

const path = "/v1/chat/completions";
const messages = [{ role: "user", content: "Once upon a time" }];
const ask = (more: object = {}) => server.ask(path, { messages, max_tokens: 8, ...more });
const textOf = async (more: object = {}) => (await ask(more)).choices[0].message.content as string;
const statusOf = async (more: object) => (await server.post(path, { messages, max_tokens: 4, ...more })).status;

describe("test_chat_completion", () => {
  it("chat_completion: an answer of the served model, with what it cost", async () => {
    const answer = await ask({ model: "anything" });
    expect(answer).toMatchObject({
      ...{ object: "chat.completion", model: "tiny-bitnet", id: expect.stringMatching(/^chatcmpl-/) },
      system_fingerprint: expect.stringMatching(/^bitnet-/),
      choices: [{ index: 0, finish_reason: "length", logprobs: null, message: { role: "assistant", refusal: null } }],
      usage: { completion_tokens: 8, completion_tokens_details: { reasoning_tokens: 0 } },
    });
    expect(answer.usage.total_tokens).toBe(answer.usage.prompt_tokens + 8);
    expect(answer.choices[0].message.tool_calls).toBeUndefined();
  });

  it("chat_completion_stream: the role first, texts, the end, and no usage unless asked", async () => {
    const chunks = await server.stream(path, { messages, max_tokens: 8 });
    expect(chunks[0].choices[0].delta).toEqual({ role: "assistant", content: null });
    expect(chunks.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe(await textOf());
    expect(chunks.at(-1).choices[0]).toMatchObject({ delta: {}, finish_reason: "length" });
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.some((chunk) => "usage" in chunk)).toBe(false);
  });

  it("chat_completion_with_usage: one chunk without choices, at the end", async () => {
    const chunks = await server.stream(path, { messages, max_tokens: 8, stream_options: { include_usage: true } });
    expect(chunks.filter(({ usage }) => usage !== null)).toHaveLength(1);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 8 } });
  });

  it("logprobs: joined tokens are the text, the likeliest come first", async () => {
    const { choices } = await ask({ logprobs: true, top_logprobs: 3 });
    const { content } = choices[0].logprobs;
    expect(content.map(({ token }: { token: string }) => token).join("")).toBe(choices[0].message.content);
    for (const { token, logprob, bytes, top_logprobs } of content) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(Buffer.from(bytes).toString()).toBe(token);
      expect(top_logprobs).toHaveLength(3);
      expect(top_logprobs[0].logprob).toBe(logprob);
    }
  });

  it("logprobs_stream: the same entries, chunk by chunk", async () => {
    const body = { messages, max_tokens: 8, logprobs: true, top_logprobs: 2 };
    const whole = (await server.ask(path, body)).choices[0].logprobs.content;
    const chunks = await server.stream(path, body);
    expect(chunks.flatMap(({ choices }) => choices[0].logprobs?.content ?? [])).toEqual(whole);
  });

  it("logit_bias: a token that is forbidden does not come", async () => {
    const { tokens } = await server.ask("/tokenize", { content: await textOf({ max_tokens: 4 }) });
    const { choices } = await ask({ logit_bias: Object.fromEntries(tokens.map((id: number) => [id, -100])) });
    const others = (await server.ask("/tokenize", { content: choices[0].message.content })).tokens;
    expect(others.filter((id: number) => tokens.includes(id))).toEqual([]);
  });

  it.each([
    ["json_schema", { const: "42" }, /^"42"$/],
    ["json_schema", { items: { enum: [1, 2] }, type: "array", maxItems: 2, minItems: 2 }, /^\[ ?[12] ?, ?[12] ?\]$/],
  ])("completion_with_%s %j", async (_, schema, pattern) => {
    const response_format = { type: "json_schema", json_schema: { name: "a", schema } };
    expect(await textOf({ response_format, max_tokens: 60 })).toMatch(pattern);
    expect(await textOf({ json_schema: schema, max_tokens: 60 })).toMatch(pattern);
  });

  it("completion_with_response_format: a JSON object, and a cut one is length", async () => {
    const { choices } = await ask({ response_format: { type: "json_object" }, max_tokens: 3 });
    expect(choices[0]).toMatchObject({ finish_reason: "length", message: { content: expect.stringMatching(/^\{/) } });
    expect(await statusOf({ response_format: { type: "sound" } })).toBe(400);
    expect(
      await statusOf({ response_format: { type: "json_schema", json_schema: { schema: { type: "nothing" } } } }),
    ).toBe(400);
  });

  it("completion_with_grammar: the answer is a text of it", async () => {
    expect(await textOf({ grammar: 'root ::= "a" [0-9]{3}' })).toMatch(/^a\d{3}$/);
    const response = await server.post(path, { messages, grammar: "root ::= (" });
    expect(response.status).toBe(400);
    expect((await readError(response)).code).toBe("invalid_grammar");
  });

  it("streams only whole characters; inside one a token has bytes and no text", async () => {
    const grammar = 'root ::= "\u{1f9d2}\u{1f3fd}\u00e4"';
    const chunks = await server.stream(path, { messages, grammar, logprobs: true, max_tokens: 30 });
    const texts = chunks.map(({ choices }) => choices[0].delta.content ?? "");
    expect(texts.join("")).toBe("\u{1f9d2}\u{1f3fd}\u00e4");
    expect(texts.every((text) => text.isWellFormed?.() ?? !/[\ud800-\udbff]$/.test(text))).toBe(true);
    const entries = chunks.flatMap(({ choices }) => choices[0].logprobs?.content ?? []);
    expect(entries.map(({ token }) => token).join("")).toBe("\u{1f9d2}\u{1f3fd}\u00e4");
  });

  it("chat_completion_multiple_choices: choice i is that of seed + i", async () => {
    const body = { temperature: 1.5, seed: 7 };
    const { choices } = await ask({ ...body, n: 3 });
    expect(choices.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2]);
    for (const [i, choice] of choices.entries()) {
      expect(choice.message.content).toBe(await textOf({ ...body, seed: 7 + i }));
    }
  });

  it("return_progress: a long prompt tells how far it is read", async () => {
    const long = [{ role: "user", content: "One day a cat sat on a mat. ".repeat(60) }];
    const body = { messages: long, max_tokens: 2, return_progress: true, cache_prompt: false };
    const progress = (await server.stream(path, body)).flatMap(({ prompt_progress }) => prompt_progress ?? []);
    for (const { total, cache, processed, time_ms } of progress) {
      expect(processed).toBeLessThanOrEqual(total);
      expect(cache).toBe(0);
      expect(time_ms).toBeGreaterThanOrEqual(0);
    }
  });

  it("timings_per_token: with every text what it took", async () => {
    const chunks = await server.stream(path, { messages, max_tokens: 4, timings_per_token: true });
    const timed = chunks.filter(({ choices }) => choices[0].delta.content);
    expect(timed.map(({ timings }) => timings.predicted_n)).toEqual([1, 2, 3, 4]);
  });

  it("an answer that has begun is gone on with", async () => {
    const begun = await textOf({ max_tokens: 4 });
    const turns = [...messages, { role: "assistant", content: begun }];
    expect(begun + (await textOf({ messages: turns, max_tokens: 4 }))).toBe(await textOf());
  });

  it.each([false, true])(
    "context_size_exceeded (stream %s): the error is one that clients recognise",
    async (stream) => {
      const long = [{ role: "user", content: "a b ".repeat(4000) }];
      const response = await server.post(path, { messages: long, stream });
      expect(response.status).toBe(400);
      const error = await readError(response);
      expect(error).toMatchObject({ type: "exceed_context_size_error", code: "context_length_exceeded" });
      expect(error.message).toMatch(/maximum context length is \d+ tokens/);
      expect(error.n_prompt_tokens).toBeGreaterThan(error.n_ctx);
    },
  );

  it.each([
    [{ messages: [] }, "messages"],
    [{ messages: undefined }, "messages"],
    [{ messages: "Hi" }, "messages"],
    [{ messages: [{ role: "user" }] }, "messages[0].content"],
    [{ messages: [{ content: "Hi" }] }, "messages[0].role"],
    [{ messages: [{ role: "judge", content: "Hi" }] }, "messages[0].role"],
    [{ messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages[0].content[0].type"],
    [
      { messages: [...messages, { role: "assistant", content: "a" }, { role: "assistant", content: "b" }] },
      "messages[2].role",
    ],
    [{ temperature: -1 }, "temperature"],
    [{ top_p: 1.1 }, "top_p"],
    [{ n: 9 }, "n"],
    [{ top_logprobs: 3 }, "top_logprobs"],
    [{ stop: Array.from({ length: 17 }, () => "a") }, "stop"],
    [{ stop: "a".repeat(257) }, "stop"],
  ])("invalid_chat_completion_req %j is 400 with the field's name", async (more, param) => {
    const response = await server.post(path, { messages, max_tokens: 4, ...more });
    expect(response.status).toBe(400);
    expect((await readError(response)).param).toBe(param);
  });

  it("unknown fields are named, known ones that mean nothing are not", async () => {
    const response = await server.post(path, {
      messages,
      max_tokens: 1,
      user: "me",
      store: true,
      colour: "red",
      x: null,
    });
    expect(response.headers.get("x-bitnet-ignored")).toBe("colour");
  });

  it("unknown fields of objects within are named with their place, those of a list once", async () => {
    const response = await server.post(path, {
      messages: [
        { role: "user", content: [{ type: "text", text: "Hello", mood: "good" }], age: 3 },
        { role: "assistant", content: "Yes?", age: 3, refusal: null, annotations: [] },
        ...messages,
      ],
      max_tokens: 1,
      stream: true,
      stream_options: { include_usage: true, colour: "red" },
      response_format: { type: "text", size: 1 },
      logit_bias: { 5: 1 },
      chat_template_kwargs: { anything: 1 },
      metadata: { a: "b" },
      tools: [{ type: "function", function: { name: "f", parameters: { type: "object", title: "F" } } }],
      tool_choice: "none",
    });
    await response.text();
    const names = response.headers.get("x-bitnet-ignored")?.split(", ");
    const expected = [
      "stream_options.colour",
      "messages[0].age",
      "messages[0].content[0].mood",
      "response_format.size",
    ];
    expect(names?.toSorted()).toEqual(expected.toSorted());
  });

  it.each([
    [{ web_search_options: {} }, "web_search_options"],
    [{ modalities: ["text", "audio"] }, "modalities"],
    [{ audio: { voice: "x", format: "mp3" } }, "audio"],
  ])("%j asks for an answer that cannot be given", async (more, param) => {
    const error = await readError(await server.post(path, { messages, max_tokens: 1, ...more }));
    expect(error).toMatchObject({ param, code: "unsupported_parameter" });
  });

  it("HEAD is answered as GET is, as load balancers and Ollama's clients ask", async () => {
    for (const url of ["/health", "/v1/models"]) {
      const response = await server.get(url, { method: "HEAD" });
      expect(response.status).toBe(200);
      expect(await response.text()).toBe("");
    }
    expect((await server.get(path, { method: "HEAD" })).status).toBe(405);
  });

  it("how long it took stands in a header, of streams until they began", async () => {
    const msOf = async (more: object) => {
      const response = await server.post(path, { messages, max_tokens: 300, n: 8, ignore_eos: true, ...more });
      await response.text();
      return Number(response.headers.get("openai-processing-ms") ?? Number.NaN);
    };
    expect(await msOf({})).toBeGreaterThan(0);
    expect(await msOf({ stream: true })).toBeGreaterThanOrEqual(0);
  });

  const schema = {
    type: "object",
    properties: { a: { type: "array", items: { type: "integer" }, uniqueItems: true } },
  };
  const tools = (strict: boolean | undefined) => [
    { type: "function", function: { name: "f", strict, parameters: schema } },
  ];
  const format = (strict: boolean) => ({ type: "json_schema", json_schema: { name: "x", strict, schema } });

  it.each([
    [{ tools: tools(false), tool_choice: "required" }, "tools/f/properties/a/uniqueItems"],
    [
      { tools: tools(false), tool_choice: "required", stream: true, colour: "red" },
      "colour, tools/f/properties/a/uniqueItems",
    ],
    [{ response_format: format(false) }, "schema/properties/a/uniqueItems"],
  ])("what strict: false leaves out of a schema is named: %j", async (more, expected) => {
    const response = await server.post(path, { messages, max_tokens: 1, ...more });
    await response.text();
    expect(response.headers.get("x-bitnet-ignored")).toBe(expected);
  });

  it.each([{ tools: tools(undefined), tool_choice: "required" }, { response_format: format(true) }])(
    "without it, it is refused: %j",
    async (more) => {
      const response = await server.post(path, { messages, max_tokens: 1, ...more });
      expect(await readError(response)).toMatchObject({
        code: "invalid_json_schema",
        message: expect.stringContaining("uniqueItems"),
      });
    },
  );

  it("Anthropic's tools have strict, too", async () => {
    const tool = { name: "f", input_schema: schema };
    const asking = { messages, max_tokens: 1, tool_choice: { type: "any" } };
    const left = await server.post("/v1/messages", { ...asking, tools: [{ ...tool, strict: false }] });
    expect(left.headers.get("x-bitnet-ignored")).toBe("tools/f/properties/a/uniqueItems");
    expect((await server.post("/v1/messages", { ...asking, tools: [tool] })).status).toBe(400);
  });
});
