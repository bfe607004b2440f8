// From a prompt to a stream of text pieces: options and their checks, sampling, stop strings, abort, timings.

import { randomInt } from "node:crypto";
import type { NativeSampling, NativeSession, NativeStep, NativeTokenProb } from "../native/addon.js";
import { abortedError, BitnetError, converting, convertingAsync, throwIfAborted } from "../system/errors.js";
import { checkNumber, checkSampling, maxCount, pickSampling, type SamplingOptions } from "./request.js";
import { StopMatcher } from "./stop-strings.js";
import { checkTokens, type Tokenizer } from "./tokenizer.js";

export interface GenerateOptions extends SamplingOptions {
  /** Default: -1, until the context is full. */
  maxTokens?: number;
  /** Texts that end the generation; they are not part of the output. */
  stop?: readonly string[];
  /** Never choose an end-of-generation token. Default: false. */
  ignoreEos?: boolean;
  /** Firing it makes the generation throw ABORTED. The session stays usable. */
  signal?: AbortSignal;
  /** For a prompt that is text: add BOS as the model wants it. Default: true. */
  addSpecial?: boolean;
  /** For a prompt that is text: read the names of control tokens as those tokens. Default: false. */
  parseSpecial?: boolean;
}

/** What one generated token adds. */
export interface Piece {
  /** May be empty: a character is unfinished, a stop string may be beginning, or the token has no text. */
  text: string;
  id: number;
  /** With `logprobs`: natural logarithm of the token's probability, before any sampling option. */
  logprob?: number;
  /** With `logprobs`: the likeliest tokens, best first. */
  top?: TokenProb[];
}

export type TokenProb = NativeTokenProb;

export type FinishReason =
  | "eog" // the model ended its text
  | "stop" // a stop string
  | "length" // maxTokens
  | "context"; // the context is full

export interface GenerateTimings {
  promptTokens: number;
  /** Of these, found in the session's cache and not evaluated again. */
  reusedTokens: number;
  promptMs: number;
  generatedTokens: number;
  /** Sampling of all tokens and evaluation of all but the last. */
  generateMs: number;
}

export interface GenerateResult {
  finishReason: FinishReason;
  stopString?: string;
  /** Every generated token, one per piece; an end-of-generation token included. */
  tokens: number[];
  seed: number;
  timings: GenerateTimings;
}

export type Prompt = string | Int32Array | readonly number[];

/** A checked prompt and checked options, ready for the native side. */
export interface GenerationPlan {
  tokens: Int32Array;
  maxTokens: number;
  sampling: NativeSampling & { seed: number };
  stop: readonly string[];
  signal?: AbortSignal;
}

export function newTimings(): GenerateTimings {
  return { promptTokens: 0, reusedTokens: 0, promptMs: 0, generatedTokens: 0, generateMs: 0 };
}

/** Evaluates the prompt and samples token by token; one piece per token. `timings` is kept up to date on the way. */
export async function* generateText(
  session: NativeSession,
  tokenizer: Tokenizer,
  plan: GenerationPlan,
  timings: GenerateTimings,
): AsyncGenerator<Piece, GenerateResult, undefined> {
  const { tokens } = plan;
  const promptStart = performance.now();
  const { reused } = await runAbortable(session, plan.signal, () => session.prefill(tokens, "last"));
  timings.promptMs = performance.now() - promptStart;
  timings.promptTokens = tokens.length;
  timings.reusedTokens = reused;
  const result: GenerateResult = { finishReason: "length", tokens: [], seed: plan.sampling.seed, timings };
  converting(() => session.setSampling(plan.sampling));

  // A token is evaluated only when the next one is sampled, so the last one needs no place in the context.
  const room = session.contextSize - tokens.length + 1;
  const limit = Math.min(plan.maxTokens, room);
  const decoder = createContinuation(tokenizer, tokens);
  const matcher = new StopMatcher(plan.stop);
  while (result.tokens.length < limit) {
    const start = performance.now();
    const step = await runAbortable(session, plan.signal, () => session.step());
    timings.generateMs += performance.now() - start;
    timings.generatedTokens = result.tokens.push(step.id);

    const isEog = tokenizer.isEog(step.id);
    const isLast = isEog || result.tokens.length === limit;
    // A control token has no text, but the decoder hands out what it still holds.
    const decoded = (isEog ? "" : decoder.push(step.id)) + (isLast ? decoder.flush() : "");
    const match = matcher.push(decoded);
    if (match.stop !== undefined) {
      yield toPiece(step, match.text);
      return Object.assign(result, { finishReason: "stop", stopString: match.stop });
    }
    yield toPiece(step, isLast ? match.text + matcher.flush() : match.text);
    if (isEog) {
      return Object.assign(result, { finishReason: "eog" });
    }
  }
  if (plan.maxTokens > room) {
    result.finishReason = "context";
  }
  return result;
}

