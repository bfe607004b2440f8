// Answers the lines of a file, and goes on where an earlier run has ended.

import { setMaxListeners } from "node:events";
import { realpath, rm, stat } from "node:fs/promises";
import { BitnetError, toBitnetError } from "../system/errors.js";
import { withLock } from "../system/lock.js";
import { Appender } from "./appender.js";
import { type BatchSource, type CheckedBatch, checkBatch, readRequests, type Shard } from "./check.js";
import { HashTable } from "./hash-table.js";
import { type BatchOutcome, failedOutcome, failureOf, formatOutcome, tokensOf } from "./outcome.js";
import { EarlierAnswers, type OutputPaths, partialOf, publish, publishInOrder, resolveOutputs } from "./output.js";
import { type BatchRequest, hashOfId, type LineForm } from "./request.js";
import type { BatchTarget, LineSignals } from "./target.js";

export interface BatchOptions extends LineForm {
  /** Path of the lines. */
  input: string;
  /** Path of the answers; until all are there they are in the same name with ".partial". */
  output: string;
  /** Path of what failed; undefined: it stands among the answers. */
  errors?: string;
  /** What answers; as a function it is called only if there is something to answer. */
  target: BatchTarget | (() => Promise<BatchTarget>);
  /** The answers in the order of the lines, not in that in which they came. */
  ordered?: boolean;
  shard?: Shard;
  /** Take nothing from earlier runs. */
  restart?: boolean;
  /** Keep what differs from run to run: times, random ids, speeds. */
  raw?: boolean;
  /** Ends the run: lines that run have `graceMs` to end, no other is begun. */
  signal?: AbortSignal;
  /** Default: 10 s. */
  graceMs?: number;
  /** What lines that a stop has left get as their error; undefined: the run can be gone on with. */
  leftover?: () => { code: string; message: string } | undefined;
  onProgress?: (progress: BatchProgress) => void;
}

export interface BatchProgress {
  /** Lines of the batch, or of its shard. */
  total: number;
  /** Answered by an earlier run. */
  kept: number;
  succeeded: number;
  failed: number;
  /** Lines that are in memory. */
  held: number;
  retries: number;
}

export interface BatchSummary extends Omit<BatchProgress, "held"> {
  /** Lines without any outcome, after a stop. */
  left: number;
  promptTokens: number;
  completionTokens: number;
  seconds: number;
  /** How many lines failed for each reason. */
  failures: Record<string, number>;
}

/** Of lines in memory; a single one may be larger. */
const mostHeldBytes = 256 * 2 ** 20;
const standardGrace = 10_000; // ms

/** Throws BatchFaultsError if the lines are not what they should be, and what keeps the whole from going on. */
export async function runBatch(options: BatchOptions): Promise<BatchSummary> {
  const { input, output, errors, shard } = options;
  const source: BatchSource = { path: input, form: options, ...(shard === undefined ? {} : { shard }) };
  await expectRegularFile(input);
  const paths = await resolveOutputs(output, errors);
  if (new Set([paths.errors, paths.output, await realpath(input)]).size < 3) {
    throw new BitnetError("USAGE", "expected files of their own for requests, answers and errors");
  }
  return await withOwnLock(partialOf(paths.output), async () => {
    if (options.restart) {
      await rm(partialOf(paths.output), { force: true });
    }
    const earlier = options.restart
      ? EarlierAnswers.none()
      : await EarlierAnswers.find(paths.output, partialOf(paths.output));
    // Where every line must get an outcome, a stop does not end the check.
    const stop = options.leftover === undefined ? options.signal : undefined;
    const checked = await checkBatch(source, ({ id }) => earlier.want(id), stop);
    return await new Run(options, source, paths, checked, earlier).run();
  });
}

/** It is read twice, and more often by who goes on: a pipe would be empty by then, and wait for ever. */
async function expectRegularFile(input: string): Promise<void> {
  const info = await stat(input).catch((error: unknown) => {
    throw toBitnetError(error);
  });
  if (!info.isFile() && !info.isDirectory()) {
    throw new BitnetError("USAGE", `${input}: expected a file of requests, got a pipe or a device`, {
      hint: "write the requests into a file first; they are read more than once",
    });
  }
}

