// Who may wait: a queue with an exact bound, time limits, and an end.

import type { BitnetErrorCode } from "../system/errors.js";
import { ApiError, unavailable } from "./errors.js";

export interface AdmissionLimits {
  /** Requests that wait. */
  queueSize: number;
  /** Seconds that one waits at most. */
  queueTimeout: number;
  /** Seconds that a request takes at most, waiting included. */
  requestTimeout: number;
  /** Requests that run at once. */
  parallel: number;
}

/** One request that has been let in. */
export interface Ticket {
  /** Fires with an ApiError as its reason when the request must end. */
  readonly signal: AbortSignal;
  /** It runs: it is in the queue no more. */
  start(): void;
  end(): void;
}

// The mean time of a request counts newer ones more: each with this weight.
const meanWeight = 0.1;
const leastRetry = 1; // seconds
const mostRetry = 60;

/**
 * Counts what waits and what runs. The order of the queue is the engine's; a request counts as waiting until it tells that
 * it has been started.
 */
export class Admission {
  readonly limits: AdmissionLimits;
  readonly #running = new Set<Ticket>();
  /** Ends one that has been let in. One signal for all would hold a little of each that it was joined with, for ever. */
  readonly #enders = new Set<AbortController>();
  #waiting = 0;
  /** Of all that wait or run: those in the background. */
  #background = 0;
  #isDraining = false;
  #meanSeconds = 1; // of a request, from its start to its end
  #onIdle: () => void = () => {};

  constructor(limits: AdmissionLimits) {
    this.limits = limits;
  }

  get waiting(): number {
    return this.#waiting;
  }

  get running(): number {
    return this.#running.size;
  }

  /**
   * Throws 503 if the queue is full or the server is ending. `left` fires when the client is gone. Work in the background
   * takes no place in the queue from other work, to which it gives way.
   */
  enter(left: AbortSignal, isBackground = false): Ticket {
    const { queueSize, queueTimeout, requestTimeout, parallel } = this.limits;
    if (this.#isDraining) {
      throw unavailable("draining", "the server is shutting down", leastRetry);
    }
    // With a place to run free, what comes next is not going to wait.
    const before = this.#waiting + this.#running.size - (isBackground ? 0 : this.#background);
    if (before >= parallel + queueSize) {
      throw unavailable("queue_full", `the queue is full: ${queueSize} requests are waiting`, this.retryAfter());
    }
    const over = new AbortController();
    this.#enders.add(over);
    const signal = AbortSignal.any([left, over.signal]);
    const queueTimer = setTimeout(() => {
      const message = `the request waited for ${queueTimeout} s and was not started`;
      over.abort(unavailable("queue_timeout", message, this.retryAfter()));
    }, queueTimeout * 1000);
    const requestTimer = setTimeout(() => {
      over.abort(timeoutError(requestTimeout));
    }, requestTimeout * 1000);
    this.#waiting++;
    this.#background += Number(isBackground);
    let state: "waiting" | "running" | "over" = "waiting";
    let startedAt = 0;
    const ticket: Ticket = {
      signal,
      start: () => {
        if (state === "waiting") {
          state = "running";
          clearTimeout(queueTimer);
          startedAt = performance.now();
          this.#waiting--;
          this.#running.add(ticket);
        }
      },
      end: () => {
        clearTimeout(queueTimer);
        clearTimeout(requestTimer);
        this.#enders.delete(over);
        if (state !== "over") {
          this.#background -= Number(isBackground);
        }
        if (state === "waiting") {
          this.#waiting--;
        } else if (state === "running") {
          this.#running.delete(ticket);
          this.#observe((performance.now() - startedAt) / 1000);
        }
        state = "over";
        if (this.#waiting + this.#running.size === 0) {
          this.#onIdle();
        }
      },
    };
    return ticket;
  }

  /** Ends all that wait or run. */
  abort(reason: ApiError): void {
    for (const ender of this.#enders) {
      ender.abort(reason);
    }
  }

  /** Seconds until a place may be free. */
  retryAfter(): number {
    const seconds = ((this.#waiting + 1) * this.#meanSeconds) / this.limits.parallel;
    return Math.min(mostRetry, Math.max(leastRetry, seconds));
  }

  /** Lets nobody in any more; resolves when the last one has gone. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    if (this.#waiting + this.#running.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }

  #observe(seconds: number): void {
    this.#meanSeconds += meanWeight * (seconds - this.#meanSeconds);
  }
}

function timeoutError(seconds: number): ApiError {
  return new ApiError("timeout_error", `the request took longer than ${seconds} s`, {
    code: "request_timeout",
    shouldRetry: false,
  });
}

/** What ended a request that was aborted: its signal's own reason if that is an answer. */
export function reasonOfAbort(error: unknown, signal: AbortSignal): unknown {
  const isAborted = (error as { code?: BitnetErrorCode }).code === "ABORTED";
  return isAborted && signal.reason instanceof ApiError ? signal.reason : error;
}
