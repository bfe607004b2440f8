// The values of templates: Python's, as Jinja2 has them. An int is a bigint, a float a number, None is null, a list an array.

import { type Budget, TemplateError, unsupported } from "./limits.js";

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | readonly Value[]
  | Tuple
  | Dict
  | DictView
  | Range
  | Lazy
  | Markup
  | Undefined
  | Namespace
  | Callable
  | Helper;

/** A name or an attribute that is not there: empty text, no items, false; anything else fails with `message`. */
export class Undefined {
  readonly message: string;
  constructor(message: string) {
    this.message = message;
  }
}

export class Tuple {
  readonly items: readonly Value[];
  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** Keys are equal as in Python: 1, 1.0 and True are one key. */
export class Dict {
  readonly #entries = new Map<string, readonly [Value, Value]>();

  constructor(entries: Iterable<readonly [Value, Value]> = [], budget?: Budget) {
    for (const [key, value] of entries) {
      this.set(key, value, budget);
    }
  }

  get size(): number {
    return this.#entries.size;
  }

  /** `budget` pays for reading the key. */
  get(key: Value, budget?: Budget): Value | undefined {
    return this.#entries.get(hashOf(key, budget))?.[1];
  }

  set(key: Value, value: Value, budget?: Budget): void {
    const hash = hashOf(key, budget);
    this.#entries.set(hash, [this.#entries.get(hash)?.[0] ?? key, value]);
  }

  entries(): IterableIterator<readonly [Value, Value]> {
    return this.#entries.values();
  }

  keys(): Value[] {
    return Array.from(this.#entries.values(), ([key]) => key);
  }
}

/** What keys(), values() and items() give. */
export class DictView {
  readonly kind: "keys" | "values" | "items";
  readonly dict: Dict;
  constructor(kind: DictView["kind"], dict: Dict) {
    this.kind = kind;
    this.dict = dict;
  }

  list(): Value[] {
    return Array.from(this.dict.entries(), ([key, value]) =>
      this.kind === "items" ? new Tuple([key, value]) : this.kind === "keys" ? key : value,
    );
  }
}

export class Range {
  readonly start: bigint;
  readonly stop: bigint;
  readonly step: bigint;
  readonly length: number;
  constructor(start: bigint, stop: bigint, step: bigint, length: number) {
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = length;
  }

