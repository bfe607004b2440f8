// Responses, messages and Ollama's interface, as they are on the wire.

import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ResponseStore } from "../../src/serve/api/response-store.js";
import { readError, startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-slots-"));
  server = await startTestServer({ responseStore: 4, slotFolder: folder, parallel: 2 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const messages = [{ role: "user", content: "Once upon a time" }];
const schema = {
  type: "object",
  properties: { city: { enum: ["Berlin", "Paris"] } },
  required: ["city"],
  additionalProperties: false,
};
const chat = (more: object = {}) => server.ask("/v1/chat/completions", { messages, max_tokens: 8, ...more });

/** Names of events and their data, which repeat the name. */
async function eventsOf(path: string, body: object) {
  const response = await server.post(path, { ...body, stream: true });
  expect(response.status).toBe(200);
  const blocks = (await response.text()).trim().split("\n\n");
  return blocks.map((block) => {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? [];
    const event = JSON.parse(data ?? "null");
    expect(event.type).toBe(name);
    return event;
  });
}

describe("test_compat_oai_responses", () => {
  it("responses: the text of a chat as an item of output", async () => {
    const expected = (await chat()).choices[0].message.content;
    const answer = await server.ask("/v1/responses", { input: messages, max_output_tokens: 8 });
    expect(answer).toMatchObject({ object: "response", status: "incomplete", model: "tiny-bitnet", error: null });
    expect(answer.id).toMatch(/^resp_/);
    expect(answer.incomplete_details).toEqual({ reason: "max_output_tokens" });
    expect(answer.output).toEqual([
      {
        ...{ type: "message", id: expect.stringMatching(/^msg_/), status: "incomplete", role: "assistant" },
        content: [{ type: "output_text", text: expected, annotations: [], logprobs: [] }],
      },
    ]);
    expect(answer.usage).toMatchObject({ output_tokens: 8, output_tokens_details: { reasoning_tokens: 0 } });
    const text = await server.ask("/responses", { input: "Once upon a time", max_output_tokens: 8 });
    expect(text.output[0].content[0].text).toBe(expected);
  });

  it("responses_stream: events in order, numbered, and joined the same text", async () => {
    const body = { input: messages, max_output_tokens: 8 };
    const whole = await server.ask("/v1/responses", body);
    const events = await eventsOf("/v1/responses", body);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    const names = events.map(({ type }) => type.replace("response.", ""));
    const deltas = names.filter((name) => name === "output_text.delta");
    expect(names).toEqual([
      ...["created", "in_progress", "output_item.added", "content_part.added"],
      ...deltas,
      ...["output_text.done", "content_part.done", "output_item.done", "incomplete"],
    ]);
    const text = events.map(({ type, delta }) => (type === "response.output_text.delta" ? delta : "")).join("");
    expect(text).toBe(whole.output[0].content[0].text);
    const last = events.at(-1).response;
    expect(last.output[0].content).toEqual(whole.output[0].content);
    expect(last.usage.output_tokens).toBe(whole.usage.output_tokens);
    expect(new Set(events.flatMap(({ item_id }) => item_id ?? []))).toEqual(new Set([last.output[0].id]));
  });

  it("a call of a tool is an item of its own, also streamed", async () => {
    const tools = [{ type: "function", name: "get_weather", parameters: schema }];
    const body = { input: messages, tools, tool_choice: { type: "function", name: "get_weather" } };
    const { output, status } = await server.ask("/v1/responses", body);
    expect(status).toBe("completed");
    expect(output).toEqual([
      {
        ...{ type: "function_call", id: expect.stringMatching(/^fc_/), status: "completed", name: "get_weather" },
        ...{ call_id: expect.stringMatching(/^call_/), arguments: expect.any(String) },
      },
    ]);
    expect(JSON.parse(output[0].arguments)).toEqual({ city: expect.stringMatching(/Berlin|Paris/) });
    const events = await eventsOf("/v1/responses", body);
    const fragments = events.filter(({ type }) => type === "response.function_call_arguments.delta");
    expect(fragments.map(({ delta }) => delta).join("")).toBe(output[0].arguments);
    expect(events.at(-1)).toMatchObject({ type: "response.completed", response: { status: "completed" } });
    const results = [
      ...messages,
      output[0],
      { type: "function_call_output", call_id: output[0].call_id, output: "sunny" },
    ];
    const next = await server.ask("/v1/responses", {
      input: results,
      tools,
      tool_choice: "none",
      max_output_tokens: 4,
    });
    expect(next.output[0].type).toBe("message");
  });

  it("text.format holds the answer to a schema", async () => {
    const text = { format: { type: "json_schema", name: "place", schema, strict: true } };
    const { output } = await server.ask("/v1/responses", { input: messages, text });
    expect(JSON.parse(output[0].content[0].text)).toEqual({ city: expect.stringMatching(/Berlin|Paris/) });
  });

  it("input_tokens counts what an answer is charged for", async () => {
    const { input_tokens } = await server.ask("/v1/responses/input_tokens", {
      input: messages,
      instructions: "Be brief",
    });
    const { usage } = await server.ask("/v1/responses", {
      ...{ input: messages, instructions: "Be brief", max_output_tokens: 1 },
    });
    expect(input_tokens).toBe(usage.input_tokens);
  });

  it("previous_response_id goes on from a kept response, as if all had been sent", async () => {
    const first = await server.ask("/v1/responses", { input: "Hi", max_output_tokens: 6 });
    const more = { max_output_tokens: 6, input: [{ role: "user", content: "And then?" }] };
    const next = await server.ask("/v1/responses", { ...more, previous_response_id: first.id });
    const all = await server.ask("/v1/responses", {
      ...{ ...more, input: [{ role: "user", content: "Hi" }, ...first.output, ...more.input] },
    });
    expect(next.output[0].content).toEqual(all.output[0].content);
    expect(next.usage.input_tokens).toBe(all.usage.input_tokens);
    const unknown = await server.post("/v1/responses", { ...more, previous_response_id: "resp_nothing" });
    expect(unknown.status).toBe(404);
  });

  it("a server that keeps no responses says so", async () => {
    await using other = await startTestServer();
    const response = await other.post("/v1/responses", { input: "Hi", previous_response_id: "resp_1" });
    expect(response.status).toBe(400);
    expect((await readError(response)).code).toBe("unsupported_parameter");
  });

  it("kept responses are their client's, so many, for an hour", () => {
    let now = 0;
    const store = new ResponseStore(2, () => now);
    const said = [{ role: "user", content: "a" }];
    store.keep("me", "1", said);
    expect(store.find("me", "1")).toEqual(said);
    expect(store.find("you", "1")).toBeUndefined();
    store.keep("me", "2", said);
    store.keep("me", "3", said);
    expect(store.find("me", "1")).toBeUndefined();
    expect(store.find("me", "3")).toEqual(said);
    now = 3_600_000;
    expect(store.find("me", "3")).toBeUndefined();
  });

  it.each([
    ["nothing", {}, "input"],
    ["a picture", { input: [{ role: "user", content: [{ type: "input_image" }] }] }, "input[0].content[0].type"],
    ["a reference", { input: [{ type: "item_reference", id: "a" }] }, "input[0].type"],
    ["a tool that is no function", { input: "a", tools: [{ type: "web_search" }] }, "tools[0].type"],
    ["top_logprobs", { input: "a", top_logprobs: 21 }, "top_logprobs"],
    ["work in the background", { input: "a", background: true }, "background"],
  ])("%s is 400 with the field's name", async (_, body, param) => {
    const response = await server.post("/v1/responses", body);
    expect(response.status).toBe(400);
    expect((await readError(response)).param).toBe(param);
  });
});

it("responses tell the log-probabilities that chats do, if they are asked for", async () => {
  const told = (await chat({ logprobs: true, top_logprobs: 2 })).choices[0].logprobs.content;
  const body = { input: messages, max_output_tokens: 8 };
  const { output } = await server.ask("/v1/responses", { ...body, top_logprobs: 2 });
  expect(output[0].content[0].logprobs).toEqual(told);
  const events = await eventsOf("/v1/responses", { ...body, top_logprobs: 2 });
  const deltas = events.filter(({ type }) => type === "response.output_text.delta");
  expect(deltas.flatMap(({ logprobs }) => logprobs)).toEqual(told);
  expect(events.at(-1).response.output[0].content[0].logprobs).toEqual(told);
  const one = await server.ask("/v1/responses", { ...body, include: ["message.output_text.logprobs"] });
  expect(one.output[0].content[0].logprobs.map(({ token }: { token: string }) => token).join("")).toBe(
    output[0].content[0].text,
  );
});

describe("test_compat_anthropic", () => {
  const ask = (more: object = {}) => server.ask("/v1/messages", { model: "any", max_tokens: 8, messages, ...more });

  it("anthropic_messages_basic: blocks, why it stopped, and usage", async () => {
    const expected = (await chat()).choices[0].message.content;
    const answer = await ask();
    expect(answer).toMatchObject({
      type: "message",
      role: "assistant",
      model: "tiny-bitnet",
      stop_reason: "max_tokens",
    });
    expect(answer.id).toMatch(/^msg_/);
    expect(answer.content).toEqual([{ type: "text", text: expected }]);
    expect(answer.usage.output_tokens).toBe(8);
    expect(answer.usage.input_tokens + answer.usage.cache_read_input_tokens).toBe((await chat()).usage.prompt_tokens);
  });

  it("anthropic_messages_with_system: as the first message of a chat", async () => {
    const system = "You tell stories.";
    const expected = await chat({ messages: [{ role: "system", content: system }, ...messages] });
    expect((await ask({ system })).content[0].text).toBe(expected.choices[0].message.content);
    expect((await ask({ system: [{ type: "text", text: system }] })).content[0].text).toBe(
      expected.choices[0].message.content,
    );
  });

  it("anthropic_messages_streaming: events in order, joined the same text", async () => {
    const whole = await ask();
    const events = await eventsOf("/v1/messages", { max_tokens: 8, messages });
    const names = events.map(({ type }) => type);
    expect(names).toEqual([
      ...["message_start", "content_block_start"],
      ...names.filter((name) => name === "content_block_delta"),
      ...["content_block_stop", "message_delta", "message_stop"],
    ]);
    expect(events[0].message).toMatchObject({ role: "assistant", content: [], stop_reason: null });
    expect(events.map(({ delta }) => delta?.text ?? "").join("")).toBe(whole.content[0].text);
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: "max_tokens" }, usage: { output_tokens: 8 } });
  });

  it("anthropic_stop_sequences: what ended the text is named", async () => {
    const { content } = await ask();
    const stop = content[0].text.slice(5, 9);
    const cut = await ask({ stop_sequences: [stop] });
    expect(cut).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: stop });
    expect(cut.content[0].text).toBe(content[0].text.slice(0, content[0].text.indexOf(stop)));
  });

  const tools = [{ name: "get_weather", description: "The weather", input_schema: schema }];

  it("anthropic_tool_use_basic: a block with its input, whole and streamed", async () => {
    const body = { tools, tool_choice: { type: "any", disable_parallel_tool_use: true }, max_tokens: 100 };
    const answer = await ask(body);
    expect(answer.stop_reason).toBe("tool_use");
    expect(answer.content).toEqual([
      {
        ...{ type: "tool_use", id: expect.stringMatching(/^toolu_/), name: "get_weather" },
        input: { city: expect.stringMatching(/Berlin|Paris/) },
      },
    ]);
    const events = await eventsOf("/v1/messages", { messages, ...body });
    const written = events.map(({ delta }) => delta?.partial_json ?? "").join("");
    expect(JSON.parse(written)).toEqual(answer.content[0].input);
  });

  it("anthropic_tool_result: results go before what the user says beside them", async () => {
    const turns = [
      ...messages,
      {
        role: "assistant",
        content: [{ type: "tool_use", id: "toolu_1", name: "get_weather", input: { city: "Paris" } }],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "toolu_1", content: [{ type: "text", text: "sunny" }] },
          { type: "text", text: "Thanks" },
        ],
      },
    ];
    const calls = [
      { id: "toolu_1", type: "function", function: { name: "get_weather", arguments: '{"city": "Paris"}' } },
    ];
    const expected = await chat({
      messages: [
        ...messages,
        { role: "assistant", content: null, tool_calls: calls },
        { role: "tool", tool_call_id: "toolu_1", content: "sunny" },
        { role: "user", content: "Thanks" },
      ],
      tools: [{ type: "function", function: { name: "get_weather", description: "The weather", parameters: schema } }],
      tool_choice: "none",
    });
    const answer = await ask({ messages: turns, tools, tool_choice: { type: "none" } });
    expect(answer.content[0].text).toBe(expected.choices[0].message.content);
  });

  it("anthropic_count_tokens: what a message is charged for", async () => {
    const { input_tokens } = await server.ask("/v1/messages/count_tokens", { messages, tools });
    const { usage } = await ask({ tools, max_tokens: 1 });
    expect(input_tokens).toBe(usage.input_tokens + usage.cache_read_input_tokens);
  });

  it("errors have Anthropic's form", async () => {
    for (const body of [{ messages: [] }, { messages: [{ role: "user", content: [{ type: "image" }] }] }, {}]) {
      const response = await server.post("/v1/messages", body);
      expect(response.status).toBe(400);
      expect(await response.json()).toEqual({
        type: "error",
        error: { type: "invalid_request_error", message: expect.any(String) },
      });
    }
  });
});

