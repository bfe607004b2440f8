// The filters of Jinja2 that chat templates can use, and transformers' own tojson.

import { type Bound, bind, requireInteger, requireText } from "./arguments.js";
import { writeJson } from "./json.js";
import { type Budget, TemplateError, unsupported } from "./limits.js";
import { capitalize, findAttribute, getItem, joinTexts, replaceText, splitLines, stripText } from "./methods.js";
import { binary, orderOf, requireLength, slice } from "./operators.js";
import { formatFixed, formatPercent, justify, truncate } from "./string-format.js";
import { escapeHtml, parseFloatText, parseInteger, textOf } from "./text.js";
import {
  type Arguments,
  Dict,
  isEqual,
  isList,
  isTrue,
  Lazy,
  lengthOf,
  Markup,
  numberOf,
  orElse,
  payReading,
  type Runtime,
  requireDefined,
  requireItems,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

interface Filter {
  signature: string;
  call(value: Value, bound: Bound, runtime: Runtime): Value;
}

const filter = (signature: string, call: Filter["call"]): Filter => ({ signature, call });
/** `steps`: per character, beyond reading it. */
const ofText = (call: (text: string) => Value, steps = 0): Filter =>
  filter("", (value, _, { budget }) => {
    const text = textOf(value, budget);
    payReading(text, budget);
    budget.step(steps * text.length);
    return call(text);
  });

// Numbers

function toInt(value: Value, [standard = 0n, base = 10n]: Bound, { budget }: Runtime): Value {
  requireDefined(value);
  if (typeof value === "string") {
    budget.step(4 * value.length);
    const float = () => finite(parseFloatText(value));
    const found = parseInteger(value, requireInteger(base, "the base")) ?? float();
    return typeof found === "number" ? truncate(found) : (found ?? standard);
  }
  const number = numberOf(value);
  return number === undefined
    ? standard
    : typeof number === "bigint"
      ? number
      : Number.isNaN(number)
        ? standard
        : truncate(number);
}

/** undefined for what int() refuses. */
function finite(value: number | undefined): number | undefined {
  return value === undefined || !Number.isFinite(value) ? undefined : value;
}

function toFloat(value: Value, [standard = 0]: Bound): Value {
  requireDefined(value);
  const number = numberOf(value);
  return (
    (typeof value === "string" ? parseFloatText(value) : number === undefined ? undefined : Number(number)) ?? standard
  );
}

function round(value: Value, [precision = 0n, method = "common"]: Bound, { budget }: Runtime): Value {
  requireDefined(value);
  const digits = requireInteger(precision, "the precision");
  const number = numberOf(value);
  if (number === undefined) {
    throw new TemplateError(`round: a number is required, not ${typeName(value)}`);
  }
  if (Math.abs(digits) > 300) {
    throw unsupported("rounding to more than 300 digits");
  }
  budget.step(Math.abs(digits));
  if (method === "common") {
    return typeof number === "bigint" ? roundInteger(number, digits) : roundFloat(number, digits);
  }
  if (method !== "ceil" && method !== "floor") {
    throw new TemplateError("method must be common, ceil or floor");
  }
  const scale = 10 ** digits;
  return Math[method](Number(number) * scale) / scale;
}

function roundInteger(value: bigint, digits: number): bigint {
  if (digits >= 0) {
    return value;
  }
  throw unsupported("rounding an int to tens");
}

function roundFloat(value: number, digits: number): number {
  if (!Number.isFinite(value)) {
    return value;
  }
  if (digits < 0) {
    throw unsupported("rounding a float to tens");
  }
  return Number(formatFixed(value, digits).replace(/^-?(?=-)/, ""));
}

// Texts

function indent(value: Value, [width = 4n, first = false, blank = false]: Bound, budget: Budget): string {
  const text = requireText(value, "the input of indent");
  const margin =
    typeof width === "string" ? width : justify("", requireInteger(width, "the width"), " ", "left", budget);
  const lines = splitLines(`${text}\n`, false);
  budget.text(text.length + margin.length * lines.length);
  const written = lines
    .map((line, i) => (i === 0 || (line === "" && !isTrue(blank)) ? line : margin + line))
    .join("\n");
  return isTrue(first) ? margin + written : written;
}

function truncateText(value: Value, bound: Bound, budget: Budget): Value {
  const [length = 255n, killWords = false, end = "...", leeway = 5n] = bound;
  const tail = requireText(end, "the end of truncate");
  const most = requireInteger(length, "the length");
  const room = most - (lengthOf(tail, budget) ?? 0);
  const extra = leeway === null ? 5 : requireInteger(leeway, "the leeway");
  if (room < 0 || extra < 0) {
    throw new TemplateError("truncate: the length is less than that of its end");
  }
  if (requireLength(value, lengthOf(value, budget)) <= most + extra) {
    return value; // of any type
  }
  const text = requireText(value, "the input of truncate");
  const kept = textOf(slice(text, [undefined, BigInt(room)], budget), budget);
  const space = kept.lastIndexOf(" ");
  return (isTrue(killWords) || space < 0 ? kept : kept.slice(0, space)) + tail;
}

function titleOfWords(text: string): string {
  const upperFirst = (word: string) => {
    const [first = "", ...rest] = word;
    return first.toUpperCase() + rest.join("").toLowerCase();
  };
  return text
    .split(/([-\s({[<]+)/)
    .map(upperFirst)
    .join("");
}

function toJson(value: Value, bound: Bound, budget: Budget): string {
  const [ensureAscii = false, indentation = null, separators = null, sortKeys = false] = bound;
  const margin = indentation === null ? undefined : readMargin(indentation, budget);
  const pair = separators instanceof Tuple ? separators.items : isList(separators) ? separators : undefined;
  if (separators !== null && pair?.length !== 2) {
    throw new TemplateError("tojson: separators must be two texts");
  }
  const [item = margin === undefined ? ", " : ",", key = ": "] = pair ?? [];
  return writeJson(
    value,
    {
      indent: margin,
      itemSeparator: requireText(item, "a separator"),
      keySeparator: requireText(key, "a separator"),
      ensureAscii: isTrue(ensureAscii),
      sortKeys: isTrue(sortKeys),
    },
    budget,
  );
}

function readMargin(indentation: Value, budget: Budget): string {
  if (typeof indentation === "string") {
    return indentation;
  }
  return justify("", requireInteger(indentation, "the indent"), " ", "left", budget);
}

function reverse(value: Value, budget: Budget): Value {
  if (typeof value === "string") {
    budget.text(value.length);
    return slice(value, [undefined, undefined, -1n], budget);
  }
  const items = requireItems(value, budget);
  return value instanceof Lazy ? [...items].reverse() : new Lazy([...items].reverse());
}

// Lists

/** Reads "a.b.0" of an item, as the parameter `attribute` does. */
function attributeReader(attribute: Value | undefined, budget: Budget, standard?: Value): (item: Value) => Value {
  if (attribute === undefined || attribute === null) {
    return (item) => item;
  }
  const path: Value[] =
    typeof attribute === "string"
      ? attribute.split(".").map((part) => (/^\d+$/.test(part) ? BigInt(part) : part))
      : [attribute];
  return (item) =>
    path.reduce((value, key) => {
      budget.step();
      const found = getItem(value, key, budget);
      return found instanceof Undefined && standard !== undefined ? standard : found;
    }, item);
}

function keyReader(attribute: Value | undefined, caseSensitive: Value | undefined, budget: Budget) {
  const read = attributeReader(attribute, budget);
  return (item: Value) => foldCase(read(item), caseSensitive);
}

function foldCase(value: Value, caseSensitive: Value | undefined): Value {
  return typeof value === "string" && !isTrue(caseSensitive ?? false) ? value.toLowerCase() : value;
}

function sortBy(items: readonly Value[], key: (item: Value) => Value, isReverse: boolean, budget: Budget): Value[] {
  budget.step(items.length);
  const keyed = items.map((item) => ({ item, key: key(item) }));
  const order = (left: Value, right: Value) => {
    const result = orderOf(left, right, budget);
    if (Number.isNaN(result)) {
      throw unsupported("sorting NaN");
    }
    return result;
  };
  return keyed
    .sort((left, right) => (isReverse ? order(right.key, left.key) : order(left.key, right.key)))
    .map(({ item }) => item);
}

/** Fails where it is read, not before. */
function* listPairs(value: Value): Generator<Value> {
  if (value instanceof Undefined) {
    return;
  }
  if (!(value instanceof Dict)) {
    throw new TemplateError("Can only get item pairs from a mapping.");
  }
  for (const pair of value.entries()) {
    yield new Tuple(pair);
  }
}

function sort(value: Value, [isReverse = false, caseSensitive, attribute]: Bound, { budget }: Runtime): Value {
  const parts = typeof attribute === "string" ? attribute.split(",") : [attribute];
  const keys = parts.map((part) => keyReader(part, caseSensitive, budget));
  const [only] = keys;
  const key = only !== undefined && keys.length === 1 ? only : (item: Value) => keys.map((read) => read(item));
  return sortBy(requireItems(value, budget), key, requireInteger(isReverse, "reverse") !== 0, budget);
}

function sortDict(value: Value, [caseSensitive, by = "key", isReverse = false]: Bound, { budget }: Runtime): Value {
  if (!(value instanceof Dict) || (by !== "key" && by !== "value")) {
    throw new TemplateError("dictsort needs a mapping, and 'key' or 'value' to sort by");
  }
  const pairs = Array.from(value.entries(), (pair) => new Tuple(pair));
  const key = keyReader(by === "key" ? 0n : 1n, caseSensitive, budget);
  return sortBy(pairs, key, requireInteger(isReverse, "reverse") !== 0, budget);
}

function unique(value: Value, [caseSensitive, attribute]: Bound, { budget }: Runtime): Value {
  const read = keyReader(attribute, caseSensitive, budget);
  const key = (item: Value) => {
    budget.step(4); // a place in a table
    return read(item);
  };
  return new Lazy(listUnique(requireItems(value, budget), key, budget));
}

function* listUnique(items: readonly Value[], keyOf: (item: Value) => Value, budget: Budget): Generator<Value> {
  const seen = new Dict();
  for (const item of items) {
    const key = keyOf(item);
    if (seen.get(key, budget) === undefined) {
      seen.set(key, true, budget);
      yield item;
    }
  }
}

function groupBy(value: Value, [attribute = null, standard, caseSensitive]: Bound, { budget }: Runtime): Value {
  const read = attributeReader(attribute, budget, standard);
  const key = (item: Value) => foldCase(read(item), caseSensitive);
  const groups: [key: Value, items: Value[]][] = [];
  for (const item of sortBy(requireItems(value, budget), key, false, budget)) {
    const last = groups.at(-1);
    if (last !== undefined && isEqual(last[0], key(item), budget)) {
      last[1].push(item);
    } else {
      groups.push([key(item), [item]]);
    }
  }
  // A group is named as its first item writes it.
  return groups.map(
    ([name, items]) => new Tuple([isTrue(caseSensitive ?? false) ? name : read(items[0] ?? null), items]),
  );
}

function extreme(sign: 1 | -1): Filter {
  return filter("case_sensitive? attribute?", (value, [caseSensitive, attribute], { budget }) => {
    const key = keyReader(attribute, caseSensitive, budget);
    const [first, ...rest] = requireItems(value, budget);
    if (first === undefined) {
      return new Undefined("No aggregated item, sequence was empty.");
    }
    let best = first;
    for (const item of rest) {
      best = sign * orderOf(key(item), key(best), budget) > 0 ? item : best;
    }
    return best;
  });
}

function sum(value: Value, [attribute, start = 0n]: Bound, { budget }: Runtime): Value {
  const read = attributeReader(attribute, budget);
  if (typeof start === "string") {
    throw new TemplateError("sum: cannot add texts");
  }
  const add = (total: Value, item: Value) => binary("+", total, read(item), budget);
  const items = requireItems(value, budget);
  if (items.some((item) => typeof read(item) === "number")) {
    throw unsupported("the sum of floats"); // Python 3.12 compensates rounding, earlier ones do not
  }
  return items.reduce(add, start);
}

function* listMapped(items: readonly Value[], write: (item: Value) => Value, budget: Budget): Generator<Value> {
  for (const item of items) {
    budget.step();
    yield write(item);
  }
}

function map(value: Value, args: Arguments, runtime: Runtime): Value {
  const { budget } = runtime;
  const [name, ...rest] = args.positional;
  const items = isTrue(value) ? requireItems(value, budget) : []; // any false value, as in Jinja
  if (name === undefined) {
    const [attribute, standard] = bind("map", "attribute default?", args);
    return new Lazy(listMapped(items, attributeReader(attribute, budget, standard), budget));
  }
  const filterName = requireText(name, "the filter of map");
  const passed = { positional: rest, named: args.named };
  return new Lazy(listMapped(items, (item) => runtime.filter(filterName, item, passed), budget));
}

function* listChosen(items: readonly Value[], isChosen: (item: Value) => boolean, budget: Budget): Generator<Value> {
  for (const item of items) {
    budget.step();
    if (isChosen(item)) {
      yield item;
    }
  }
}

/** select, reject, selectattr and rejectattr. */
function choosing(isKept: boolean, withAttribute: boolean): RawFilter {
  return (value, args, runtime) => {
    const { budget } = runtime;
    const positional = [...args.positional];
    const attribute = withAttribute ? positional.shift() : undefined;
    if (withAttribute && attribute === undefined) {
      throw new TemplateError("selectattr and rejectattr need the name of an attribute");
    }
    const read = attributeReader(attribute, budget);
    const [name, ...rest] = positional;
    const passed = { positional: rest, named: args.named };
    const test = (item: Value) =>
      name === undefined ? isTrue(item) : runtime.test(requireText(name, "the test"), item, passed);
    const items = isTrue(value) ? requireItems(value, budget) : []; // any false value, as in Jinja
    return new Lazy(listChosen(items, (item) => test(read(item)) === isKept, budget));
  };
}

function* listBatches(items: readonly Value[], size: number, fill: Value): Generator<Value> {
  for (let start = 0; start < items.length; start += size) {
    const part = items.slice(start, start + size);
    yield fill === null ? part : part.concat(Array.from({ length: size - part.length }, () => fill));
  }
}

function* listSlices(items: readonly Value[], count: number, fill: Value): Generator<Value> {
  const size = Math.floor(items.length / count);
  const longer = items.length % count;
  for (let i = 0, start = 0; i < count; i++) {
    const end = start + size + (i < longer ? 1 : 0);
    const part = items.slice(start, end);
    yield fill !== null && i >= longer ? [...part, fill] : part;
    start = end;
  }
}

function divide(list: typeof listBatches): Filter {
  return filter("count fill_with?", (value, [count, fill = null], { budget }) => {
    const size = requireInteger(count, "the count");
    if (size < 1) {
      throw unsupported("a count below 1");
    }
    budget.step(size);
    return new Lazy(list(requireItems(value, budget), size, fill));
  });
}

const length = filter("", (value, _, { budget }) => requireLength(value, lengthOf(value, budget)));

const standard = filter("default_value? boolean?", (value, [replacement = "", boolean = false]) =>
  value instanceof Undefined || (isTrue(boolean) && !isTrue(value)) ? replacement : value,
);

const filters: Record<string, Filter> = {
  abs: filter("", (value) => {
    const number = numberOf(value);
    if (number === undefined) {
      requireDefined(value);
      throw new TemplateError(`bad operand type for abs(): '${typeName(value)}'`);
    }
    return number < 0 ? -number : number;
  }),
  attr: filter("name", (value, [name], { budget }) => {
    const text = requireText(name, "the attribute");
    const missing = () => new Undefined(`'${typeName(value)}' has no attribute '${text}'`);
    return orElse(findAttribute(value, text, budget), missing);
  }),
  batch: divide(listBatches),
  capitalize: ofText(capitalize),
  center: filter("width?", (value, [width = 80n], { budget }) =>
    justify(textOf(value, budget), requireInteger(width, "the width"), " ", "center", budget),
  ),
  count: length,
  d: standard,
  default: standard,
  dictsort: filter("case_sensitive? by? reverse?", sortDict),
  e: filter("", (value, _, { budget }) =>
    value instanceof Markup ? value : escapeHtml(textOf(value, budget), budget),
  ),
  escape: filter("", (value, _, { budget }) =>
    value instanceof Markup ? value : escapeHtml(textOf(value, budget), budget),
  ),
  first: filter("", (value, _, { budget }) => {
    if (value instanceof Lazy) {
      const next = value.items.next();
      return firstOrMissing(next.done ? undefined : next.value);
    }
    return firstOrMissing(requireItems(value, budget)[0]);
  }),
  float: filter("default?", toFloat),
  forceescape: filter("", (value, _, { budget }) => escapeHtml(textOf(value, budget), budget)),
  groupby: filter("attribute default? case_sensitive?", groupBy),
  indent: filter("width? first? blank?", (value, bound, { budget }) => indent(value, bound, budget)),
  int: filter("default? base?", toInt),
  items: filter("", (value) => new Lazy(listPairs(value))),
  join: filter("d? attribute?", (value, [separator = "", attribute], { budget }) => {
    const read = attributeReader(attribute, budget);
    const texts = requireItems(value, budget).map((item) => textOf(read(item), budget));
    return joinTexts(textOf(separator, budget), texts, budget);
  }),
  last: filter("", (value, _, { budget }) => {
    if (value instanceof Lazy) {
      throw new TemplateError("an iterator is not reversible");
    }
    return firstOrMissing(requireItems(value, budget).at(-1));
  }),
  length,
  list: filter("", (value, _, { budget }) => [...requireItems(value, budget)]),
  lower: ofText((text) => text.toLowerCase()),
  max: extreme(1),
  min: extreme(-1),
  replace: filter("old new count?", (value, [old = null, replacement = null, count], { budget }) =>
    replaceText(
      textOf(value, budget),
      textOf(old, budget),
      textOf(replacement, budget),
      count === undefined || count === null ? -1 : requireInteger(count, "count"),
      budget,
    ),
  ),
  reverse: filter("", (value, _, { budget }) => reverse(value, budget)),
  round: filter("precision? method?", round),
  safe: filter("", (value, _, { budget }) => new Markup(textOf(value, budget))),
  slice: divide(listSlices),
  sort: filter("reverse? case_sensitive? attribute?", sort),
  string: filter("", (value, _, { budget }) => (value instanceof Markup ? value : textOf(value, budget))),
  sum: filter("attribute? start?", sum),
  title: ofText(titleOfWords, 1),
  tojson: filter("ensure_ascii? indent? separators? sort_keys?", (value, bound, { budget }) =>
    toJson(value, bound, budget),
  ),
  trim: filter("chars?", (value, [chars], { budget }) => {
    const text = textOf(value, budget);
    payReading(text, budget);
    return stripText(text, chars, true, true);
  }),
  truncate: filter("length? killwords? end? leeway?", (value, bound, { budget }) => truncateText(value, bound, budget)),
  unique: filter("case_sensitive? attribute?", unique),
  upper: ofText((text) => text.toUpperCase()),
  wordcount: ofText((text) => BigInt(text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)),
};

function firstOrMissing(item: Value | undefined): Value {
  return item === undefined ? new Undefined("No item, the sequence was empty.") : item;
}

type RawFilter = (value: Value, args: Arguments, runtime: Runtime) => Value;

/** Filters that take any arguments. */
const rawFilters: Record<string, RawFilter> = {
  format: (value, { positional, named }, { budget }) => {
    if (positional.length > 0 && named.size > 0) {
      throw new TemplateError("can't handle positional and keyword arguments at the same time");
    }
    const values = named.size > 0 ? new Dict(named) : new Tuple(positional);
    return formatPercent(textOf(value, budget), values, budget);
  },
  map,
  reject: choosing(false, false),
  rejectattr: choosing(false, true),
  select: choosing(true, false),
  selectattr: choosing(true, true),
};

export function isFilter(name: string): boolean {
  return Object.hasOwn(filters, name) || Object.hasOwn(rawFilters, name);
}

/** Filters whose result is safe where their input is. */
const markupFilters = new Set(["capitalize", "center", "indent", "lower", "trim", "truncate", "upper"]);

export function applyFilter(name: string, value: Value, args: Arguments, runtime: Runtime): Value {
  if (value instanceof Markup && markupFilters.has(name)) {
    return new Markup(textOf(applyFilter(name, value.text, args, runtime), runtime.budget));
  }
  if (value instanceof Markup && name === "format") {
    throw unsupported("'format' on the result of 'safe' or 'escape'");
  }
  const raw = Object.hasOwn(rawFilters, name) ? rawFilters[name] : undefined;
  if (raw !== undefined) {
    return raw(value, args, runtime);
  }
  const found = Object.hasOwn(filters, name) ? filters[name] : undefined;
  if (found === undefined) {
    throw unsupported(`the filter '${name}'`);
  }
  return found.call(value, bind(`the filter '${name}'`, found.signature, args), runtime);
}
