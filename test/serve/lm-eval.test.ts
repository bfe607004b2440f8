// What lm-evaluation-harness 0.4.13 sends for a task of several choices, for perplexity and for generation, as recorded;
// the numbers that it makes of the answers are those of the library.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Session } from "../../src/engine/model.js";
import { tinyModel } from "../support/fixtures.js";
import { startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
let model: Model;
let session: Session;

beforeAll(async () => {
  server = await startTestServer();
  model = await loadModel(tinyModel);
  session = model.createSession();
});

afterAll(async () => {
  session.close();
  model.close();
  await server[Symbol.asyncDispose]();
});

/** Requests for likelihoods: prompts in batches, and how many tokens of each are the context. */
const choices = [
  {
    contexts: [13, 13, 13],
    body: {
      model: "bitnet",
      prompt: [
        [772, 724, 258, 471, 443, 287, 258, 401, 571, 13, 1044, 609, 287, 263, 901],
        [772, 724, 258, 471, 443, 287, 258, 401, 571, 13, 1044, 609, 287, 1504],
        [772, 724, 258, 471, 443, 287, 258, 401, 571, 13, 1044, 609, 287, 1830],
      ],
      ...{ temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true },
    },
  },
  {
    // "Café über 🚀 day:" with "naïve" and a rocket: characters of several tokens.
    contexts: [16, 16],
    body: {
      model: "bitnet",
      prompt: [
        [34, 64, 69, 127, 102, 220, 127, 120, 664, 220, 172, 253, 248, 222, 352, 25, 280, 64, 127, 107, 338],
        [34, 64, 69, 127, 102, 220, 127, 120, 664, 220, 172, 253, 248, 222, 352, 25, 220, 172, 253, 248, 222],
      ],
      ...{ temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true },
    },
  },
];

/**
 * The same with `tokenizer_backend=remote,tokenized_requests=False`: the harness counts the tokens of the context without
 * a BOS and sends the text, to which the server adds one.
 */
const texts = [
  { context: "Question: What color is the sky on a sunny day?\nAnswer:", choices: [" green", " blue", " purple"] },
  { context: "Caf\u00e9 \u00fcber \ud83d\ude80 day:", choices: [" na\u00efve", " \ud83d\ude80"] },
];
const textBody = { model: "bitnet", temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };

const story =
  "Once upon a time there was a boy named Tom. Tom had a big red ball. He liked to play with the ball in the park. " +
  "One day, the ball rolled away. Tom was sad.";

const generation = {
  prompt: [[772, 724, 258, 471, 443, 287, 258, 401, 571, 13, 1044, 609, 287]],
  model: "bitnet",
  max_tokens: 24,
  temperature: 0,
  stop: ["\n\n", ".", "<|end|>"],
  seed: 1234,
};

const chat = {
  messages: [{ role: "user", content: "Once upon a time there was a little girl. Her name was" }],
  model: "bitnet",
  max_tokens: 24,
  temperature: 0,
  stop: ["\n\n", ".", "<|end|>"],
  seed: 1234,
};

interface Choice {
  index: number;
  text: string;
  logprobs: { token_logprobs: (number | null)[]; top_logprobs: (Record<string, number> | null)[] };
}

interface GgufLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[];
  text_offset: number[];
}

/** As its client "gguf" does: by the places of the tokens in the text, and by their texts. */
function readByOffsets(logprobs: GgufLogprobs, contextLength: number): { sum: number; isGreedy: boolean } {
  const from = logprobs.text_offset.findIndex((offset) => offset >= contextLength);
  const likeliest = (top: Record<string, number>) =>
    Object.entries(top).reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
  return {
    sum: logprobs.token_logprobs.slice(from, -1).reduce((sum, logprob) => sum + logprob, 0),
    isGreedy: logprobs.tokens.slice(from).every((token, i) => {
      const top = logprobs.top_logprobs[from + i];
      return top !== undefined && likeliest(top) === token;
    }),
  };
}

/** As the harness reads an answer: the sum over what follows the context, and whether all of it is what comes first. */
function readLikelihood({ logprobs }: Choice, context: number): { sum: number; isGreedy: boolean } {
  const own = logprobs.token_logprobs.slice(context, -1) as number[];
  const top = logprobs.top_logprobs.slice(context, -1) as Record<string, number>[];
  return {
    sum: own.reduce((sum, logprob) => sum + logprob, 0),
    isGreedy: own.every((logprob, i) => logprob === Math.max(...Object.values(top[i] ?? {}))),
  };
}

async function score(ids: readonly number[], context: number): Promise<{ sum: number; isGreedy: boolean }> {
  const { logprobs, top = [] } = await session.score(ids, { top: 1 });
  const from = context - 1;
  return {
    sum: logprobs.slice(from).reduce((sum, logprob) => sum + logprob, 0),
    isGreedy: top.slice(from).every((likely, i) => likely[0]?.id === ids[context + i]),
  };
}

