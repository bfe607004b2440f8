// Streams of events: headers as late as an error may still have a status of its own, comments while nothing happens, and
// an end for readers that do not read.

import type { FastifyReply } from "fastify";
import { type ApiError, toApiError } from "./errors.js";
import type { RunNotes } from "./request.js";

/** How a dialect writes its messages into a stream. */
export interface Framing {
  contentType: string;
  /** Keeps a silent connection alive; undefined: the dialect has nothing for that. */
  ping?: string;
  /** What is sent when a stream fails that has begun. */
  failure(error: ApiError): string;
}

/** A message of a stream of events: data alone, or with a name. */
export function sse(data: unknown, event?: string): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${text}\n\n`;
}

export const openAiFraming: Framing = {
  contentType: "text/event-stream; charset=utf-8",
  ping: ": ping\n\n",
  failure: (error) => sse({ error: error.body }) + sse("[DONE]"),
};

export interface StreamOptions {
  /** Seconds of silence before a ping. */
  pingInterval: number;
  framing?: Framing;
  /** Told when a reader is dropped that does not read. */
  onDropped?: () => void;
  /** Told why a stream failed that has begun. */
  onFailure?: (error: ApiError) => void;
}

// Headers go out with the first event, or after so long without one: until then a failure has a status.
const headerDelay = 1000; // ms
// A reader that lets so much pile up, or takes nothing for so long, is given up.
const maxUnsent = 2 ** 20; // bytes
const stallTimeout = 60_000; // ms

/**
 * Writes what `messages` yields, each in one piece. An error before the headers is thrown; a later one ends the stream with
 * the framing's words. `messages` is left early when the reader is gone.
 */
export async function sendStream(
  reply: FastifyReply,
  messages: AsyncIterable<string>,
  options: StreamOptions,
): Promise<void> {
  const stream = new EventStream(reply, options);
  const iterator = messages[Symbol.asyncIterator]();
  try {
    for (let next = await stream.begin(iterator.next()); !next.done; next = await iterator.next()) {
      if (!stream.send(next.value)) {
        return;
      }
    }
    stream.end();
  } catch (error) {
    if (!stream.hasBegun) {
      throw error;
    }
    const failure = toApiError(error);
    options.onFailure?.(failure);
    stream.fail(failure);
  } finally {
    stream.stop();
    await iterator.return?.();
  }
}

/** How long the request has taken until its answer begins. */
export function processingMs(notes: RunNotes | undefined): number {
  return notes === undefined ? 0 : Math.round(performance.now() - notes.startedAt);
}

class EventStream {
  readonly #reply: FastifyReply;
  readonly #options: StreamOptions;
  readonly #framing: Framing;
  #ping: NodeJS.Timeout | undefined;
  #stall: NodeJS.Timeout | undefined;
  hasBegun = false;

  constructor(reply: FastifyReply, options: StreamOptions) {
    this.#reply = reply;
    this.#options = options;
    this.#framing = options.framing ?? openAiFraming;
  }

  /** The first message; sends the headers if it does not come soon. */
  async begin<T>(first: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#writeHead(), headerDelay);
    try {
      return await first;
    } finally {
      clearTimeout(timer);
    }
  }

  /** false: nobody reads any more. */
  send(message: string): boolean {
    this.#writeHead();
    const { raw } = this.#reply;
    if (raw.destroyed) {
      return false;
    }
    this.#write(message);
    this.#ping?.refresh();
    if (raw.writableLength > maxUnsent) {
      this.#drop();
      return false;
    }
    return true;
  }

  end(): void {
    this.#writeHead();
    this.#reply.raw.end();
  }

  fail(error: ApiError): void {
    if (!this.#reply.raw.destroyed) {
      this.#reply.raw.end(this.#framing.failure(error));
    }
  }

  stop(): void {
    clearInterval(this.#ping);
    if (!this.#reply.raw.writableNeedDrain) {
      clearTimeout(this.#stall);
    }
  }

  #writeHead(): void {
    if (this.hasBegun) {
      return;
    }
    const { raw } = this.#reply;
    this.#reply.hijack();
    this.hasBegun = true;
    raw.writeHead(200, {
      ...(this.#reply.getHeaders() as Record<string, string>),
      "openai-processing-ms": String(processingMs(this.#reply.request.notes)),
      "content-type": this.#framing.contentType,
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
      "x-content-type-options": "nosniff",
    });
    raw.flushHeaders();
    const { ping } = this.#framing;
    if (ping !== undefined && this.#options.pingInterval > 0) {
      this.#ping = setInterval(() => this.#write(ping), this.#options.pingInterval * 1000);
    }
  }

  #write(text: string): void {
    const { raw } = this.#reply;
    if (raw.destroyed || raw.write(text)) {
      return;
    }
    if (this.#stall === undefined) {
      this.#stall = setTimeout(() => this.#drop(), stallTimeout).unref();
      raw.once("drain", () => {
        clearTimeout(this.#stall);
        this.#stall = undefined;
      });
    }
  }

  #drop(): void {
    this.#options.onDropped?.();
    this.#reply.raw.destroy();
  }
}