describe("Ollama's interface", () => {
  const lines = async (path: string, body: object) => {
    const response = await server.post(path, body);
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    return (await response.text())
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  };

  it("probes are answered: version, tags, ps, show", async () => {
    expect((await server.read("/api/version")).version).toMatch(/^\d+\.\d+/);
    const [model] = (await server.read("/api/tags")).models;
    expect(model).toMatchObject({ name: "tiny-bitnet", model: "tiny-bitnet", details: { format: "gguf" } });
    expect((await server.read("/api/ps")).models[0].model).toBe("tiny-bitnet");
    const shown = await server.ask("/api/show", { model: "tiny-bitnet" });
    expect(shown.capabilities).toContain("completion");
    expect(shown.model_info["general.architecture"]).toBe(model.details.family);
  });

  it("chat: lines of JSON unless stream is false, with counts and times at the end", async () => {
    const options = { num_predict: 8, temperature: 0 };
    const expected = (await chat()).choices[0].message.content;
    const whole = await server.ask("/api/chat", { model: "any", messages, options, stream: false });
    expect(whole).toMatchObject({
      message: { role: "assistant", content: expected },
      done: true,
      done_reason: "length",
    });
    const parts = await lines("/api/chat", { model: "any", messages, options });
    expect(parts.map(({ message }) => message.content).join("")).toBe(expected);
    expect(parts.map(({ done }) => done)).toEqual([...parts.slice(1).map(() => false), true]);
    expect(parts.at(-1)).toMatchObject({ eval_count: 8, prompt_eval_count: whole.prompt_eval_count });
  });

  it("chat: tools are called with arguments that are objects, and a format holds the answer", async () => {
    const tools = [{ type: "function", function: { name: "get_weather", parameters: schema } }];
    const options = { num_predict: 100 };
    const parts = await lines("/api/chat", { messages, tools, options: { ...options, seed: 1 } });
    for (const call of parts.flatMap(({ message }) => message.tool_calls ?? [])) {
      expect(call.function).toMatchObject({ name: "get_weather", arguments: { city: expect.any(String) } });
    }
    expect(parts.at(-1).done).toBe(true);
    const whole = await server.ask("/api/chat", { messages, options, format: schema, stream: false });
    expect(JSON.parse(whole.message.content)).toEqual({ city: expect.stringMatching(/Berlin|Paris/) });
  });

  it("generate: a prompt as a chat, raw as a text, and nothing to load the model", async () => {
    const options = { num_predict: 8 };
    const prompt = "Once upon a time";
    const answer = await server.ask("/api/generate", { prompt, options, stream: false });
    expect(answer.response).toBe((await chat()).choices[0].message.content);
    const raw = await server.ask("/api/generate", { prompt, options, stream: false, raw: true });
    expect(raw.response).toBe((await server.ask("/completion", { prompt, n_predict: 8 })).content);
    expect(await server.ask("/api/generate", { model: "any" })).toMatchObject({ done: true, done_reason: "load" });
  });

  it("errors are texts", async () => {
    const response = await server.post("/api/chat", { messages: [{ role: "nobody", content: "" }] });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: expect.stringContaining("role") });
    expect((await server.post("/api/embed", { input: "a" })).status).toBe(501);
  });
});

