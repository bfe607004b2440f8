// Requests on sessions of a model.

import type { Session } from "../engine/model.js";
import { joinIds } from "./ids.js";
import type { Outcome, Request, RollingRequest, Score, ScoreRequest, WriteRequest, Writing } from "./requests.js";

export interface Answered {
  outcome: Outcome;
  /** Tokens that were evaluated, and that were known from an earlier request. */
  evaluated: number;
  reused: number;
}

export async function answerRequest(session: Session, request: Request, signal?: AbortSignal): Promise<Answered> {
  switch (request.kind) {
    case "score":
      return await score(session, request, signal);
    case "rolling":
      return await scoreWindows(session, request, signal);
    case "write":
      return await write(session, request, signal);
  }
}

async function score(
  session: Session,
  { context, continuation }: Pick<ScoreRequest, "context" | "continuation">,
  signal: AbortSignal | undefined,
): Promise<Answered & { outcome: Score }> {
  const { logprobs, likeliest, evaluated, reused } = await session.score(joinIds(context, continuation), {
    from: context.length,
    signal,
  });
  const logLikelihood = logprobs.reduce((sum, logprob) => sum + logprob, 0);
  return { outcome: { logLikelihood, isGreedy: likeliest.every((flag) => flag === 1) }, evaluated, reused };
}

async function scoreWindows(
  session: Session,
  { windows }: RollingRequest,
  signal: AbortSignal | undefined,
): Promise<Answered> {
  const total = { outcome: { logLikelihood: 0, isGreedy: true }, evaluated: 0, reused: 0 };
  for (const window of windows) {
    const { outcome, evaluated, reused } = await score(session, window, signal);
    total.outcome.logLikelihood += outcome.logLikelihood;
    total.outcome.isGreedy &&= outcome.isGreedy;
    total.evaluated += evaluated;
    total.reused += reused;
  }
  return total;
}

async function write(
  session: Session,
  { context, options }: WriteRequest,
  signal: AbortSignal | undefined,
): Promise<Answered> {
  const { text, finishReason, tokens, timings } = await session.complete(context, { ...options, signal });
  const outcome: Writing = {
    text,
    tokens: tokens.length,
    isCut: finishReason === "length" || finishReason === "context",
  };
  const { promptTokens, reusedTokens, decodedTokens } = timings;
  return { outcome, evaluated: promptTokens - reusedTokens + decodedTokens, reused: reusedTokens };
}
