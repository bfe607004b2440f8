// How the vectors of a file were made: written beside them, for whoever goes on with them or searches them.

import { rm, stat, writeFile } from "node:fs/promises";
import { BitnetError } from "../system/errors.js";
import { readJsonFile } from "../system/json.js";
import { type EmbeddingRanges, type Precision, precisions } from "./quantize.js";

/** What decides the vectors. */
export interface StoreInfo {
  /** Fingerprint of the model's file. */
  model: string;
  modelPath: string;
  pooling: string;
  dimensions: number;
  normalize: number;
  /** Text before each text. */
  prefix: string;
  parseSpecial: boolean;
  truncate: boolean;
  /** What else a file of lines has them in: its precision and ranges. */
  lines: string;
}

/** With what was made of them. */
export interface CodedInfo extends StoreInfo {
  precision: Precision | "float32";
  /** Of int8 and uint8. */
  ranges?: EmbeddingRanges;
}

const maxInfo = 64 * 2 ** 20; // bytes; ranges are two numbers a dimension

/** BAD_FILE for anything but what writeInfo has written; undefined if there is nothing. */
export async function readInfo(path: string): Promise<CodedInfo | undefined> {
  if ((await stat(path).catch(() => undefined)) === undefined) {
    return undefined;
  }
  const value = await readJsonFile(path, maxInfo);
  if (!isInfo(value)) {
    throw new BitnetError("BAD_FILE", `${path} does not say how vectors were made`);
  }
  return { ...value, ranges: value.ranges === undefined ? undefined : asRanges(value.ranges, path) };
}

export async function writeInfo(path: string, { ranges, ...info }: CodedInfo): Promise<void> {
  const lists = ranges && { min: Array.from(ranges.min), max: Array.from(ranges.max) };
  await writeFile(path, `${JSON.stringify({ ...info, ranges: lists })}\n`);
}

const kinds = {
  model: "string",
  modelPath: "string",
  pooling: "string",
  dimensions: "number",
  normalize: "number",
  prefix: "string",
  parseSpecial: "boolean",
  truncate: "boolean",
  lines: "string",
  precision: "string",
} as const satisfies Record<keyof Omit<CodedInfo, "ranges">, string>;

function isInfo(value: unknown): value is Omit<CodedInfo, "ranges"> & { ranges?: unknown } {
  const fields = isObject(value) ? value : {};
  const isKnown = fields.precision === "float32" || precisions.some((name) => name === fields.precision);
  return isKnown && Object.entries(kinds).every(([name, kind]) => typeof fields[name] === kind);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** {min, max} or [min, max] of lists of numbers. */
export function asRanges(value: unknown, source: string): EmbeddingRanges {
  const [min, max]: unknown[] = Array.isArray(value) ? value : isObject(value) ? [value.min, value.max] : [];
  if (!isNumbers(min) || !isNumbers(max) || min.length !== max.length) {
    throw new BitnetError("BAD_FILE", `${source}: ranges: expected two lists of numbers of one length, min and max`);
  }
  return { min: Float32Array.from(min), max: Float32Array.from(max) };
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "number" && Number.isFinite(entry));
}

/** Ranges of a JSON file: of X.json, or by themselves. */
export async function readRangesJson(path: string): Promise<EmbeddingRanges> {
  const value = await readJsonFile(path, maxInfo);
  return asRanges(isObject(value) && value.ranges !== undefined ? value.ranges : value, path);
}

/** The first of the settings in which two differ, as text. */
export function differenceOf(before: StoreInfo, now: StoreInfo): string | undefined {
  const names = Object.keys(kinds).filter(
    (name) => name !== "modelPath" && name !== "precision",
  ) as (keyof StoreInfo)[];
  const name = names.find((one) => before[one] !== now[one]);
  return name && `${name} was ${JSON.stringify(before[name])}, now it is ${JSON.stringify(now[name])}`;
}

export async function removeFiles(paths: Iterable<string>): Promise<void> {
  for (const path of paths) {
    await rm(path, { force: true });
  }
}
