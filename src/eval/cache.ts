// What a model has answered, kept on the disk: a run that was stopped goes on, and one that is repeated computes nothing.
//
// One file of JSON lines for each model and each setting that changes its numbers. A line is added for each answer and is
// on the disk within a second; one that was torn by a crash or a full disk is dropped.

import { createHash } from "node:crypto";
import { truncate } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Appender } from "../batch/appender.js";
import { convertingAsync, toBitnetError, withContext } from "../system/errors.js";
import { makeFolder } from "../system/files.js";
import { cacheFolder } from "../system/folders.js";
import { readFileLines } from "../system/line-file.js";
import { withLock } from "../system/lock.js";
import type { Outcome } from "./requests.js";

/** Everything that an answer depends on, beside the request. */
export interface CacheSettings {
  modelSha256: string;
  version: string;
  kernel: string;
  cacheType: string;
  maxLength: number;
}

export interface CacheOptions {
  /** Default: $XDG_CACHE_HOME/bitnet/eval. */
  folder?: string;
  /** Take nothing from earlier runs. */
  fresh?: boolean;
  signal?: AbortSignal;
  /** Another process is evaluating the same model. */
  onWait?: () => void;
}

const maxLineBytes = 2 ** 22;

export class RunCache {
  readonly #known: Map<string, Outcome>;
  readonly #file: Appender | undefined;

  constructor(known = new Map<string, Outcome>(), file?: Appender) {
    this.#known = known;
    this.#file = file;
  }

  get(key: string): Outcome | undefined {
    return this.#known.get(key);
  }

  async add(key: string, outcome: Outcome): Promise<void> {
    this.#known.set(key, outcome);
    await this.#file?.add(`${JSON.stringify({ key, ...outcome })}\n`);
  }

  async flush(): Promise<void> {
    await this.#file?.flush();
  }
}

/** Runs `body` with the cache of these settings, which no other process uses meanwhile. A user without a home has none. */
export async function withCache<T>(
  settings: CacheSettings,
  { folder = defaultFolder(), fresh, signal, onWait }: CacheOptions,
  body: (cache: RunCache) => Promise<T>,
): Promise<T> {
  if (folder === undefined) {
    return await body(new RunCache());
  }
  const path = join(folder, `${nameOf(settings)}.jsonl`);
  return await withLock(`${path}.lock`, { signal, onWait }, async () => {
    await makeFolder(dirname(path));
    const { known, end } = await readKnown(path);
    if (end !== undefined) {
      await convertingAsync(() => truncate(path, end));
    }
    const file = await Appender.open(path);
    try {
      return await body(new RunCache(fresh ? undefined : known, file));
    } finally {
      await file.close();
    }
  });
}

function defaultFolder(): string | undefined {
  const folder = cacheFolder();
  return folder === undefined ? undefined : join(folder, "eval");
}

function nameOf({ modelSha256, version, kernel, cacheType, maxLength }: CacheSettings): string {
  return createHash("sha256").update([modelSha256, version, kernel, cacheType, maxLength].join("\n")).digest("hex");
}

/** The answers of whole lines, and where those end if something follows: a torn line, or one that is none of ours. */
async function readKnown(path: string): Promise<{ known: Map<string, Outcome>; end?: number }> {
  const known = new Map<string, Outcome>();
  try {
    for await (const { bytes, offset, isTooLong, isTorn } of readFileLines(path, maxLineBytes)) {
      if (isTooLong || isTorn) {
        return { known, end: offset };
      }
      addLine(known, bytes.toString());
    }
  } catch (error) {
    if (toBitnetError(error).code !== "NOT_FOUND") {
      throw withContext(path, error);
    }
  }
  return { known };
}

/** Lines that are damaged are passed over: their requests are computed again. */
function addLine(known: Map<string, Outcome>, line: string): void {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return;
  }
  const { key, ...outcome } = Object(value) as Record<string, unknown>;
  if (typeof key === "string" && isOutcome(outcome)) {
    known.set(key, outcome);
  }
}

function isOutcome(value: Record<string, unknown>): value is Record<string, unknown> & Outcome {
  const { logLikelihood, isGreedy, text, tokens, isCut } = value;
  const isScore = typeof logLikelihood === "number" && typeof isGreedy === "boolean";
  return isScore || (typeof text === "string" && typeof tokens === "number" && typeof isCut === "boolean");
}
