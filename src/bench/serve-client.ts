// A client of one OpenAI-compatible server that notes when the pieces of an answer arrive.

import { Agent, type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps, Agent as SecureAgent } from "node:https";
import { BitnetError, reasonOf, throwIfAborted } from "../system/errors.js";
import { packageVersion } from "../system/package.js";
import { JoinedSignal } from "../system/signals.js";
import type { Clock } from "./serve-clock.js";
import { type AnswerEvent, EventReader, readAnswerEvent } from "./serve-events.js";

const mostBody = 64 << 20; // bytes of an answer that is read as a whole: /metrics, /tokenize, errors

/** How a request ended: "ok", a status like "429", or what went wrong without one. */
export type Outcome = "ok" | `${number}` | "hung" | "connection" | "broken" | "stopped";

export interface Sample {
  outcome: Outcome;
  /** In words, where it is not "ok". */
  reason?: string;
  beganMs: number;
  /** When the first part of the text arrived; undefined where none did. */
  firstMs?: number;
  /** When the last part of the text arrived. */
  lastMs?: number;
  endMs: number;
  /** Events with text. */
  events: number;
  /** As the server counts them, else the events. */
  tokens: number;
  promptTokens?: number;
  cachedTokens?: number;
}

export interface Call {
  path: string;
  body: object;
  signal: AbortSignal;
  /** An answer that has not ended after so long is given up: "hung". */
  timeoutMs: number;
  /** At each event with text: when, and how long after the one before it. */
  onText?: (nowMs: number, gapMs: number | undefined) => void;
}

export interface ShortAnswer {
  status: number;
  /** 2xx. */
  isGood: boolean;
  text: string;
}

export class LoadClient {
  /** Without "/v1" and a slash at the end. */
  readonly origin: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: Agent | SecureAgent;
  readonly #isSecure: boolean;
  readonly #clock: Clock;

