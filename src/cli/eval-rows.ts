// Values of options of the commands that evaluate.

import { readFileSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import type { WritingOptions } from "../eval/requests.js";

/** NAME=PATH, collected into an object. */
export function collectData(text: string, earlier: Readonly<Record<string, string>> = {}): Record<string, string> {
  const place = text.indexOf("=");
  if (place < 1 || place === text.length - 1) {
    throw new InvalidArgumentError("Expected the name of a task, = and a file or a folder, like arc_easy=arc.jsonl.");
  }
  return { ...earlier, [text.slice(0, place)]: text.slice(place + 1) };
}

/** A number of documents, or their share. */
export function parseLimit(text: string): number {
  const value = /^(\d+|\d*\.\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0) || (value > 1 && !Number.isInteger(value))) {
    throw new InvalidArgumentError("Expected how many documents, or their share below 1, like 100 or 0.1.");
  }
  return value;
}

/** {"arc_easy": [0, 5]}, or a file that holds such an object. */
export function parseSamples(text: string): Record<string, number[]> {
  const expected = 'Expected an object of places by tasks, like {"arc_easy": [0, 5]}, or a JSON file with one.';
  let value: unknown;
  try {
    value = JSON.parse(text.trimStart().startsWith("{") ? text : readFileSync(text, "utf8"));
  } catch {
    throw new InvalidArgumentError(expected);
  }
  const isPlace = (place: unknown) => Number.isSafeInteger(place) && Number(place) >= 0;
  const isList = (places: unknown) => Array.isArray(places) && places.length > 0 && places.every(isPlace);
  if (typeof value !== "object" || value === null || !Object.values(value).every(isList)) {
    throw new InvalidArgumentError(expected);
  }
  return value as Record<string, number[]>;
}

interface Setting {
  expected: string;
  accepts: (value: unknown) => boolean;
  read: (value: unknown) => Partial<WritingOptions>;
}

const isNumber = (least: number, most: number) => (value: unknown) =>
  typeof value === "number" && value >= least && value <= most;
const isCount = (least: number) => (value: unknown) => Number.isSafeInteger(value) && Number(value) >= least;
const isTexts = (value: unknown) => [value].flat().every((text) => typeof text === "string");

type NumberKey = Exclude<keyof WritingOptions, "stop">;
const count = (key: NumberKey, least: number): Setting => ({
  ...{ expected: `an integer from ${least}`, accepts: isCount(least) },
  read: (value) => ({ [key]: value }),
});
const number = (key: NumberKey): Setting => ({
  ...{ expected: "a number from 0", accepts: isNumber(0, Number.MAX_VALUE) },
  read: (value) => ({ [key]: value }),
});
const share = (key: NumberKey): Setting => ({
  ...{ expected: "a number from 0 to 1", accepts: isNumber(0, 1) },
  read: (value) => ({ [key]: value }),
});

/** lm-eval's names, and what they mean here. */
const settings: Readonly<Record<string, Setting>> = {
  max_gen_toks: count("maxTokens", 1),
  max_new_tokens: count("maxTokens", 1),
  max_tokens: count("maxTokens", 1),
  until: { expected: "texts", accepts: isTexts, read: (value) => ({ stop: [value].flat() as string[] }) },
  do_sample: {
    ...{ expected: "true or false", accepts: (value) => typeof value === "boolean" },
    read: (value) => (value === false ? { temperature: 0 } : {}),
  },
  temperature: number("temperature"),
  top_p: share("topP"),
  top_k: count("topK", 0),
  min_p: share("minP"),
  repetition_penalty: number("repeatPenalty"),
  seed: count("seed", 0),
};

/** temperature=0.7,max_gen_toks=100 as lm-eval takes it, or an object of JSON. */
export function parseGenKwargs(text: string): Partial<WritingOptions> {
  const entries = text.trimStart().startsWith("{") ? Object.entries(parseObject(text)) : splitPairs(text);
  return Object.assign({}, ...entries.map(([name, value]) => readSetting(name, value)));
}

function parseObject(text: string): object {
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new InvalidArgumentError("Expected an object of JSON.");
  }
}

function splitPairs(text: string): [string, unknown][] {
  return text.split(",").map((pair) => {
    const place = pair.indexOf("=");
    if (place < 1) {
      throw new InvalidArgumentError("Expected pairs like temperature=0.7,max_gen_toks=100.");
    }
    return [pair.slice(0, place).trim(), readValue(pair.slice(place + 1).trim())];
  });
}

function readValue(text: string): unknown {
  switch (text.toLowerCase()) {
    case "true":
      return true;
    case "false":
      return false;
    default:
      return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  }
}

function readSetting(name: string, value: unknown): Partial<WritingOptions> {
  const setting = settings[name];
  if (setting === undefined) {
    throw new InvalidArgumentError(`Expected settings of ${Object.keys(settings).join(", ")}, got ${name}.`);
  }
  if (!setting.accepts(value)) {
    throw new InvalidArgumentError(`Expected ${setting.expected} as ${name}, got ${JSON.stringify(value)}.`);
  }
  return setting.read(value);
}
