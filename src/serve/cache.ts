// Answers that are found again: those that would come out the same, and are told the same way.

import { createHash } from "node:crypto";
import type { Register } from "./context.js";
import type { ServeOptions } from "./options.js";
import type { Client, TextEvent, TextRequest } from "./request.js";

const longestMs = 3600_000;
const eventBytes = 64; // of an event beside its texts and numbers, about

interface Entry {
  events: readonly TextEvent[];
  bytes: number;
  time: number;
}

/** Those used last, up to so many bytes. */
export class ResponseCache {
  readonly #maxBytes: number;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(maxBytes: number, now: () => number = () => performance.now()) {
    this.#maxBytes = maxBytes;
    this.#now = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  find(key: string): readonly TextEvent[] | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      return undefined;
    }
    if (this.#now() - entry.time > longestMs) {
      this.#remove(key, entry);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.events;
  }

  keep(key: string, events: readonly TextEvent[]): void {
    const bytes = events.reduce((sum, event) => sum + eventBytes + 2 * JSON.stringify(event).length, key.length);
    if (bytes > this.#maxBytes) {
      return;
    }
    const before = this.#entries.get(key);
    if (before !== undefined) {
      this.#remove(key, before);
    }
    this.#entries.set(key, { events, bytes, time: this.#now() });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) {
        break;
      }
      this.#remove(oldest, entry);
    }
  }

  #remove(key: string, { bytes }: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= bytes;
  }
}

export const register: Register = (_, context) => {
  const { options } = context;
  if (options.responseCacheBytes === 0) {
    return;
  }
  const cache = new ResponseCache(options.responseCacheBytes);
  context.responseCache = cache;
  context.stages.push(async function* (request, run, next) {
    const { client, notes } = run;
    if (!isRepeatable(request, options)) {
      yield* next(request);
      return;
    }
    const key = keyOf(request, client, context.service.fingerprint);
    const found = cache.find(key);
    if (found !== undefined) {
      run.isCached = true;
      notes.setHeader("x-bitnet-cache", "hit");
      yield* found;
      return;
    }
    notes.setHeader("x-bitnet-cache", "miss");
    const events: TextEvent[] = [];
    for await (const event of next(request)) {
      events.push(event);
      if (event.kind === "end") {
        cache.keep(key, events);
      }
      yield event;
    }
  });
};

/** Whether the answer is the same every time; what is drawn anew is kept only if the operator wants that. */
function isRepeatable(request: TextRequest, options: ServeOptions): boolean {
  if (request.prompt.kind === "embed") {
    return false; // vectors are as large as they are quick to compute
  }
  const { temperature, seed } = { ...options.sampling, ...request.sampling };
  const isSame = temperature === 0 || (seed ?? -1) >= 0 || options.responseCacheAll;
  return isSame && request.generateSeconds === undefined; // how far a time limit lets an answer come is chance
}

/** Of everything that decides what is told, and of who asks: nobody learns what others have asked. */
function keyOf(request: TextRequest, { id }: Client, fingerprint: string): string {
  const { background: _, route: _route, grammar, ...decisive } = request;
  return createHash("sha256")
    .update(JSON.stringify([fingerprint, id, grammar?.source ?? null, canonical(decisive)]))
    .digest("base64");
}

/** With sorted names, so that the order in which a client wrote fields does not matter. */
function canonical(value: unknown): unknown {
  if (value instanceof Map) {
    return [...value.entries()].sort(([a], [b]) => Number(a) - Number(b));
  }
  if (Array.isArray(value)) {
    return value.map(canonical);
  }
  if (typeof value !== "object" || value === null) {
    return value;
  }
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, inner]) => [name, canonical(inner)]));
}
