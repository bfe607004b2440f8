// From a prompt to a stream of tokens, and of text pieces: sampling, stop strings, abort, timings.

import type { NativeSession, NativeTokenProb } from "../native/addon.js";
import { abortedError, BitnetError, converting, convertingAsync, throwIfAborted } from "../system/errors.js";
import type { GenerationPlan } from "./request.js";
import { TextStream } from "./text-stream.js";
import type { Tokenizer } from "./tokenizer.js";

export type TokenProb = NativeTokenProb;

/** A generated token. */
export interface Token {
  id: number;
  /** With `logprobs`: natural logarithm of the token's probability, before any sampling option. */
  logprob?: number;
  /** With `logprobs`: the likeliest tokens, best first. */
  top?: TokenProb[];
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
  promptMs: number;
  generatedTokens: number;
  /** Of these, evaluated to get the next one: all but the last. The first came from the evaluation of the prompt. */
  decodedTokens: number;
  /** Sampling of the generated tokens and evaluation of the decoded ones. */
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
  return { promptTokens: 0, reusedTokens: 0, promptMs: 0, generatedTokens: 0, decodedTokens: 0, generateMs: 0 };
}

/** A token with the reason why it is the last one, if it is. */
interface Step extends Token {
  finishReason?: Exclude<FinishReason, "stop">;
}

/** Evaluates the prompt and samples token by token. `timings` is kept up to date on the way. */
async function* runSteps(
  session: NativeSession,
  tokenizer: Tokenizer,
  plan: GenerationPlan,
  timings: GenerateTimings,
): AsyncGenerator<Step, void, undefined> {
  const { tokens } = plan;
  const promptStart = performance.now();
  const { reused } = await runAbortable(session, plan.signal, () => session.prefill(tokens, "last"));
  timings.promptMs = performance.now() - promptStart;
  timings.promptTokens = tokens.length;
  timings.reusedTokens = reused;
  converting(() => session.setSampling(plan.sampling));

  // A token is evaluated only when the next one is sampled, so the last one needs no place in the context.
  const room = session.contextSize - tokens.length + 1;
  const limit = Math.min(plan.maxTokens, room);
  while (timings.generatedTokens < limit) {
    const start = performance.now();
    const step = await runAbortable(session, plan.signal, () => session.step());
    timings.generateMs += performance.now() - start;
    timings.decodedTokens = timings.generatedTokens++;
    if (tokenizer.isEog(step.id)) {
      yield { ...step, finishReason: "eog" };
      return;
    }
    const isLast = timings.generatedTokens === limit;
    yield isLast ? { ...step, finishReason: plan.maxTokens > room ? "context" : "length" } : step;
  }
}

/** The tokens that follow the prompt. Their text, and so `plan.stop`, is the caller's business. */
export async function* generateTokens(
  session: NativeSession,
  tokenizer: Tokenizer,
  plan: GenerationPlan,
  timings: GenerateTimings,
): AsyncGenerator<Token, TokensResult, undefined> {
  const result: TokensResult = { finishReason: "length", tokens: [], seed: plan.sampling.seed, timings };
  for await (const { finishReason, ...token } of runSteps(session, tokenizer, plan, timings)) {
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
  for await (const { finishReason, ...token } of runSteps(session, tokenizer, plan, timings)) {
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
