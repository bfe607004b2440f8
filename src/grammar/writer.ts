// What the writers of values share: rules, and an exact test of values that are known already.

import { GrammarError } from "./error.js";
import { Expander } from "./expand.js";
import { type All, type Flat, typeOf } from "./flat.js";
import { distinctValues, hasValue, isObject, type JsonObject, valueKey } from "./json.js";
import { nothing, writeNumber } from "./numbers.js";
import { anyCharacter } from "./regex.js";
import { testText } from "./string-test.js";
import { quoteText } from "./text.js";

const maxRules = 10_000;
const maxText = 4 << 20; // of all rules

/** The rules that every grammar of a schema may use. At most one space stands where JSON allows any. */
const basics: Readonly<Record<string, string>> = {
  sp: '" "?',
  comma: '"," sp',
  hex: "[0-9a-fA-F]",
  // One character of a string: JSON's escapes, surrogates only as pairs, so that lengths count code points.
  char: [
    "[^\\x22\\x5c\\U00000000-\\U0000001f]",
    '"\\\\" [\\x22\\x5c/bfnrt]',
    '"\\\\u" ([0-9abcefABCEF] hex{3} | [dD] [0-7] hex{2})',
    '"\\\\u" [dD] [89abAB] hex{2} "\\\\u" [dD] [c-fC-F] hex{2}',
  ].join(" | "),
  usual: anyCharacter, // one as it is usually written
  // One beside a pattern, which takes only the usual spelling itself: fewer states.
  counted: '[^\\x22\\x5c\\U00000000-\\U0000001f] | "\\\\" ([\\x22\\x5cbfnrt] | "u00" [01] hex)',
  string: '"\\"" char* "\\""',
  number: writeNumber({}),
  boolean: '"true" | "false"',
  null: '"null"',
  value: "object | array | string | number | boolean | null",
  object: '"{" sp (member (comma member)* sp)? "}"',
  member: 'string ":" sp value',
  array: '"[" sp (value (comma value)* sp)? "]"',
};

export class Writer {
  readonly expander: Expander;
  readonly #rules = new Map<string, string>();
  readonly #shared = new Map<string, string>();
  #count = 0;
  #length = 0;

  constructor(root: unknown) {
    this.expander = new Expander(root);
  }

