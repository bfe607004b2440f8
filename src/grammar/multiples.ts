// Whole multiples of a number as rules over their decimal digits: one rule per remainder, as a digit goes from one to the
// next.

import { nothing } from "./numbers.js";

export type AddRule = (text: string) => string;

const digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

export class Multiples {
  readonly #divisor: number;
  readonly #addRule: AddRule;
  readonly #setRule: (name: string, text: string) => void;
  readonly #rules = new Map<string, string>(); // of what may follow: "remainder" or "remainder/digits"

  constructor(divisor: number, addRule: AddRule, setRule: (name: string, text: string) => void) {
    this.#divisor = divisor;
    this.#addRule = addRule;
    this.#setRule = setRule;
  }

  /** From `least` on, up to `most`, without leading zeros; undefined for none. */
  write(least: bigint, most: bigint | undefined): string | undefined {
    if (most !== undefined && most < least) {
      return undefined;
    }
    const low = least.toString();
    const high = most?.toString();
    const choices: string[] = [];
    for (let length = low.length; length <= (high ?? low).length; length++) {
      const first = length === low.length ? low : `1${"0".repeat(length - 1)}`;
      choices.push(this.#between(first, length === high?.length ? high : "9".repeat(length), 0));
    }
    if (high === undefined) {
      choices.push(this.#longer(low.length));
    }
    return `(${choices.join(" | ")})`;
  }

  /** Numbers of more digits than `length`. */
  #longer(length: number): string {
    const rows = digits.slice(1).map((digit) => `"${digit}" ${this.#atLeast(digit % this.#divisor, length)}`);
    return `(${rows.join(" | ")})`;
  }

  /** `count` digits or more behind a remainder. */
  #atLeast(remainder: number, count: number): string {
    return count === 0
      ? this.#any(remainder, undefined)
      : this.#rule(`${remainder}+${count}`, (digit) => this.#atLeast(this.#next(remainder, digit), count - 1), false);
  }

  /** `count` digits behind a remainder, or any number of them. */
  #any(remainder: number, count: number | undefined): string {
    if (count === 0) {
      return remainder === 0 ? '""' : nothing;
    }
    return count === undefined
      ? this.#rule(`${remainder}`, (digit) => this.#any(this.#next(remainder, digit), undefined), remainder === 0)
      : this.#rule(`${remainder}/${count}`, (digit) => this.#any(this.#next(remainder, digit), count - 1), false);
  }

  #rule(key: string, follow: (digit: number) => string, mayEnd: boolean): string {
    const known = this.#rules.get(key);
    if (known !== undefined) {
      return known;
    }
    const name = this.#addRule(nothing);
    this.#rules.set(key, name); // before its text, which may name it
    const choices = digits.map((digit) => `"${digit}" ${follow(digit)}`);
    this.#setRule(name, `${choices.join(" | ")}${mayEnd ? ' | ""' : ""}`);
    return name;
  }

  #next(remainder: number, digit: number): number {
    return (remainder * 10 + digit) % this.#divisor;
  }

  /** Numbers of as many digits as both have, from `first` to `last`, behind a remainder. */
  #between(first: string, last: string, remainder: number): string {
    const rest = first.length - 1;
    if (rest < 0) {
      return remainder === 0 ? '""' : nothing;
    }
    const [low, high] = [Number(first[0]), Number(last[0])];
    const [zeros, nines] = ["0".repeat(rest), "9".repeat(rest)];
    const choices: string[] = [];
    for (let digit = low; digit <= high; digit++) {
      const from = digit === low ? first.slice(1) : zeros;
      const to = digit === high ? last.slice(1) : nines;
      const next = this.#next(remainder, digit);
      const isFree = from === zeros && to === nines;
      choices.push(`"${digit}" ${isFree ? this.#any(next, rest) : this.#between(from, to, next)}`);
    }
    return `(${choices.join(" | ")})`;
  }
}
