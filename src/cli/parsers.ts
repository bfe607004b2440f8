// Parsers of option values: numbers, lists, token ids. Nothing here knows a command.

import { InvalidArgumentError } from "commander";
import { findLayout, weightLayouts } from "../engine/layouts.js";
import { type CacheType, cacheTypes, type WeightLayout } from "../native/addon.js";

/** A parser for an integer option. */
export function integerFrom(min: number, max = 2 ** 31 - 1): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw new InvalidArgumentError(`Expected an integer from ${min} to ${max}.`);
    }
    return value;
  };
}

/** f16 or q8; llama.cpp calls the latter q8_0. Keys and values are kept alike. */
export function parseCacheType(text: string, earlier?: CacheType): CacheType {
  const type = cacheTypes.find((name) => name === text || (name === "q8" && text === "q8_0"));
  if (type === undefined) {
    throw new InvalidArgumentError(`Expected ${cacheTypes.join(" or ")}.`);
  }
  if (earlier !== undefined && earlier !== type) {
    throw new InvalidArgumentError("Keys and values are kept in the same type; give it once.");
  }
  return type;
}

/** How ternary weights are to lie in memory, by any name. */
export function parseLayout(text: string): "auto" | WeightLayout | "lut" {
  const name = text.toLowerCase();
  const layout = name === "auto" || name === "lut" ? name : findLayout(name);
  if (layout === undefined) {
    throw new InvalidArgumentError(`Expected one of auto, ${weightLayouts.join(", ")}.`);
  }
  return layout;
}

/** A parser for the name of a type, in any case. */
export function typeFrom(types: readonly { name: string }[]): (text: string) => string {
  return (text) => {
    const known = types.map(({ name }) => name.toLowerCase());
    const name = text.toLowerCase();
    if (!known.includes(name)) {
      throw new InvalidArgumentError(`Expected one of ${known.join(", ")}.`);
    }
    return name;
  };
}

/** A parser for a decimal option. */
export function numberFrom(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw new InvalidArgumentError(`Expected a number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** `ID+BIAS` or `ID-BIAS`, collected into a map; the bias may be `-inf`. */
export function collectBias(text: string, earlier: ReadonlyMap<number, number> = new Map()): Map<number, number> {
  const match = /^(\d+)([+-])(\d+\.?\d*|\.\d+|inf)$/.exec(text);
  if (match === null || text.endsWith("+inf")) {
    throw new InvalidArgumentError("Expected a token id and a bias, like 15043+1.5, 29905-2 or 11-inf.");
  }
  const size = match[3] === "inf" ? Number.POSITIVE_INFINITY : Number(match[3]);
  return new Map(earlier).set(Number(match[1]), match[2] === "-" ? -size : size);
}

/** For options that may be repeated. */
export function collectText(text: string, earlier: readonly string[] = []): string[] {
  return [...earlier, text];
}

/** The same where the list has a default; "none" empties it, as in llama.cpp. */
export function collectTextOrNone(text: string, earlier: readonly string[] = []): string[] {
  return text === "none" ? [] : [...earlier, text];
}

/** Names of samplers in the order of the chain, separated by semicolons or commas; llama.cpp's other names for them too. */
export function parseSamplers(text: string): string[] {
  const others: Record<string, string> = {
    typical_p: "typ_p",
    typical: "typ_p",
    nucleus: "top_p",
    temp: "temperature",
  };
  return text
    .split(/[;,]/)
    .map((word) => word.trim().toLowerCase().replaceAll("-", "_"))
    .filter((word) => word !== "" && word !== "tfs_z") // off by default where it was, and gone since
    .map((word) => (Object.hasOwn(others, word) ? (others[word] ?? word) : word.replace("top_nsigma", "top_n_sigma")));
}

const samplerLetters: Readonly<Record<string, string>> = {
  e: "penalties",
  d: "dry",
  s: "top_n_sigma",
  k: "top_k",
  y: "typ_p",
  p: "top_p",
  m: "min_p",
  x: "xtc",
  t: "temperature",
};

/** The same as letters of llama.cpp: "kpt". */
export function parseSamplerLetters(text: string): string[] {
  const letters = [...text].filter((letter) => letter !== "f"); // tfs_z, as above
  return letters.map((letter) => {
    const name = Object.hasOwn(samplerLetters, letter) ? samplerLetters[letter] : undefined;
    if (name === undefined) {
      throw new InvalidArgumentError(`Expected letters of ${Object.keys(samplerLetters).join("")}.`);
    }
    return name;
  });
}

/** Token ids separated by commas or spaces, or as a JSON array. */
export function parseIds(text: string): number[] {
  const words = text
    .replace(/^\s*\[|\]\s*$/g, " ")
    .split(/[\s,]+/)
    .filter((word) => word !== "");
  const bad = words.find((word) => !/^\d{1,9}$/.test(word));
  if (bad !== undefined) {
    throw new InvalidArgumentError(`Expected token ids like 1,2,3; "${bad}" is not one.`);
  }
  return words.map(Number);
}

/** Replaces \n, \r, \t, \', \", \\ and \xHH as llama-cli does; other backslashes stay. */
export function unescapeText(text: string): string {
  const simple: Record<string, string> = { n: "\n", r: "\r", t: "\t", "'": "'", '"': '"', "\\": "\\" };
  return text.replace(/\\(?:x([0-9a-fA-F]{2})|([nrt'"\\]))/g, (_, hex: string | undefined, letter: string) =>
    hex === undefined ? (simple[letter] ?? "") : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

const mostInRange = 1000; // values; each is a measurement

/** The values of "FIRST-LAST", "FIRST-LAST+STEP" or "FIRST-LAST*FACTOR", as llama-bench reads them; else undefined. */
function expandRange(text: string): number[] | undefined {
  const match = /^(\d{1,10})-(\d{1,10})(?:([+*])(\d{1,10}))?$/.exec(text);
  if (match === null) {
    return undefined;
  }
  const [first, last, step] = [Number(match[1]), Number(match[2]), Number(match[4] ?? 1)];
  const next = (value: number) => (match[3] === "*" ? value * step : value + step);
  const values: number[] = [];
  for (let value = first; value <= last; value = next(value)) {
    if (next(value) <= value || values.length === mostInRange) {
      throw new InvalidArgumentError(`Expected a range that grows, of at most ${mostInRange} numbers.`);
    }
    values.push(value);
  }
  if (values.length === 0) {
    throw new InvalidArgumentError("Expected a range from a smaller to a larger number.");
  }
  return values;
}

/** A parser for a list of integers and of ranges like 1-4, 0-4096+1024 and 1-8*2; a repeated option adds to it. */
export function listFrom(min: number, max: number): (text: string, earlier?: number[]) => number[] {
  const parse = integerFrom(min, max);
  const lists = new WeakSet<number[]>(); // what this parser has made: a default is replaced, not added to
  return (text, earlier) => {
    const words = text.split(",").map((word) => word.trim());
    const values = words.flatMap((word) => expandRange(word)?.map((value) => parse(String(value))) ?? [parse(word)]);
    const all = [...(earlier !== undefined && lists.has(earlier) ? earlier : []), ...values];
    lists.add(all);
    return all;
  };
}

/** Names separated by commas; a repeated option adds to them. */
export function collectNames(text: string, earlier: string[] = []): string[] {
  return [...earlier, ...text.split(",").map((name) => name.trim())];
}

export function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
