// Lines that are answered by the workers of a queue in Redis, on any number of machines. A line may be answered twice, when
// a worker was lost; both answers are the same, and one is written.

import { createHash } from "node:crypto";
import type { Job, Queue, QueueEvents } from "bullmq";
import { type BatchOutcome, failedOutcome } from "./outcome.js";
import { type LinesJob, linesPerJob, loadRedisPackages, openRedis, type RedisOptions } from "./redis-queue.js";
import type { BatchRequest } from "./request.js";
import type { BatchTarget, ChunkPlace, LineSignals } from "./target.js";

/** Jobs in the queue at a time: enough for hundreds of workers. */
const mostJobs = 512;
/** How long the answers of a run are kept that does not come for them, in seconds. */
const keptSeconds = 7 * 24 * 3600;
/** After so long without a word a job is looked for. */
const standardLook = 30; // s

export interface RedisTargetOptions extends RedisOptions {
  lookSeconds?: number;
}

/** Throws UNSUPPORTED without the packages, NETWORK without Redis. */
export async function redisTarget(options: RedisTargetOptions): Promise<BatchTarget> {
  const packages = await loadRedisPackages();
  const { connect, disconnect } = await openRedis(packages, options);
  const { Queue, QueueEvents } = packages.bullmq;
  const queue = new Queue<LinesJob, BatchOutcome[]>(options.queue, { connection: connect() });
  const events = new QueueEvents(options.queue, { connection: connect() });
  const { onTrouble = () => {} } = options;
  events.setMaxListeners(0); // two for each job
  queue.setMaxListeners(0);
  queue.on("error", () => {}); // the connections tell
  events.on("error", () => {});
  await events.waitUntilReady();
  if ((await queue.getWorkersCount()) === 0) {
    onTrouble(`no worker has come for the queue ${options.queue} yet: bitnet serve --redis-worker URL starts one`);
  }
  const producer = new Producer(queue, events, options.lookSeconds ?? standardLook);
  return {
    ...{ parallel: mostJobs, chunk: linesPerJob },
    answer: (requests, signals, place) => producer.answer(requests, signals, place),
    settle: (place) => producer.forget(place),
    close: async () => {
      await events.close();
      await queue.close();
      disconnect();
    },
  };
}

class Producer {
  readonly #queue: Queue<LinesJob, BatchOutcome[]>;
  readonly #events: QueueEvents;
  readonly #lookMs: number;

  constructor(queue: Queue<LinesJob, BatchOutcome[]>, events: QueueEvents, lookSeconds: number) {
    this.#queue = queue;
    this.#events = events;
    this.#lookMs = lookSeconds * 1000;
  }

  async answer(requests: readonly BatchRequest[], signals: LineSignals, place: ChunkPlace): Promise<BatchOutcome[]> {
    const wanted = new Map(requests.map((request) => [request.id, request]));
    const outcomes = await this.#work(requests, signals, place);
    // A job of an earlier run may have more lines; none is to be had twice.
    return outcomes.filter(({ id }) => wanted.delete(id));
  }

  async forget(place: ChunkPlace): Promise<void> {
    await this.#queue.remove(idOfJob(place));
  }

  async #work(requests: readonly BatchRequest[], signals: LineSignals, place: ChunkPlace): Promise<BatchOutcome[]> {
    let job = await this.#add(requests, place);
    while (!signals.abort.aborted) {
      await this.#wait(job, signals);
      const state = await job.getState();
      if (state === "completed") {
        const finished = await this.#queue.getJob(job.id ?? "");
        if (finished !== undefined) {
          return finished.returnvalue;
        }
      }
      if (state === "failed") {
        const { failedReason } = (await this.#queue.getJob(job.id ?? "")) ?? job;
        return requests.map((request) =>
          failedOutcome(request, "worker_failed", failedReason || "no worker could answer it"),
        );
      }
      if (signals.stop.aborted && (await takeBack(job))) {
        return [];
      }
      if (state === "unknown" && !signals.stop.aborted) {
        job = await this.#add(requests, place); // Redis has lost it
      }
    }
    return [];
  }

  /** The job of an earlier run, if it is there and has not failed. */
  async #add(requests: readonly BatchRequest[], place: ChunkPlace): Promise<Job<LinesJob, BatchOutcome[]>> {
    const jobId = idOfJob(place);
    const earlier = await this.#queue.getJob(jobId);
    if (earlier !== undefined && (await earlier.isFailed())) {
      await earlier.remove();
    }
    const kept = { age: keptSeconds };
    return await this.#queue.add(
      "lines",
      { requests: [...requests] },
      { jobId, attempts: 3, backoff: { type: "exponential", delay: 1000 }, removeOnComplete: kept, removeOnFail: kept },
    );
  }

  /** Until the job has ended, a while has passed, or the run is stopped. */
  async #wait(job: Job<LinesJob, BatchOutcome[]>, { stop, abort }: LineSignals): Promise<void> {
    const finished = job.waitUntilFinished(this.#events, this.#lookMs).then(
      () => {},
      () => {},
    );
    const signal = stop.aborted ? abort : stop;
    let leave = () => {};
    const left = new Promise<void>((resolve) => {
      leave = resolve;
      signal.addEventListener("abort", leave);
    });
    await Promise.race([finished, left]);
    signal.removeEventListener("abort", leave);
  }
}

function idOfJob({ digest, offset }: ChunkPlace): string {
  return createHash("sha256").update(`${digest} ${offset}`).digest("hex").slice(0, 32);
}

/** Takes a job out of the queue that no worker has begun. */
async function takeBack(job: Job): Promise<boolean> {
  if (await job.isActive()) {
    return false;
  }
  return await job.remove().then(
    () => true,
    () => false, // a worker was quicker
  );
}
