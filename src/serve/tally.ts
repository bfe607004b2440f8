// Counts of requests since the server began, in the terms of the monitor and of /admin.

import type { ExchangeRecord, TextRecord, Watcher } from "./records.js";

/** Names as earlier services had them. */
export interface RequestMetrics {
  total_requests: number;
  successful_requests: number;
  failed_requests: number;
  total_tokens_generated: number;
  /** Seconds in which answers were written, of all requests together. */
  total_generation_time: number;
  cache_hits: number;
  cache_misses: number;
}

/** What the monitor reads twice and subtracts. */
export interface Totals extends RequestMetrics {
  /** Seconds of successful requests from their first byte to their last. */
  total_latency: number;
}

const hour = 3600_000;
const maxBlocks = 100_000; // times of refused requests that are kept for the last hour
const maxClients = 100_000;

export class Tally implements Watcher {
  readonly #now: () => number;
  readonly #totals: Totals = {
    ...{ total_requests: 0, successful_requests: 0, failed_requests: 0 },
    ...{ total_tokens_generated: 0, total_generation_time: 0, cache_hits: 0, cache_misses: 0, total_latency: 0 },
  };
  readonly #clients = new Set<string>();
  #refused: number[] = [];
  #refusedInAll = 0;
  #exchanges = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  get totals(): Totals {
    return { ...this.#totals };
  }

  onText({ end, usage, timings, run, ms, error }: TextRecord): void {
    const totals = this.#totals;
    totals.total_requests++;
    totals[run.isCached ? "cache_hits" : "cache_misses"]++;
    if (end === "complete") {
      totals.successful_requests++;
      totals.total_latency += ms / 1000;
    } else if (end === "failed" && (error?.status ?? 500) >= 500) {
      totals.failed_requests++;
    }
    if (!run.isCached) {
      totals.total_tokens_generated += usage.completionTokens;
      totals.total_generation_time += (timings?.generateMs ?? 0) / 1000;
    }
  }

  onExchange({ access, client, status, code, notes }: ExchangeRecord): void {
    if (access === "open") {
      return;
    }
    this.#exchanges++;
    if (client !== undefined && this.#clients.size < maxClients) {
      this.#clients.add(client.id);
    }
    const isFiltered = code === "content_filter" || notes.code === "content_filter";
    if (status === 401 || status === 403 || status === 429 || isFiltered) {
      this.#refusedInAll++;
      this.#refused.push(this.#now());
      if (this.#refused.length > maxBlocks) {
        this.#refused = this.#refused.slice(maxBlocks / 2);
      }
    }
  }

  /** Who asked and what was refused: for a key, a limit or the filter. */
  security(): {
    total_unique_clients: number;
    total_requests_processed: number;
    total_blocked_requests: number;
    recent_blocks_last_hour: number;
  } {
    const since = this.#now() - hour;
    this.#refused = this.#refused.filter((time) => time > since);
    return {
      total_unique_clients: this.#clients.size,
      total_requests_processed: this.#exchanges,
      total_blocked_requests: this.#refusedInAll,
      recent_blocks_last_hour: this.#refused.length,
    };
  }
}
