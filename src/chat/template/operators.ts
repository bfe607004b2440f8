// What Python's operators do with two values, and what it finds inside of one.

import { type Budget, TemplateError, unsupported } from "./limits.js";
import { formatPercent } from "./string-format.js";
import { compareTexts, escapeHtml, sliceText } from "./text.js";
import {
  Dict,
  DictView,
  isEqual,
  isFlat,
  isList,
  isSameNumber,
  Markup,
  numberOf,
  payReading,
  Range,
  requireDefined,
  requireItems,
  Tuple,
  typeName,
  type Value,
} from "./values.js";

// An int of 5000 digits is no longer one that a template needs.
const maxBits = 16_384;

export function binary(operator: string, left: Value, right: Value, budget: Budget): Value {
  if (operator === "%" && typeof left === "string") {
    return formatPercent(left, right, budget);
  }
  requireDefined(left);
  requireDefined(right);
  if (left instanceof Markup || right instanceof Markup) {
    return joinMarkup(operator, left, right, budget);
  }
  if (left instanceof DictView || right instanceof DictView) {
    throw unsupported("an operator on the keys or items of a dict"); // sets, in Python
  }
  const result = sequenceResult(operator, left, right, budget) ?? numberResult(operator, left, right, budget);
  if (result === undefined) {
    throw new TemplateError(`no operator ${operator} for '${typeName(left)}' and '${typeName(right)}'`);
  }
  return result;
}

/** What is safe stays so: a text that is added to it is escaped. */
function joinMarkup(operator: string, left: Value, right: Value, budget: Budget): Markup {
  const [first, second] = [left, right].map((value) => {
    const safe = typeof value === "string" ? escapeHtml(value, budget) : value;
    if (operator !== "+" || !(safe instanceof Markup)) {
      throw unsupported("an operator other than + on the result of 'safe' or 'escape', or + with another type,");
    }
    return safe.text;
  });
  return new Markup(concat([first ?? "", second ?? ""], budget));
}

function sequenceResult(operator: string, left: Value, right: Value, budget: Budget): Value | undefined {
  if (operator === "*") {
    const [sequence, count] = typeof numberOf(left) === "bigint" ? [right, left] : [left, right];
    const times = numberOf(count);
    return typeof times === "bigint" ? repeat(sequence, times, budget) : undefined;
  }
  if (operator !== "+") {
    return undefined;
  }
  if (typeof left === "string" && typeof right === "string") {
    return concat([left, right], budget);
  }
  const [first, second] = left instanceof Tuple && right instanceof Tuple ? [left.items, right.items] : [left, right];
  if (isList(first) && isList(second)) {
    budget.step(first.length + second.length);
    const items = first.concat(second);
    return left instanceof Tuple ? new Tuple(items) : items;
  }
  return undefined;
}

/** Joins texts. What is long stays a rope, so that only its length counts. */
export function concat(texts: readonly string[], budget: Budget): string {
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  budget.text(length > 1024 ? length / 16 : length);
  budget.size(length);
  return texts.join("");
}

function repeat(sequence: Value, count: bigint, budget: Budget): Value | undefined {
  const times = count < 0n ? 0 : Number(count);
  if (typeof sequence === "string") {
    budget.text(sequence.length * times);
    return sequence === "" ? "" : sequence.repeat(times);
  }
  const items = sequence instanceof Tuple ? sequence.items : sequence;
  if (!isList(items)) {
    return undefined;
  }
  budget.step(items.length * times);
  const repeated = items.length === 0 ? [] : Array.from({ length: times }, () => items).flat();
  return sequence instanceof Tuple ? new Tuple(repeated) : repeated;
}

// Of a calculation with ints that are longer than a word; up to the limit none takes longer.
const longIntegerSteps = 200;
const isSmall = (value: bigint) => value < 2n ** 32n && value > -(2n ** 32n);

function numberResult(operator: string, leftValue: Value, rightValue: Value, budget: Budget): Value | undefined {
  const left = numberOf(leftValue);
  const right = numberOf(rightValue);
  if (left === undefined || right === undefined) {
    return undefined;
  }
  if (typeof left === "bigint" && typeof right === "bigint") {
    budget.step(isSmall(left) && isSmall(right) && operator !== "**" ? 0 : longIntegerSteps);
    return integerResult(operator, left, right);
  }
  return floatResult(operator, toFloat(left), toFloat(right));
}

export function toFloat(value: bigint | number): number {
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float)) {
    throw new TemplateError("int too large to convert to float");
  }
  return float;
}

