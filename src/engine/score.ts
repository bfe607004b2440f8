// How likely a prompt's own tokens are, and what else might have stood in their places.

import type { NativeScores, NativeSession, NativeTokenProb } from "../native/addon.js";
import { convertingAsync, throwIfAborted } from "../system/errors.js";
import { runAbortable } from "./generate.js";

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

/** Logits of places that follow each other. */
export interface LogitBlock {
  /** The place in the prompt of the token that the first row is about. */
  first: number;
  rows: number;
  /** Tokens of the vocabulary. */
  width: number;
  /** [rows, width], row after row. The next block overwrites it. */
  logits: Float32Array;
}

export type LogitSink = (block: LogitBlock) => void | Promise<void>;

/** Places whose hidden states are kept at once, as many as a step of the engine evaluates. */
const sliceRows = 256;
/** As many hidden states as share a reading of the head's weights. */
const blockRows = 16;

/**
 * The distributions of tokens[from ...], each given all before it, in blocks. What is held at once does not depend on how
 * many they are: a block, and the hidden states of a slice.
 */
export async function* readDistributions(
  session: NativeSession,
  tokens: Int32Array,
  { from, width, signal }: { from: number; width: number; signal?: AbortSignal },
): AsyncGenerator<LogitBlock, { reused: number; evaluated: number }, undefined> {
  const out = new Float32Array(blockRows * width);
  let reused: number | undefined;
  let evaluated = 0;
  for (let start = from - 1; start < tokens.length - 1; start += sliceRows) {
    const end = Math.min(start + sliceRows, tokens.length - 1);
    const slice = await runAbortable(session, signal, () => session.keepHidden(tokens.subarray(0, end), start));
    reused ??= slice.reused;
    evaluated += slice.evaluated;
    for (let row = start; row < end; row += blockRows) {
      const rows = Math.min(blockRows, end - row);
      throwIfAborted(signal);
      await convertingAsync(() => session.logitsOf(row - start, rows, out));
      yield { first: row + 1, rows, width, logits: out.subarray(0, rows * width) };
    }
  }
  return { reused: reused ?? 0, evaluated };
}
