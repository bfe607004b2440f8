// A server of a model of embeddings: OpenAI's, llama.cpp's and Ollama's shapes, what is refused, and what is counted.

import { Ollama } from "ollama";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import { findFixture, tinyModel } from "../support/fixtures.js";
import { readError, startTestServer, type TestServer } from "../support/serve.js";

const path = findFixture("eval/embed", "qwen3-bitnet.gguf") ?? "";
let model: Model;
let server: TestServer;

beforeAll(async () => {
  model = await loadModel(path, { threads: 1 });
  server = await startTestServer({ modelPath: path, load: { threads: 1 }, contextSize: 0 });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  model?.close();
});

async function vectorsOf(inputs: (string | number[])[], options = {}): Promise<number[][]> {
  return (await model.embed(inputs, options)).vectors.map((vector) => Array.from(vector));
}

const asFloats = (numbers: number[]) => Array.from(Float32Array.from(numbers));
const fromBase64 = (text: string) => {
  const bytes = Buffer.from(text, "base64");
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
};

const texts = ["query: What is BitNet?", "The mill and the water."];

test("OpenAI's shape has a vector for each text or list of ids, in their order, and counts their tokens", async () => {
  const ids = texts.map((text) => [...model.tokenizer.encode(text)]);
  const expected = await vectorsOf(texts);
  const answer = await server.ask("/v1/embeddings", { model: "any", input: texts });
  expect(answer).toMatchObject({ object: "list", model: "qwen3-bitnet" });
  expect(answer.data.map(({ object, index }: { object: string; index: number }) => [object, index])).toEqual([
    ["embedding", 0],
    ["embedding", 1],
  ]);
  expect(answer.data.map(({ embedding }: { embedding: number[] }) => asFloats(embedding))).toEqual(expected);
  const promptTokens = ids.flat().length;
  expect(answer.usage).toEqual({ prompt_tokens: promptTokens, total_tokens: promptTokens });
  for (const [input, count] of [
    [ids, 2],
    [[ids[0], texts[1]], 2],
    [ids[0], 1],
    [texts[0], 1],
  ] as const) {
    const { data } = await server.ask("/v1/embeddings", { input });
    expect(data.map(({ embedding }: { embedding: number[] }) => asFloats(embedding))).toEqual(expected.slice(0, count));
  }
});

test("dimensions are cut before vectors are normalized; base64 is float32", async () => {
  const cut = await server.ask("/v1/embeddings", { input: texts, dimensions: 8, encoding_format: "base64" });
  expect(cut.data.map(({ embedding }: { embedding: string }) => fromBase64(embedding))).toEqual(
    await vectorsOf(texts, { dimensions: 8 }),
  );
  const raw = await server.ask("/v1/embeddings", { input: texts, embd_normalize: -1 });
  expect(asFloats(raw.data[1].embedding)).toEqual((await vectorsOf(texts, { normalize: -1 }))[1]);
});

test("many texts come in their order, each as if it were alone", async () => {
  const many = Array.from({ length: 150 }, (_, i) => `${i} mills`);
  const { data } = await server.ask("/v1/embeddings", { input: many });
  expect(data.map(({ embedding }: { embedding: number[] }) => asFloats(embedding))).toEqual(await vectorsOf(many));
});

test("llama.cpp's shape is a list of lists of vectors", async () => {
  const expected = await vectorsOf(texts);
  for (const [url, body] of [
    ["/embedding", { content: texts }],
    ["/embeddings", { input: texts }],
    ["/v1/embeddings", { content: texts }],
  ] as const) {
    const answer = await server.ask(url, body);
    expect(answer.map(({ index }: { index: number }) => index)).toEqual([0, 1]);
    expect(answer.map(({ embedding }: { embedding: number[][] }) => embedding.map(asFloats))).toEqual(
      expected.map((vector) => [vector]),
    );
  }
});

