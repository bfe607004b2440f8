// Numbers between bounds as grammar expressions over their decimal digits.

import { BitnetError } from "../system/errors.js";

/** A bound: its decimal digits, and whether the number itself is within. */
export interface Bound {
  value: number;
  isExclusive: boolean;
}

export interface NumberBounds {
  least?: Bound | undefined;
  most?: Bound | undefined;
}

/** An expression for whole numbers from `least` on, up to `most`, without a sign; undefined for none. */
type WriteUnsigned = (least: bigint, most: bigint | undefined) => string | undefined;

const digit = "[0-9]";

/** Whole numbers within bounds. */
export function writeInteger({ least, most }: NumberBounds, unsigned: WriteUnsigned = writeUnsigned): string {
  const from = least === undefined ? undefined : lowestInteger(least);
  const to = most === undefined ? undefined : highestInteger(most);
  return writeSigned(from, to, unsigned);
}

function lowestInteger({ value, isExclusive }: Bound): bigint {
  const up = BigInt(Math.ceil(value));
  return isExclusive && Number.isInteger(value) ? up + 1n : up;
}

function highestInteger({ value, isExclusive }: Bound): bigint {
  const down = BigInt(Math.floor(value));
  return isExclusive && Number.isInteger(value) ? down - 1n : down;
}

function writeSigned(from: bigint | undefined, to: bigint | undefined, unsigned: WriteUnsigned): string {
  const choices: string[] = [];
  if (from === undefined || from < 0n) {
    // -n for n from |to| up to |from|.
    const least = to !== undefined && to < 0n ? -to : 1n;
    const positive = unsigned(least, from === undefined ? undefined : -from);
    if (positive !== undefined) {
      choices.push(`"-" ${positive}`);
    }
  }
  if (to === undefined || to >= 0n) {
    const positive = unsigned(from !== undefined && from > 0n ? from : 0n, to);
    if (positive !== undefined) {
      choices.push(positive);
    }
  }
  return choices.length === 0 ? nothing : `(${choices.join(" | ")})`;
}

/** Matches no text. */
export const nothing = "[^\\U00000000-\\U0010ffff]";

/** From `least` on, up to `most`, without leading zeros; undefined for none. */
function writeUnsigned(least: bigint, most: bigint | undefined): string | undefined {
  if (most !== undefined && most < least) {
    return undefined;
  }
  const low = least.toString();
  const choices: string[] = [];
  const lengths = most === undefined ? low.length : most.toString().length;
  for (let length = low.length; length <= lengths; length++) {
    const first = length === low.length ? low : `1${"0".repeat(length - 1)}`;
    const last = most !== undefined && length === most.toString().length ? most.toString() : "9".repeat(length);
    choices.push(writeDigits(first, last));
  }
  if (most === undefined) {
    choices.push(`[1-9] ${digit}{${lengths},}`);
  }
  return `(${choices.join(" | ")})`;
}

/** Numbers of as many digits as both have, from `first` to `last`. */
function writeDigits(first: string, last: string): string {
  const [low = ""] = first;
  const [high = ""] = last;
  if (first === "") {
    return '""';
  }
  const rest = first.length - 1;
  if (low === high) {
    return `"${low}" ${writeDigits(first.slice(1), last.slice(1))}`;
  }
  const [zeros, nines] = ["0".repeat(rest), "9".repeat(rest)];
  const choices: string[] = [];
  let from = Number(low);
  let to = Number(high);
  if (first.slice(1) !== zeros) {
    choices.push(`"${low}" ${writeDigits(first.slice(1), nines)}`);
    from += 1;
  }
  if (last.slice(1) !== nines) {
    choices.push(`"${high}" ${writeDigits(zeros, last.slice(1))}`);
    to -= 1;
  }
  if (from <= to) {
    choices.push(`[${from}-${to}]${rest > 0 ? ` ${digit}{${rest}}` : ""}`);
  }
  return `(${choices.join(" | ")})`;
}

const fraction = `("." ${digit}{1,})?`;