/** A decoder of what follows `prompt`: at the beginning of a text, SPM vocabularies would lose its leading space. */
function createContinuation(tokenizer: Tokenizer, prompt: Int32Array): ReturnType<Tokenizer["createDecoder"]> {
  const decoder = tokenizer.createDecoder();
  for (const id of prompt) {
    decoder.push(id);
  }
  return decoder;
}

function toPiece(step: NativeStep, text: string): Piece {
  return { text, ...step };
}

/** Runs one native operation; `signal` ends it early with ABORTED. */
export async function runAbortable<T>(
  session: NativeSession,
  signal: AbortSignal | undefined,
  operation: () => Promise<T>,
): Promise<T> {
  throwIfAborted(signal);
  const abort = () => session.abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await convertingAsync(operation);
  } catch (error) {
    throw error instanceof BitnetError && error.code === "ABORTED" ? abortedError(signal) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** Ids that can be a session's sequence: not empty, in the vocabulary, no longer than the context. */
export function checkPromptTokens(
  tokens: Int32Array | readonly number[],
  vocabSize: number,
  contextSize: number,
): Int32Array {
  if (tokens.length === 0) {
    throw new BitnetError("USAGE", "the prompt is empty: expected at least one token");
  }
  if (tokens.length > contextSize) {
    throw new BitnetError("USAGE", `the prompt has ${tokens.length} tokens, but the context holds ${contextSize}`, {
      hint: "shorten the prompt or use a larger context size",
    });
  }
  return checkTokens(tokens, vocabSize);
}

/** Checks everything that can be wrong with a request before anything is computed. */
export function planGeneration(
  tokenizer: Tokenizer,
  contextSize: number,
  prompt: Prompt,
  options: GenerateOptions,
): GenerationPlan {
  if (options.maxTokens !== undefined) {
    checkNumber("maxTokens", options.maxTokens, { min: -1, max: maxCount, integer: true });
  }
  checkSampling(options);
  const stop = options.stop ?? [];
  if (stop.some((text) => typeof text !== "string" || text === "")) {
    throw new BitnetError("USAGE", "stop: expected texts that are not empty");
  }
  const maxTokens = options.maxTokens ?? -1;
  const tokens =
    typeof prompt === "string"
      ? tokenizer.encode(prompt, { addSpecial: options.addSpecial, parseSpecial: options.parseSpecial })
      : prompt;
  return {
    tokens: checkPromptTokens(tokens, tokenizer.info.vocabSize, contextSize),
    maxTokens: maxTokens === -1 ? Number.POSITIVE_INFINITY : maxTokens,
    sampling: {
      ...pickSampling(options),
      seed: options.seed ?? randomInt(2 ** 32),
      logitBias: collectBias(tokenizer, options),
    },
    stop,
    signal: options.signal,
  };
}

function collectBias(tokenizer: Tokenizer, options: GenerateOptions): [number, number][] {
  const given = options.logitBias ?? {};
  const pairs: Iterable<readonly [number | string, number]> =
    given instanceof Map ? given : Object.entries(given as Record<number, number>);
  const bias = new Map<number, number>();
  for (const [key, value] of pairs) {
    const id = Number(key);
    checkTokens([id], tokenizer.info.vocabSize);
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) {
      throw new BitnetError("USAGE", `logitBias: ${value} for token ${id} is not a finite number or -Infinity`);
    }
    bias.set(id, value);
  }
  if (options.ignoreEos) {
    for (const id of tokenizer.info.eog) {
      bias.set(id, Number.NEGATIVE_INFINITY);
    }
  }
  return [...bias];
}
