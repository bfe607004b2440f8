// Rules about texts: patterns that are matched in linear time, whatever they and the text are.

import { readFileSync, statSync } from "node:fs";
import { RE2JS } from "re2js";
import { BitnetError, reasonOf } from "../system/errors.js";

export type Direction = "input" | "output";
export type FilterAction = "block" | "flag" | "redact";

/** A rule as a file has it. */
export interface FilterRule {
  name: string;
  /** RE2's syntax: no lookaround, no back references. "(?i)" before it ignores case. */
  pattern: string;
  on: Direction | "both";
  action: FilterAction;
  /** What takes the place of redacted text. */
  replacement?: string;
}

const standardReplacement = "[redacted]";

/** Words that are refused in prompts and answers, and markup that is taken out of prompts. examples/filter.json is this. */
export const strictRules: readonly FilterRule[] = [
  { name: "violence", pattern: "(?i)\\b(violence|violent|kill|murder)\\b", on: "both", action: "block" },
  { name: "hate", pattern: "(?i)\\b(hate|hatred|discriminat)\\b", on: "both", action: "block" },
  { name: "illegal", pattern: "(?i)\\b(illegal|unlawful|criminal)\\b", on: "both", action: "block" },
  { name: "harm", pattern: "(?i)\\b(harmful|dangerous|toxic)\\b", on: "both", action: "block" },
  { name: "script", pattern: "(?is)<script[^>]*>.*?</script>", on: "input", action: "redact", replacement: "" },
  { name: "iframe", pattern: "(?is)<iframe[^>]*>.*?</iframe>", on: "input", action: "redact", replacement: "" },
  { name: "javascript-url", pattern: "(?i)javascript:", on: "input", action: "redact", replacement: "" },
  { name: "html-data-url", pattern: "(?i)data:text/html", on: "input", action: "redact", replacement: "" },
];

export interface Match {
  rule: FilterRule;
  start: number;
  end: number;
}

const maxFile = 2 ** 20; // bytes
const maxRules = 1000;
const maxPattern = 4096; // characters

/** Rules, compiled. */
export class FilterRules {
  readonly #rules: readonly { rule: FilterRule; regex: ReturnType<typeof RE2JS.compile> }[];

  /** Throws USAGE for a wrong rule; `source` is named in it. */
  constructor(rules: readonly FilterRule[], source: string) {
    this.#rules = rules.map((rule) => ({ rule, regex: compile(rule, source) }));
  }

  /** A JSON file: a list of rules, or {"rules": [...]}. "strict" is the built-in ones. */
  static read(path: string): FilterRules {
    return path === "strict" ? new FilterRules(strictRules, "strict") : new FilterRules(readRules(path), path);
  }

  /** Every match in `text` from `from` on; what is before counts as what stands before a word. */
  *find(text: string, direction: Direction, from = 0): Generator<Match> {
    for (const { rule, regex } of this.#rules) {
      if (rule.on === "both" || rule.on === direction) {
        const matcher = regex.matcher(text);
        for (let found = matcher.find(from); found; found = matcher.find()) {
          if (matcher.end() > matcher.start()) {
            yield { rule, start: matcher.start(), end: matcher.end() };
          }
        }
      }
    }
  }
}

/** Those that count where several overlap: the first of them, then the longest. */
export function withoutOverlaps(matches: readonly Match[]): Match[] {
  const sorted = [...matches].sort((a, b) => a.start - b.start || b.end - a.end);
  const result: Match[] = [];
  for (const match of sorted) {
    if (match.start >= (result.at(-1)?.end ?? 0)) {
      result.push(match);
    }
  }
  return result;
}

export function replacementOf({ replacement = standardReplacement }: FilterRule): string {
  return replacement;
}

function compile({ name, pattern }: FilterRule, source: string): ReturnType<typeof RE2JS.compile> {
  try {
    return RE2JS.compile(pattern);
  } catch (error) {
    throw new BitnetError("USAGE", `${source}: rule ${JSON.stringify(name)}: pattern: ${reasonOf(error)}`, {
      hint: "patterns are RE2's: no lookaround, no back references",
      cause: error,
    });
  }
}

function readRules(path: string): FilterRule[] {
  const parsed = parseFile(path);
  const list = Array.isArray(parsed) ? parsed : (parsed as { rules?: unknown } | null)?.rules;
  if (!Array.isArray(list) || list.length > maxRules) {
    throw new BitnetError("USAGE", `${path}: expected a list of at most ${maxRules} rules, or {"rules": [...]}`);
  }
  return list.map((value, i) => readRule(value, `${path}: rules[${i}]`));
}

function parseFile(path: string): unknown {
  try {
    const { size } = statSync(path);
    if (size > maxFile) {
      throw new BitnetError("USAGE", `expected at most ${maxFile} bytes, got ${size}`);
    }
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: the rules cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

const fields = ["name", "pattern", "on", "action", "replacement"];

function readRule(value: unknown, place: string): FilterRule {
  const wrong = (what: string) => new BitnetError("USAGE", `${place}: ${what}`);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong("expected an object");
  }
  const rule = value as Record<string, unknown>;
  const unknown = Object.keys(rule).find((name) => !fields.includes(name));
  if (unknown !== undefined) {
    throw wrong(`${JSON.stringify(unknown)} is not a field: expected ${fields.join(", ")}`);
  }
  const { name, pattern, on = "both", action = "block", replacement } = rule;
  if (typeof name !== "string" || !/^[\w.-]{1,64}$/.test(name)) {
    throw wrong("name: expected 1 to 64 letters, digits, dots, dashes");
  }
  if (typeof pattern !== "string" || pattern === "" || pattern.length > maxPattern) {
    throw wrong(`pattern: expected a text of 1 to ${maxPattern} characters`);
  }
  if (on !== "input" && on !== "output" && on !== "both") {
    throw wrong("on: expected input, output or both");
  }
  if (action !== "block" && action !== "flag" && action !== "redact") {
    throw wrong("action: expected block, flag or redact");
  }
  if (replacement !== undefined && (typeof replacement !== "string" || replacement.length > maxPattern)) {
    throw wrong(`replacement: expected a text of at most ${maxPattern} characters`);
  }
  return { name, pattern, on, action, replacement };
}