test("names of control tokens in texts are text unless the request says otherwise", async () => {
  const eos = model.tokenizer.token(model.tokenizer.info.eos);
  const input = `a${eos}b`;
  const plain = await server.ask("/v1/embeddings", { input });
  const parsed = await server.ask("/v1/embeddings", { input, parse_special: true });
  expect(plain.usage.prompt_tokens).toBe(model.tokenizer.encode(input).length);
  expect(parsed.usage.prompt_tokens).toBe(model.tokenizer.encode(input, { parseSpecial: true }).length);
  expect(parsed.usage.prompt_tokens).toBeLessThan(plain.usage.prompt_tokens);
});

test("what is empty, too long or no token is 400 with its place; truncate cuts it", async () => {
  const long = "mill ".repeat(3 * model.info.contextLength);
  const cases: [object, string, string][] = [
    [{ input: ["a", ""] }, "input[1]", "invalid_value"],
    [{ input: "" }, "input", "invalid_value"],
    [{ input: [] }, "input", "invalid_value"],
    [{ input: ["a", []] }, "input[1]", "invalid_value"],
    [{}, "input", "invalid_value"],
    [{ input: ["a", long] }, "input[1]", "context_length_exceeded"],
    [{ input: [[5, 1_000_000]] }, "input[0]", "invalid_value"],
    [{ input: [[-1]] }, "input[0]", "invalid_value"],
    [{ input: "a", dimensions: 65_000 }, "dimensions", "invalid_value"],
    [{ input: "a", dimensions: 0 }, "dimensions", "invalid_value"],
    [{ input: "a", encoding_format: "int8" }, "encoding_format", "invalid_value"],
    [{ input: Array(2049).fill("a") }, "input", "invalid_value"],
  ];
  for (const [body, param, code] of cases) {
    const response = await server.post("/v1/embeddings", body);
    expect(response.status, JSON.stringify(body).slice(0, 60)).toBe(400);
    expect(await readError(response)).toMatchObject({ param, code });
  }
  const cut = await server.ask("/v1/embeddings", { input: long, truncate: true });
  expect(cut.usage.prompt_tokens).toBe(model.info.contextLength);
  expect(asFloats(cut.data[0].embedding)).toEqual((await vectorsOf([long], { truncate: true }))[0]);
});

test("Ollama's shapes: normalized and cut unless that is forbidden, and the older one as the model gives it", async () => {
  const client = new Ollama({ host: server.url });
  const expected = await vectorsOf(texts);
  const { embeddings, prompt_eval_count: count } = await client.embed({ model: "m", input: texts });
  expect(embeddings.map(asFloats)).toEqual(expected);
  expect(count).toBe(texts.flatMap((text) => [...model.tokenizer.encode(text)]).length);
  expect((await client.embed({ model: "m", input: texts[0] ?? "", dimensions: 4 })).embeddings[0]).toHaveLength(4);
  const raw = await client.embeddings({ model: "m", prompt: texts[0] ?? "" });
  expect(asFloats(raw.embedding)).toEqual((await vectorsOf(texts, { normalize: -1 }))[0]);
  const long = "mill ".repeat(3 * model.info.contextLength);
  expect((await client.embed({ model: "m", input: long })).prompt_eval_count).toBe(model.info.contextLength);
  await expect(client.embed({ model: "m", input: long, truncate: false })).rejects.toThrow(/maximum context length/);
  expect((await client.embed({ model: "m", input: [] })).embeddings).toEqual([]);
  expect((await client.show({ model: "m" })).capabilities).toEqual(["embedding"]);
});

test("OpenAI's client reads the vectors, which it asks for as base64", async () => {
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const { data } = await client.embeddings.create({ model: "m", input: texts });
  expect(data.map(({ embedding }) => asFloats(embedding))).toEqual(await vectorsOf(texts));
});

