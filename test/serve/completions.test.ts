import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import { tinyModel } from "../support/fixtures.js";
import { readError, readEvents, startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
let model: Model;
beforeAll(async () => {
  server = await startTestServer();
  model = await loadModel(tinyModel);
});
afterAll(async () => {
  model.close();
  await server[Symbol.asyncDispose]();
});

const path = "/v1/completions";
const prompt = "Once upon a time, there was a little girl";

describe("/v1/completions", () => {
  it("continues a text with at most 16 tokens, where nothing else is asked for", async () => {
    const answer = await server.ask(path, { prompt });
    await using session = model.createSession();
    const expected = await session.complete(prompt, { maxTokens: 16, temperature: 0 });
    expect(answer).toMatchObject({ object: "text_completion", usage: { completion_tokens: 16 } });
    expect(answer.id).toMatch(/^cmpl-/);
    expect(answer.choices).toEqual([{ index: 0, text: expected.text, logprobs: null, finish_reason: "length" }]);
  });

  it("takes texts, lists of texts, ids and lists of ids; answers are in the order of the prompts", async () => {
    const other = "The cat sat";
    const ids = (text: string) => [...model.tokenizer.encode(text)];
    const one = async (given: unknown) => (await server.ask(path, { prompt: given })).choices;
    const [[first], [second]] = [await one(prompt), await one(other)];
    const both = [
      { ...first, index: 0 },
      { ...second, index: 1 },
    ];
    expect(await one(ids(prompt))).toEqual([first]);
    expect(await one([prompt, other])).toEqual(both);
    expect(await one([ids(prompt), ids(other)])).toEqual(both);
  });

  it("several choices of several prompts are numbered by prompt", async () => {
    const { choices, usage } = await server.ask(path, { prompt: ["a", "b"], n: 2, max_tokens: 2, ignore_eos: true });
    expect(choices.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2, 3]);
    expect(usage.completion_tokens).toBe(8);
  });

  it("streams what it answers whole, each choice with its end, then usage if asked", async () => {
    const body = { prompt: [prompt, "The cat"], max_tokens: 6, logprobs: 2, echo: true };
    const whole = await server.ask(path, body);
    const chunks = await server.stream(path, { ...body, stream_options: { include_usage: true } });
    const last = chunks.pop();
    expect(last.choices).toEqual([]);
    expect(last.usage).toEqual(whole.usage);
    for (const choice of whole.choices) {
      const own = chunks.map((chunk) => chunk.choices[0]).filter(({ index }) => index === choice.index);
      expect(own.map(({ text }) => text).join("")).toBe(choice.text);
      expect(own.at(-1).finish_reason).toBe(choice.finish_reason);
      for (const name of ["tokens", "token_logprobs", "top_logprobs", "text_offset"]) {
        expect(own.flatMap(({ logprobs }) => logprobs?.[name] ?? [])).toEqual(choice.logprobs[name]);
      }
    }
    expect(chunks.every(({ usage }) => usage === null)).toBe(true);
  });

  it("a stream without include_usage has no usage, and ends with [DONE]", async () => {
    const response = await server.post(path, { prompt, max_tokens: 2, stream: true });
    const text = await response.text();
    expect(text).not.toContain("usage");
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  it("best_of gives the likeliest of several, and is not streamed", async () => {
    const body = { prompt, max_tokens: 6, temperature: 1.5, seed: 5, logprobs: 0 };
    const all = (await server.ask(path, { ...body, n: 4 })).choices;
    const sum = ({ logprobs }: { logprobs: { token_logprobs: number[] } }) =>
      logprobs.token_logprobs.reduce((total, value) => total + value, 0);
    const best = all.reduce((a: never, b: never) => (sum(b) > sum(a) ? b : a));
    const [chosen] = (await server.ask(path, { ...body, best_of: 4 })).choices;
    expect(chosen.text).toBe(best.text);
    expect((await server.post(path, { ...body, best_of: 4, stream: true })).status).toBe(400);
  });

  it.each([
    ["nothing", { prompt: undefined }, "prompt"],
    ["an empty list", { prompt: [] }, "prompt"],
    ["too many prompts", { prompt: Array.from({ length: 129 }, () => "a") }, "prompt"],
    ["an id out of the vocabulary", { prompt: [1e6] }, "prompt"],
    ["mixed lists", { prompt: [1, "a"] }, "prompt[1]"],
    ["a suffix", { suffix: "end" }, "suffix"],
    ["too many log-probabilities", { logprobs: 21 }, "logprobs"],
    ["best_of below n", { n: 2, best_of: 1 }, "best_of"],
  ])("%s is 400 with the field's name", async (_, more, param) => {
    const response = await server.post(path, { prompt, max_tokens: 1, ...more });
    expect(response.status).toBe(400);
    expect((await readError(response)).param).toBe(param);
  });
});

describe("evaluations by log-probabilities", () => {
  const ids = () => [...model.tokenizer.encode(prompt)];
  const evaluate = (more: object) =>
    server.ask(path, { prompt: [ids()], echo: true, logprobs: 1, max_tokens: 1, temperature: 0, ...more });

  it("the sums of what lm-eval asks for are those of the library, to the bit", async () => {
    const { choices } = await evaluate({});
    const { token_logprobs, top_logprobs, tokens } = choices[0].logprobs;
    await using session = model.createSession();
    const { logprobs, likeliest } = await session.score(ids());
    expect(token_logprobs[0]).toBeNull();
    expect(top_logprobs[0]).toBeNull();
    expect(token_logprobs.slice(1, -1)).toEqual([...logprobs]);
    expect(tokens).toHaveLength(ids().length + 1);
    // What lm-eval calls greedy: the token has the largest of the values beside it.
    const isGreedy = (values: number[], own: number) => Math.max(...values) === own;
    for (const [i, own] of [...logprobs].entries()) {
      expect(isGreedy(Object.values(top_logprobs[i + 1]), own)).toBe(likeliest[i] === 1);
    }
  });

  it("max_tokens 0 gives the prompt's values alone", async () => {
    const one = (await evaluate({})).choices[0].logprobs;
    const none = (await evaluate({ max_tokens: 0 })).choices[0];
    expect(none.finish_reason).toBe("length");
    expect(none.logprobs.token_logprobs).toEqual(one.token_logprobs.slice(0, -1));
    expect((await server.post(path, { prompt, max_tokens: 0 })).status).toBe(400);
  });

  it("tokens joined are the text, and offsets are where they stand", async () => {
    const { choices } = await server.ask(path, { prompt, echo: true, logprobs: 2, max_tokens: 4 });
    const { tokens, text_offset } = choices[0].logprobs;
    expect(choices[0].text.startsWith(prompt)).toBe(true);
    expect(tokens.join("")).toBe(choices[0].text);
    let offset = 0;
    for (const [i, token] of tokens.entries()) {
      expect(text_offset[i]).toBe(offset);
      offset += [...token].length;
    }
  });

  it("many prompts at once have the values that each has alone", async () => {
    const texts = ["The cat sat on the mat", prompt, "One day"].map((text) => [...model.tokenizer.encode(text)]);
    const body = { echo: true, logprobs: 1, max_tokens: 1, temperature: 0 };
    const together = (await server.ask(path, { ...body, prompt: texts })).choices;
    for (const [i, text] of texts.entries()) {
      const [alone] = (await server.ask(path, { ...body, prompt: [text] })).choices;
      expect(together[i]).toEqual({ ...alone, index: i });
    }
  });
});

describe("test_completion", () => {
  it("completion: llama's answer has text, counts, settings and how it ended", async () => {
    const body = { prompt: "I believe the meaning of life is", n_predict: 8, seed: 42, return_tokens: true };
    const answer = await server.ask("/completion", body);
    await using session = model.createSession();
    const expected = await session.complete(body.prompt, { maxTokens: 8, temperature: 0 });
    expect(answer).toMatchObject({
      ...{ index: 0, content: expected.text, tokens: expected.tokens, id_slot: 0, stop: true, model: "tiny-bitnet" },
      ...{ tokens_predicted: 8, tokens_evaluated: session.timings.promptTokens, truncated: false, prompt: body.prompt },
      ...{ has_new_line: false, stop_type: "limit", stopping_word: "" },
      generation_settings: { n_predict: 8, seed: 42, temperature: 0, top_k: 40 },
      timings: { predicted_n: 8 },
    });
    expect(answer.tokens_cached).toBe(session.timings.promptTokens + 7);
  });

  it("completion_stream: the same in parts, the last of which says stop", async () => {
    const body = { prompt: "I believe the meaning of life is", n_predict: 8, seed: 42, return_tokens: true };
    const whole = await server.ask("/completion", body);
    const response = await server.post("/completion", { ...body, stream: true });
    expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
    const text = await response.text();
    expect(text).not.toContain("[DONE]");
    const parts = text
      .trim()
      .split("\n\n")
      .map((part) => JSON.parse(part.slice("data: ".length)));
    expect(parts.map(({ content }) => content).join("")).toBe(whole.content);
    expect(parts.flatMap(({ tokens }) => tokens)).toEqual(whole.tokens);
    expect(parts.map(({ stop }) => stop)).toEqual([...parts.slice(1).map(() => false), true]);
    expect(parts.at(-1)).toMatchObject({ tokens_predicted: 8, stop_type: "limit", generation_settings: { seed: 42 } });
  });

  it("completion_with_response_fields: only what was asked for, under its whole path", async () => {
    const response_fields = ["content", "generation_settings/n_predict", "nothing/here"];
    const answer = await server.ask("/completion", { prompt: "One", n_predict: 2, response_fields });
    expect(Object.keys(answer)).toEqual(["content", "generation_settings/n_predict"]);
    expect(answer["generation_settings/n_predict"]).toBe(2);
  });

  it("completion_prompt: texts, ids and both in one prompt", async () => {
    const ask = async (given: unknown) => server.ask("/completion", { prompt: given, n_predict: 4 });
    const ids = [...model.tokenizer.encode("Once upon a time")];
    const { content } = await ask("Once upon a time");
    expect((await ask(ids)).content).toBe(content);
    expect((await ask([...ids, ", there"])).tokens_evaluated).toBeGreaterThan(ids.length);
    const list = await ask(["Once upon a time", ids]);
    expect(list.map((answer: { content: string }) => answer.content)).toEqual([content, content]);
  });

  it("n_probs: each token with its likeliest ones", async () => {
    const answer = await server.ask("/completion", { prompt, n_probs: 10, n_predict: 5 });
    expect(answer.completion_probabilities).toHaveLength(5);
    for (const entry of answer.completion_probabilities) {
      expect(entry).toEqual({
        ...{ id: expect.any(Number), token: expect.any(String), bytes: expect.any(Array), logprob: expect.any(Number) },
        top_logprobs: expect.any(Array),
      });
      expect(entry.top_logprobs).toHaveLength(10);
      expect(entry.top_logprobs[0]).toMatchObject({ id: entry.id, logprob: entry.logprob });
    }
  });

  it("n_probs_post_sampling: with it, how likely each token was to be drawn", async () => {
    const body = { prompt, n_probs: 10, temperature: 1, top_k: 3, top_p: 1, min_p: 0, n_predict: 5, seed: 1 };
    const answer = await server.ask("/completion", { ...body, post_sampling_probs: true });
    expect(answer.completion_probabilities).toHaveLength(5);
    for (const { prob, top_probs } of answer.completion_probabilities) {
      const sum = top_probs.reduce((total: number, likely: { prob: number }) => total + likely.prob, 0);
      expect(top_probs).toHaveLength(3);
      expect(sum).toBeCloseTo(1, 4);
      expect(prob).toBeGreaterThan(0);
    }
  });

  it("a stop string ends the text and is named", async () => {
    const { content } = await server.ask("/completion", { prompt, n_predict: 12 });
    const stop = content.slice(4, 9);
    const cut = await server.ask("/completion", { prompt, n_predict: 12, stop: [stop] });
    expect(cut).toMatchObject({
      content: content.slice(0, content.indexOf(stop)),
      stop_type: "word",
      stopping_word: stop,
    });
  });

  it("null counts as absent", async () => {
    const body = { prompt, n_predict: 3 };
    const nulls = { temperature: null, stop: null, grammar: null, logit_bias: null, seed: null, samplers: null };
    expect((await server.ask("/completion", { ...body, ...nulls })).content).toBe(
      (await server.ask("/completion", body)).content,
    );
  });

  it("context_size_exceeded: the error is one that clients recognise", async () => {
    const response = await server.post("/completion", { prompt: "a b ".repeat(3000), n_predict: 1 });
    expect(response.status).toBe(400);
    const error = await readError(response);
    expect(error).toMatchObject({ type: "exceed_context_size_error", n_prompt_tokens: expect.any(Number) });
    expect(error.n_ctx).toBe(server.server.context.service.contextSize);
  });

  it.each([
    ["samplers in another order", { samplers: ["temperature", "top_k"] }, "samplers"],
    ["mirostat", { mirostat: 1 }, "mirostat"],
    ["too many probabilities", { n_probs: 101 }, "n_probs"],
    ["an image", { image_data: [{ data: "", id: 1 }] }, "image_data"],
    ["an adapter", { lora: [{ id: 0, scale: 1 }] }, "lora"],
    ["an indentation", { n_indent: 2 }, "n_indent"],
  ])("%s is 400 with the field's name", async (_, more, param) => {
    const response = await server.post("/completion", { prompt, n_predict: 1, ...more });
    expect(response.status).toBe(400);
    expect((await readError(response)).param).toBe(param);
  });

  it("an error of a prompt among several is the answer to all", async () => {
    const response = await server.post(path, { prompt: [[1], [1e7]], max_tokens: 1, stream: true });
    expect(response.status).toBe(400);
    expect((await readEvents(response).catch(() => [])).length).toBe(0);
  });
});

describe("test_infill", () => {
  it.each([[{}], [{ filename: "ok" }], [{ filename: 123 }], [{ filename: 123, text: "abc" }], [{ text: 456 }]])(
    "invalid_input_extra_req %j",
    async (extra) => {
      const body = { prompt: "Complete this", input_extra: [extra], input_prefix: "#include", input_suffix: "}\n" };
      const response = await server.post("/infill", body);
      expect(response.status).toBe(400);
      expect((await readError(response)).param).toMatch(/^input_extra\[0\]/);
    },
  );

  it("what no model here can do is 501", async () => {
    expect((await server.post("/infill", { input_prefix: "a", input_suffix: "b" })).status).toBe(501);
    expect((await server.post("/rerank", { query: "a", documents: ["b"] })).status).toBe(501);
    expect((await server.post("/rerank", { query: "a" })).status).toBe(400);
    expect(await server.read("/lora-adapters")).toEqual([]);
  });
});

describe("test_tokenize", () => {
  it("tokenize_detokenize: ids of a text, and the text of ids, under llama's names and vLLM's", async () => {
    const content = "What is the capital of France ?";
    const { tokens } = await server.ask("/tokenize", { content });
    expect(tokens).toEqual([...model.tokenizer.encode(content, { addSpecial: false })]);
    expect(await server.ask("/detokenize", { tokens })).toEqual({ content, prompt: content });
    const other = await server.ask("/tokenize", { prompt: content });
    expect(other.tokens).toEqual([...model.tokenizer.encode(content)]);
    expect(other).toMatchObject({ count: other.tokens.length, max_model_len: expect.any(Number) });
  });

  it("tokenize_with_bos: special tokens where they are asked for", async () => {
    const content = "What is the capital of France ?";
    const ask = async (more: object) => (await server.ask("/tokenize", { ...more })).tokens;
    expect(await ask({ content, add_special: true })).toEqual([...model.tokenizer.encode(content)]);
    expect(await ask({ prompt: content, add_special_tokens: false })).toEqual([
      ...model.tokenizer.encode(content, { addSpecial: false }),
    ]);
  });

  it("tokenize_with_pieces: each id with its text, or its bytes inside a character", async () => {
    const { tokens } = await server.ask("/tokenize", { content: "a \u{1f9d2}", with_pieces: true });
    const bytes = tokens.flatMap(({ piece }: { piece: string | number[] }) =>
      typeof piece === "string" ? [...Buffer.from(piece)] : piece,
    );
    expect(Buffer.from(bytes).toString().trim()).toBe("a \u{1f9d2}");
  });

  it("the ids of a chat are those that a chat is answered with", async () => {
    const messages = [{ role: "user", content: "Hi" }];
    const { count } = await server.ask("/tokenize", { messages });
    const { usage } = await server.ask("/v1/chat/completions", { messages, max_tokens: 1 });
    expect(count).toBe(usage.prompt_tokens);
  });

  it("tokenizer_info names the special tokens", async () => {
    const info = await server.read("/tokenizer_info");
    expect(info.eos_token).toBe(model.tokenizer.token(model.tokenizer.info.eos));
    expect(info.vocab_size).toBe(model.tokenizer.info.vocabSize);
  });

  it("what is no id is 400", async () => {
    for (const tokens of [undefined, "a", [1.5], [-1], [1e9], ["1"]]) {
      expect((await server.post("/detokenize", { tokens })).status).toBe(400);
    }
  });
});

describe("test_basic", () => {
  it("server_props: settings, places and special tokens, and no path", async () => {
    const props = await server.read("/props");
    expect(props.model_path).toBe("tiny-bitnet.gguf");
    expect(props.total_slots).toBe(server.server.context.service.admission.limits.parallel);
    expect(props.default_generation_settings).toMatchObject({
      n_ctx: server.server.context.service.contextSize,
      params: { temperature: 0, top_k: 40, seed: -1 },
    });
  });

  it("server_slots: one for each request that can run, with numbers and no text", async () => {
    await server.ask("/completion", { prompt: "a secret text", n_predict: 1 });
    const response = await server.get("/slots");
    const text = await response.text();
    const slots = JSON.parse(text);
    expect(slots).toHaveLength(server.server.context.service.admission.limits.parallel);
    expect(slots[0]).toMatchObject({ id: 0, n_ctx: expect.any(Number), is_processing: false });
    expect(text).not.toContain("secret");
  });

  it("no_slots: 501 where they are switched off", async () => {
    await using other = await startTestServer({ slots: false });
    expect((await other.get("/slots")).status).toBe(501);
  });

  it("apply_chat_template: the text of a chat without an answer", async () => {
    const messages = [
      { role: "system", content: "You are a test." },
      { role: "user", content: "Hi there" },
    ];
    const { prompt } = await server.ask("/apply-template", { messages });
    expect(prompt).toContain("You are a test.");
    expect(prompt.indexOf("Hi there")).toBeGreaterThan(prompt.indexOf("You are a test."));
  });
});
