// Numbers of a schema: bounds, multiples and numbers that are not wanted together.

import { refuse } from "./error.js";
import { type Flat, numberBits, typeBits } from "./flat.js";
import { Multiples } from "./multiples.js";
import { nothing, writeInteger, writeNumber } from "./numbers.js";
import { quoteText } from "./text.js";
import { decimal, type Writer } from "./writer.js";

const maxDivisor = 1000;
const maxRules = 4000; // of one multipleOf

export function writeNumeric(writer: Writer, flat: Flat): string {
  for (const bound of [flat.least, flat.most]) {
    if (bound !== undefined && !Number.isInteger(bound.value) && /e/.test(String(bound.value))) {
      const names = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
      const place = names.map((name) => flat.places[name]).find((one) => one !== undefined);
      refuse(place ?? "", `a bound of ${bound.value}: expected a number that is written without an exponent`);
    }
  }
  const isWhole = (flat.types & numberBits) === typeBits.integer;
  const excluded = flat.notValues.flatMap(({ value }) => (typeof value === "number" ? [value] : []));
  const tests = excluded.map((value) => `~(${quoteText(JSON.stringify(value))} ${isWhole ? "" : writeZeros(value)})`);
  if ((flat.types & numberBits) === typeBits.fraction) {
    tests.push('"-"? [0-9]+ "." [0-9]* [1-9] [0-9]*');
  }
  const divided = divide(flat, isWhole);
  if (divided.fractions !== undefined) {
    tests.push(`"-"? [0-9]+ ${divided.fractions}`);
  }
  if (divided.divisor > 1 || divided.isWhole) {
    return writeMultiples(writer, flat, divided.divisor, tests);
  }
  if (isWhole) {
    return join([writeInteger(flat), ...tests]);
  }
  // Without an exponent where it is looked at as digits.
  const { least = tests.length > 0 ? { value: -Number.MAX_VALUE, isExclusive: false } : undefined } = flat;
  const isBounded = least !== undefined || flat.most !== undefined;
  const plain = tests.length > 0 && !(flat.least !== undefined || flat.most !== undefined);
  const numbers = plain ? '"-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)?' : writeNumber(isBounded ? flat : {});
  return join([numbers, ...tests]);
}

function join(tests: readonly string[]): string {
  return tests.length === 1 ? (tests[0] ?? nothing) : `(${tests.map((test) => `(${test})`).join(" & ")})`;
}

/** A number may be written with zeros behind its decimals. */
function writeZeros(value: number): string {
  return Number.isInteger(value) ? '("." "0"+)?' : '"0"*';
}

interface Divided {
  /** Whole numbers are multiples of it. */
  divisor: number;
  /** No number with a fraction is valid. */
  isWhole: boolean;
  /** What may stand behind the whole digits. */
  fractions?: string;
}

/** What multipleOf asks of whole numbers and of fractions. */
function divide(flat: Flat, isWhole: boolean): Divided {
  let divisor = 1n;
  let allWhole = isWhole;
  let fractions: string | undefined;
  for (const { value, at } of flat.multiples) {
    const { digits, decimals } = decimal(value);
    const scale = 10n ** BigInt(decimals);
    const common = gcd(digits, scale);
    const [top, bottom] = [digits / common, scale / common]; // value = top / bottom
    if (bottom === 1n || isWhole) {
      divisor = (divisor * top) / gcd(divisor, top);
      allWhole = true;
    } else if (top === 1n && bottom <= 1000n && fractions === undefined) {
      fractions = writeFractions(Number(bottom), decimals);
    } else {
      refuse(at, "expected a whole number, or one of which 1 is a multiple, as 0.01 or 0.25");
    }
    if (divisor > BigInt(maxDivisor)) {
      refuse(at, `a divisor of more than ${maxDivisor} is not supported`);
    }
  }
  const [first] = flat.multiples;
  if (allWhole && !isWhole && fractions !== undefined && first !== undefined) {
    fractions = undefined; // whole numbers are multiples of 1 / n
  }
  return { divisor: Number(divisor), isWhole: allWhole && !isWhole, ...(fractions === undefined ? {} : { fractions }) };
}

/** Nothing, or a point and the digits of k / n. */
function writeFractions(n: number, decimals: number): string {
  if (n === 10 ** decimals) {
    return `("." [0-9]{1,${decimals}} "0"*)?`;
  }
  const digits = Array.from({ length: n }, (_, k) => String((k * 10 ** decimals) / n).padStart(decimals, "0"));
  const choices = digits.map((text) => `"${text.replace(/0+$/, "")}" "0"*`);
  return `("." (${choices.join(" | ")}) & ("" | "." [0-9]+))?`;
}

function writeMultiples(writer: Writer, flat: Flat, divisor: number, tests: readonly string[]): string {
  const [at = { at: "" }] = flat.multiples;
  if (tests.length > 0) {
    refuse(at.at, "multipleOf beside numbers that are excluded is not supported");
  }
  const longest = Math.max(...[flat.least, flat.most].map((bound) => Math.abs(bound?.value ?? 0)), 1);
  if (divisor * (Math.log10(longest) + 1) > maxRules) {
    refuse(at.at, "too large a divisor for these bounds");
  }
  const multiples = new Multiples(
    divisor,
    (text) => writer.addRule(text),
    (name, text) => writer.setRule(name, text),
  );
  return writeInteger(flat, (least, most) => multiples.write(least, most));
}

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a, b];
  while (y !== 0n) {
    [x, y] = [y, x % y];
  }
  return x;
}