describe("test_embedding", () => {
  it("requests are checked, and no model here can answer them", async () => {
    expect((await server.post("/v1/embeddings", { input: ["a", [1, 2]], encoding_format: "base64" })).status).toBe(501);
    expect((await server.post("/v1/embeddings", {})).status).toBe(400);
    expect((await server.post("/v1/embeddings", { input: "a", encoding_format: "int8" })).status).toBe(400);
    expect((await server.post("/embedding", { content: "a" })).status).toBe(501);
  });
});

describe("test_slot_save", () => {
  const prompt = "Once upon a time, there was a little girl who liked to play outside";
  const complete = (more: object) => server.ask("/completion", { n_predict: 8, prompt, id_slot: 1, ...more });
  const act = (action: string, slot: number, filename?: string) =>
    server.post(`/slots/${slot}?action=${action}`, filename === undefined ? {} : { filename });

  it("slot_save_restore: a saved sequence is found again, in another place, and answers the same", async () => {
    const first = await complete({});
    const total = first.tokens_evaluated;
    expect(first.timings.prompt_n).toBe(total);
    const saved = await (await act("save", 1, "slot1.bin")).json();
    expect(saved).toMatchObject({ id_slot: 1, filename: "slot1.bin", n_saved: first.tokens_cached });
    expect(readdirSync(folder)).toEqual(["slot1.bin"]);
    const restored = await (await act("restore", 0, "slot1.bin")).json();
    expect(restored).toMatchObject({ id_slot: 0, filename: "slot1.bin", n_restored: first.tokens_cached });
    const again = await complete({ id_slot: 0 });
    expect(again.content).toBe(first.content);
    expect(again.timings.prompt_n).toBeLessThan(total);
  });

  it("slot_erase: what is erased has to be evaluated again", async () => {
    const { tokens_evaluated } = await complete({});
    expect((await complete({})).timings.prompt_n).toBeLessThan(tokens_evaluated);
    const erased = (await (await act("erase", 1)).json()) as { n_erased: number };
    expect(erased.n_erased).toBeGreaterThan(0);
    expect((await complete({})).timings.prompt_n).toBe(tokens_evaluated);
  });

  it.each(["../slot.bin", "a/b", "..", ".hidden", "", "a\\b", "a\u0000b", "/etc/passwd", "x".repeat(200), "a.partial"])(
    "the name %j leads nowhere",
    async (name) => {
      for (const action of ["save", "restore"]) {
        const response = await act(action, 1, name);
        expect(response.status).toBe(400);
        expect((await readError(response)).param).toBe("filename");
      }
    },
  );

  it("what is no slot file is 400, and says nothing of where it lies", async () => {
    writeFileSync(join(folder, "other.bin"), "not a slot file");
    for (const name of ["other.bin", "missing.bin"]) {
      const response = await act("restore", 0, name);
      expect(response.status).toBe(400);
      expect(JSON.stringify(await response.json())).not.toContain(folder);
    }
  });

  it("no place of that number, no such action: 400; no folder: 501", async () => {
    expect((await act("save", 2, "a")).status).toBe(400);
    expect((await act("burn", 1, "a")).status).toBe(400);
    await using other = await startTestServer();
    expect((await other.post("/slots/0?action=save", { filename: "a" })).status).toBe(501);
  });
});

describe("paths that lead nowhere", () => {
  it("get an error that the clients of that path can read", async () => {
    const read = async (path: string, method = "GET") => (await server.get(path, { method })).json();
    const message = "there is nothing at this path";
    expect(await read("/v1/nothing")).toMatchObject({ error: { message, type: "not_found_error", code: "not_found" } });
    expect(await read("/v1/messages/batches")).toEqual({ type: "error", error: { type: "not_found_error", message } });
    expect(await read("/api/pull", "POST")).toEqual({ error: message });
    expect(await read("/v1/messages")).toMatchObject({ type: "error", error: { type: "invalid_request_error" } });
  });

  it("get one also where they cannot be decoded", async () => {
    const response = await server.get("/v1/%ff");
    expect(response.status).toBe(400);
    expect(await readError(response)).toMatchObject({ type: "invalid_request_error", param: null });
  });
});

it("a path that is for another method says for which", async () => {
  await using server = await startTestServer();
  const response = await server.get("/v1/chat/completions");
  expect(response.status).toBe(405);
  expect(response.headers.get("allow")).toBe("POST");
  expect(await response.json()).toMatchObject({ error: { code: "method_not_allowed" } });
});
