// How much each client has asked for within the last 60 seconds, exactly: at no moment do more than the limit lie in any
// 60 seconds, as they would at the edge of windows of fixed minutes.

export interface RateLimits {
  /** 0: no limit. */
  requests: number;
  tokens: number;
}

export interface Meter {
  limit: number;
  remaining: number;
  /** Until all of it is free again. */
  resetMs: number;
}

export interface RateVerdict {
  requests: Meter;
  tokens: Meter;
  /** Which limit stands against it, and for how long. */
  refused?: { by: "requests" | "tokens"; retryMs: number };
}

export const windowMs = 60_000;

const maxClients = 10_000;
const mergeMs = 1000; // tokens that are counted within so much of each other count from the later one on

interface Entry {
  time: number;
  count: number;
}

/** Entries that leave in the order in which they came. */
class Log {
  readonly #entries: Entry[] = [];
  #first = 0;
  sum = 0;

  get isEmpty(): boolean {
    return this.#first === this.#entries.length;
  }

  add(time: number, count: number, merge = 0): void {
    const last = this.isEmpty ? undefined : this.#entries.at(-1);
    if (last !== undefined && time - last.time < merge) {
      last.time = time;
      last.count += count;
    } else {
      this.#entries.push({ time, count });
    }
    this.sum += count;
  }

  forget(now: number): void {
    for (let entry = this.#entries[this.#first]; entry !== undefined; entry = this.#entries[this.#first]) {
      if (now - entry.time < windowMs) {
        break;
      }
      this.sum -= entry.count;
      this.#first++;
    }
    if (this.#first > 64 && this.#first * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#first);
      this.#first = 0;
    }
  }

  /** Until less than `limit` is left. */
  timeUntilBelow(limit: number, now: number): number {
    let left = this.sum;
    for (let i = this.#first; i < this.#entries.length; i++) {
      const { time, count } = this.#entries[i] as Entry;
      left -= count;
      if (left < limit) {
        return Math.max(0, time + windowMs - now);
      }
    }
    return 0;
  }

  /** Until everything has left. */
  timeUntilEmpty(now: number): number {
    const last = this.isEmpty ? undefined : this.#entries.at(-1);
    return last === undefined ? 0 : Math.max(0, last.time + windowMs - now);
  }
}

interface ClientLogs {
  requests: Log;
  tokens: Log;
}

/** The log of this process. Of more than 10,000 clients, those that were quiet the longest are forgotten. */
export class RateLog {
  readonly #clients = new Map<string, ClientLogs>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Counts a request, unless a limit stands against it. */
  take(id: string, limits: RateLimits): RateVerdict {
    const now = this.#now();
    const { requests, tokens } = this.#logsOf(id, now);
    const refused = refusalOf(limits, requests, tokens, now);
    if (refused === undefined) {
      requests.add(now, 1);
    }
    return {
      requests: meterOf(requests, limits.requests, now),
      tokens: meterOf(tokens, limits.tokens, now),
      refused,
    };
  }

  charge(id: string, count: number): void {
    const now = this.#now();
    this.#logsOf(id, now).tokens.add(now, count, mergeMs);
  }

  #logsOf(id: string, now: number): ClientLogs {
    const logs = this.#clients.get(id) ?? { requests: new Log(), tokens: new Log() };
    this.#clients.delete(id);
    this.#clients.set(id, logs);
    for (const oldest of this.#clients.keys()) {
      if (this.#clients.size <= maxClients) {
        break;
      }
      this.#clients.delete(oldest);
    }
    logs.requests.forget(now);
    logs.tokens.forget(now);
    return logs;
  }
}

function refusalOf(limits: RateLimits, requests: Log, tokens: Log, now: number): RateVerdict["refused"] {
  if (limits.requests > 0 && requests.sum >= limits.requests) {
    return { by: "requests", retryMs: requests.timeUntilBelow(limits.requests, now) };
  }
  if (limits.tokens > 0 && tokens.sum >= limits.tokens) {
    return { by: "tokens", retryMs: tokens.timeUntilBelow(limits.tokens, now) };
  }
  return undefined;
}

function meterOf(log: Log, limit: number, now: number): Meter {
  return { limit, remaining: Math.max(0, limit - log.sum), resetMs: log.timeUntilEmpty(now) };
}