test("paths for texts are 501 and name the one for vectors; what is served is told", async () => {
  const messages = [{ role: "user", content: "Hi" }];
  for (const [url, body] of [
    ["/v1/chat/completions", { messages }],
    ["/v1/completions", { prompt: "a" }],
    ["/v1/responses", { input: "a" }],
    ["/v1/messages", { messages, max_tokens: 4 }],
    ["/completion", { prompt: "a" }],
    ["/api/chat", { model: "m", messages, stream: false }],
  ] as const) {
    const response = await server.post(url, body);
    expect(response.status, url).toBe(501);
    expect(await response.text(), url).toMatch(/computes embeddings, no texts: POST \/v1\/embeddings/);
  }
  const { pooling } = model.info;
  expect((await server.read("/v1/models")).data[0]).toMatchObject({ capabilities: ["embedding"], meta: { pooling } });
  expect(await server.read("/props")).toMatchObject({ embedding: true, pooling });
  expect((await server.post("/tokenize", { content: "a" })).status).toBe(200);
});

test("requests are counted in the metrics", async () => {
  const read = async (name: string) => {
    const text = await (await server.get("/metrics")).text();
    return Number(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, "m").exec(text)?.[1]);
  };
  const before = [await read("bitnet:embeddings_total"), await read("vllm:prompt_tokens_total")];
  const { usage } = await server.ask("/v1/embeddings", { input: ["a", "b", "c"] });
  await expect.poll(() => read("vllm:prompt_tokens_total")).toBe((before[1] ?? 0) + usage.prompt_tokens);
  expect(await read("bitnet:embeddings_total")).toBe((before[0] ?? 0) + 3);
});

test("a client that leaves ends its request, and others are answered meanwhile", async () => {
  const left = new AbortController();
  const text = "the mill and the water ".repeat(40);
  const pending = server.post("/v1/embeddings", { input: Array(2048).fill(text) }, { signal: left.signal });
  await expect.poll(() => server.server.context.service.admission.running).toBe(1);
  expect((await server.post("/v1/embeddings", { input: "a" })).status).toBe(200);
  left.abort();
  await expect(pending).rejects.toThrow();
  await expect.poll(() => server.server.context.service.admission.running).toBe(0);
});

test("bounds of inputs and the pooling of the operator hold", async () => {
  await using own = await startTestServer({
    ...{ modelPath: path, load: { threads: 1 }, contextSize: 0, pooling: "none" },
    ...{ maxInputTokens: 20, maxInputChars: 60 },
  });
  const [each] = await own.ask("/embeddings", { input: "a b" });
  expect(each.embedding).toHaveLength(model.tokenizer.encode("a b").length);
  expect(each.embedding.flat().map(Math.fround)).toEqual((await vectorsOf(["a b"], { pooling: "none" }))[0]);
  const openAi = await own.post("/v1/embeddings", { input: ["a b"] });
  expect(openAi.status).toBe(400);
  expect(await readError(openAi)).toMatchObject({
    param: "input[0]",
    message: expect.stringContaining("--pooling none"),
  });
  expect(await readError(await own.post("/embeddings", { input: ["a", "x".repeat(61)] }))).toMatchObject({
    message: "input[1]: expected at most 60 characters, got 61",
  });
  expect(await readError(await own.post("/embeddings", { input: ["a", "?".repeat(59)] }))).toMatchObject({
    ...{ param: "input[1]", code: "context_length_exceeded" },
  });
});

test("a server of a model of texts computes none, and does not start where it has to", async () => {
  await using own = await startTestServer({ modelPath: tinyModel });
  const response = await own.post("/v1/embeddings", { input: "a" });
  expect(response.status).toBe(501);
  expect(await readError(response)).toMatchObject({ message: expect.stringContaining("no embeddings, only texts") });
  expect(await own.read("/props")).toMatchObject({ embedding: false });
  expect((await own.read("/v1/models")).data[0].capabilities).toEqual(["completion"]);
  await expect(startTestServer({ modelPath: tinyModel, embeddings: true })).rejects.toMatchObject({
    ...{ code: "UNSUPPORTED", message: expect.stringContaining("--embeddings is not for it") },
  });
});