  /** All rules, in the grammar's syntax. */
  text(root: string): string {
    this.#rules.set("root", root);
    return [...this.#rules].map(([name, text]) => `${name} ::= ${text}\n`).join("");
  }

  /** The name of a rule of `basics`, which is part of the grammar from now on. */
  basic(name: string): string {
    const text = basics[name];
    if (text !== undefined && !this.#rules.has(name)) {
      this.#rules.set(name, text);
      for (const [used] of text.replaceAll(/"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]/g, " ").matchAll(/[a-z]+/g)) {
        this.basic(used);
      }
    }
    return name;
  }

  addRule(text: string): string {
    this.#count += 1;
    const name = `r${this.#count}`;
    this.setRule(name, text);
    if (this.#count > maxRules) {
      throw new GrammarError({ keyword: "", pointer: "" }, `it takes more than ${maxRules} rules`);
    }
    return name;
  }

  setRule(name: string, text: string): void {
    this.#length += text.length;
    if (this.#length > maxText) {
      throw new GrammarError({ keyword: "", pointer: "" }, `its rules take more than ${maxText >> 20} MiB`);
    }
    this.#rules.set(name, text);
  }

  /** A rule that is written once, however often it is asked for. */
  shared(key: string, write: () => string): string {
    let name = this.#shared.get(key);
    if (name === undefined) {
      name = this.addRule(write());
      this.#shared.set(key, name);
    }
    return name;
  }

  list(open: string, parts: readonly string[], close: string): string {
    const sp = this.basic("sp");
    const inside = parts.length === 0 ? "" : `${parts.join(` ${this.basic("comma")} `)} ${sp}`;
    return `("${open}" ${sp} ${inside} "${close}")`;
  }

  key(key: string): string {
    return `${quoteText(`${JSON.stringify(key)}:`)} ${this.basic("sp")}`;
  }

  /** A value that is known. */
  value(value: unknown): string {
    if (Array.isArray(value)) {
      const items = value.map((item) => this.value(item));
      return this.list("[", items, "]");
    }
    if (isObject(value)) {
      const members = Object.entries(value).map(([key, item]) => `${this.key(key)} ${this.value(item)}`);
      return this.list("{", members, "}");
    }
    return quoteText(JSON.stringify(value));
  }

  // ---- values that are known

  /** Whether a value is valid by all of these. */
  accepts(all: All, value: unknown): boolean {
    return this.expander.expand(all).some((flat) => this.isValid(flat, value));
  }

  isValid(flat: Flat, value: unknown): boolean {
    const isListed = flat.values === undefined || hasValue(flat.values, value);
    const isExcluded = flat.notValues.some((no) => valueKey(no.value) === valueKey(value));
    if (!isListed || (flat.types & typeOf(value)) === 0 || isExcluded) {
      return false;
    }
    if (typeof value === "string") {
      const length = [...value].length;
      return isWithin(length, flat.length) && flat.tests.every((test) => testText(test, value));
    }
    if (typeof value === "number") {
      return isInRange(flat, value) && flat.multiples.every((multiple) => isMultiple(value, multiple.value));
    }
    if (Array.isArray(value)) {
      return this.#isValidArray(flat, value);
    }
    return isObject(value) ? this.#isValidObject(flat, value) : true;
  }

  #isValidArray(flat: Flat, items: readonly unknown[]): boolean {
    return (
      isWithin(items.length, flat.count) &&
      (flat.uniqueAt === undefined || distinctValues(items).length === items.length) &&
      items.every((item, i) => this.accepts(itemAt(flat, i), item)) &&
      flat.contains.every(({ wanted, count }) =>
        isWithin(items.filter((item) => this.accepts([wanted], item)).length, count),
      )
    );
  }

  #isValidObject(flat: Flat, value: JsonObject): boolean {
    const names = Object.keys(value);
    return (
      isWithin(names.length, flat.members) &&
      flat.required.every((name) => Object.hasOwn(value, name)) &&
      names.every((name) => this.accepts(flat.names, name) && this.accepts(this.propertyOf(flat, name), value[name]))
    );
  }

  /** What a property must be. */
  propertyOf(flat: Flat, name: string): All {
    return this.expander.propertyOf(flat, name, (source, at) =>
      testText({ keyword: "pattern", source, at, not: false }, name),
    );
  }
}

/** What an item must be. */
export function itemAt(flat: Flat, i: number): All {
  return flat.items.flatMap(({ first, others }) => first[i] ?? others ?? []);
}

/** Ends where each layer has only its other items. */
export function firstItems(flat: Flat): number {
  return Math.max(0, ...flat.items.map(({ first }) => first.length));
}

function isWithin(n: number, { least, most }: Flat["count"]): boolean {
  return n >= least && (most === undefined || n <= most);
}

function isInRange({ least, most }: Flat, value: number): boolean {
  const isAbove = least === undefined || value > least.value || (value === least.value && !least.isExclusive);
  return isAbove && (most === undefined || value < most.value || (value === most.value && !most.isExclusive));
}

/** Both as they are written in decimal digits. */
function isMultiple(value: number, divisor: number): boolean {
  const [a, b] = [decimal(value), decimal(divisor)];
  const scale = Math.max(a.decimals, b.decimals);
  const whole = ({ digits, decimals }: Decimal) => digits * 10n ** BigInt(scale - decimals);
  return whole(a) % whole(b) === 0n;
}

export interface Decimal {
  digits: bigint;
  decimals: number;
}

/** digits / 10^decimals. */
export function decimal(value: number): Decimal {
  const [mantissa = "0", exponent = "0"] = String(value).split("e");
  const [whole = "0", fraction = ""] = mantissa.split(".");
  const decimals = fraction.length - Number(exponent);
  const digits = BigInt(whole + fraction);
  return decimals >= 0 ? { digits, decimals } : { digits: digits * 10n ** BigInt(-decimals), decimals: 0 };
}

export function joinChoices(choices: readonly string[]): string {
  const [first = nothing] = choices;
  return choices.length < 2 ? first : `(${choices.join(" | ")})`;
}
