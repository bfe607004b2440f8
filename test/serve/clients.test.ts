// The official clients, as their documentation uses them, and recorded requests of others.

import { request as httpRequest } from "node:http";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server[Symbol.asyncDispose]());

const messages = [{ role: "user" as const, content: "Once upon a time" }];
const schema = {
  type: "object" as const,
  properties: { city: { type: "string", enum: ["Berlin", "Paris"] } },
  required: ["city"],
  additionalProperties: false,
};
const isPlace = { city: expect.stringMatching(/^(Berlin|Paris)$/) };
const weather = {
  type: "function" as const,
  function: { name: "get_weather", description: "The weather of a city", parameters: schema },
};
const storyOf = async (max_tokens: number) =>
  (await server.ask("/v1/chat/completions", { messages, max_tokens })).choices[0].message.content as string;

/** Resolves once nothing runs any more: the server has seen that its client left. */
async function idle(): Promise<void> {
  const { admission } = server.server.context.service;
  while (admission.running + admission.waiting > 0) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("openai", () => {
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const model = "tiny-bitnet";

  it("models and chats", async () => {
    const models = await client().models.list();
    expect(models.data.map(({ id }) => id)).toEqual([model]);
    const answer = await client().chat.completions.create({ model, messages, max_tokens: 8 });
    expect(answer.choices[0]?.message.content).toBe(await storyOf(8));
    expect(answer.usage?.completion_tokens).toBe(8);
  });

  it("streams with usage, and its own helper puts the parts together", async () => {
    const stream_options = { include_usage: true };
    const stream = client().chat.completions.stream({ model, messages, max_tokens: 8, stream_options });
    const answer = await stream.finalChatCompletion();
    expect(answer.choices[0]?.message.content).toBe(await storyOf(8));
    expect((await stream.totalUsage()).completion_tokens).toBe(8);
  });

  it("calls tools, streamed and whole", async () => {
    const body = { model, messages, tools: [weather], tool_choice: "required" as const, parallel_tool_calls: false };
    const answer = await client().chat.completions.create(body);
    const [call] = answer.choices[0]?.message.tool_calls ?? [];
    expect(answer.choices[0]?.finish_reason).toBe("tool_calls");
    expect(call?.type === "function" && JSON.parse(call.function.arguments)).toEqual(isPlace);
    const streamed = await client().chat.completions.stream(body).finalMessage();
    const [other] = streamed.tool_calls ?? [];
    expect(other?.type === "function" && JSON.parse(other.function.arguments)).toEqual(isPlace);
  });

  it("parses answers that a schema holds", async () => {
    const response_format = { type: "json_schema" as const, json_schema: { name: "place", schema, strict: true } };
    const answer = await client().chat.completions.parse({ model, messages, response_format });
    expect(JSON.parse(answer.choices[0]?.message.content ?? "")).toEqual(isPlace);
  });

  it("completions, and responses whole and streamed", async () => {
    const prompt = "Once upon a time";
    const completion = await client().completions.create({ model, prompt, max_tokens: 8, logprobs: 2, echo: true });
    expect(completion.choices[0]?.text.startsWith(prompt)).toBe(true);
    const body = { model, input: prompt, max_output_tokens: 8 };
    const response = await client().responses.create(body);
    expect(response.output_text).toBe(await storyOf(8));
    const stream = client().responses.stream(body);
    expect((await stream.finalResponse()).output_text).toBe(response.output_text);
  });

  it("an abort ends the request on the server", async () => {
    const stream = await client().chat.completions.create({ model, messages, stream: true, max_tokens: 2000 });
    for await (const _ of stream) {
      stream.controller.abort();
    }
    await idle();
  });

  it("errors have the client's classes, with code and field", async () => {
    const wrong = client().chat.completions.create({ model, messages, temperature: 1000 });
    await expect(wrong).rejects.toMatchObject({ name: "Error", status: 400, param: "temperature" });
    await expect(wrong).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    const long = client().chat.completions.create({
      model,
      messages: [{ role: "user", content: "a b ".repeat(4000) }],
    });
    await expect(long).rejects.toMatchObject({ code: "context_length_exceeded" });
    await expect(client().embeddings.create({ model, input: "a" })).rejects.toMatchObject({ status: 501 });
  });
});

describe("@anthropic-ai/sdk", () => {
  const client = () => new Anthropic({ baseURL: server.url, apiKey: "none", maxRetries: 0 });

  it("lists the model in its shape, page by page", async () => {
    const expected = {
      ...{ type: "model", id: "tiny-bitnet", display_name: "tiny-bitnet" },
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    };
    const page = await client().models.list();
    expect(page).toMatchObject({ data: [expected], has_more: false, first_id: "tiny-bitnet", last_id: "tiny-bitnet" });
    const rest = await client().models.list({ after_id: "tiny-bitnet" });
    expect(rest).toMatchObject({ data: [], has_more: false, first_id: null, last_id: null });
    expect(await client().models.retrieve("tiny-bitnet")).toEqual(expected);
    const missing = client().models.retrieve("other");
    await expect(missing).rejects.toMatchObject({ status: 404, error: { error: { type: "not_found_error" } } });
  });
  const body = { model: "tiny-bitnet", messages, max_tokens: 8 };

  it("messages, whole and streamed", async () => {
    const message = await client().messages.create(body);
    expect(message.content).toEqual([{ type: "text", text: await storyOf(8) }]);
    const stream = client().messages.stream(body);
    let text = "";
    stream.on("text", (delta) => {
      text += delta;
    });
    const final = await stream.finalMessage();
    expect(final.content).toEqual(message.content);
    expect(text).toBe(await storyOf(8));
    expect(final.stop_reason).toBe("max_tokens");
  });

  it("tools, whole and streamed; tokens are counted", async () => {
    const tools = [{ name: "get_weather", input_schema: schema }];
    const asked = { ...body, max_tokens: 100, tools, tool_choice: { type: "tool" as const, name: "get_weather" } };
    const message = await client().messages.create(asked);
    expect(message.content).toMatchObject([{ type: "tool_use", name: "get_weather", input: isPlace }]);
    const streamed = await client().messages.stream(asked).finalMessage();
    expect(streamed.content).toMatchObject([{ type: "tool_use", name: "get_weather", input: isPlace }]);
    expect((await client().messages.countTokens({ model: body.model, messages })).input_tokens).toBeGreaterThan(0);
  });

  it("errors have the client's classes", async () => {
    await expect(client().messages.create({ ...body, messages: [] })).rejects.toBeInstanceOf(Anthropic.BadRequestError);
  });
});

describe("ai with @ai-sdk/openai-compatible", () => {
  const model = () =>
    createOpenAICompatible({
      name: "bitnet",
      baseURL: `${server.url}/v1`,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })("tiny-bitnet");
  const prompt = "Once upon a time";

  it("generateText and streamText", async () => {
    const { text } = await generateText({ model: model(), prompt, maxOutputTokens: 8, maxRetries: 0 });
    expect(text).toBe(await storyOf(8));
    const result = streamText({ model: model(), prompt, maxOutputTokens: 8, maxRetries: 0 });
    let streamed = "";
    for await (const part of result.textStream) {
      streamed += part;
    }
    expect(streamed).toBe(text);
    expect((await result.usage).outputTokens).toBe(8);
  });

  it("generateObject holds the answer to a schema", async () => {
    const { object } = await generateObject({ model: model(), schema: jsonSchema(schema), prompt, maxRetries: 0 });
    expect(object).toEqual(isPlace);
  });

  it("tools, whole and streamed", async () => {
    const tools = { get_weather: tool({ description: "The weather", inputSchema: jsonSchema(schema) }) };
    const asked = {
      model: model(),
      tools,
      toolChoice: "required" as const,
      prompt,
      maxRetries: 0,
      maxOutputTokens: 100,
    };
    const { toolCalls, finishReason } = await generateText(asked);
    expect(finishReason).toBe("tool-calls");
    expect(toolCalls[0]).toMatchObject({ toolName: "get_weather", input: isPlace });
    const calls = await streamText(asked).toolCalls;
    expect(calls[0]).toMatchObject({ toolName: "get_weather", input: isPlace });
  });
});

describe("@langchain/openai", () => {
  const chat = (maxTokens: number) =>
    new ChatOpenAI({
      ...{ model: "tiny-bitnet", apiKey: "none", maxTokens, maxRetries: 0, streamUsage: true },
      configuration: { baseURL: `${server.url}/v1` },
    });

  it("invoke and stream, with usage", async () => {
    const asked = [new HumanMessage("Once upon a time")];
    const answer = await chat(8).invoke(asked);
    expect(answer.content).toBe(await storyOf(8));
    let all = new AIMessageChunk("");
    for await (const chunk of await chat(8).stream(asked)) {
      all = all.concat(chunk);
    }
    expect(all.content).toBe(answer.content);
    expect(all.usage_metadata?.output_tokens).toBe(8);
  });

  it("tools and structured output", async () => {
    const bound = chat(100).bindTools([weather], { tool_choice: "get_weather" });
    const { tool_calls } = await bound.invoke("Hi");
    expect(tool_calls?.[0]).toMatchObject({ name: "get_weather", args: isPlace });
    const held = chat(100).withStructuredOutput(schema, { method: "jsonSchema", name: "place" });
    expect(await held.invoke("Hi")).toEqual(isPlace);
  });
});

describe("ollama", () => {
  const client = () => new Ollama({ host: server.url });
  const model = "tiny-bitnet";
  const options = { num_predict: 8 };

  it("lists, shows, chats, generates and streams", async () => {
    expect((await client().list()).models[0]?.name).toBe(model);
    expect((await client().ps()).models[0]?.name).toBe(model);
    expect((await client().show({ model })).details.format).toBe("gguf");
    const { message } = await client().chat({ model, messages, options });
    expect(message.content).toBe(await storyOf(8));
    let streamed = "";
    for await (const part of await client().chat({ model, messages, options, stream: true })) {
      streamed += part.message.content;
    }
    expect(streamed).toBe(message.content);
    const asked = { model, prompt: "Once upon a time", options: {}, format: schema, stream: false as const };
    const { response } = await client().generate(asked);
    expect(JSON.parse(response ?? "")).toEqual(isPlace);
    await expect(client().embed({ model, input: "a" })).rejects.toThrow(/embeddings/);
  });
});

describe("recorded requests", () => {
  it("Open WebUI: asks for models, then a chat beside requests for a title and for tags, and stops by closing", async () => {
    const models = await server.read("/v1/models");
    expect(models.data[0]).toMatchObject({ id: "tiny-bitnet", object: "model", owned_by: "bitnet" });
    const chat = { model: models.data[0].id, stream: true, messages, stream_options: { include_usage: true } };
    const metadata = { task: "title_generation" };
    const side = (content: string) => ({
      ...{
        model: chat.model,
        messages: [{ role: "user", content }],
        stream: false,
        max_completion_tokens: 16,
        metadata,
      },
    });
    const [events, title, tags] = await Promise.all([
      server.stream("/v1/chat/completions", { ...chat, max_tokens: 16 }),
      server.ask("/v1/chat/completions", side("### Task: Generate a concise title")),
      server.ask("/v1/chat/completions", side("### Task: Generate 1-3 broad tags")),
    ]);
    expect(events.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(await storyOf(16));
    expect([title, tags].map(({ object }) => object)).toEqual(["chat.completion", "chat.completion"]);
    await new Promise<void>((resolve, reject) => {
      const request = httpRequest(`${server.url}/v1/chat/completions`, {
        ...{ method: "POST", headers: { "content-type": "application/json" } },
      });
      request.on("response", (response) => response.once("data", () => response.destroy()).once("close", resolve));
      request.on("error", reject);
      request.end(JSON.stringify({ ...chat, max_tokens: 2000 }));
    });
    await idle();
  });

  it("Continue: posts to /completion and reads content", async () => {
    const body = {
      ...{ prompt: "def add(a, b):\n", stream: true, n_predict: 12, temperature: 0.01, top_p: 1, frequency_penalty: 0 },
      ...{ presence_penalty: 0, stop: ["\n\n"], model: "AUTODETECT", cache_prompt: true },
    };
    const parts = await server.stream("/completion", body);
    expect(parts.map(({ content }) => typeof content)).toEqual(parts.map(() => "string"));
    expect(parts.at(-1).stop).toBe(true);
  });

  it("lm-eval: probes the tokenizer, then scores choices by their log-probabilities", async () => {
    const info = await server.read("/tokenizer_info");
    expect(info.eos_token).toEqual(expect.any(String));
    const context = (await server.ask("/tokenize", { prompt: "The cat sat on the", add_special_tokens: true })).tokens;
    const sums = await Promise.all(
      [" mat", " moon"].map(async (choice) => {
        const { tokens } = await server.ask("/tokenize", { prompt: choice, add_special_tokens: false });
        const { choices } = await server.ask("/v1/completions", {
          ...{ model: "tiny-bitnet", prompt: [[...context, ...tokens]], max_tokens: 1, logprobs: 1, echo: true },
          ...{ seed: 1234, temperature: 0 },
        });
        const values = choices[0].logprobs.token_logprobs.slice(context.length, -1) as number[];
        expect(values).toHaveLength(tokens.length);
        return values.reduce((sum, value) => sum + value, 0);
      }),
    );
    expect(sums.every((sum) => Number.isFinite(sum) && sum < 0)).toBe(true);
  });
});