  at(index: number): bigint {
    return this.start + BigInt(index) * this.step;
  }
}

/** Items that can be read once, in order: what Python calls an iterator. */
export class Lazy {
  readonly items: Iterator<Value>;
  constructor(items: Iterable<Value>) {
    this.items = items[Symbol.iterator]();
  }
}

/** What `safe` and `escape` give. It can be written, and is not taken for a text anywhere else. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export class Namespace {
  readonly attributes: Map<string, Value>;
  constructor(attributes: Map<string, Value>) {
    this.attributes = attributes;
  }
}

export interface Arguments {
  positional: readonly Value[];
  named: ReadonlyMap<string, Value>;
}

export class Callable {
  readonly name: string;
  readonly call: (args: Arguments) => Value;
  constructor(name: string, call: (args: Arguments) => Value) {
    this.name = name;
    this.call = call;
  }
}

/** An object of Jinja's own, such as `loop`: attributes, and maybe a call. */
export abstract class Helper {
  abstract readonly name: string;
  abstract attribute(name: string): Value | undefined;
  call?(args: Arguments): Value;
}

/** What filters, tests and methods have of the interpreter that runs them. */
export interface Runtime {
  readonly budget: Budget;
  readonly now: Date;
  filter(name: string, value: Value, args: Arguments): Value;
  test(name: string, value: Value, args: Arguments): boolean;
}

export const noArguments: Arguments = { positional: [], named: new Map() };

/** Tells lists apart, which TypeScript cannot do for readonly arrays. */
export function isList(value: Value | undefined): value is readonly Value[] {
  return Array.isArray(value);
}

/** Python's name of the type, for messages. */
export function typeName(value: Value): string {
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float";
    case "string":
      return "str";
    default:
      return nameOfObject(value);
  }
}

function nameOfObject(value: Exclude<Value, boolean | bigint | number | string>): string {
  if (value === null) {
    return "None";
  }
  if (isList(value)) {
    return "list";
  }
  if (value instanceof DictView) {
    return `dict_${value.kind}`;
  }
  if (value instanceof Helper) {
    return value.name;
  }
  const names = [
    [Tuple, "tuple"],
    [Dict, "dict"],
    [Range, "range"],
    [Lazy, "iterator"],
    [Markup, "Markup"],
    [Undefined, "Undefined"],
    [Namespace, "Namespace"],
  ] as const;
  return names.find(([type]) => value instanceof type)?.[1] ?? "function";
}

/** Fails where the value is one that is not there. */
export function requireDefined(value: Value): void {
  if (value instanceof Undefined) {
    throw new TemplateError(value.message);
  }
}

export function isTrue(value: Value): boolean {
  if (value === null || value instanceof Undefined) {
    return false;
  }
  if (value instanceof Markup) {
    return value.text !== "";
  }
  return typeof value === "object" ? sizeOf(value) !== 0 : Boolean(value);
}

/** The number of items; undefined for what has none. */
export function lengthOf(value: Value, budget: Budget): number | undefined {
  const text = value instanceof Markup ? value.text : value;
  if (typeof text === "string") {
    payReading(text, budget);
    return countCharacters(text);
  }
  return sizeOf(value);
}

function sizeOf(value: Value): number | undefined {
  if (isList(value)) {
    return value.length;
  }
  if (value instanceof Tuple) {
    return value.items.length;
  }
  if (value instanceof Dict) {
    return value.size;
  }
  if (value instanceof DictView) {
    return value.dict.size;
  }
  if (value instanceof Range) {
    return value.length;
  }
  return value instanceof Undefined ? 0 : undefined;
}

/** Can items be read of it, and read again? */
export function hasLength(value: Value): boolean {
  return typeof value === "string" || value instanceof Markup || sizeOf(value) !== undefined;
}

/** Pays for going through a text character by character, which is dear where they are more than a UTF-16 unit. */
export function payReading(text: string, budget: Budget): void {
  budget.text(text.length);
  budget.step(isFlat(text) ? text.length / 8 : text.length / 2);
}

const surrogate = /[\ud800-\udfff]/;

/** Is every UTF-16 unit of the text a character? */
export function isFlat(text: string): boolean {
  return !surrogate.test(text);
}

/** In code points, which are Python's characters. */
export function countCharacters(text: string): number {
  if (isFlat(text)) {
    return text.length;
  }
  let count = 0;
  for (const _ of text) {
    count++;
  }
  return count;
}

/** The items of anything that can be iterated; undefined for what cannot. Pays for each. */
export function itemsOf(value: Value, budget: Budget): readonly Value[] | undefined {
  const items = listItems(value, budget);
  if (items !== undefined) {
    budget.step(items.length);
  }
  return items;
}

function listItems(given: Value, budget: Budget): readonly Value[] | undefined {
  const value = given instanceof Markup ? given.text : given; // whose characters are plain texts
  if (typeof value === "string") {
    budget.step(value.length); // before they are made
    return Array.from(value);
  }
  if (isList(value)) {
    return value;
  }
  if (value instanceof Tuple) {
    return value.items;
  }
  if (value instanceof Dict) {
    return value.keys();
  }
  if (value instanceof DictView) {
    return value.list();
  }
  if (value instanceof Range) {
    return Array.from({ length: value.length }, (_, index) => value.at(index));
  }
  if (value instanceof Undefined) {
    return [];
  }
  if (value instanceof Lazy) {
    return readAll(value, budget);
  }
  return undefined;
}

function readAll({ items }: Lazy, budget: Budget): Value[] {
  const all: Value[] = [];
  for (let next = items.next(); !next.done; next = items.next()) {
    budget.step();
    all.push(next.value);
  }
  return all;
}

/** The items of what has to be iterable. */
export function requireItems(value: Value | undefined, budget: Budget): readonly Value[] {
  const items = value === undefined ? undefined : itemsOf(value, budget);
  if (items === undefined) {
    throw new TemplateError(`'${typeName(value ?? null)}' object is not iterable`);
  }
  return items;
}

/** What stands for a value that is not there. None is there, so that ?? does not tell. */
export function orElse(value: Value | undefined, standard: () => Value): Value {
  return value === undefined ? standard() : value;
}

/** The value as a number of JavaScript where it is an int, a bool or a float. */
export function numberOf(value: Value): bigint | number | undefined {
  if (typeof value === "boolean") {
    return value ? 1n : 0n;
  }
  return typeof value === "bigint" || typeof value === "number" ? value : undefined;
}

// Tuples of tuples grow fast; no key is as large as this.
const maxKeyParts = 1000;

/** A text that is the same for equal keys. `room` counts the parts of a tuple down. */
function hashOf(key: Value, budget: Budget | undefined, room = { parts: maxKeyParts }): string {
  if (typeof key === "string") {
    budget?.text(key.length);
    return `s${key}`;
  }
  const number = numberOf(key);
  if (number !== undefined) {
    return `n${typeof number === "number" && Number.isInteger(number) ? BigInt(number) : number}`;
  }
  if (key === null) {
    return "None";
  }
  if (key instanceof Tuple) {
    room.parts -= 1 + key.items.length;
    if (room.parts < 0) {
      throw unsupported(`a key of more than ${maxKeyParts} parts`);
    }
    const hashes = key.items.map((item) => hashOf(item, budget, room));
    return `t${hashes.map((hash) => `${hash.length}:${hash}`).join()}`;
  }
  if (key instanceof Undefined) {
    return "undefined";
  }
  if (isList(key) || key instanceof Dict) {
    throw new TemplateError(`unhashable type: '${typeName(key)}'`);
  }
  throw unsupported(`a key of type '${typeName(key)}'`);
}

/** By value: an order between int and float is exact, while === tells them apart. */
export function isSameNumber(left: bigint | number, right: bigint | number): boolean {
  return left <= right && left >= right;
}

/** Equality as Python's ==. */
export function isEqual(leftValue: Value, rightValue: Value, budget: Budget): boolean {
  budget.step();
  const left = leftValue instanceof Markup ? leftValue.text : leftValue;
  const right = rightValue instanceof Markup ? rightValue.text : rightValue;
  if (typeof left === "string" || typeof right === "string") {
    budget.text(typeof left === typeof right && typeof left === "string" ? left.length : 0);
    return left === right;
  }
  const leftNumber = numberOf(left);
  const rightNumber = numberOf(right);
  if (leftNumber !== undefined || rightNumber !== undefined) {
    return leftNumber !== undefined && rightNumber !== undefined && isSameNumber(leftNumber, rightNumber);
  }
  budget.enter();
  const equal = isEqualObject(left, right, budget);
  budget.leave();
  return equal;
}

function isEqualObject(left: Value, right: Value, budget: Budget): boolean {
  if (isList(left) && isList(right)) {
    return isEqualList(left, right, budget);
  }
  if (left instanceof Tuple && right instanceof Tuple) {
    return isEqualList(left.items, right.items, budget);
  }
  if (left instanceof Dict && right instanceof Dict) {
    return (
      left.size === right.size &&
      Array.from(left.entries()).every(([key, value]) => {
        const other = right.get(key);
        return other !== undefined && isEqual(value, other, budget);
      })
    );
  }
  if (left instanceof Undefined && right instanceof Undefined) {
    return true;
  }
  for (const type of [Range, DictView]) {
    if (left !== right && left instanceof type && right instanceof type) {
      throw unsupported(`comparing values of type '${typeName(left)}'`);
    }
  }
  return left === right;
}

function isEqualList(left: readonly Value[], right: readonly Value[], budget: Budget): boolean {
  return left.length === right.length && left.every((item, i) => isEqual(item, right[i] ?? null, budget));
}