// A stale lock is found out at the second look.
const lockPatience = 3000; // ms

async function withOwnLock<T>(partial: string, body: () => Promise<T>): Promise<T> {
  const busy = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  try {
    return await withLock(
      `${partial}.lock`,
      {
        signal: busy.signal,
        onWait: () => {
          timer = setTimeout(() => busy.abort(), lockPatience);
        },
      },
      async () => {
        clearTimeout(timer);
        return await body();
      },
    );
  } catch (error) {
    throw busy.signal.aborted
      ? new BitnetError("USAGE", `another process is writing ${partial}`, { hint: "wait for it, or name another file" })
      : error;
  } finally {
    clearTimeout(timer);
  }
}

class Run {
  readonly #options: BatchOptions;
  readonly #source: BatchSource;
  readonly #paths: OutputPaths;
  readonly #checked: CheckedBatch;
  readonly #earlier: EarlierAnswers;
  readonly #stop = new AbortController();
  readonly #abort = new AbortController();
  readonly #progress: BatchProgress;
  readonly #failures: Record<string, number> = {};
  /** What has an outcome of this run; only where what has none must get one. */
  readonly #written: HashTable | undefined;
  #heldBytes = 0;
  #promptTokens = 0;
  #completionTokens = 0;
  #failure: unknown;
  #answers: Appender | undefined;
  #errors: Appender | undefined;

  constructor(
    options: BatchOptions,
    source: BatchSource,
    paths: OutputPaths,
    checked: CheckedBatch,
    earlier: EarlierAnswers,
  ) {
    setMaxListeners(0, this.#stop.signal, this.#abort.signal); // one for every line under way
    this.#options = options;
    this.#written = options.leftover === undefined ? undefined : new HashTable(Uint32Array);
    this.#source = source;
    this.#paths = paths;
    this.#checked = checked;
    this.#earlier = earlier;
    this.#progress = {
      ...{ total: checked.total, kept: earlier.count },
      ...{ succeeded: 0, failed: 0, held: 0, retries: 0 },
    };
  }

  async run(): Promise<BatchSummary> {
    const startedAt = performance.now();
    const { output, errors } = this.#paths;
    const stopWatching = this.#watchSignal();
    try {
      await this.#earlier.keepWanted(partialOf(output));
      this.#answers = await Appender.open(partialOf(output));
      this.#errors = errors === undefined ? undefined : await Appender.open(partialOf(errors), true);
      this.#options.onProgress?.(this.#progress);
      if (this.#progress.kept < this.#progress.total) {
        await this.#answerAll();
      }
      await this.#answers.close();
      await this.#errors?.close();
      if (this.#left() === 0) {
        await this.#publish();
      }
    } catch (error) {
      throw error === this.#failure || toBitnetError(error).code === "NO_SPACE" ? goOnLater(error) : error;
    } finally {
      stopWatching();
      await Promise.allSettled([this.#answers?.close(), this.#errors?.close()]); // what has failed is told
    }
    return this.#summary((performance.now() - startedAt) / 1000);
  }

  /** Returns what ends it. */
  #watchSignal(): () => void {
    const { signal, graceMs = standardGrace } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const stop = () => {
      this.#stop.abort();
      timer = setTimeout(() => this.#abort.abort(), graceMs);
    };
    if (signal?.aborted) {
      stop();
    }
    signal?.addEventListener("abort", stop);
    return () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    };
  }

  async #answerAll(): Promise<void> {
    const { target: given } = this.#options;
    const target = typeof given === "function" ? await given() : given;
    try {
      this.#checkModel(target.model);
      await this.#feed(target);
      const leftover = this.#failure === undefined ? this.#options.leftover?.() : undefined;
      if (leftover !== undefined && this.#left() > 0) {
        await this.#fail(leftover);
      }
    } finally {
      await target.close?.();
    }
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
  }