/** A text at whose end the model ends. */
async function findEnd(): Promise<string> {
  const begin = "Once upon a time";
  const { result } = session.generate(begin, { temperature: 0, maxTokens: 400 });
  const { text, finishReason } = await result;
  expect(finishReason).toBe("eog");
  return begin + text;
}

/** The harness's tokenizer asks the server. */
async function tokenize(prompt: string): Promise<number[]> {
  return (await server.ask("/tokenize", { prompt, add_special_tokens: false })).tokens;
}

describe("lm-evaluation-harness", () => {
  it("finds that the server tokenizes, and which tokens begin and end a text", async () => {
    const info = await server.read("/tokenizer_info");
    const { bos, eos } = model.tokenizer.info;
    expect(await tokenize(info.bos_token)).toEqual([bos]);
    expect(await tokenize(info.eos_token)).toEqual([eos]);
    expect(await tokenize("test")).toEqual([...model.tokenizer.encode("test", { addSpecial: false })]);
    expect((await server.ask("/detokenize", { tokens: await tokenize(story) })).prompt).toBe(story);
  });

  it("gets likelihoods of choices that are the library's to the bit", async () => {
    for (const { body, contexts } of choices) {
      const answer: { choices: Choice[] } = await server.ask("/v1/completions", body);
      for (const [i, ids] of body.prompt.entries()) {
        const context = contexts[i] as number;
        expect(readLikelihood(answer.choices[i] as Choice, context)).toEqual(await score(ids, context));
      }
    }
  });

  it("gets likelihoods of choices in texts, whose BOS is the server's, that are the library's to the bit", async () => {
    const { bos } = model.tokenizer.info;
    for (const { context, choices: ends } of texts) {
      const length = (await tokenize(context)).length;
      for (const end of ends) {
        const ids = await tokenize(context + end);
        const prompt: string = (await server.ask("/detokenize", { tokens: ids })).prompt;
        const answer: { choices: [Choice] } = await server.ask("/v1/completions", { ...textBody, prompt });
        expect(answer.choices[0].logprobs.token_logprobs).toHaveLength(ids.length + 1);
        expect(answer.choices[0].logprobs.token_logprobs[0]).toBeNull();
        expect(readLikelihood(answer.choices[0], length)).toEqual(await score([bos, ...ids], length + 1));
      }
    }
  });

  it("gets a value behind the prompt's also where the model ends the text there", async () => {
    const { bos } = model.tokenizer.info;
    const context = (await tokenize("Once upon a time")).length;
    const end = await findEnd();
    const ids = await tokenize(end);
    for (const prompt of [end, [[bos, ...ids]]]) {
      const answer: { choices: [Choice] } = await server.ask("/v1/completions", { ...textBody, prompt });
      const isText = typeof prompt === "string";
      expect(answer.choices[0].text).toBe(
        isText ? prompt : (await server.ask("/detokenize", { tokens: prompt[0] })).prompt,
      );
      expect(readLikelihood(answer.choices[0], context + (isText ? 0 : 1))).toEqual(
        await score([bos, ...ids], context + 1),
      );
    }
  });

  it("gets the same by its client for servers of GGUF files", async () => {
    const { bos } = model.tokenizer.info;
    const body = { logprobs: 10, temperature: 0, max_tokens: 1, echo: true };
    for (const { context, choices: ends } of texts) {
      for (const end of ends) {
        const { choices: answers } = await server.ask("/v1/completions", { ...body, prompt: context + end });
        const length = (await tokenize(context)).length;
        const { sum } = await score([bos, ...(await tokenize(context + end))], length + 1);
        expect(readByOffsets(answers[0].logprobs, [...context].length).sum).toBe(sum);
      }
    }
  });

  it("gets the likelihood of a whole text that is the library's to the bit, as ids and as text", async () => {
    const { bos_token } = await server.read("/tokenizer_info");
    const ids = [...(await tokenize(bos_token)), ...(await tokenize(story))];
    expect(ids).toEqual([...model.tokenizer.encode(story)]);
    const known = await score(ids, 1);
    const settings = { model: "bitnet", temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
    for (const prompt of [[ids], (await server.ask("/detokenize", { tokens: ids })).prompt]) {
      const answer: { choices: [Choice] } = await server.ask("/v1/completions", { ...settings, prompt });
      expect(readLikelihood(answer.choices[0], 1)).toEqual(known);
    }
  });

  it("gets texts that are the library's up to what they end at", async () => {
    const answer: { choices: [Choice] } = await server.ask("/v1/completions", generation);
    const [ids] = generation.prompt as [number[]];
    const { result } = session.generate(ids, { temperature: 0, maxTokens: 24, stop: generation.stop });
    expect(answer.choices[0].text).toBe((await result).text);
  });

  it("gets answers of chats, with no field that would be of no use", async () => {
    const response = await server.post("/v1/chat/completions", chat);
    expect(response.headers.get("x-bitnet-ignored")).toBeNull();
    const { choices: answers } = (await response.json()) as { choices: [{ message: { content: string } }] };
    expect(answers[0].message.content.length).toBeGreaterThan(0);
    expect(answers[0].message.content).not.toContain(".");
  });
});
