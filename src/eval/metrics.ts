// From the values of all documents to a metric and its standard error, as lm-evaluation-harness computes them.

import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { PythonRandom } from "./python-random.js";
import type { Aggregation, Metric, MetricValue } from "./task.js";

export interface Estimate {
  value: number;
  /** The standard error; none for a single document, and for metrics that have none. */
  error?: number;
}

const bootstrapRounds = 100_000;
const roundsPerSeed = 1000;

export function aggregate({ name, aggregation = "mean" }: Metric, values: readonly MetricValue[]): Estimate {
  switch (aggregation) {
    case "mean":
      return meanOf(values.map((value) => asNumber(name, value)));
    case "mean of items":
      return { value: meanOf(values.flatMap((value) => itemsOf(value))).value };
    case "perplexity":
      return perplexityOf(values.map((value) => asNumber(name, value)));
    case "weighted perplexity":
      return { value: Math.exp(-weightedMean(name, values)) };
    case "bits":
      return { value: -weightedMean(name, values) / Math.LN2 };
  }
}

/** Metrics whose values of single documents may be subtracted from one another. */
export function isMean(aggregation: Aggregation = "mean"): boolean {
  return aggregation === "mean";
}

function asNumber(name: string, value: MetricValue): number {
  if (typeof value !== "number") {
    throw new BitnetError("INTERNAL", `metric ${name}: expected a number, got ${JSON.stringify(value)}`);
  }
  return value;
}

function itemsOf(value: MetricValue): number[] {
  return typeof value === "number" ? [value] : Array.from(value, Number);
}

/** The mean, and the sample deviation over the square root of how many there are. */
export function meanOf(values: readonly number[]): Estimate {
  const value = sumOf(values) / values.length;
  return values.length < 2 ? { value } : { value, error: deviationOf(values) / Math.sqrt(values.length) };
}

/** Of a sample: over n - 1. */
function deviationOf(values: readonly number[]): number {
  const mean = sumOf(values) / values.length;
  return Math.sqrt(sumOf(values.map((value) => (value - mean) ** 2)) / (values.length - 1));
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function weightedMean(name: string, values: readonly MetricValue[]): number {
  const pairs = values.map((value) => itemsOf(value));
  if (pairs.some(({ length }) => length !== 2)) {
    throw new BitnetError("INTERNAL", `metric ${name}: expected pairs of a log-likelihood and a weight`);
  }
  return sumOf(pairs.map(([sum = 0]) => sum)) / sumOf(pairs.map(([, weight = 0]) => weight));
}

function perplexityOf(logLikelihoods: readonly number[]): Estimate {
  const value = Math.exp(-sumOf(logLikelihoods) / logLikelihoods.length);
  return logLikelihoods.length < 2 ? { value } : { value, error: bootstrapPerplexity(logLikelihoods) };
}

/** The deviation of the perplexities of samples with replacement; Python's draws, so that it is lm-eval's number. */
export function bootstrapPerplexity(logLikelihoods: readonly number[], rounds = bootstrapRounds): number {
  const n = logLikelihoods.length;
  const perplexities: number[] = [];
  for (let seed = 0; seed < rounds / roundsPerSeed; seed++) {
    const random = new PythonRandom(seed);
    for (let round = 0; round < Math.min(roundsPerSeed, rounds); round++) {
      const drawn = random.choices(n, n).map((place) => at(logLikelihoods, place));
      perplexities.push(Math.exp(-sumOf(drawn) / n));
    }
  }
  return deviationOf(perplexities);
}

/** One of several tasks that are told as one. */
export interface SizedEstimate extends Estimate {
  documents: number;
}

/** Each task counts with its documents; the error is that of the pooled variance. */
export function poolEstimates(parts: readonly SizedEstimate[]): Estimate {
  const documents = sumOf(parts.map((part) => part.documents));
  const value = sumOf(parts.map((part) => part.value * part.documents)) / documents;
  const errors = parts.flatMap(({ error }) => error ?? []);
  if (errors.length < parts.length || documents === parts.length) {
    return { value };
  }
  const weighted = parts.map(({ documents: n, error = 0 }) => (n - 1) * error ** 2 * n);
  return { value, error: Math.sqrt(sumOf(weighted) / (documents - parts.length) / documents) };
}
