// The same counts for several servers, in Redis. While Redis is away, each server allows its share of every limit.

import { createHash, randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { BitnetError, reasonOf } from "../system/errors.js";
import type { Log } from "./log.js";
import { type RateLimits, RateLog, type RateVerdict, windowMs } from "./rate-log.js";

// KEYS: requests and tokens of a client, and the servers that count here, each a set sorted by time.
// ARGV: limits of requests and tokens, a name that no other entry has, this server's name, tokens to count, whether a
// request is to be counted. Redis' own clock decides, so that servers need not agree about the time.
const script = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local from = now - ${windowMs}
for i = 1, 3 do redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', from) end
redis.call('ZADD', KEYS[3], now, ARGV[4])
redis.call('PEXPIRE', KEYS[3], ${windowMs})
local maxRequests, maxTokens, charge = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5])
if charge > 0 then
  redis.call('ZADD', KEYS[2], now, ARGV[3] .. ':' .. charge)
  redis.call('PEXPIRE', KEYS[2], ${windowMs})
end
local function untilLast(key)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  return last[2] and math.max(0, last[2] + ${windowMs} - now) or 0
end
local count = redis.call('ZCARD', KEYS[1])
local entries = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local used = 0
for i = 1, #entries, 2 do used = used + tonumber(string.match(entries[i], '%d+$')) end
local refused, retry = 0, 0
if maxRequests > 0 and count >= maxRequests then
  local last = redis.call('ZRANGE', KEYS[1], count - maxRequests, count - maxRequests, 'WITHSCORES')
  refused, retry = 1, last[2] + ${windowMs} - now
elseif maxTokens > 0 and used >= maxTokens then
  local left = used
  for i = 1, #entries, 2 do
    left = left - tonumber(string.match(entries[i], '%d+$'))
    if left < maxTokens then
      refused, retry = 2, entries[i + 1] + ${windowMs} - now
      break
    end
  end
elseif ARGV[6] == '1' then
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ${windowMs})
  count = count + 1
end
return { count, used, untilLast(KEYS[1]), untilLast(KEYS[2]), refused, retry, redis.call('ZCARD', KEYS[3]) }
`;

type Counts = [number, number, number, number, number, number, number];

const commandTimeout = 1000; // ms; a Redis that takes longer counts as away
const longestPause = 5000; // between tries to reach it again

export interface SharedRatesOptions {
  url: string;
  log: Log;
}

export class SharedRates {
  readonly #redis: Redis;
  readonly #log: Log;
  readonly #local = new RateLog();
  readonly #name = randomUUID();
  #count = 0;
  #servers = 1;
  #isAway = false;

  private constructor(redis: Redis, log: Log) {
    this.#redis = redis;
    this.#log = log;
    redis.on("error", () => {}); // told where it matters
  }

  /** Throws if the package for Redis is not installed or the address is none. Whether it is there shows later. */
  static async open({ url, log }: SharedRatesOptions): Promise<SharedRates> {
    if (!/^rediss?:\/\/[^/]/.test(url)) {
      throw new BitnetError("USAGE", "--redis: expected an address like redis://127.0.0.1:6379");
    }
    const { Redis: Client } = await importRedis();
    const redis = new Client(url, {
      ...{ connectTimeout: commandTimeout, commandTimeout, maxRetriesPerRequest: 0, enableOfflineQueue: false },
      lazyConnect: true,
      retryStrategy: (times) => Math.min(longestPause, 100 * times),
    });
    const rates = new SharedRates(redis, log);
    await redis.connect().catch((error: unknown) => rates.#noteAway(error));
    return rates;
  }

  get clients(): number {
    return this.#local.clients;
  }

  async take(id: string, limits: RateLimits): Promise<RateVerdict> {
    const counts = await this.#run(id, limits, 0, true);
    if (counts === undefined) {
      return this.#local.take(id, { requests: this.#share(limits.requests), tokens: this.#share(limits.tokens) });
    }
    this.#local.take(id, { requests: 0, tokens: 0 }); // known when Redis is away
    const [count, used, requestsMs, tokensMs, refused, retryMs] = counts;
    return {
      requests: { limit: limits.requests, remaining: Math.max(0, limits.requests - count), resetMs: requestsMs },
      tokens: { limit: limits.tokens, remaining: Math.max(0, limits.tokens - used), resetMs: tokensMs },
      refused: refused === 0 ? undefined : { by: refused === 1 ? "requests" : "tokens", retryMs },
    };
  }

  charge(id: string, count: number): void {
    this.#local.charge(id, count);
    void this.#run(id, { requests: 0, tokens: 0 }, count, false);
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
  }

  /** Of a limit, among the servers that were there last. */
  #share(limit: number): number {
    return limit === 0 ? 0 : Math.max(1, Math.floor(limit / this.#servers));
  }

  async #run(id: string, limits: RateLimits, charge: number, takes: boolean): Promise<Counts | undefined> {
    const client = createHash("sha256").update(id).digest("hex").slice(0, 32);
    const keys = [`bitnet:{rates}:${client}:requests`, `bitnet:{rates}:${client}:tokens`, "bitnet:{rates}:servers"];
    const entry = `${this.#name}:${this.#count++}`;
    const values = [limits.requests, limits.tokens, entry, this.#name, charge, takes ? "1" : "0"];
    try {
      const counts = (await this.#redis.eval(script, keys.length, ...keys, ...values)) as Counts;
      this.#servers = counts[6];
      this.#noteBack();
      return counts;
    } catch (error) {
      this.#noteAway(error);
      return undefined;
    }
  }

  #noteAway(error: unknown): void {
    if (!this.#isAway) {
      this.#isAway = true;
      const message = "Redis cannot be reached: this server allows its own share of the limits until it is back";
      this.#log({ level: "warn", message, fields: { reason: reasonOf(error) } });
    }
  }

  #noteBack(): void {
    if (this.#isAway) {
      this.#isAway = false;
      this.#log({ level: "info", message: "Redis is back: limits are counted together again" });
    }
  }
}

async function importRedis(): Promise<Pick<typeof import("ioredis"), "Redis">> {
  try {
    return await import("ioredis");
  } catch (error) {
    throw new BitnetError("USAGE", "--redis needs the package ioredis, which is not installed", {
      hint: "npm install -g ioredis, or where this program is installed: npm install ioredis",
      cause: error,
    });
  }
}
