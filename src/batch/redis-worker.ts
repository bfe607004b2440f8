// Answers the lines that `bitnet batch --redis` puts into a queue.

import type { Job } from "bullmq";
import type { BatchOutcome } from "./outcome.js";
import { Places } from "./places.js";
import { type LinesJob, linesPerJob, loadRedisPackages, openRedis, type RedisOptions, readJob } from "./redis-queue.js";
import type { BatchRequest } from "./request.js";
import { answerLine, type LineSignals, type Send } from "./target.js";

export interface RedisWorkerOptions extends RedisOptions {
  send: Send;
  /** Lines at the same time. */
  parallel: number;
  /** Seconds after which the lines of a worker that is gone go to others. */
  lockSeconds?: number;
  tries?: number;
}

export interface RedisWorker {
  /** Lets running lines end; the others of their jobs go back into the queue. */
  close(): Promise<void>;
}

const standardLock = 60; // s
const standardTries = 3;
/** Workers that a job may lose before it counts as failed: it may be what kills them. */
const mostLost = 3;

/** Throws UNSUPPORTED without the packages, NETWORK without Redis. */
export async function startRedisWorker(options: RedisWorkerOptions): Promise<RedisWorker> {
  const { queue, parallel, lockSeconds = standardLock } = options;
  const packages = await loadRedisPackages();
  const { connect, disconnect } = await openRedis(packages, options);
  const { Worker, WaitingError } = packages.bullmq;
  const lines = new LineWorker(options);
  const worker = new Worker<LinesJob, BatchOutcome[]>(
    queue,
    async (job, token) => {
      const outcomes = await lines.answer(job);
      if (outcomes === undefined) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      return outcomes;
    },
    {
      connection: connect(),
      // One job more than is running, so that no place waits for the last line of a job.
      concurrency: 1 + Math.ceil(parallel / linesPerJob),
      lockDuration: lockSeconds * 1000,
      stalledInterval: (lockSeconds * 1000) / 2,
      maxStalledCount: mostLost,
    },
  );
  worker.on("error", () => {}); // the connection tells
  await worker.waitUntilReady();
  return {
    close: async () => {
      lines.stop();
      await worker.close();
      disconnect();
    },
  };
}

class LineWorker {
  readonly #options: RedisWorkerOptions;
  readonly #places: Places;
  readonly #stop = new AbortController();

  constructor(options: RedisWorkerOptions) {
    this.#options = options;
    this.#places = new Places(options.parallel);
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Undefined: the worker ends, and what is done of the job is kept with it. */
  async answer(job: Job<LinesJob, BatchOutcome[]>): Promise<BatchOutcome[] | undefined> {
    const { requests, outcomes } = readJob(job.data);
    const known = new Set(outcomes.map(({ id }) => id));
    const missing = requests.filter(({ id }) => !known.has(id));
    const answered = await Promise.all(missing.map((request) => this.#places.run(() => this.#answerLine(request))));
    const all = [...outcomes, ...answered.filter((outcome) => outcome !== undefined)];
    if (all.length < requests.length) {
      await job.updateData({ requests, outcomes: all });
      return undefined;
    }
    return all;
  }

  async #answerLine(request: BatchRequest): Promise<BatchOutcome | undefined> {
    const { signal } = this.#stop;
    const signals: LineSignals = { stop: signal, abort: new AbortController().signal, onRetry: () => {} };
    return await answerLine((call) => this.#send(call), request, this.#options.tries ?? standardTries, signals);
  }

  /** A server that is ending answers nothing new. */
  async #send(call: Parameters<Send>[0]): ReturnType<Send> {
    const reply = await this.#options.send(call);
    const { code } = (reply.body as { error?: { code?: unknown } } | null)?.error ?? {};
    if (reply.status === 503 && code === "draining") {
      this.stop();
      throw new Error("the server is ending");
    }
    return reply;
  }
}