function integerResult(operator: string, left: bigint, right: bigint): Value | undefined {
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return checkSize(left, right, (a, b) => a + b) && left * right;
    case "**":
      if (right < 0n) {
        return floatResult("**", toFloat(left), toFloat(right));
      }
      return checkSize(left, right, (a) => (left < 2n && left > -2n ? 1 : a * Number(right))) && left ** right;
    case "/":
      return divideExactly(left, right);
    case "//":
    case "%": {
      checkDivisor(right);
      const rest = left % right;
      const isBelow = rest !== 0n && rest < 0n !== right < 0n;
      if (operator === "%") {
        return isBelow ? rest + right : rest;
      }
      return left / right - (isBelow ? 1n : 0n);
    }
    default:
      return undefined;
  }
}

/** True if a result of that many bits is one to compute. */
function checkSize(left: bigint, right: bigint, bitsOf: (left: number, right: number) => number): true {
  if (bitsOf(left.toString(2).length, right.toString(2).length) > maxBits) {
    throw new TemplateError("the result of a calculation has too many digits");
  }
  return true;
}

function divideExactly(left: bigint, right: bigint): number {
  checkDivisor(right);
  const isExact = (value: bigint) => value <= 2n ** 53n && value >= -(2n ** 53n);
  if (!isExact(left) || !isExact(right)) {
    throw unsupported("the division of ints beyond 2 ** 53");
  }
  return Number(left) / Number(right);
}

function checkDivisor(value: bigint | number): void {
  if (Number(value) === 0) {
    throw new TemplateError("division by zero");
  }
}

function floatResult(operator: string, left: number, right: number): Value | undefined {
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      checkDivisor(right);
      return left / right;
    case "//":
    case "%": {
      checkDivisor(right);
      const [quotient, rest] = divideFloor(left, right);
      return operator === "%" ? rest : quotient;
    }
    case "**":
      return floatPower(left, right);
    default:
      return undefined;
  }
}

/** As float.__divmod__. */
function divideFloor(left: number, right: number): [number, number] {
  let rest = left % right;
  let quotient = (left - rest) / right;
  if (rest === 0) {
    rest = right < 0 ? -0 : 0;
  } else if (rest < 0 !== right < 0) {
    rest += right;
    quotient -= 1;
  }
  if (quotient === 0) {
    return [0 * Math.sign(left / right), rest]; // a zero has a sign
  }
  const floor = Math.floor(quotient);
  return [quotient - floor > 0.5 ? floor + 1 : floor, rest];
}

function floatPower(left: number, right: number): number {
  if (left === 0 && right < 0) {
    throw new TemplateError("zero to a negative power");
  }
  if (left === 1 || (left === -1 && !Number.isFinite(right))) {
    return Number.isNaN(left) ? left : 1;
  }
  const result = left ** right;
  if (Number.isNaN(result) && !Number.isNaN(left) && !Number.isNaN(right)) {
    throw unsupported("a complex number");
  }
  if (!Number.isFinite(result) && Number.isFinite(left) && Number.isFinite(right)) {
    throw new TemplateError("the result of a calculation is too large");
  }
  return result;
}

export function unary(operator: "-" | "+", value: Value): Value {
  requireDefined(value);
  const number = numberOf(value);
  if (number === undefined) {
    throw new TemplateError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  }
  return operator === "-" ? -number : number;
}

