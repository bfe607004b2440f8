// A streamed chat completion, as the pieces that a page has to know.

import { type Connection, field, readError, ServerError } from "./connection.js";
import { readEvents } from "./event-stream.js";

export interface TokenScore {
  token: string;
  logprob: number;
  top: { token: string; logprob: number }[];
}

export type CompletionPiece =
  | { kind: "text" | "thinking"; text: string }
  | { kind: "scores"; scores: TokenScore[] }
  | { kind: "progress"; processed: number; total: number; cached: number }
  | { kind: "finish"; reason: string }
  | { kind: "counts"; promptTokens?: number; cachedTokens?: number; answerTokens?: number; tokensPerSecond?: number }
  | { kind: "model"; name: string };

/** The answer comes in pieces, with what the server counts on the way and at the end. */
const streamed = {
  stream: true,
  stream_options: { include_usage: true },
  return_progress: true,
  timings_per_token: true,
};

/** Throws a ServerError; also when the stream ends before it said that it does. */
export async function* streamCompletion(
  connection: Connection,
  body: Record<string, unknown>,
  signal: AbortSignal,
): AsyncGenerator<CompletionPiece> {
  const answer = await connection.request("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...body, ...streamed }),
    signal,
  });
  if (answer.body === null) {
    throw new ServerError("The server sent no stream.", answer.status);
  }
  try {
    for await (const data of readEvents(answer.body)) {
      if (data === "[DONE]") {
        return;
      }
      yield* piecesOf(parseEvent(data));
    }
  } catch (error) {
    if (error instanceof ServerError || signal.aborted) {
      throw error;
    }
    throw new ServerError("The connection broke in the middle of the answer.", 0, "", "What came so far is kept.");
  }
  throw new ServerError("The answer ended in the middle.", 0, "", "What came so far is kept.");
}

function parseEvent(data: string): unknown {
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch {
    throw new ServerError("The server sent an event that is not JSON.", 200);
  }
  if (field(event, "error") !== undefined) {
    throw readError(event, 200);
  }
  return event;
}

function* piecesOf(event: unknown): Generator<CompletionPiece> {
  const model = field(event, "model");
  if (typeof model === "string") {
    yield { kind: "model", name: model };
  }
  const progress = field(event, "prompt_progress");
  if (progress !== undefined) {
    yield {
      kind: "progress",
      processed: numberOf(field(progress, "processed")) ?? 0,
      total: numberOf(field(progress, "total")) ?? 0,
      cached: numberOf(field(progress, "cache")) ?? 0,
    };
  }
  const choices = field(event, "choices");
  const choice: unknown = Array.isArray(choices) ? choices[0] : undefined;
  const delta = field(choice, "delta");
  for (const [kind, name] of [
    ["thinking", "reasoning_content"],
    ["text", "content"],
  ] as const) {
    const text = field(delta, name);
    if (typeof text === "string" && text !== "") {
      yield { kind, text };
    }
  }
  const content = field(field(choice, "logprobs"), "content");
  if (Array.isArray(content)) {
    yield { kind: "scores", scores: content.map(readScore) };
  }
  const reason = field(choice, "finish_reason");
  if (typeof reason === "string") {
    yield { kind: "finish", reason };
  }
  yield* countsOf(event);
}

function* countsOf(event: unknown): Generator<CompletionPiece> {
  const usage = field(event, "usage");
  const timings = field(event, "timings");
  if (isObject(usage) || isObject(timings)) {
    yield {
      kind: "counts",
      promptTokens: numberOf(field(usage, "prompt_tokens")),
      cachedTokens: numberOf(field(field(usage, "prompt_tokens_details"), "cached_tokens")),
      answerTokens: numberOf(field(usage, "completion_tokens")) ?? numberOf(field(timings, "predicted_n")),
      tokensPerSecond: numberOf(field(timings, "predicted_per_second")),
    };
  }
}

function readScore(value: unknown): TokenScore {
  const top = field(value, "top_logprobs");
  return { ...readEntry(value), top: Array.isArray(top) ? top.map(readEntry) : [] };
}

/** A token inside a character has no text, only bytes. */
function readEntry(value: unknown): { token: string; logprob: number } {
  const token = field(value, "token");
  const bytes = field(value, "bytes");
  const hex = Array.isArray(bytes) ? bytes.map((byte) => Number(byte).toString(16).padStart(2, "0")).join(" ") : "";
  return {
    token: typeof token === "string" && token !== "" ? token : `<${hex}>`,
    logprob: numberOf(field(value, "logprob")) ?? Number.NEGATIVE_INFINITY,
  };
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
