// How likely a text is to a model, and what it would rather have said. Run by test/package/examples.test.ts.

import { loadModel } from "bitnet-cli";

export interface Rating {
  /** exp of the mean of -log p, over all tokens but the first. */
  perplexity: number;
  /** Each scored token with its natural log-probability. */
  tokens: { text: string; logprob: number }[];
}

export async function rateText(path: string, text: string): Promise<Rating> {
  await using model = await loadModel(path);
  await using session = model.createSession();
  const ids = model.tokenizer.encode(text); // with BOS, if the model wants one
  const { logprobs } = await session.score(ids); // of the tokens from the second on
  const mean = logprobs.reduce((sum, logprob) => sum + logprob, 0) / logprobs.length;
  const tokens = [...logprobs].map((logprob, i) => ({
    text: model.tokenizer.decode(ids.subarray(i + 1, i + 2)),
    logprob,
  }));
  return { perplexity: Math.exp(-mean), tokens };
}

/** The likeliest next tokens after a text. */
export async function listNext(path: string, text: string): Promise<{ text: string; logprob: number }[]> {
  await using model = await loadModel(path);
  await using session = model.createSession();
  for await (const { top = [] } of session.generate(text, { maxTokens: 1, logprobs: 5 })) {
    return top.map(({ id, logprob }) => ({ text: model.tokenizer.decode([id]), logprob }));
  }
  return [];
}
