// json.dumps() of Python, as the filter tojson of transformers calls it.

import { type Budget, TemplateError } from "./limits.js";
import { compareTexts, formatFloat } from "./text.js";
import { Dict, isList, Markup, Tuple, typeName, Undefined, type Value } from "./values.js";

export interface JsonOptions {
  /** What one level is indented by; undefined: everything on one line. */
  indent: string | undefined;
  itemSeparator: string;
  keySeparator: string;
  ensureAscii: boolean;
  sortKeys: boolean;
}

export function writeJson(given: Value, options: JsonOptions, budget: Budget, level = 1): string {
  budget.step();
  const value = given instanceof Markup ? given.text : given;
  switch (typeof value) {
    case "string":
      budget.text(6 * value.length);
      return quoteJson(value, options.ensureAscii);
    case "boolean":
    case "bigint":
      return String(value);
    case "number":
      return jsonFloat(value);
    default:
      return value === null ? "null" : writeContainer(value, options, budget, level);
  }
}

function writeContainer(value: Value, options: JsonOptions, budget: Budget, level: number): string {
  budget.enter();
  const write = (item: Value) => writeJson(item, options, budget, level + 1);
  let parts: string[];
  let brackets = "[]";
  const items = value instanceof Tuple ? value.items : value;
  if (isList(items)) {
    parts = items.map(write);
  } else if (value instanceof Dict) {
    brackets = "{}";
    parts = sortEntries(value, options).map(([key, item]) => {
      return quoteJson(keyText(key), options.ensureAscii) + options.keySeparator + write(item);
    });
  } else {
    const what = value instanceof Undefined ? "Undefined" : typeName(value);
    throw new TemplateError(`Object of type ${what} is not JSON serializable`);
  }
  budget.leave();
  return joinParts(parts, brackets, options, budget, level);
}

function joinParts(parts: string[], brackets: string, options: JsonOptions, budget: Budget, level: number): string {
  const { indent, itemSeparator } = options;
  const [open = "", close = ""] = brackets;
  const margin = indent === undefined || parts.length === 0 ? 0 : indent.length * level + 1;
  const length = parts.reduce((sum, part) => sum + part.length + itemSeparator.length + margin, 2 + margin);
  budget.text(length);
  if (margin === 0 || indent === undefined) {
    return open + parts.join(itemSeparator) + close;
  }
  const line = `\n${indent.repeat(level)}`;
  return `${open}${line}${parts.join(itemSeparator + line)}\n${indent.repeat(level - 1)}${close}`;
}

function sortEntries(dict: Dict, { sortKeys }: JsonOptions): (readonly [Value, Value])[] {
  const entries = Array.from(dict.entries());
  if (!sortKeys || entries.length < 2) {
    return entries;
  }
  return entries.sort(([left], [right]) => {
    if (typeof left !== "string" || typeof right !== "string") {
      throw new TemplateError("keys that are not texts cannot be sorted");
    }
    return compareTexts(left, right);
  });
}

function keyText(key: Value): string {
  switch (typeof key) {
    case "string":
      return key;
    case "boolean":
    case "bigint":
      return String(key);
    case "number":
      return jsonFloat(key);
    default:
      if (key !== null) {
        throw new TemplateError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
      }
      return "null";
  }
}

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) {
    return formatFloat(value);
  }
  return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

const shortEscapes: Record<string, string> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

function quoteJson(text: string, ensureAscii: boolean): string {
  const write = (unit: string) => shortEscapes[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const escapeControl = (unit: string) => (unit < " " ? write(unit) : unit);
  const written = text.replace(/["\\]/g, write).replace(/\p{Cc}/gu, ensureAscii ? write : escapeControl);
  return `"${ensureAscii ? written.replace(/[\u0080-\uffff]/g, write) : written}"`;
}
