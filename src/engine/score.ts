// How likely a prompt's own tokens are, and what else might have stood in their places.

import type { NativeScores, NativeTokenProb } from "../native/addon.js";

export interface ScoreResult {
  /** Natural logarithms of the probabilities of the tokens from `from` on, each given all before it. */
  logprobs: Float64Array;
  /** 1 where no token has a larger logit. */
  likeliest: Uint8Array;
  /** With `top`: the likeliest tokens at each of these places, best first. */
  top?: NativeTokenProb[][];
  /** Tokens that were known, and that were not. */
  reused: number;
  evaluated: number;
}

/** The flat arrays of the core as lists, one for each position. */
export function toScoreResult({ topIds, topLogprobs, ...rest }: NativeScores): ScoreResult {
  if (topIds === undefined || topLogprobs === undefined) {
    return rest;
  }
  const width = rest.logprobs.length === 0 ? 0 : topIds.length / rest.logprobs.length;
  const top = Array.from(rest.logprobs, (_, position) => {
    const ids = topIds.subarray(position * width, (position + 1) * width);
    const logprobs = topLogprobs.subarray(position * width, (position + 1) * width);
    return Array.from(ids, (id, i) => ({ id, logprob: logprobs[i] ?? Number.NaN })).filter(({ id }) => id >= 0);
  });
  return { ...rest, top };
}
