// What producers and workers of a queue in Redis have to agree on.

import { expected, isQueueName, isRedisAddress } from "../batch/addresses.js";
import type { OptionRows } from "./option-rows.js";
import { integerFrom } from "./parsers.js";

export const redisRows = {
  redisQueue: {
    flags: "--redis-queue <name>",
    help: "queue of the lines; one for each model",
    standard: "bitnet",
  },
} as const satisfies OptionRows;

/** Those of a worker. */
export const workerRows = {
  redisWorker: {
    flags: "--redis-worker <url>",
    help: "also answer the lines that bitnet batch --redis puts into a queue: redis://127.0.0.1:6379",
  },
  ...redisRows,
  redisLock: {
    flags: "--redis-lock <s>",
    help: "seconds after which the lines of a worker that is gone go to others",
    parse: integerFrom(1, 86_400),
    standard: 60,
  },
} as const satisfies OptionRows;

/** What is wrong with them, as the end of a usage error. `option` is the name of the one that has the address. */
export function findRedisProblem(option: string, address: string | undefined, queue: string): string | undefined {
  if (address !== undefined && !isRedisAddress(address)) {
    return `${option}: ${expected.redis}`;
  }
  return isQueueName(queue) ? undefined : `--redis-queue: ${expected.queue}`;
}