/** One of == != < <= > >= in, not in. */
export function compare(operator: string, left: Value, right: Value, budget: Budget): boolean {
  switch (operator) {
    case "==":
      return isEqual(left, right, budget);
    case "!=":
      return !isEqual(left, right, budget);
    case "in":
      return isIn(left, right, budget);
    case "not in":
      return !isIn(left, right, budget);
    default: {
      const order = orderOf(left, right, budget);
      return { "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0 }[operator] ?? false;
    }
  }
}

/** Less than 0, 0, more than 0; NaN compares as false, which it does with NaN as order. Fails where Python does. */
export function orderOf(left: Value, right: Value, budget: Budget): number {
  requireDefined(left);
  requireDefined(right);
  budget.step();
  if (typeof left === "string" && typeof right === "string") {
    payReading(left, budget);
    payReading(right, budget);
    return compareTexts(left, right);
  }
  const first = numberOf(left);
  const second = numberOf(right);
  if (first !== undefined && second !== undefined) {
    return first < second ? -1 : first > second ? 1 : isSameNumber(first, second) ? 0 : Number.NaN;
  }
  const lists = left instanceof Tuple && right instanceof Tuple ? [left.items, right.items] : [left, right];
  const [firstList, secondList] = lists;
  if (isList(firstList) && isList(secondList)) {
    budget.enter();
    const order = orderOfLists(firstList, secondList, budget);
    budget.leave();
    return order;
  }
  throw new TemplateError(`'${typeName(left)}' and '${typeName(right)}' have no order`);
}

function orderOfLists(left: readonly Value[], right: readonly Value[], budget: Budget): number {
  const differs = left.findIndex((item, i) => i >= right.length || !isEqual(item, right[i] ?? null, budget));
  if (differs < 0 || differs >= right.length) {
    return left.length - right.length;
  }
  return orderOf(left[differs] ?? null, right[differs] ?? null, budget);
}

export function isIn(item: Value, container: Value, budget: Budget): boolean {
  if (typeof container === "string") {
    if (typeof item !== "string") {
      requireDefined(item);
      throw new TemplateError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    budget.text(container.length);
    return container.includes(item);
  }
  if (container instanceof Dict) {
    return container.get(item, budget) !== undefined;
  }
  if (container instanceof Markup) {
    throw unsupported("'in' on the result of 'safe' or 'escape'");
  }
  return requireItems(container, budget).some((other) => isEqual(other, item, budget));
}

/** `object[key]` where that is an item; undefined where Python fails. */
export function findItem(object: Value, key: Value, budget: Budget): Value | undefined {
  requireDefined(object);
  if (object instanceof Dict) {
    return findEntry(object, key, budget);
  }
  const index = numberOf(key);
  if (typeof index !== "bigint") {
    return undefined;
  }
  if (typeof object === "string") {
    return characterAt(object, Number(index), budget);
  }
  if (object instanceof Range) {
    const place = index < 0n ? Number(index) + object.length : Number(index);
    return place >= 0 && place < object.length ? object.at(place) : undefined;
  }
  const items = object instanceof Tuple ? object.items : object;
  return isList(items) ? items.at(Number(index)) : undefined;
}

function findEntry(dict: Dict, key: Value, budget: Budget): Value | undefined {
  return isList(key) || key instanceof Dict ? undefined : dict.get(key, budget); // which no dict can have as keys
}

function characterAt(text: string, index: number, budget: Budget): string | undefined {
  payReading(text, budget);
  if (isFlat(text)) {
    return text.at(index);
  }
  return Array.from(text).at(index);
}

/**
 * `object[start:stop:step]`. Where Python fails, Jinja2 does so, too, but among constants it goes on with Undefined; here
 * both are an error.
 */
export function slice(object: Value, bounds: readonly (Value | undefined)[], budget: Budget): Value {
  requireDefined(object);
  if (!bounds.every(isBound)) {
    throw unsupported("a slice whose bounds are no ints");
  }
  const [start, stop, step] = bounds.map(readBound);
  const pick = (length: number) => {
    const places = listPlaces(length, start, stop, step);
    budget.step(places.length);
    return places;
  };
  if (typeof object === "string") {
    payReading(object, budget);
    if ((step ?? 1) === 1 && isFlat(object)) {
      const [from = 0, to = 0] = clampBounds(object.length, start, stop, 1);
      return object.slice(from, Math.max(from, to));
    }
    return sliceText(object, pick);
  }
  const items = object instanceof Tuple ? object.items : object;
  if (isList(items)) {
    const picked = pick(items.length).map((place) => items[place] ?? null);
    return object instanceof Tuple ? new Tuple(picked) : picked;
  }
  throw unsupported(`a slice of a value of type '${typeName(object)}'`);
}

function isBound(bound: Value | undefined): boolean {
  return bound === undefined || bound === null || typeof numberOf(bound) === "bigint";
}

function readBound(bound: Value | undefined): number | undefined {
  return bound === undefined || bound === null ? undefined : Number(numberOf(bound));
}

/** Where a slice begins and ends, as slice.indices(). */
export function clampBounds(length: number, start: number | undefined, stop: number | undefined, step: number) {
  const [low, high] = step < 0 ? [-1, length - 1] : [0, length];
  const clamp = (bound: number) => Math.min(Math.max(bound < 0 ? bound + length : bound, low), high);
  const [first, last] = step < 0 ? [high, low] : [low, high];
  return [start === undefined ? first : clamp(start), stop === undefined ? last : clamp(stop)];
}

function listPlaces(length: number, start?: number, stop?: number, step = 1): number[] {
  if (step === 0) {
    throw new TemplateError("slice step cannot be zero");
  }
  const [from = 0, to = 0] = clampBounds(length, start, stop, step);
  const count = Math.max(0, Math.ceil((to - from) / step));
  return Array.from({ length: count }, (_, i) => from + i * step);
}

/** len(value); fails for what has none. */
export function requireLength(value: Value, length: number | undefined): bigint {
  if (length === undefined) {
    throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
  }
  return BigInt(length);
}