/** Numbers within bounds, whole or with a fraction; with an exponent only where there are no bounds. */
export function writeNumber({ least, most }: NumberBounds): string {
  if (least === undefined && most === undefined) {
    return `"-"? ("0" | [1-9] ${digit}*) ${fraction} ([eE] [-+]? ${digit}+)?`;
  }
  const choices: string[] = [];
  if (least === undefined || least.value < 0) {
    // -x for x from |most| up to |least|; never -0, as a number that is not below 0 is written without a sign.
    const low = most !== undefined && most.value < 0 ? { ...most, value: -most.value } : zero(true);
    choices.push(`"-" ${writeReal(low, least === undefined ? undefined : { ...least, value: -least.value })}`);
  }
  if (most === undefined || most.value > 0 || (most.value === 0 && !most.isExclusive)) {
    choices.push(writeReal(least !== undefined && least.value >= 0 ? least : zero(false), most));
  }
  return choices.length === 0 ? nothing : `(${choices.join(" | ")})`;
}

function zero(isExclusive: boolean): Bound {
  return { value: 0, isExclusive };
}

/** Numbers that are not negative, from `least` to `most`. */
function writeReal(least: Bound, most: Bound | undefined): string {
  const [low, lowFraction] = decimalsOf(least);
  if (most === undefined) {
    const more = writeUnsigned(low + 1n, undefined) ?? nothing;
    return `("${low}" ${writeFraction(lowFraction, least.isExclusive, undefined, false)} | ${more} ${fraction})`;
  }
  const [high, highFraction] = decimalsOf(most);
  if (least.value > most.value) {
    return nothing;
  }
  if (low === high) {
    return `"${low}" ${writeFraction(lowFraction, least.isExclusive, highFraction, most.isExclusive)}`;
  }
  const between = writeUnsigned(low + 1n, high - 1n);
  return `(${[
    `"${low}" ${writeFraction(lowFraction, least.isExclusive, undefined, false)}`,
    ...(between === undefined ? [] : [`${between} ${fraction}`]),
    `"${high}" ${writeFraction("", false, highFraction, most.isExclusive)}`,
  ].join(" | ")})`;
}

/** The whole part, and the digits of the fraction without zeros at the end. */
function decimalsOf({ value }: Bound): [bigint, string] {
  const text = value.toString();
  if (/e/.test(text) && !Number.isInteger(value)) {
    throw new BitnetError("USAGE", `a bound of ${text}: expected a number that is written without an exponent`);
  }
  const [whole = "0", decimals = ""] = Number.isInteger(value) ? [BigInt(value).toString()] : text.split(".");
  return [BigInt(whole), decimals];
}

/** Fractions, or none, from the digits `low` to the digits `high`; undefined: without an end. */
function writeFraction(low: string, isLowOut: boolean, high: string | undefined, isHighOut: boolean): string {
  const choices: string[] = [];
  const isZeroIn = low === "" && !isLowOut && !(high === "" && isHighOut);
  if (isZeroIn) {
    choices.push('""');
  }
  const digits = fractionDigits(low, isLowOut, high, isHighOut);
  if (digits !== undefined) {
    choices.push(`"." ${digits}`);
  }
  return choices.length === 0 ? nothing : `(${choices.join(" | ")})`;
}

/** Digits behind the point, at least one; undefined if there are none. */
function fractionDigits(
  low: string,
  isLowOut: boolean,
  high: string | undefined,
  isHighOut: boolean,
  isFirst = true,
): string | undefined {
  const some = `${digit}{${isFirst ? 1 : 0},}`;
  if (low === "" && !isLowOut && high === undefined) {
    return some;
  }
  if (low === "" && high === undefined) {
    return `"0"* [1-9] ${digit}*`; // more than nothing
  }
  if (high === "") {
    // Only zeros are left, if the value itself is within.
    return isHighOut || low !== "" || isLowOut ? undefined : `"0"{${isFirst ? 1 : 0},}`;
  }
  const from = low === "" ? 0 : Number(low[0]);
  const to = high === undefined ? 9 : Number(high[0]);
  const choices: string[] = [];
  if (!isFirst && low === "" && !isLowOut) {
    choices.push('""'); // ends here: zero, which is within
  }
  for (let next = from; next <= to; next++) {
    const rest = fractionDigits(
      next === from ? low.slice(1) : "",
      next === from && isLowOut,
      high !== undefined && next === to ? high.slice(1) : undefined,
      next === to && isHighOut,
      false,
    );
    if (rest !== undefined) {
      choices.push(`"${next}" ${rest}`);
    }
  }
  return choices.length === 0 ? undefined : `(${choices.join(" | ")})`;
}
