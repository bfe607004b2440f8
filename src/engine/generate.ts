// From a prompt to a stream of tokens, and of text pieces: sampling, stop strings, abort, timings.

import type { NativeProgress, NativeSession, NativeTokenProb, NativeTokenProbability } from "../native/addon.js";
import {
  abortedError,
  BitnetError,
  converting,
  convertingAsync,
  throwIfAborted,
  toBitnetError,
} from "../system/errors.js";
import type { GenerationPlan } from "./request.js";
import { TextStream } from "./text-stream.js";
import type { Tokenizer } from "./tokenizer.js";

export type TokenProb = NativeTokenProb;
export type TokenProbability = NativeTokenProbability;

/** A generated token. */
export interface Token {
  id: number;
  /** With `logprobs`: natural logarithm of the token's probability, before any sampling option. */
  logprob?: number;
  /** With `logprobs`: the likeliest tokens, best first. */
  top?: TokenProb[];
  /** With `postSamplingProbs`: how likely the token was to be drawn, from 0 to 1, after all sampling options. */
  prob?: number;
  /** With `postSamplingProbs`: what else might have been drawn, likeliest first. */
  topProbs?: TokenProbability[];
}

/** What one generated token adds. */
export interface Piece extends Token {
  /** May be empty: a character is unfinished, a stop string may be beginning, or the token has no text. */
  text: string;
}

export type FinishReason =
  | "eog" // the model ended its text
  | "stop" // a stop string
  | "length" // maxTokens
  | "context"; // the context is full

export interface GenerateTimings {
  promptTokens: number;
  /** Of these, found in the session's cache and not evaluated again. */
  reusedTokens: number;
  /** How long it waited to be admitted, which `promptMs` leaves out. */
  queueMs: number;
  /** From there to the first token, with its sampling. */
  promptMs: number;
  generatedTokens: number;
  /** Of these, evaluated to get the next one: all but the last. The first came from the evaluation of the prompt. */
  decodedTokens: number;
  /** From the first token to the last: evaluation of the decoded tokens, sampling of all but the first. */
  generateMs: number;
}

export interface TokensResult {
  finishReason: FinishReason;
  /** Every generated token, one per piece; an end-of-generation token included. */
  tokens: number[];
  seed: number;
  timings: GenerateTimings;
}

export interface GenerateResult extends TokensResult {
  /** The texts of all pieces. */
  text: string;
  stopString?: string;
}

/** What `session.complete` gives. */
export type CompleteResult = GenerateResult;

export function newTimings(): GenerateTimings {
  return {
    promptTokens: 0,
    reusedTokens: 0,
    queueMs: 0,
    promptMs: 0,
    generatedTokens: 0,
    decodedTokens: 0,
    generateMs: 0,
  };
}

/** A token with the reason why it is the last one, if it is. */
interface Step extends Token {
  finishReason?: Exclude<FinishReason, "stop">;
}

/** How far the engine may run ahead of a slow reader, in tokens. */
const window = 64;

/** What the engine tells of a generation, in order, for one reader. */
class ProgressQueue {
  readonly #session: NativeSession;
  readonly #items: NativeProgress[] = [];
  #wake: () => void = () => {};

  constructor(session: NativeSession) {
    this.#session = session;
  }

  push(progress: NativeProgress): void {
    this.#items.push(progress);
    this.#wake();
  }

  async next(): Promise<NativeProgress> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        return item;
      }
      this.#session.setWaiting(true);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#session.setWaiting(false);
    }
  }
}

/**
 * The tokens as the engine samples them; it waits for the reader only when it is far ahead. Left early, the session keeps
 * what the reader has seen. `timings` is kept up to date on the way.
 */
