// Batches of clients, run one line at a time beside other requests, and gone on with after a restart.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BatchFaultsError } from "../batch/check.js";
import { Places } from "../batch/places.js";
import type { BatchUrl, LineFault } from "../batch/request.js";
import { type BatchProgress, type BatchSummary, runBatch } from "../batch/run.js";
import { type BatchCall, type BatchReply, type BatchTarget, retryAfter, sendTarget } from "../batch/target.js";
import { reasonOf, toBitnetError, withContext } from "../system/errors.js";
import { makeFolderSync, replaceFile } from "../system/files.js";
import { JoinedSignal } from "../system/signals.js";
import { type FileStore, newId, nowSeconds, readDescriptions, toDiskError } from "./batch-files.js";
import type { ServerContext } from "./context.js";
import { ApiError } from "./errors.js";

type BatchStatus =
  | "validating"
  | "in_progress"
  | "finalizing"
  | "completed"
  | "failed"
  | "expired"
  | "cancelling"
  | "cancelled";

const finalStatuses: ReadonlySet<BatchStatus> = new Set(["completed", "failed", "expired", "cancelled"]);

/** A batch as OpenAI's interface describes it; times are seconds since 1970. */
export interface Batch {
  id: string;
  object: "batch";
  endpoint: BatchUrl;
  errors: { object: "list"; data: LineFault[] } | null;
  input_file_id: string;
  completion_window: string;
  status: BatchStatus;
  output_file_id: string | null;
  error_file_id: string | null;
  created_at: number;
  in_progress_at: number | null;
  expires_at: number;
  finalizing_at: number | null;
  completed_at: number | null;
  failed_at: number | null;
  expired_at: number | null;
  cancelling_at: number | null;
  cancelled_at: number | null;
  request_counts: { total: number; completed: number; failed: number };
  metadata: Record<string, string> | null;
}

interface Entry {
  owner: string;
  batch: Batch;
  /** Where its answers and failures are written, before they are anybody's files. */
  outputId: string;
  errorsId: string;
}

export interface NewBatch {
  inputFileId: string;
  endpoint: BatchUrl;
  window: string;
  windowSeconds: number;
  metadata: Record<string, string> | null;
}

const idPattern = /^batch_[0-9a-f]{32}$/;
/** Batches that read their files at the same time; the others wait for them. */
const mostRunning = 4;
/** Batches of all clients that have not ended. */
const mostWaiting = 1000;
const longestTimer = 2 ** 31 - 1; // ms

export class BatchJobs {
  readonly #context: ServerContext;
  readonly #files: FileStore;
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();
  readonly #turns = new Places(mostRunning);
  /** Ends a batch that its client has cancelled. */
  readonly #cancels = new Map<string, AbortController>();
  readonly #over = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #lines: Places | undefined;

