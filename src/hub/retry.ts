// What may pass is tried again: with growing pauses, or as long as the server asks for, and never for ever.

import { setTimeout as delay } from "node:timers/promises";
import { abortedError, BitnetError, throwIfAborted } from "../system/errors.js";

export interface RetryPolicy {
  /** Failures in a row without a byte of progress before giving up. Default: 6. */
  attempts: number;
  /** Before the first retry; doubled for each further one, with jitter. Default: 1000. */
  baseDelayMs: number;
  /** Default: 30000. */
  maxDelayMs: number;
  /** The longest that a server is waited for because it asks for it; what asks for more fails at once. Default: 301000. */
  maxRetryAfterMs: number;
  /** Without a byte for so long, a connection counts as cut. Default: 60000, or HF_HUB_DOWNLOAD_TIMEOUT. */
  stallMs: number;
}

export const defaultRetry: RetryPolicy = {
  attempts: 6,
  baseDelayMs: 1000,
  maxDelayMs: 30_000,
  maxRetryAfterMs: 301_000, // the hub counts requests in windows of 300 s; one second is added to what it says
  stallMs: 60_000,
};

/** A request that failed and will be repeated. */
export interface HubRetry {
  /** What was asked for: "owner/name" or "owner/name/file". */
  subject: string;
  reason: string;
  /** Milliseconds until then. */
  pause: number;
}

/** What repeating needs of a hub. */
export interface Retrying {
  readonly retry: RetryPolicy;
  readonly onNote: (text: string) => void;
  readonly onRetry?: (retry: HubRetry) => void;
  /** Until when a server has asked everybody to wait, in ms since 1970; said once, however many files wait. */
  readonly limit: { until: number };
  readonly environment: { readonly token?: string };
}

export interface TransientOptions {
  /** What the server asks for. */
  retryAfterMs?: number;
  /** It wants fewer requests (429). */
  isLimit?: boolean;
  /** Of this failure, fewer than the policy has. */
  attempts?: number;
  /** Thrown when it has not passed. Default: one that says that the server cannot be reached. */
  final?: BitnetError;
  /** Of that default. */
  hint?: string;
  cause?: unknown;
}

/** A failure that may pass: the same request is worth repeating. */
export class TransientError extends Error {
  readonly options: Omit<TransientOptions, "cause">;

  constructor(message: string, { cause, ...options }: TransientOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.options = options;
  }
}

/**
 * Repeats `attempt` while it throws TransientError. `progress` tells how far it has come: any change starts the count
 * again. A pause that the server asks for is no failure; the sum of such pauses is bounded.
 */
export async function retrying<T>(
  hub: Retrying,
  { subject, signal }: { subject: string; signal?: AbortSignal },
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  const { retry } = hub;
  for (let failures = 0, waitedMs = 0, before = progress(); ; before = progress()) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      if (signal?.aborted) {
        throw abortedError(signal);
      }
      if (!(error instanceof TransientError)) {
        throw error;
      }
      if (progress() !== before) {
        [failures, waitedMs] = [0, 0];
      }
      const { retryAfterMs, attempts = retry.attempts, final } = error.options;
      waitedMs += retryAfterMs ?? 0;
      failures += retryAfterMs ? 0 : 1;
      if (failures >= Math.min(attempts, retry.attempts) || waitedMs > retry.maxRetryAfterMs) {
        throw final ?? unreachableError(hub, subject, error);
      }
      const pause = retryAfterMs ?? backoff(retry, failures);
      tellRetry(hub, { subject, reason: error.message, pause }, retryAfterMs !== undefined);
      await delay(pause, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }
}

function backoff({ baseDelayMs, maxDelayMs }: RetryPolicy, failures: number): number {
  return Math.min(maxDelayMs, baseDelayMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

function tellRetry({ limit, onNote, onRetry }: Retrying, retry: HubRetry, isAsked: boolean): void {
  const now = Date.now();
  if (isAsked && now < limit.until) {
    return; // the same pause, for another file
  }
  limit.until = isAsked ? now + retry.pause : limit.until;
  if (onRetry !== undefined) {
    onRetry(retry);
  } else {
    onNote(`${retry.subject}: ${retry.reason}; trying again in ${(retry.pause / 1000).toFixed(1)} s`);
  }
}

function unreachableError({ environment }: Retrying, subject: string, error: TransientError): BitnetError {
  const { retryAfterMs, hint, isLimit } = error.options;
  const wait =
    retryAfterMs === undefined ? "" : ` for ${Math.ceil(retryAfterMs / 1000)} s, until ${timeIn(retryAfterMs)},`;
  const more = environment.token === undefined ? "with HF_TOKEN set the hub allows more requests" : "others count too";
  const unreachable =
    "run the same command again, it continues where it stopped; behind a proxy set https_proxy, for another server " +
    "HF_ENDPOINT, and HF_HUB_OFFLINE=1 to use only what is downloaded already";
  return new BitnetError("NETWORK", `${subject}: ${error.message}`, {
    hint: isLimit
      ? `wait${wait || " a few minutes"} and run the same command again, it continues where it stopped; ${more}`
      : (hint ?? unreachable),
    cause: error,
  });
}

/** The time of day, "14:05:09", after a pause; with the day if that is another one. */
function timeIn(ms: number): string {
  const [now, then] = [new Date(), new Date(Date.now() + ms)];
  const day = now.toDateString() === then.toDateString() ? "" : `${then.toDateString()} `;
  return `${day}${then.toTimeString().slice(0, 8)}`;
}

/** Milliseconds of a Retry-After header, which holds seconds or a date. */
export function readRetryAfter(header: string | null, now = Date.now()): number | undefined {
  if (header === null) {
    return undefined;
  }
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/**
 * Milliseconds until a new window of the hub's limits begins, from its `RateLimit: "api";r=0;t=55`: requests that remain
 * and seconds, of one or more limits (draft-ietf-httpapi-ratelimit-headers-08 and later; before: "remaining=0, reset=55").
 * A second is added, as what it says is rounded.
 */
export function readRateLimit(header: string | null): number | undefined {
  const limits = (header ?? "").slice(0, 1000).split(/,(?=\s*")/);
  const seconds = limits.flatMap((limit) => {
    const remaining = /[;,\s](?:r|remaining)=(\d{1,9})(?!\d)/.exec(` ${limit}`)?.[1];
    const reset = /[;,\s](?:t|reset)=(\d{1,9})(?!\d)/.exec(` ${limit}`)?.[1];
    return reset === undefined || Number(remaining ?? 0) > 0 ? [] : [Number(reset)];
  });
  return seconds.length === 0 ? undefined : (Math.max(...seconds) + 1) * 1000;
}
