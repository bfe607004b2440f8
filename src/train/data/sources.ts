// Where examples come from: files by name, each with a weight, or rows that the caller has.

import { existsSync } from "node:fs";
import { BitnetError, throwIfAborted } from "../../system/errors.js";
import { type Example, parseExample } from "./example.js";
import { type Entry, locateError, readEntries } from "./read-files.js";

export interface DataSource {
  /** A file; with `rows`, what messages call them. */
  name: string;
  /** What lines of JSON would hold, in any of the forms. Default: those of the file. */
  rows?: Iterable<unknown> | AsyncIterable<unknown>;
  /** How often each example is seen in an epoch: 0.3 is three in ten of them, others in each. Default: 1. */
  weight?: number;
}

/** What became of the examples of one source. */
export interface SourceTally {
  name: string;
  weight: number;
  /** Read and not skipped. */
  examples: number;
  /** Left out because something was wrong with them, and what it was with the first one. */
  skipped: number;
  firstSkipped?: string;
  /** Left out because of the limit of examples. */
  dropped: number;
}

export interface ReadOptions {
  /** Of each source, the first ones. Default: all. */
  maxSamples?: number;
  /** Count examples that are wrong instead of throwing the first one's error. Default: false. */
  skipBad?: boolean;
  signal?: AbortSignal;
}

/** FILE, or FILE:WEIGHT. A file whose name ends like that is the file. */
export function parseSource(text: string): DataSource {
  const [, name = "", weight = ""] = /^(.+):(\d+(?:\.\d+)?|\.\d+)$/s.exec(text) ?? [];
  if (name === "" || existsSync(text)) {
    return { name: text };
  }
  return { name, weight: checkWeight(Number(weight), text) };
}

function checkWeight(weight: number, name: string): number {
  if (!(weight > 0 && weight <= 100)) {
    throw new BitnetError("USAGE", `${name}: expected a weight above 0 and at most 100, got ${weight}`);
  }
  return weight;
}

export function startTally({ name, weight = 1 }: DataSource): SourceTally {
  return { name, weight: checkWeight(weight, name), examples: 0, skipped: 0, dropped: 0 };
}

/** Throws USAGE where there is nothing to read, or no count of examples. */
export function checkReading(sources: readonly DataSource[], { maxSamples = 1 }: ReadOptions): void {
  if (sources.length === 0) {
    throw new BitnetError("USAGE", "no training data");
  }
  if (!Number.isSafeInteger(maxSamples) || maxSamples < 1) {
    throw new BitnetError("USAGE", `maxSamples: expected a positive integer, got ${maxSamples}`);
  }
}

/** A share of the examples. Throws USAGE for what is none. */
export function checkSplit(evalSplit: number): void {
  if (!(typeof evalSplit === "number" && evalSplit > 0 && evalSplit < 1)) {
    throw new BitnetError("USAGE", `evalSplit: expected a share above 0 and below 1, got ${evalSplit}`);
  }
}

/**
 * The examples of a source, in its order, each with what `use` makes of it. What is wrong with an example, to `use` as
 * well, is an error with its place, or with `skipBad` counted.
 */
export async function* readExamples<T>(
  source: DataSource,
  tally: SourceTally,
  use: (example: Example) => T,
  options: ReadOptions = {},
): AsyncGenerator<T, void, undefined> {
  const { maxSamples = Number.POSITIVE_INFINITY, skipBad = false, signal } = options;
  for await (const entry of entriesOf(source, signal)) {
    throwIfAborted(signal);
    if (tally.examples >= maxSamples) {
      tally.dropped++;
      continue;
    }
    const made = attempt(entry, use, skipBad, tally);
    if (made !== undefined) {
      tally.examples++;
      yield made.value;
    }
  }
}

function attempt<T>(
  entry: Entry,
  use: (example: Example) => T,
  skipBad: boolean,
  tally: SourceTally,
): { value: T } | undefined {
  try {
    return { value: use({ ...parseExample(entry.value()), origin: entry.origin }) };
  } catch (cause) {
    const error = locateError(entry.origin, cause);
    if (!skipBad || error.code !== "BAD_FILE") {
      throw error;
    }
    tally.skipped++;
    tally.firstSkipped ??= error.message;
    return undefined;
  }
}

async function* entriesOf({ name, rows }: DataSource, signal: AbortSignal | undefined): AsyncGenerator<Entry> {
  if (rows === undefined) {
    yield* readEntries(name, signal);
    return;
  }
  let number = 0;
  for await (const row of rows) {
    yield { origin: { file: name, number: ++number, unit: "row" }, value: () => row };
  }
}