  /** Throws if the folder cannot be used. */
  constructor(context: ServerContext, files: FileStore, folder: string) {
    this.#context = context;
    this.#files = files;
    this.#folder = folder;
    try {
      makeFolderSync(folder, 0o700);
      readDescriptions<Entry>(folder, (name, entry) => {
        if (idPattern.test(entry.batch.id) && name === `${entry.batch.id}.json`) {
          this.#entries.set(entry.batch.id, entry);
        }
      });
      const unfinished = [...this.#entries.values()].filter(({ batch }) => !finalStatuses.has(batch.status));
      files.sweep(new Set(unfinished.flatMap(({ outputId, errorsId }) => [outputId, errorsId])));
    } catch (error) {
      throw withContext("--batch-dir", error);
    }
  }

  /** Goes on with what an earlier server has left. */
  begin(parallel: number): void {
    this.#lines = new Places(parallel);
    const entries = [...this.#entries.values()].sort((a, b) => a.batch.created_at - b.batch.created_at);
    for (const entry of entries.filter(({ batch }) => !finalStatuses.has(batch.status))) {
      this.#start(entry);
    }
  }

  /** Lets running lines end; everything else is gone on with by the next server. */
  async close(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#running);
  }

  async create(owner: string, { inputFileId, endpoint, window, windowSeconds, metadata }: NewBatch): Promise<Batch> {
    this.#files.get(owner, inputFileId);
    const unfinished = [...this.#entries.values()].filter(({ batch }) => !finalStatuses.has(batch.status));
    if (unfinished.length >= mostWaiting) {
      throw new ApiError("rate_limit_error", "too many batches are waiting", {
        code: "too_many_batches",
        retryAfter: 60,
      });
    }
    const now = nowSeconds();
    const batch: Batch = {
      ...{ id: newId("batch_"), object: "batch", endpoint, errors: null, input_file_id: inputFileId },
      ...{ completion_window: window, status: "validating", output_file_id: null, error_file_id: null },
      ...{ created_at: now, in_progress_at: null, expires_at: now + windowSeconds, finalizing_at: null },
      ...{ completed_at: null, failed_at: null, expired_at: null, cancelling_at: null, cancelled_at: null },
      ...{ request_counts: { total: 0, completed: 0, failed: 0 }, metadata },
    };
    const entry: Entry = { owner, batch, outputId: newId("file-"), errorsId: newId("file-") };
    await this.#save(entry);
    this.#entries.set(batch.id, entry);
    this.#start(entry);
    return batch;
  }

  /** Throws 404 for what is not there, or somebody else's. */
  get(owner: string, id: string): Batch {
    return this.#entry(owner, id).batch;
  }

  /** Newest first. */
  list(owner: string): Batch[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.owner === owner)
      .map(({ batch }) => batch)
      .reverse()
      .sort((a, b) => b.created_at - a.created_at);
  }

  async cancel(owner: string, id: string): Promise<Batch> {
    const entry = this.#entry(owner, id);
    const { status } = entry.batch;
    if (finalStatuses.has(status) || status === "finalizing") {
      throw new ApiError("invalid_request_error", `the batch is ${status}: it cannot be cancelled any more`, {
        ...{ status: 409, code: "batch_not_cancellable", shouldRetry: false },
      });
    }
    if (status !== "cancelling") {
      await this.#change(entry, "cancelling");
      this.#cancels.get(id)?.abort();
    }
    return entry.batch;
  }

  /** Whether a batch that has not ended reads the file. */
  isInUse(fileId: string): boolean {
    return [...this.#entries.values()].some(
      ({ batch }) => batch.input_file_id === fileId && !finalStatuses.has(batch.status),
    );
  }

  #entry(owner: string, id: string): Entry {
    const entry = idPattern.test(id) ? this.#entries.get(id) : undefined;
    if (entry === undefined || entry.owner !== owner) {
      throw new ApiError("not_found_error", "there is no such batch", { code: "batch_not_found", shouldRetry: false });
    }
    return entry;
  }

  async #save(entry: Entry): Promise<void> {
    try {
      await replaceFile(join(this.#folder, `${entry.batch.id}.json`), JSON.stringify(entry), 0o600);
    } catch (error) {
      throw toDiskError(error);
    }
  }

  async #change(entry: Entry, status: BatchStatus): Promise<void> {
    const { batch } = entry;
    batch.status = status;
    if (status !== "validating") {
      batch[`${status}_at`] ??= nowSeconds();
    }
    await this.#save(entry);
  }

  #start(entry: Entry): void {
    const cancel = new AbortController();
    if (entry.batch.status === "cancelling") {
      cancel.abort();
    }
    this.#cancels.set(entry.batch.id, cancel);
    const work: Promise<void> = this.#turns
      .run(() => this.#run(entry, cancel.signal))
      .catch((error: unknown) => this.#fail(entry, error))
      .finally(() => {
        this.#cancels.delete(entry.batch.id);
        this.#running.delete(work);
      });
    this.#running.add(work);
  }

  async #run(entry: Entry, cancelled: AbortSignal): Promise<void> {
    const { batch } = entry;
    if (this.#over.signal.aborted) {
      return;
    }
    const expired = new AbortController();
    const wait = Math.min(longestTimer, Math.max(0, batch.expires_at * 1000 - Date.now()));
    const timer = setTimeout(() => expired.abort(), wait);
    try {
      const summary = await this.#answer(entry, cancelled, expired.signal);
      if (summary.left === 0) {
        await this.#finish(entry, cancelled.aborted, expired.signal.aborted, summary);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #answer(entry: Entry, cancelled: AbortSignal, expired: AbortSignal): Promise<BatchSummary> {
    const { batch, outputId, errorsId } = entry;
    using ended = new JoinedSignal(this.#over.signal, cancelled, expired);
    return await runBatch({
      input: this.#files.pathOf(batch.input_file_id),
      output: this.#files.pathOf(outputId),
      errors: this.#files.pathOf(errorsId),
      onlyUrl: batch.endpoint,
      raw: true,
      signal: ended.signal,
      graceMs: this.#context.options.drainTimeout * 1000,
      target: async () => this.#target(entry),
      // Only the end of the server leaves lines for later.
      leftover: () => {
        if (cancelled.aborted) {
          return { code: "batch_cancelled", message: "the batch was cancelled before this request" };
        }
        return expired.aborted
          ? { code: "batch_expired", message: "this request could not be reached within the completion window" }
          : undefined;
      },
      onProgress: (progress) => this.#count(entry, progress),
    });
  }

  #count({ batch }: Entry, { total, kept, succeeded, failed }: Omit<BatchProgress, "held">): void {
    batch.request_counts = { total, completed: kept + succeeded, failed };
  }

  async #target(entry: Entry): Promise<BatchTarget> {
    if (entry.batch.status === "validating") {
      await this.#change(entry, "in_progress");
    }
    const client = { id: `batch:${entry.owner}`, salt: entry.owner, weight: 1, scopes: new Set(["chat"] as const) };
    const { limits } = this.#context.service.admission;
    return sendTarget({
      parallel: limits.parallel,
      send: (call) => (this.#lines ?? new Places(1)).run(() => this.#send(call, client)),
    });
  }

  /** A full queue is waited for: it is the server's own. */
  async #send(call: BatchCall, client: Parameters<ServerContext["handle"]>[0]["client"]): Promise<BatchReply> {
    for (;;) {
      if (this.#context.state !== "ready") {
        this.#over.abort();
      }
      this.#over.signal.throwIfAborted();
      const reply = await this.#context.handle({ ...call, client });
      if (reply.status !== 429 && reply.status !== 503) {
        return reply;
      }
      using ended = new JoinedSignal(call.signal, this.#over.signal);
      const { signal } = ended;
      await delay(retryAfter(reply.headers) ?? 1000, undefined, { signal });
    }
  }

  async #finish(entry: Entry, isCancelled: boolean, isExpired: boolean, summary: BatchSummary): Promise<void> {
    const { batch, owner, outputId, errorsId } = entry;
    this.#count(entry, summary);
    const hasRest = (summary.failures.batch_cancelled ?? 0) + (summary.failures.batch_expired ?? 0) > 0;
    if (batch.status !== "cancelling") {
      await this.#change(entry, "finalizing");
    }
    batch.output_file_id = await this.#keep(owner, outputId, `${batch.id}_output.jsonl`);
    batch.error_file_id = await this.#keep(owner, errorsId, `${batch.id}_error.jsonl`);
    await this.#change(entry, isCancelled ? "cancelled" : isExpired && hasRest ? "expired" : "completed");
  }

  /** Makes a file of its client's of what was written, if there is anything. */
  async #keep(owner: string, id: string, name: string): Promise<string | null> {
    const { bytes } = await this.#files.add(owner, id, name, "batch_output");
    if (bytes === 0) {
      await this.#files.delete(owner, id);
      return null;
    }
    return id;
  }

  async #fail(entry: Entry, error: unknown): Promise<void> {
    if (this.#over.signal.aborted) {
      return; // the next server goes on
    }
    const { batch } = entry;
    const isCancelled = batch.status === "cancelling";
    const known = toBitnetError(error);
    const data: readonly LineFault[] =
      error instanceof BatchFaultsError
        ? error.faults
        : [
            {
              line: 0,
              code: known.code === "NO_SPACE" ? "disk_full" : "server_error",
              message: messageFor(known.code),
            },
          ];
    batch.errors = isCancelled ? null : { object: "list", data: [...data] };
    if (!(error instanceof BatchFaultsError)) {
      this.#context.log({
        level: "error",
        message: "a batch failed",
        fields: { batch: batch.id, reason: reasonOf(known) },
      });
    }
    await this.#change(entry, isCancelled ? "cancelled" : "failed").catch(() => {}); // told by the log
    await rm(`${this.#files.pathOf(entry.errorsId)}.partial`, { force: true });
  }
}

function messageFor(code: string): string {
  return code === "NO_SPACE" ? "the server's disk is full" : "the server failed to run this batch";
}