async function* runSteps(
  session: NativeSession,
  plan: GenerationPlan,
  timings: GenerateTimings,
): AsyncGenerator<Step, void, undefined> {
  const { tokens, signal, sampling, constraint, onStart, onPrompt } = plan;
  throwIfAborted(signal);
  const maxTokens = Math.min(plan.maxTokens, Number.MAX_SAFE_INTEGER);
  const queue = new ProgressQueue(session);
  const abort = () => session.abort();
  signal?.addEventListener("abort", abort, { once: true });
  let isRunning = false;
  let isRead = true; // to the end, as far as it came
  try {
    const request = { maxTokens, sampling, window, anew: plan.anew, ...constraint };
    converting(() => session.generate(tokens, request, (progress) => queue.push(progress)));
    isRunning = true;
    isRead = false;
    timings.promptTokens = tokens.length;
    const clock = new GenerationClock(timings);
    while (isRunning) {
      const progress = await queue.next();
      isRunning = progress.done === undefined && progress.error === undefined;
      clock.update(progress);
      if (progress.queueMs !== undefined) {
        onStart?.({ reused: progress.reused ?? 0 });
      }
      if (progress.evaluated !== undefined) {
        onPrompt?.(timings.reusedTokens + progress.evaluated, tokens.length);
      }
      if (progress.error !== undefined) {
        throw progress.error;
      }
      for (const [i, step] of progress.steps.entries()) {
        throwIfAborted(signal);
        session.acknowledge(timings.generatedTokens);
        timings.decodedTokens = timings.generatedTokens++;
        const finishReason = i === progress.steps.length - 1 ? progress.done?.finish : undefined;
        yield finishReason === undefined ? step : { ...step, finishReason };
      }
    }
    isRead = true;
  } catch (error) {
    throw signal?.aborted ? abortedError(signal) : toBitnetError(error);
  } finally {
    signal?.removeEventListener("abort", abort);
    if (isRunning) {
      session.abort();
      for (let last = await queue.next(); last.done === undefined && last.error === undefined; ) {
        last = await queue.next();
      }
    }
    if (!isRead) {
      // The newest token that was read is not evaluated, as after any generation.
      session.truncate(tokens.length + Math.max(0, timings.generatedTokens - 1));
    }
  }
}

/** Keeps the times of a generation: the reader's own clock until the engine tells its own. */
class GenerationClock {
  readonly #timings: GenerateTimings;
  #begun = performance.now();
  #firstToken: number | undefined;

  constructor(timings: GenerateTimings) {
    this.#timings = timings;
  }

  update({ queueMs, reused, steps, done }: NativeProgress): void {
    const timings = this.#timings;
    const now = performance.now();
    if (queueMs !== undefined) {
      timings.queueMs = queueMs;
      this.#begun = now;
    }
    timings.reusedTokens = done?.reused ?? reused ?? timings.reusedTokens;
    if (this.#firstToken === undefined) {
      timings.promptMs = now - this.#begun;
      this.#firstToken = steps.length > 0 ? now : undefined;
    } else {
      timings.generateMs = now - this.#firstToken;
    }
    if (done !== undefined) {
      timings.queueMs = done.queueMs;
      timings.promptMs = done.promptMs;
      timings.generateMs = done.generateMs;
    }
  }
}

/** The tokens that follow the prompt. Their text, and so `plan.stop`, is the caller's business. */
export async function* generateTokens(
  session: NativeSession,
  plan: GenerationPlan,
  timings: GenerateTimings,
): AsyncGenerator<Token, TokensResult, undefined> {
  const result: TokensResult = { finishReason: "length", tokens: [], seed: plan.sampling.seed, timings };
  for await (const { finishReason, ...token } of runSteps(session, plan, timings)) {
    result.tokens.push(token.id);
    yield token;
    result.finishReason = finishReason ?? result.finishReason;
  }
  return result;
}

/** The text that follows the prompt, one piece per token. */
export async function* generateText(
  session: NativeSession,
  tokenizer: Tokenizer,
  plan: GenerationPlan,
  timings: GenerateTimings,
): AsyncGenerator<Piece, GenerateResult, undefined> {
  const stream = new TextStream(tokenizer, plan.stop, plan.tokens);
  const tokens: number[] = [];
  let reason: FinishReason = "length"; // of a generation without tokens
  for await (const { finishReason, ...token } of runSteps(session, plan, timings)) {
    tokens.push(token.id);
    const text = stream.push(token.id);
    yield { text: finishReason === undefined ? text : text + stream.finish(), ...token };
    if (stream.stopString !== undefined) {
      reason = "stop";
      break;
    }
    reason = finishReason ?? reason;
  }
  const { text, stopString } = stream;
  return { text, finishReason: reason, stopString, tokens, seed: plan.sampling.seed, timings };
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
