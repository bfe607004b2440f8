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

type Setting = (value: unknown) => Partial<WritingOptions>;

const asNumber = (value: unknown): number => {
  if (typeof value !== "number" || !(value >= 0)) {
    throw new InvalidArgumentError(`Expected a number from 0, got ${JSON.stringify(value)}.`);
  }
  return value;
};
const asTexts = (value: unknown): string[] => {
  const texts: unknown[] = Array.isArray(value) ? value : [value];
  if (!texts.every((text) => typeof text === "string")) {
    throw new InvalidArgumentError(`Expected texts in until, got ${JSON.stringify(value)}.`);
  }
  return texts;
};

/** lm-eval's names, and what they mean here. */
const settings: Readonly<Record<string, Setting>> = {
  max_gen_toks: (value) => ({ maxTokens: asNumber(value) }),
  max_new_tokens: (value) => ({ maxTokens: asNumber(value) }),
  max_tokens: (value) => ({ maxTokens: asNumber(value) }),
  until: (value) => ({ stop: asTexts(value) }),
  do_sample: (value) => (value === false ? { temperature: 0 } : {}),
  temperature: (value) => ({ temperature: asNumber(value) }),
  top_p: (value) => ({ topP: asNumber(value) }),
  top_k: (value) => ({ topK: asNumber(value) }),
  min_p: (value) => ({ minP: asNumber(value) }),
  repetition_penalty: (value) => ({ repeatPenalty: asNumber(value) }),
  seed: (value) => ({ seed: asNumber(value) }),
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
  return setting(value);
}