  constructor(url: string, { apiKey, clock }: { apiKey?: string; clock: Clock }) {
    const parsed = parseServerUrl(url);
    this.origin = parsed.href.replace(/\/+$/, "").replace(/\/v1$/, "");
    this.#isSecure = parsed.protocol === "https:";
    const options = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY };
    this.#agent = this.#isSecure ? new SecureAgent(options) : new Agent(options);
    this.#headers = {
      "user-agent": `bitnet-bench/${packageVersion()}`,
      ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
    };
    this.#clock = clock;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** A short answer as a whole. Throws NETWORK where the server cannot be reached, ABORTED when `signal` fires. */
  async fetch(path: string, body: object | undefined, signal: AbortSignal): Promise<ShortAnswer> {
    try {
      const answer = await this.#send(path, body, signal);
      const text = await readBody(answer, mostBody);
      return { status: answer.statusCode ?? 0, isGood: isGood(answer.statusCode), text };
    } catch (error) {
      throwIfAborted(signal);
      throw new BitnetError("NETWORK", `${this.origin}${path}: ${reasonOf(error)}`, {
        hint: "is the server running, and is this its address?",
        cause: error,
      });
    }
  }

  /** Sends a request whose answer streams. Never throws: what went wrong is the outcome. */
  async stream(call: Call): Promise<Sample> {
    const { signal, timeoutMs } = call;
    const sample: Sample = { outcome: "ok", beganMs: this.#clock.now(), endMs: 0, events: 0, tokens: 0 };
    const limit = new AbortController();
    const ended = new AbortController();
    using either = new JoinedSignal(signal, limit.signal);
    void this.#clock.sleep(timeoutMs, ended.signal).then(() => ended.signal.aborted || limit.abort());
    try {
      await this.#follow(call, sample, either.signal);
    } catch (error) {
      sample.outcome = signal.aborted ? "stopped" : limit.signal.aborted ? "hung" : outcomeOf(error);
      sample.reason = limit.signal.aborted ? `no end after ${timeoutMs / 1000} s` : reasonOf(error);
    } finally {
      ended.abort();
    }
    sample.endMs = this.#clock.now();
    return sample;
  }

  async #follow({ path, body, onText }: Call, sample: Sample, signal: AbortSignal): Promise<void> {
    const answer = await this.#send(path, body, signal);
    if (!isGood(answer.statusCode)) {
      sample.outcome = `${answer.statusCode ?? 0}`;
      sample.reason = describeRefusal(await readBody(answer, 1 << 16).catch(() => ""));
      return;
    }
    const reader = new EventReader();
    let isFinished = false;
    for await (const bytes of answer as AsyncIterable<Uint8Array>) {
      for (const data of reader.push(bytes)) {
        const event = readAnswerEvent(data);
        isFinished ||= event === undefined || event.isFinished;
        this.#note(event, sample, onText);
      }
    }
    if (!isFinished) {
      throw new BitnetError("BAD_FILE", "the stream ended before the answer did");
    }
  }

  #note(event: AnswerEvent | undefined, sample: Sample, onText: Call["onText"]): void {
    if (event?.error !== undefined) {
      throw new BitnetError("BAD_FILE", event.error);
    }
    if (event?.hasText) {
      const now = this.#clock.now();
      onText?.(now, sample.lastMs === undefined ? undefined : now - sample.lastMs);
      sample.firstMs ??= now;
      sample.lastMs = now;
      sample.events++;
      sample.tokens = Math.max(sample.tokens, sample.events);
    }
    if (event?.usage !== undefined) {
      sample.tokens = event.usage.completionTokens ?? sample.tokens;
      sample.promptTokens = event.usage.promptTokens;
      sample.cachedTokens = event.usage.cachedTokens;
    }
  }

  /** Waits for the headers. A kept connection that the server closed at the same moment is no failure: once again. */
  async #send(path: string, body: object | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    try {
      return await this.#sendOnce(path, body, signal);
    } catch (error) {
      if (error instanceof ReusedError && !signal.aborted) {
        return await this.#sendOnce(path, body, signal);
      }
      throw error;
    }
  }

  #sendOnce(path: string, body: object | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options = {
      method: text === undefined ? "GET" : "POST",
      agent: this.#agent,
      signal,
      headers: {
        ...this.#headers,
        ...(text !== undefined && { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
      },
    };
    return new Promise((resolve, reject) => {
      const send = this.#isSecure ? requestHttps : requestHttp;
      const request: ClientRequest = send(`${this.origin}${path}`, options, resolve);
      request.on("error", (error) => {
        const isStale = request.reusedSocket && (error as NodeJS.ErrnoException).code === "ECONNRESET";
        reject(isStale ? new ReusedError(error.message, { cause: error }) : error);
      });
      request.end(text);
    });
  }
}

class ReusedError extends Error {}

/** Throws USAGE. */
export function parseServerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new BitnetError("USAGE", `expected the address of a server, got ${JSON.stringify(text)}`, {
      hint: "like http://127.0.0.1:8080",
    });
  }
  url.search = "";
  url.hash = "";
  return url;
}

function isGood(status: number | undefined): boolean {
  return status !== undefined && status >= 200 && status < 300;
}

async function readBody(answer: IncomingMessage, most: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of answer as AsyncIterable<Uint8Array>) {
    size += piece.length;
    if (size > most) {
      answer.destroy();
      throw new BitnetError("NETWORK", `an answer of more than ${most} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** "the queue is full" of {"error":{"message":"the queue is full"}}; else the first line of the text. */
export function describeRefusal(text: string): string {
  const message = /"message"\s*:\s*"((?:[^"\\]|\\.){1,200})/.exec(text)?.[1];
  return message ?? text.split("\n", 1).join("").slice(0, 200);
}

function outcomeOf(error: unknown): Outcome {
  const isOurs = error instanceof BitnetError;
  return isOurs ? "broken" : (error as NodeJS.ErrnoException).code === undefined ? "broken" : "connection";
}
