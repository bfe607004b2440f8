// Which requests are answered when, on which session.
//
// Requests that share a context are one piece of work for one session, which so evaluates the context once. The longest
// come first: what does not fit is known at once, and the estimate of the time that is left errs to the long side. Several
// sessions work side by side, as the engine computes their steps together.

import type { Model, Session, SessionOptions } from "../engine/model.js";
import { at } from "../system/at.js";
import { throwIfAborted } from "../system/errors.js";
import { answerRequest } from "./answer-request.js";
import type { RunCache } from "./cache.js";
import type { PlannedDoc } from "./plan.js";
import { type Outcome, type Request, tokensOf } from "./requests.js";

interface Job {
  key: string;
  request: Request;
}

export interface WorkOptions {
  session: SessionOptions;
  /** Sessions side by side. */
  parallel: number;
  cache: RunCache;
  signal?: AbortSignal;
  /** A request is answered: how many tokens that took, and how many were known. */
  onAnswer(evaluated: number, reused: number): void;
  /** All requests of a document are answered. */
  onDocument(planned: PlannedDoc, outcomes: readonly Outcome[]): Promise<void>;
}

/** Answers every request of the documents that the cache does not know. */
export async function answerAll(
  model: Model,
  documents: readonly PlannedDoc[],
  { session: sessionOptions, parallel, cache, signal, onAnswer, onDocument }: WorkOptions,
): Promise<void> {
  const waiting = new Waiting(documents, cache);
  const finish = async (ready: readonly PlannedDoc[]) => {
    for (const planned of ready) {
      await onDocument(
        planned,
        planned.keys.map((key) => required(cache.get(key))),
      );
    }
  };
  const answerJobs = async (session: Session, jobs: readonly Job[]) => {
    for (const { key, request } of jobs) {
      throwIfAborted(signal);
      const { outcome, evaluated, reused } = await answerRequest(session, request, signal);
      await cache.add(key, outcome);
      onAnswer(evaluated, reused);
      await finish(waiting.answered(key));
    }
  };
  const groups = groupByContext(waiting.jobs());
  const known = documents.filter((planned) => !waiting.isWaiting(planned));
  await runSideBySide(parallel, known, async (planned) => {
    throwIfAborted(signal);
    await finish([planned]);
  });
  const free = Array.from({ length: Math.min(parallel, groups.length) }, () => model.createSession(sessionOptions));
  try {
    await runSideBySide(free.length, groups, async (jobs, worker) => await answerJobs(at(free, worker), jobs));
  } finally {
    for (const session of free) {
      session.close();
    }
  }
}

function required(outcome: Outcome | undefined): Outcome {
  return at(outcome === undefined ? [] : [outcome], 0);
}

/** Documents, and which of their requests are not answered yet. */
class Waiting {
  readonly #documents = new Map<string, PlannedDoc[]>(); // by the keys that they wait for
  readonly #missing = new Map<PlannedDoc, Set<string>>();
  readonly #jobs = new Map<string, Job>();

  constructor(documents: readonly PlannedDoc[], cache: RunCache) {
    for (const planned of documents) {
      const missing = planned.keys.filter((key) => cache.get(key) === undefined);
      if (missing.length > 0) {
        this.#missing.set(planned, new Set(missing));
      }
      for (const key of new Set(missing)) {
        this.#documents.set(key, [...(this.#documents.get(key) ?? []), planned]);
      }
      for (const [place, { request }] of planned.asked.entries()) {
        const key = at(planned.keys, place);
        if (cache.get(key) === undefined && !this.#jobs.has(key)) {
          this.#jobs.set(key, { key, request });
        }
      }
    }
  }

  jobs(): Job[] {
    return [...this.#jobs.values()];
  }

  isWaiting(planned: PlannedDoc): boolean {
    return this.#missing.has(planned);
  }

  /** The documents that waited for this request last. */
  answered(key: string): PlannedDoc[] {
    const waiting = this.#documents.get(key) ?? [];
    return waiting.filter((planned) => {
      const missing = this.#missing.get(planned);
      missing?.delete(key);
      return missing?.size === 0;
    });
  }
}

/** Jobs of equal contexts in one list; the longest first. */
function groupByContext(jobs: readonly Job[]): Job[][] {
  const groups = new Map<Int32Array | string, Job[]>();
  for (const job of jobs) {
    // Choices of a question share the array itself; one that was cut for a longer choice is another.
    const context = job.request.kind === "score" ? job.request.context : job.key;
    const group = groups.get(context);
    if (group === undefined) {
      groups.set(context, [job]);
    } else {
      group.push(job);
    }
  }
  const lengthOf = (group: readonly Job[]) => Math.max(...group.map(({ request }) => tokensOf(request)));
  return [...groups.values()]
    .map((group) => ({ group, length: lengthOf(group) }))
    .sort((a, b) => b.length - a.length)
    .map(({ group }) => group);
}

/** `work` on all items, so many at a time. Where one fails, no further one is begun, and it is thrown once all have ended. */
async function runSideBySide<T>(
  count: number,
  items: readonly T[],
  work: (item: T, worker: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failure: { error: unknown } | undefined;
  const runWorker = async (worker: number) => {
    while (failure === undefined && next < items.length) {
      const item = at(items, next++);
      try {
        await work(item, worker);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(count, 1) }, (_, worker) => runWorker(worker)));
  if (failure !== undefined) {
    throw failure.error;
  }
}