  #checkModel(model: string | undefined): void {
    const { model: earlier } = this.#earlier;
    if (model !== undefined && earlier !== undefined && earlier !== model && this.#progress.kept > 0) {
      throw new BitnetError("USAGE", `${this.#earlier.path} has answers of ${earlier}, not of ${model}`, {
        hint: "begin anew with --restart, or name another file",
      });
    }
  }

  /** Gives the target as much at a time as it takes; no more lines than that are in memory. */
  async #feed(target: BatchTarget): Promise<void> {
    const running = new Set<Promise<void>>();
    let chunk: BatchRequest[] = [];
    let chunkOffset = 0;
    const send = async () => {
      const [requests, offset] = [chunk, chunkOffset];
      chunk = [];
      if (requests.length === 0) {
        return;
      }
      while (running.size >= target.parallel || (running.size > 0 && this.#heldBytes > mostHeldBytes)) {
        await Promise.race(running);
      }
      const work: Promise<void> = this.#answer(target, requests, offset).finally(() => running.delete(work));
      running.add(work);
    };
    let index = 0;
    for await (const request of readRequests(this.#source)) {
      if (index % target.chunk === 0) {
        await send();
        chunkOffset = index;
      }
      index++;
      if (this.#stop.signal.aborted) {
        break;
      }
      if (!this.#earlier.has(request.id)) {
        this.#progress.held++;
        this.#heldBytes += request.size;
        chunk.push(request);
      }
    }
    await send();
    await Promise.all(running);
  }

  async #answer(target: BatchTarget, requests: readonly BatchRequest[], offset: number): Promise<void> {
    const signals: LineSignals = {
      ...{ stop: this.#stop.signal, abort: this.#abort.signal },
      onRetry: () => {
        this.#progress.retries++;
      },
    };
    try {
      const place = { digest: this.#checked.digest, offset };
      const outcomes = this.#stop.signal.aborted ? [] : await target.answer(requests, signals, place);
      for (const outcome of outcomes) {
        await this.#write(outcome);
      }
      if (outcomes.length > 0 && target.settle !== undefined) {
        await this.#answers?.flush();
        await this.#errors?.flush();
        await target.settle(place);
      }
    } catch (error) {
      this.#failure ??= error;
      this.#stop.abort();
      this.#abort.abort();
    } finally {
      this.#progress.held -= requests.length;
      this.#heldBytes -= requests.reduce((sum, { size }) => sum + size, 0);
      this.#options.onProgress?.(this.#progress);
    }
  }

  async #write(outcome: BatchOutcome): Promise<void> {
    const failure = failureOf(outcome);
    const line = formatOutcome(outcome, this.#options.raw ?? false);
    await (failure === undefined ? this.#answers : (this.#errors ?? this.#answers))?.add(line);
    if (failure === undefined) {
      this.#progress.succeeded++;
    } else {
      this.#progress.failed++;
      this.#failures[failure.code] = (this.#failures[failure.code] ?? 0) + 1;
    }
    this.#written?.set(hashOfId(outcome.id), 1);
    const { prompt, completion } = tokensOf(outcome);
    this.#promptTokens += prompt;
    this.#completionTokens += completion;
  }

  /** Gives every line that has no outcome this error. */
  async #fail({ code, message }: { code: string; message: string }): Promise<void> {
    const written = this.#written;
    for await (const request of readRequests(this.#source)) {
      if (!this.#earlier.has(request.id) && written?.get(hashOfId(request.id)) === undefined) {
        await this.#write(failedOutcome(request, code, message));
      }
    }
  }

  async #publish(): Promise<void> {
    const { output, errors } = this.#paths;
    for (const path of errors === undefined ? [output] : [output, errors]) {
      if (this.#options.ordered) {
        await publishInOrder(this.#source, path);
      } else {
        await publish(partialOf(path), path);
      }
    }
  }

  #left(): number {
    const { total, kept, succeeded, failed } = this.#progress;
    return total - kept - succeeded - failed;
  }

  #summary(seconds: number): BatchSummary {
    const { held: _, ...counts } = this.#progress;
    return {
      ...counts,
      left: this.#left(),
      promptTokens: this.#promptTokens,
      completionTokens: this.#completionTokens,
      seconds,
      failures: this.#failures,
    };
  }
}

function goOnLater(error: unknown): BitnetError {
  const known = toBitnetError(error);
  const goOn = "what is answered is kept: run the same command again to go on";
  const hint = known.code === "NO_SPACE" ? `make room; ${goOn}` : (known.hint ?? goOn);
  return new BitnetError(known.code, known.message, { hint, cause: known });
}
