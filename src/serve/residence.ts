// A model that leaves memory when nobody has used it for a while, and comes back with the next who does.

import type { EngineStats } from "../engine/model.js";

/** What is done with the model; neither may be called while somebody uses it. */
export interface Resident {
  /** Brings it back. Throws what keeps it away; the next who wants it tries again. */
  load(): Promise<void>;
  unload(): void;
}

export class Residence {
  readonly #resident: Resident;
  /** Seconds without a user after which it goes; 0: it stays. */
  readonly #idleSeconds: number;
  #users = 0;
  #isAway = false;
  #isClosed = false;
  #returning: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(resident: Resident, idleSeconds: number) {
    this.#resident = resident;
    this.#idleSeconds = idleSeconds;
    this.#wait();
  }

  /** It is not in memory, or not yet again. */
  get isAway(): boolean {
    return this.#isAway;
  }

  /** The model is there until what this returns is disposed. Throws the signal's reason if that fires before. */
  async use(signal?: AbortSignal): Promise<Disposable> {
    this.#users++;
    clearTimeout(this.#timer);
    let isOver = false;
    const leave = () => {
      if (!isOver) {
        isOver = true;
        this.#users--;
        this.#wait();
      }
    };
    try {
      if (this.#isAway) {
        this.#returning ??= this.#return();
        await unlessAborted(this.#returning, signal);
      }
    } catch (error) {
      leave();
      throw error;
    }
    return { [Symbol.dispose]: leave };
  }

  /** It stays as it is. Resolves when nothing is on its way any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#returning?.catch(() => {}); // told to who waited for it
  }

  async #return(): Promise<void> {
    try {
      await this.#resident.load();
      this.#isAway = false;
    } finally {
      this.#returning = undefined;
      this.#wait(); // who waited may be gone
    }
  }

  #wait(): void {
    clearTimeout(this.#timer);
    if (this.#idleSeconds > 0 && this.#users === 0 && !this.#isAway && !this.#isClosed) {
      this.#timer = setTimeout(() => this.#leave(), this.#idleSeconds * 1000).unref();
    }
  }

  #leave(): void {
    this.#isAway = true;
    this.#resident.unload();
  }
}

async function unlessAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  let stop: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal?.reason);
  });
  signal?.addEventListener("abort", stop);
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

type Histogram = EngineStats["stepSeconds"];

const nothing: Histogram = { buckets: [], count: 0, sum: 0 };

/** Of no engine at all. */
export const noStats: EngineStats = {
  ...{ steps: 0, rows: 0, decoding: 0, running: 0, waiting: 0, promptTokens: 0, reusedTokens: 0, sampledTokens: 0 },
  ...{ preemptions: 0, stepSeconds: nothing, stepRows: nothing, maskSeconds: nothing },
  ...{ kvUsage: 0, heldBytes: 0, cachedBytes: 0, msSinceProgress: 0 },
};

/** What was counted before goes on; what is now is `now`'s. */
export function continueStats(before: EngineStats, now: EngineStats): EngineStats {
  return {
    ...now,
    steps: before.steps + now.steps,
    rows: before.rows + now.rows,
    promptTokens: before.promptTokens + now.promptTokens,
    reusedTokens: before.reusedTokens + now.reusedTokens,
    sampledTokens: before.sampledTokens + now.sampledTokens,
    preemptions: before.preemptions + now.preemptions,
    stepSeconds: addHistograms(before.stepSeconds, now.stepSeconds),
    stepRows: addHistograms(before.stepRows, now.stepRows),
    maskSeconds: addHistograms(before.maskSeconds, now.maskSeconds),
  };
}

/** Of the same bounds, unless one has counted nothing. */
function addHistograms(a: Histogram, b: Histogram): Histogram {
  const [longer, other] = a.buckets.length >= b.buckets.length ? [a, b] : [b, a];
  return {
    buckets: longer.buckets.map(({ most, count }, i) => ({ most, count: count + (other.buckets[i]?.count ?? 0) })),
    count: a.count + b.count,
    sum: a.sum + b.sum,
  };
}
