// This run beside another one: our own JSON, or llama-bench's, as one array or one object per line.

import { basename } from "node:path";
import { BitnetError } from "../system/errors.js";
import { parseJson } from "../system/json.js";
import { type BenchResult, nameTest } from "./end-to-end.js";
import { medianOf } from "./stats.js";

/** One line of another run. */
export interface EarlierResult {
  model: string; // path or name of the file
  description: string; // what ran: program, kernel or build, file type
  test: string;
  threads: number;
  samples: number[]; // tokens per second
}

export interface Comparison {
  model: string;
  kernel: string;
  threads: number;
  test: string;
  median: number; // tokens per second of this run
  earlier: EarlierResult;
  /** Of the medians, this run over the earlier one: above 1 is faster. */
  ratio: number;
  /** The lowest and highest ratio of any two repetitions. */
  low: number;
  high: number;
}

/**
 * Every pair of the same test with the same number of threads. A result with an earlier one of the same file name is
 * compared with that one only.
 */
export function compareResults(results: readonly BenchResult[], earlier: readonly EarlierResult[]): Comparison[] {
  return results.flatMap((result) => {
    const sameTest = earlier.filter(({ test, threads }) => test === result.test && threads === result.threads);
    const name = basename(result.model.path);
    const sameFile = sameTest.filter(({ model }) => basename(model) === name);
    return (sameFile.length > 0 ? sameFile : sameTest).map((other) => compareSamples(result, other));
  });
}

function compareSamples(result: BenchResult, earlier: EarlierResult): Comparison {
  const ours = result.tokensPerSecond.samples;
  return {
    model: result.model.path,
    kernel: result.kernel,
    threads: result.threads,
    test: result.test,
    median: result.tokensPerSecond.median,
    earlier,
    ratio: medianOf(ours) / medianOf(earlier.samples),
    low: Math.min(...ours) / Math.max(...earlier.samples),
    high: Math.max(...ours) / Math.min(...earlier.samples),
  };
}

/** A result of this run as one of an earlier run. */
export function toEarlier({ model, kernel, test, threads, tokensPerSecond }: BenchResult): EarlierResult {
  const description = `bitnet ${kernel}, ${model.weightType}`;
  return { model: model.path, description, test, threads, samples: tokensPerSecond.samples };
}

/** Reads what a benchmark has written. Throws BAD_FILE. */
export function parseEarlier(text: string, path: string): EarlierResult[] {
  const entries = parseEntries(text, path);
  const results = entries.flatMap((entry) => readOurs(entry) ?? readLlamaBench(entry) ?? []);
  if (results.length === 0) {
    throw new BitnetError("BAD_FILE", `${path}: no results of bitnet bench or llama-bench in it`, {
      hint: "write them with -o json or -o jsonl",
    });
  }
  return results;
}

type Entry = Record<string, unknown>;

function parseEntries(text: string, path: string): Entry[] {
  const values = isLines(text, path) ? parseLines(text, path) : [parseJson(text, path)].flat();
  return values.flatMap((value) => {
    const entry = asEntry(value);
    return Array.isArray(entry.results) ? entry.results.map(asEntry) : [entry];
  });
}

/** Whether the first of several lines is a value of its own. */
function isLines(text: string, path: string): boolean {
  const [first = "", ...others] = text.trim().split("\n");
  if (others.length === 0) {
    return false;
  }
  try {
    parseJson(first, path);
    return true;
  } catch {
    return false;
  }
}

function parseLines(text: string, path: string): unknown[] {
  return text.split("\n").flatMap((line, i) => (line.trim() === "" ? [] : [parseJson(line, path, i + 1)]));
}

function asEntry(value: unknown): Entry {
  return typeof value === "object" && value !== null ? (value as Entry) : {};
}

function readOurs(entry: Entry): EarlierResult | undefined {
  const model = asEntry(entry.model);
  const samples = positiveNumbers(asEntry(entry.tokensPerSecond).samples);
  const { test, threads, kernel } = entry;
  if (
    typeof test !== "string" ||
    typeof threads !== "number" ||
    typeof model.path !== "string" ||
    samples === undefined
  ) {
    return undefined;
  }
  const description = `bitnet ${String(kernel)}, ${String(model.weightType)}`;
  return { model: model.path, description, test, threads, samples };
}

function readLlamaBench(entry: Entry): EarlierResult | undefined {
  const count = (key: string) => (typeof entry[key] === "number" ? entry[key] : 0);
  // Older versions write the mean alone.
  const samples = positiveNumbers(entry.samples_ts) ?? positiveNumbers([entry.avg_ts]);
  const threads = count("n_threads");
  const shape = { prompt: count("n_prompt"), generate: count("n_gen"), depth: count("n_depth") };
  if (
    typeof entry.model_filename !== "string" ||
    samples === undefined ||
    threads === 0 ||
    shape.prompt + shape.generate === 0
  ) {
    return undefined;
  }
  const description = `llama-bench ${String(entry.build_commit ?? "")}, ${String(entry.model_type ?? "")}`;
  return { model: entry.model_filename, description, test: nameTest(shape), threads, samples };
}

const mostSamples = 10_000; // as many repetitions as there can be

function positiveNumbers(value: unknown): number[] | undefined {
  const isNumber = (x: unknown): x is number => typeof x === "number" && x > 0 && Number.isFinite(x);
  return Array.isArray(value) && value.length > 0 && value.length <= mostSamples && value.every(isNumber)
    ? value
    : undefined;
}
