// What producers and workers share: the connection to Redis, and the shape of a job.

import type { Redis } from "ioredis";
import { BitnetError, reasonOf } from "../system/errors.js";
import { expected, isQueueName, isRedisAddress } from "./addresses.js";
import type { BatchOutcome } from "./outcome.js";
import { type BatchRequest, batchUrls } from "./request.js";

/** Lines of one job. */
export const linesPerJob = 16;

export interface LinesJob {
  requests: BatchRequest[];
  /** Of a worker that was told to end before the last one. */
  outcomes?: BatchOutcome[];
}

export interface RedisOptions {
  /** "redis://:password@host:6379/0", or "rediss:" with TLS. */
  url: string;
  /** One for each model. */
  queue: string;
  /** Told when Redis does not answer and when it does again, once each time, and when something is wrong with it. */
  onTrouble?: (message: string) => void;
}

/** @internal */
export interface RedisPackages {
  bullmq: typeof import("bullmq");
  ioredis: Pick<typeof import("ioredis"), "Redis">;
}

/** @internal Throws UNSUPPORTED with what to install. */
export async function loadRedisPackages(): Promise<RedisPackages> {
  try {
    const [bullmq, ioredis] = await Promise.all([import("bullmq"), import("ioredis")]);
    return { bullmq, ioredis: { Redis: ioredis.Redis } };
  } catch (error) {
    throw new BitnetError("UNSUPPORTED", "batches over Redis need two packages that are not installed", {
      hint: "npm install bullmq@6 ioredis@5, with -g if bitnet is installed so",
      cause: error,
    });
  }
}

const connectTimeout = 5000; // ms
const firstRetryWait = 50; // ms
const mostRetryWait = 2000;

/** @internal Connections that end together; what BullMQ is given it does not close. */
export interface RedisConnections {
  connect(): Redis;
  disconnect(): void;
}

/** @internal Once it is known that there is a Redis. Throws USAGE or NETWORK. */
export async function openRedis({ ioredis }: RedisPackages, options: RedisOptions): Promise<RedisConnections> {
  const { url, onTrouble = () => {} } = options;
  if (!isRedisAddress(url)) {
    throw new BitnetError("USAGE", expected.redis);
  }
  if (!isQueueName(options.queue)) {
    throw new BitnetError("USAGE", expected.queue);
  }
  const { host } = new URL(url); // without the password
  await tryConnection(ioredis, url, host);
  let isTold = false;
  const opened: Redis[] = [];
  const connect = () => {
    const retryStrategy = (times: number) => Math.min(mostRetryWait, times * firstRetryWait);
    const redis = new ioredis.Redis(url, { maxRetriesPerRequest: null, connectTimeout, retryStrategy });
    redis.on("ready", () => {
      if (isTold && opened.every(({ status }) => status === "ready")) {
        isTold = false;
        onTrouble(`Redis at ${host} answers again`);
      }
    });
    const tell = (what: string) => {
      if (!isTold) {
        isTold = true;
        onTrouble(`Redis at ${host} ${what}; trying again every ${mostRetryWait / 1000} s`);
      }
    };
    redis.on("error", (error) => tell(`does not answer: ${reasonOf(error)}`));
    redis.on("reconnecting", () => tell("has closed the connection"));
    opened.push(redis);
    return redis;
  };
  const disconnect = () => {
    for (const redis of opened) {
      redis.disconnect();
    }
  };
  return { connect, disconnect };
}

async function tryConnection({ Redis }: RedisPackages["ioredis"], url: string, host: string): Promise<void> {
  const redis = new Redis(url, {
    ...{ lazyConnect: true, connectTimeout, maxRetriesPerRequest: 0 },
    retryStrategy: () => null,
  });
  let reason: unknown;
  redis.on("error", (error) => {
    reason = error;
  });
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    throw new BitnetError("NETWORK", `cannot use Redis at ${host}: ${reasonOf(reason ?? error)}`, {
      hint: "see that it runs, and that address and password are right",
      cause: error,
    });
  } finally {
    redis.disconnect();
  }
}

/** The lines of a job. Throws BAD_FILE for what no producer writes. */
export function readJob(data: unknown): Required<LinesJob> {
  const { requests, outcomes = [] } = (data ?? {}) as Partial<LinesJob>;
  const isRequest = (request: Partial<BatchRequest> | null) =>
    typeof request?.id === "string" &&
    /^batch_req_[0-9a-f]{32}$/.test(request.id) &&
    typeof request.customId === "string" &&
    batchUrls.some((url) => url === request.url) &&
    typeof request.body === "object";
  if (!Array.isArray(requests) || !Array.isArray(outcomes) || !requests.every(isRequest)) {
    throw new BitnetError("BAD_FILE", "a job in the queue is not one of bitnet batch");
  }
  return { requests, outcomes };
}
