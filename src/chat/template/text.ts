// Values as text: Python's str() and repr(), and what its text functions know of characters.

import { type Budget, TemplateError, unsupported } from "./limits.js";
import {
  Dict,
  DictView,
  isFlat,
  isList,
  Lazy,
  Markup,
  Namespace,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

const spaces = new Set("\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000");
for (let point = 0x2000; point <= 0x200a; point++) {
  spaces.add(String.fromCharCode(point));
}

/** What Python takes for white space; JavaScript's \s is another set. */
export const isSpace = (character: string) => spaces.has(character);

/** str(value). */
export function textOf(value: Value, budget: Budget): string {
  if (typeof value === "string") {
    return value;
  }
  if (value instanceof Undefined) {
    return "";
  }
  return value instanceof Markup ? value.text : reprOf(value, budget);
}

/** Written so that HTML shows it as it is. */
export function escapeHtml(text: string, budget: Budget): Markup {
  budget.text(6 * text.length);
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;" };
  return new Markup(text.replace(/[&<>"']/g, (character) => names[character] ?? ""));
}

/** repr(value). */
export function reprOf(value: Value, budget: Budget): string {
  budget.step();
  switch (typeof value) {
    case "string":
      budget.text(2 * value.length);
      budget.step(value.length / 4);
      return quote(value);
    case "boolean":
      return value ? "True" : "False";
    case "bigint": {
      const digits = String(value);
      budget.step(digits.length / 16);
      return digits;
    }
    case "number":
      return formatFloat(value);
    default:
      return reprOfObject(value, budget);
  }
}

function reprOfObject(value: Exclude<Value, string | boolean | bigint | number>, budget: Budget): string {
  if (value === null) {
    return "None";
  }
  if (value instanceof Undefined) {
    return "Undefined";
  }
  budget.enter();
  const text = reprOfContainer(value, budget);
  budget.text(text.length);
  budget.leave();
  return text;
}

function reprOfContainer(value: Value, budget: Budget): string {
  const list = (items: readonly Value[]) => items.map((item) => reprOf(item, budget)).join(", ");
  const pairs = (entries: Iterable<readonly [Value, Value]>) =>
    Array.from(entries, ([key, item]) => `${reprOf(key, budget)}: ${reprOf(item, budget)}`).join(", ");
  if (isList(value)) {
    return `[${list(value)}]`;
  }
  if (value instanceof Tuple) {
    return value.items.length === 1 ? `(${list(value.items)},)` : `(${list(value.items)})`;
  }
  if (value instanceof Dict) {
    return `{${pairs(value.entries())}}`;
  }
  if (value instanceof DictView) {
    return `dict_${value.kind}([${list(value.list())}])`;
  }
  if (value instanceof Range) {
    return `range(${value.start}, ${value.stop}${value.step === 1n ? "" : `, ${value.step}`})`;
  }
  if (value instanceof Namespace) {
    return `<Namespace {${pairs(value.attributes)}}>`;
  }
  const what = value instanceof Lazy ? "an iterator" : `a value of type '${typeName(value)}'`;
  throw unsupported(`writing ${what}, whose text in Python is an address,`);
}

/** Python's repr of a float: the shortest digits that read back, with an exponent from 1e16 and below 1e-4 on. */
export function formatFloat(value: number): string {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }
  if (Object.is(value, -0)) {
    return "-0.0";
  }
  const [mantissa = "", power = "0"] = value.toExponential().split("e");
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    const digits = String(Math.abs(exponent)).padStart(2, "0");
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${digits}`;
  }
  const plain = exponent < 0 ? value.toFixed(mantissa.replace(/[-.]/g, "").length - 1 - exponent) : String(value);
  return plain.includes(".") ? plain : `${plain}.0`;
}

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\\p{C}\p{Z}'"]/gu, (character) => escapeCharacter(character, mark));
  return mark + escaped + mark;
}

const shortEscapes: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escapeCharacter(character: string, mark: string): string {
  if (character === " " || character === "'" || character === '"') {
    return character === mark ? `\\${character}` : character;
  }
  const short = shortEscapes[character];
  return short ?? escapePoint(character.codePointAt(0) ?? 0);
}

/** "\x1b", "\u200b", "\U0001f600". */
export function escapePoint(point: number): string {
  const hex = point.toString(16);
  if (point < 0x100) {
    return `\\x${hex.padStart(2, "0")}`;
  }
  return point < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** The text without the characters at its ends for which `drop` holds. */
export function strip(text: string, drop: (character: string) => boolean, left: boolean, right: boolean): string {
  const characters = isFlat(text) ? text : Array.from(text);
  let start = 0;
  let end = characters.length;
  while (left && start < end && drop(characters[start] ?? "")) {
    start++;
  }
  while (right && end > start && drop(characters[end - 1] ?? "")) {
    end--;
  }
  return typeof characters === "string" ? characters.slice(start, end) : characters.slice(start, end).join("");
}

/** Pieces of the text between the positions, in characters, that a slice of Python means. */
export function sliceText(text: string, pick: (length: number) => Iterable<number>): string {
  const characters = isFlat(text) ? text : Array.from(text);
  return Array.from(pick(characters.length), (index) => characters[index] ?? "").join("");
}

/** Less than 0, 0 or more than 0: by code points, as Python orders texts. */
export function compareTexts(left: string, right: string): number {
  if (isFlat(left) && isFlat(right)) {
    return left < right ? -1 : left > right ? 1 : 0;
  }
  const rights = Array.from(right, (character) => character.codePointAt(0) ?? 0);
  const lefts = Array.from(left, (character) => character.codePointAt(0) ?? 0);
  const differs = lefts.findIndex((point, i) => point !== rights[i]);
  return differs < 0 ? lefts.length - rights.length : (lefts[differs] ?? 0) - (rights[differs] ?? -1);
}

/**
 * round(value * 10 ** digits) as Python rounds: exactly, halves to the even neighbour. `value` is finite.
 */
export function scaleAndRound(value: number, digits: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const bits = view.getBigUint64(0);
  const biased = Number(bits >> 52n);
  const fraction = bits & 0xfffffffffffffn;
  const mantissa = biased === 0 ? fraction : fraction | (1n << 52n);
  const exponent = Math.max(biased, 1) - 1075;
  const numerator = mantissa * (exponent > 0 ? 1n << BigInt(exponent) : 1n) * 10n ** BigInt(Math.max(digits, 0));
  const denominator = (exponent < 0 ? 1n << BigInt(-exponent) : 1n) * 10n ** BigInt(Math.max(-digits, 0));
  const quotient = numerator / denominator;
  const twice = 2n * (numerator % denominator);
  const rounded = twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient;
  return value < 0 ? -rounded : rounded;
}

/** int(text, base) of Python; undefined where it would fail. */
export function parseInteger(text: string, base: number): bigint | undefined {
  refuseForeignDigits(text);
  const trimmed = strip(text, isSpace, true, true);
  const [, sign = "", prefix = "", digits = ""] = /^([+-]?)(0[box])?_?([0-9a-z]+(?:_[0-9a-z]+)*)$/i.exec(trimmed) ?? [];
  const marked: Record<string, number> = { "0b": 2, "0o": 8, "0x": 16 };
  const actual = base === 0 ? (marked[prefix.toLowerCase()] ?? 10) : base;
  let body = digits;
  if (prefix !== "" && marked[prefix.toLowerCase()] !== actual) {
    body = prefix + digits; // in base 16 "0b1" is a number of three digits
  }
  const plain = body.replaceAll("_", "").toLowerCase();
  if (plain === "" || (base === 0 && prefix === "" && /^0+[1-9]/.test(plain))) {
    return undefined;
  }
  const worths = Array.from(plain, (digit) => Number.parseInt(digit, 36));
  if (!worths.every((worth) => worth < actual)) {
    return undefined;
  }
  const value = actual === 10 ? BigInt(plain) : worths.reduce((sum, worth) => sum * BigInt(actual) + BigInt(worth), 0n);
  return sign === "-" ? -value : value;
}

/** float(text) of Python; undefined where it would fail. */
export function parseFloatText(text: string): number | undefined {
  refuseForeignDigits(text);
  const trimmed = strip(text, isSpace, true, true).toLowerCase();
  const special = /^([+-]?)(inf|infinity|nan)$/.exec(trimmed);
  if (special !== null) {
    const value = special[2] === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
    return special[1] === "-" ? -value : value;
  }
  const digits = "\\d+(?:_\\d+)*";
  const number = new RegExp(`^[+-]?(?:${digits}\\.?(?:${digits})?|\\.${digits})(?:e[+-]?${digits})?$`);
  return number.test(trimmed) ? Number(trimmed.replaceAll("_", "")) : undefined;
}

const maxDigits = 4300; // Python's own limit

function refuseForeignDigits(text: string): void {
  if (text.length > maxDigits) {
    throw new TemplateError(`a number of more than ${maxDigits} digits`);
  }
  if (/\P{ASCII}/u.test(text) && /\p{Nd}/u.test(text.replace(/[0-9]/g, ""))) {
    throw unsupported("reading a number in digits other than 0 to 9");
  }
}
