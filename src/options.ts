// Reading command line arguments: bitnet.cpp's spellings, numbers, token lists. Nothing here knows a command.

import { InvalidArgumentError } from "commander";
import { closest } from "./closest.js";
import { type CacheType, cacheTypes } from "./native.js";

// Spellings of bitnet.cpp and llama.cpp that commander would split into one-letter options, and second long names.
const spellings: Record<string, string> = {
  "-cnv": "--conversation",
  "-temp": "--temp",
  "--temperature": "--temp",
  "--predict": "--n-predict",
  "--reverse-prompt": "--stop",
  "-ctk": "--cache-type",
  "-ctv": "--cache-type",
  "--cache-type-k": "--cache-type",
  "--cache-type-v": "--cache-type",
  "-tb": "--threads-batch",
  "-ub": "--ubatch-size",
  "-ngl": "--n-gpu-layers",
  "--gpu-layers": "--n-gpu-layers",
  "-pg": "--prompt-generate",
  "-hr": "--hf-repo",
  "-md": "--model-dir",
  "-ld": "--log-dir",
};

// The argument after one of these is free text, whatever it looks like.
const takesText = new Set([
  "-p",
  "--prompt",
  "-f",
  "--file",
  "-r",
  "--stop",
  "--reverse-prompt",
  "-m",
  "--model",
  "--history",
  "--chat-template",
]);

// setup_env.py's -p is a switch.
function isTextOption(arg: string, args: readonly string[]): boolean {
  return takesText.has(arg) && !(arg === "-p" && args[0] === "setup-env");
}

/** The known spelling that is nearest to an unknown option: commander itself knows only its own names. */
export function closestSpelling(option: string): string | undefined {
  return closest(option, Object.keys(spellings));
}

/** An argument list with every known spelling replaced by the long option of this program. */
export function normalizeArgv(args: readonly string[]): string[] {
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "--") {
      return [...result, ...args.slice(i)];
    }
    result.push(normalizeOption(arg));
    if (isTextOption(arg, args) && i + 1 < args.length) {
      result.push(args[++i] ?? "");
    }
  }
  return result;
}

function normalizeOption(arg: string): string {
  const equals = arg.startsWith("-") ? arg.indexOf("=") : -1;
  const name = equals < 0 ? arg : arg.slice(0, equals);
  const known = Object.hasOwn(spellings, name) ? spellings[name] : undefined;
  return known === undefined ? arg : known + arg.slice(name.length);
}

/** The first argument like `-tmp`, which would be read as `-t mp`, with the spelling that was perhaps meant. */
export function findUnknownSpelling(normalized: readonly string[]): { arg: string; suggestion?: string } | undefined {
  for (let i = 0; i < normalized.length; i++) {
    const arg = normalized[i] ?? "";
    if (arg === "--") {
      return undefined;
    }
    if (/^-[A-Za-z]{2,}$/.test(arg)) {
      return { arg, suggestion: closest(arg, Object.keys(spellings)) };
    }
    if (isTextOption(arg, normalized)) {
      i++;
    }
  }
  return undefined;
}

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
