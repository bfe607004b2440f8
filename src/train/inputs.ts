// What examples may be handed over as, and the options that say how they are read.

import { BitnetError } from "../system/errors.js";
import type { TrainOn } from "./data/render.js";
import { type DataSource, parseSource } from "./data/sources.js";

/** FILE or FILE:WEIGHT, a source, or examples as objects: what lines of a file would hold. */
export type TrainingInput = string | DataSource | Iterable<object> | AsyncIterable<object>;

export interface DataOptions {
  /** Data of its own for evaluation. */
  evalData?: TrainingInput | readonly TrainingInput[];
  /** Or the share of the examples that evaluates, above 0 and below 1. */
  evalSplit?: number;
  /** Of each source, the first ones. Default: all. */
  maxSamples?: number;
  /** Leave out and count what is wrong. Default: the first wrong example ends with an error. */
  skipBad?: boolean;
  /** Default: "assistant". */
  trainOn?: TrainOn;
}

/** Throws USAGE for what is none of it. */
export function sourcesOf(data: TrainingInput | readonly TrainingInput[], name: string): DataSource[] {
  const list = Array.isArray(data) && !data.some(isExample) ? (data as TrainingInput[]) : [data as TrainingInput];
  return list.map((input, i) => sourceOf(input, list.length === 1 ? name : `${name}[${i}]`));
}

/** An object of a list of examples, not of a list of sources. */
function isExample(value: unknown): boolean {
  return typeof value === "object" && value !== null && !isRows(value) && !isSource(value);
}

function isRows(value: object): value is Iterable<object> | AsyncIterable<object> {
  return Symbol.iterator in value || Symbol.asyncIterator in value;
}

/** Examples may have a name, too. */
function isSource(value: object): value is DataSource {
  const keys = Object.keys(value);
  return "name" in value && typeof value.name === "string" && keys.every((key) => sourceKeys.has(key));
}

const sourceKeys: ReadonlySet<string> = new Set<keyof DataSource>(["name", "rows", "weight"]);

function sourceOf(input: TrainingInput, name: string): DataSource {
  if (typeof input === "string") {
    return parseSource(input);
  }
  if (typeof input === "object" && input !== null) {
    if (isRows(input)) {
      return { name, rows: input };
    }
    if (isSource(input)) {
      return input;
    }
  }
  throw new BitnetError("USAGE", `${name}: expected files, or examples as objects, got ${typeof input}`);
}
