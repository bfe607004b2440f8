// Where the lines of a batch are answered.

import { setTimeout as delay } from "node:timers/promises";
import { BitnetError, toBitnetError } from "../system/errors.js";
import type { BatchOutcome } from "./outcome.js";
import type { BatchRequest } from "./request.js";

export interface BatchCall {
  method: "POST";
  url: string;
  headers: Readonly<Record<string, string>>;
  body: unknown;
  signal: AbortSignal;
}

export interface BatchReply {
  status: number;
  /** Names in small letters. */
  headers: Readonly<Record<string, string | undefined>>;
  body: unknown;
}

/** Sends one request. Rejects if there is no answer at all. */
export type Send = (call: BatchCall) => Promise<BatchReply>;

/** What ends the work on a line. */
export interface LineSignals {
  /** No line is begun, and none tried again. */
  stop: AbortSignal;
  /** What runs is given up. */
  abort: AbortSignal;
  onRetry: () => void;
}

export interface BatchTarget {
  /** Calls of `answer` at the same time. */
  parallel: number;
  /** Lines that are answered together. */
  chunk: number;
  /** The model that answers, as answers name it. */
  model?: string;
  /** The outcomes of lines; those that were stopped have none. Rejects if no line can be answered any more. */
  answer(requests: readonly BatchRequest[], signals: LineSignals, chunk: ChunkPlace): Promise<BatchOutcome[]>;
  /** Told when the outcomes of a chunk are on the disk. */
  settle?(chunk: ChunkPlace): Promise<void>;
  close?(): Promise<void>;
}

/** Where lines that are answered together stand. */
export interface ChunkPlace {
  /** The batch's digest. */
  digest: string;
  /** Of the first line of the chunk among all lines, also if that one is answered already. */
  offset: number;
}

export interface SendTargetOptions {
  send: Send;
  /** Lines at the same time. */
  parallel: number;
  model?: string;
  /** Times that a line is sent whose answer is 429 or 5xx. */
  tries?: number;
  close?: () => Promise<void>;
}

const standardTries = 3;

/** Lines one by one, each over `send`. */
export function sendTarget({ send, tries = standardTries, ...rest }: SendTargetOptions): BatchTarget {
  return {
    ...rest,
    chunk: 1,
    async answer(requests, signals) {
      const outcomes: BatchOutcome[] = [];
      for (const request of requests) {
        const outcome = await answerLine(send, request, tries, signals);
        if (outcome !== undefined) {
          outcomes.push(outcome);
        }
      }
      return outcomes;
    },
  };
}

/** Undefined: it was stopped before there was an answer. */
export async function answerLine(
  send: Send,
  request: BatchRequest,
  tries: number,
  { stop, abort, onRetry }: LineSignals,
): Promise<BatchOutcome | undefined> {
  const { id, customId, url, body } = request;
  for (let attempt = 1; !stop.aborted; attempt++) {
    let wait = backoff(attempt);
    try {
      const reply = await send({ method: "POST", url, headers: { "x-request-id": id }, body, signal: abort });
      const { status, headers } = reply;
      if (attempt >= tries || !isRetriable(reply)) {
        return { id, customId, status, requestId: headers["x-request-id"] ?? id, body: reply.body };
      }
      wait = retryAfter(headers) ?? wait;
    } catch (error) {
      if (abort.aborted || stop.aborted) {
        return undefined;
      }
      if (attempt >= tries) {
        throw noAnswer(error);
      }
    }
    onRetry();
    await delay(wait, undefined, { signal: stop }).catch(() => {});
  }
  return undefined;
}

/** The value of a JSON answer, else its text. */
export function parseReply(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Whether the same request may get another answer later. */
export function isRetriable({ status, headers }: BatchReply): boolean {
  return (status === 429 || (status >= 500 && status !== 501)) && headers["x-should-retry"] !== "false";
}

const firstWait = 500; // ms
const mostWait = 60_000;

function backoff(attempt: number): number {
  return Math.min(mostWait, firstWait * 2 ** (attempt - 1));
}

/** Milliseconds. */
export function retryAfter(headers: BatchReply["headers"]): number | undefined {
  const ms = Number(headers["retry-after-ms"] ?? Number.NaN);
  const seconds = Number(headers["retry-after"] ?? Number.NaN);
  const wait = Number.isFinite(ms) ? ms : seconds * 1000;
  return Number.isFinite(wait) ? Math.min(mostWait, Math.max(0, wait)) : undefined;
}

function noAnswer(error: unknown): BitnetError {
  const known = toBitnetError(error);
  return known.code === "INTERNAL"
    ? new BitnetError("NETWORK", `no answer from the server: ${known.message}`, { cause: error })
    : known;
}
