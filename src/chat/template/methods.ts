// The methods and attributes that Python's values have, as far as templates may use them. What Python has and this table
// does not is an error, so that it is not taken for an attribute that is not there.

import { type Bound, createFunction, requireInteger, requireText } from "./arguments.js";
import { type Budget, TemplateError, unsupported } from "./limits.js";
import { clampBounds, findItem } from "./operators.js";
import { formatBraces, justify } from "./string-format.js";
import { isSpace, strip } from "./text.js";
import {
  type Arguments,
  Callable,
  countCharacters,
  Dict,
  DictView,
  Helper,
  isEqual,
  isFlat,
  isList,
  Markup,
  Namespace,
  orElse,
  payReading,
  requireDefined,
  requireItems,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

interface Method<T> {
  signature: string;
  call(self: T, bound: Bound, budget: Budget): Value;
}

type Methods<T> = Record<string, Method<T>>;

const method = <T>(signature: string, call: Method<T>["call"]): Method<T> => ({ signature, call });
const plain = <T>(call: (self: T) => Value): Method<T> => ({ signature: "", call });

// Texts

function stripping(left: boolean, right: boolean): Method<string> {
  return method("/chars?", (self, [chars]) => stripText(self, chars, left, right));
}

/** strip() and its kin: `chars` is a set of characters; None is white space. */
export function stripText(text: string, chars: Value | undefined, left: boolean, right: boolean): string {
  if (chars === undefined || chars === null) {
    return strip(text, isSpace, left, right);
  }
  const set = new Set(requireText(chars, "the argument of strip()"));
  return strip(text, (character) => set.has(character), left, right);
}

function splitting(fromRight: boolean): Method<string> {
  return method("sep? maxsplit?", (self, [separator, limit], budget) => {
    const most = requireInteger(limit, "maxsplit", -1);
    const isBlank = separator === undefined || separator === null;
    const parts = isBlank
      ? splitBlank(self, most < 0 ? Number.POSITIVE_INFINITY : most, fromRight)
      : splitAt(self, requireText(separator, "the separator"), most < 0 ? Number.POSITIVE_INFINITY : most, fromRight);
    budget.step(parts.length);
    return parts;
  });
}

function splitAt(text: string, separator: string, limit: number, fromRight: boolean): string[] {
  if (separator === "") {
    throw new TemplateError("empty separator");
  }
  const parts = text.split(separator);
  if (parts.length - 1 <= limit) {
    return parts;
  }
  return fromRight
    ? [parts.slice(0, -limit || undefined).join(separator), ...(limit === 0 ? [] : parts.slice(-limit))]
    : [...parts.slice(0, limit), parts.slice(limit).join(separator)];
}

/** Between runs of white space; what is not split keeps the space at its far end. */
function splitBlank(text: string, limit: number, fromRight: boolean): string[] {
  const words: [start: number, end: number][] = [];
  let start = -1;
  for (let place = 0; place <= text.length; place++) {
    const isGap = place === text.length || isSpace(text[place] ?? "");
    if (isGap && start >= 0) {
      words.push([start, place]);
      start = -1;
    } else if (!isGap && start < 0) {
      start = place;
    }
  }
  const cut = (some: readonly [number, number][]) => some.map(([from, to]) => text.slice(from, to));
  if (words.length <= limit) {
    return cut(words);
  }
  const kept = words.length - limit; // how many stay in one piece
  return fromRight
    ? [text.slice(0, words[kept - 1]?.[1]), ...cut(words.slice(kept))]
    : [...cut(words.slice(0, limit)), text.slice(words[limit]?.[0])];
}

/** The part of a text that `start` and `end` mean, and where it begins; undefined if that is behind its end. */
function findWindow(text: string, [start, end]: Bound): { part: string; offset: number } | undefined {
  const isGiven = (bound: Value | undefined) => bound !== undefined && bound !== null;
  if (!isGiven(start) && !isGiven(end)) {
    return { part: text, offset: 0 };
  }
  const characters = isFlat(text) ? text : Array.from(text);
  const read = (bound: Value | undefined) => (isGiven(bound) ? requireInteger(bound, "a position") : undefined);
  const first = read(start);
  if (first !== undefined && first > characters.length) {
    return undefined;
  }
  const [from = 0, to = 0] = clampBounds(characters.length, first, read(end), 1);
  const part = characters.slice(from, Math.max(from, to));
  return { part: typeof part === "string" ? part : part.join(""), offset: from };
}

function finding(fromRight: boolean, mustExist: boolean): Method<string> {
  return method("/sub /start? /end?", (self, [sub, ...bounds]) => {
    const needle = requireText(sub, "the text to find");
    const window = findWindow(self, bounds);
    const place = window === undefined ? -1 : fromRight ? window.part.lastIndexOf(needle) : window.part.indexOf(needle);
    if (window === undefined || place < 0) {
      if (mustExist) {
        throw new TemplateError("substring not found");
      }
      return -1n;
    }
    return BigInt(window.offset + countCharacters(window.part.slice(0, place)));
  });
}

function testingEnds(atEnd: boolean): Method<string> {
  return method("/prefix /start? /end?", (self, [prefix, ...bounds]) => {
    const window = findWindow(self, bounds);
    const prefixes = prefix instanceof Tuple ? prefix.items : [prefix];
    const texts = prefixes.map((text) => requireText(text, "the argument of startswith() or endswith()"));
    return texts.some((text) => (atEnd ? window?.part.endsWith(text) : window?.part.startsWith(text)) === true);
  });
}

function partitioning(fromRight: boolean): Method<string> {
  return method("/sep", (self, [separator]) => {
    const text = requireText(separator, "the separator");
    if (text === "") {
      throw new TemplateError("empty separator");
    }
    const place = fromRight ? self.lastIndexOf(text) : self.indexOf(text);
    if (place < 0) {
      return new Tuple(fromRight ? ["", "", self] : [self, "", ""]);
    }
    return new Tuple([self.slice(0, place), text, self.slice(place + text.length)]);
  });
}

/** text.replace(old, new, count): `count` below 0 is all. */
export function replaceText(text: string, old: string, replacement: string, count: number, budget: Budget): string {
  budget.text(text.length);
  const limit = count < 0 ? Number.POSITIVE_INFINITY : count;
  const parts = old === "" ? ["", ...Array.from(text), ""] : text.split(old);
  const times = Math.min(limit, parts.length - 1);
  budget.step(parts.length);
  budget.text(text.length + times * Math.max(0, replacement.length - old.length));
  const rest = parts.slice(times).join(old);
  return times === 0 ? text : `${parts.slice(0, times).join(replacement)}${replacement}${rest}`;
}

export function joinTexts(separator: string, texts: readonly string[], budget: Budget): string {
  budget.text(texts.reduce((sum, text) => sum + text.length + separator.length, 0));
  return texts.join(separator);
}

// Titlecase is another thing than uppercase for these, and JavaScript only has the latter.
const specialTitle = /[\u01c4-\u01cc\u01f1-\u01f3\u10d0-\u10ff\u1c80-\u1cbf\u1f80-\u1fff]/;

/** The character as the first one of a title. */
function titleOf(character: string): string {
  const upper = character.toUpperCase();
  if (specialTitle.test(character)) {
    throw unsupported(`the title case of '${character}'`);
  }
  const [first = "", ...rest] = upper;
  return first + rest.join("").toLowerCase();
}

export function capitalize(text: string): string {
  const [first = "", ...rest] = text;
  return titleOf(first) + lowerRest(first, rest.join(""));
}

/** The rest of a word in lower case: what a final sigma is depends on what comes before it. */
function lowerRest(first: string, rest: string): string {
  return rest.includes("\u03a3") ? (first + rest).toLowerCase().slice(first.toLowerCase().length) : rest.toLowerCase();
}

function titleWords(text: string): string {
  const isCased = (character: string) => /\p{Cased}/u.test(character);
  let afterCased = false;
  return Array.from(text, (character) => {
    const written = afterCased ? character.toLowerCase() : titleOf(character);
    afterCased = isCased(character);
    return written;
  }).join("");
}

/** All characters match, and there is at least one. `unsure`: those of which JavaScript does not know. */
function consisting(pattern: RegExp, unsure?: RegExp): Method<string> {
  return plain((self) => {
    if (unsure?.test(self)) {
      throw unsupported("a test of the kinds of these characters");
    }
    return self !== "" && pattern.test(self);
  });
}

export function isLower(text: string): boolean {
  return /\p{Cased}/u.test(text) && !/[\p{Lu}\p{Lt}]/u.test(text);
}

export function isUpper(text: string): boolean {
  return /\p{Lu}/u.test(text) && !/[\p{Ll}\p{Lt}]/u.test(text);
}

const lineEnds = new Set("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029");

export function splitLines(text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let start = 0;
  for (let place = 0; place < text.length; place++) {
    if (lineEnds.has(text[place] ?? "")) {
      const end = text.startsWith("\r\n", place) ? place + 2 : place + 1;
      lines.push(text.slice(start, keepEnds ? end : place));
      start = end;
      place = end - 1;
    }
  }
  return start < text.length ? [...lines, text.slice(start)] : lines;
}

function fillingZeros(self: string, width: number, budget: Budget): string {
  const sign = /^[+-]/.exec(self)?.[0] ?? "";
  return sign + justify(self.slice(sign.length), width - sign.length, "0", "right", budget);
}

function justifying(side: "left" | "right" | "center"): Method<string> {
  return method("/width /fillchar?", (self, [width, fill = " "], budget) =>
    justify(self, requireInteger(width, "the width"), requireText(fill, "the fill character"), side, budget),
  );
}

const stringMethods: Methods<string> = {
  strip: stripping(true, true),
  lstrip: stripping(true, false),
  rstrip: stripping(false, true),
  split: splitting(false),
  rsplit: splitting(true),
  splitlines: method("keepends?", (self, [keepEnds = false], budget) => {
    const lines = splitLines(self, requireInteger(keepEnds, "keepends") !== 0);
    budget.step(lines.length);
    return lines;
  }),
  find: finding(false, false),
  rfind: finding(true, false),
  index: finding(false, true),
  rindex: finding(true, true),
  startswith: testingEnds(false),
  endswith: testingEnds(true),
  partition: partitioning(false),
  rpartition: partitioning(true),
  removeprefix: method("/prefix", (self, [prefix]) => {
    const text = requireText(prefix, "the prefix");
    return self.startsWith(text) ? self.slice(text.length) : self;
  }),
  removesuffix: method("/suffix", (self, [suffix]) => {
    const text = requireText(suffix, "the suffix");
    return text !== "" && self.endsWith(text) ? self.slice(0, -text.length) : self;
  }),
  replace: method("/old /new /count?", (self, [old, replacement, count], budget) =>
    replaceText(
      self,
      requireText(old, "the text to replace"),
      requireText(replacement, "the replacement"),
      requireInteger(count, "count", -1),
      budget,
    ),
  ),
  join: method("/items", (self, [items], budget) =>
    joinTexts(
      self,
      requireItems(items, budget).map((item) => requireText(item, "an item of join()")),
      budget,
    ),
  ),
  count: method("/sub /start? /end?", (self, [sub, ...bounds]) => {
    const part = findWindow(self, bounds)?.part;
    const needle = requireText(sub, "the text to count");
    const places = (text: string) => (needle === "" ? countCharacters(text) + 1 : text.split(needle).length - 1);
    return part === undefined ? 0n : BigInt(places(part));
  }),
  upper: plain((self) => self.toUpperCase()),
  lower: plain((self) => self.toLowerCase()),
  capitalize: plain(capitalize),
  title: method("", (self, _, budget) => {
    budget.step(self.length);
    return titleWords(self);
  }),
  isalpha: consisting(/^\p{L}+$/u),
  isalnum: consisting(/^[\p{L}\p{Nd}]+$/u, /[\p{No}\p{Nl}]/u),
  isdigit: consisting(/^\p{Nd}+$/u, /\p{No}/u),
  isdecimal: consisting(/^\p{Nd}+$/u),
  isnumeric: consisting(/^\p{Nd}+$/u, /\P{ASCII}/u),
  isascii: plain((self) => /^\p{ASCII}*$/u.test(self)),
  isspace: plain((self) => self !== "" && Array.from(self).every(isSpace)),
  islower: plain(isLower),
  isupper: plain(isUpper),
  zfill: method("/width", (self, [width], budget) => fillingZeros(self, requireInteger(width, "the width"), budget)),
  center: justifying("center"),
  ljust: justifying("left"),
  rjust: justifying("right"),
};

// Everything else

const dictMethods: Methods<Dict> = {
  items: plain((self) => new DictView("items", self)),
  keys: plain((self) => new DictView("keys", self)),
  values: plain((self) => new DictView("values", self)),
  get: method("/key /default?", (self, [key = null, standard = null], budget) =>
    orElse(self.get(key, budget), () => standard),
  ),
  copy: method("", (self, _, budget) => {
    budget.step(4 * self.size); // a place in a table for each
    return new Dict(self.entries());
  }),
};

function countEqual(items: readonly Value[], value: Value, budget: Budget): bigint {
  return BigInt(items.filter((item) => isEqual(item, value, budget)).length);
}

function placeOf(items: readonly Value[], value: Value, budget: Budget): bigint {
  const place = items.findIndex((item) => isEqual(item, value, budget));
  if (place < 0) {
    throw new TemplateError("the value is not in the list");
  }
  return BigInt(place);
}

const sequenceMethods: Methods<readonly Value[]> = {
  count: method("/value", (self, [value = null], budget) => countEqual(self, value, budget)),
  index: method("/value", (self, [value = null], budget) => placeOf(self, value, budget)),
};

const listMethods: Methods<readonly Value[]> = {
  ...sequenceMethods,
  copy: method("", (self, _, budget) => {
    budget.step(self.length);
    return [...self];
  }),
};

const floatMethods: Methods<number> = { is_integer: plain((self) => Number.isInteger(self)) };

// Of Python 3.12: names that its types have. Those that are in no table above cannot be used.
const pythonNames: Record<string, string> = {
  str:
    "capitalize casefold center count encode endswith expandtabs find format format_map index isalnum isalpha isascii " +
    "isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip " +
    "maketrans partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split " +
    "splitlines startswith strip swapcase title translate upper zfill",
  list: "append clear copy count extend index insert pop remove reverse sort",
  tuple: "count index",
  dict: "clear copy fromkeys get items keys pop popitem setdefault update values",
  dict_keys: "isdisjoint mapping",
  dict_values: "mapping",
  dict_items: "isdisjoint mapping",
  int: "as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag is_integer numerator real to_bytes",
  float: "as_integer_ratio conjugate fromhex hex imag is_integer real",
  range: "count index start step stop",
  iterator: "close send throw gi_code gi_frame gi_running gi_suspended gi_yieldfrom",
  function: "name arguments catch_kwargs catch_varargs caller explicit_caller",
  Markup: "",
};

/** An attribute of the value's type; undefined if Python has none of that name either. */
export function findAttribute(value: Value, name: string, budget: Budget): Value | undefined {
  requireDefined(value);
  if (value instanceof Helper) {
    return value.attribute(name);
  }
  if (value instanceof Namespace) {
    return value.attributes.get(name);
  }
  const bound = findMethod(value, name, budget);
  if (bound !== undefined) {
    return bound;
  }
  const type = typeof value === "boolean" ? "int" : typeName(value);
  if (/^__.*__$/.test(name) || value instanceof Markup || pythonNames[type]?.split(" ").includes(name)) {
    throw unsupported(`'${name}' of a value of type '${typeName(value)}'`);
  }
  return undefined;
}

function findMethod(value: Value, name: string, budget: Budget): Callable | undefined {
  if (typeof value === "string") {
    return name === "format" ? formatMethod(value, budget) : bindMethod(stringMethods, name, value, budget);
  }
  if (typeof value === "number") {
    return bindMethod(floatMethods, name, value, budget);
  }
  if (value instanceof Dict) {
    return bindMethod(dictMethods, name, value, budget);
  }
  if (value instanceof Tuple) {
    return bindMethod(sequenceMethods, name, value.items, budget);
  }
  return isList(value) ? bindMethod(listMethods, name, value, budget) : undefined;
}

function bindMethod<T extends Value>(table: Methods<T>, name: string, self: T, budget: Budget): Callable | undefined {
  const found = Object.hasOwn(table, name) ? table[name] : undefined;
  return (
    found &&
    createFunction(name, found.signature, (bound) => {
      if (typeof self === "string") {
        payReading(self, budget);
      }
      return found.call(self, bound, budget);
    })
  );
}

function formatMethod(template: string, budget: Budget): Callable {
  return new Callable("format", (args: Arguments) =>
    formatBraces(
      template,
      (first, path) => {
        const start = /^\d+$/.test(first) ? args.positional[Number(first)] : args.named.get(first);
        if (start === undefined) {
          throw new TemplateError(`format() has no argument '${first}'`);
        }
        return path.reduce((value, { name, isItem }) => readMember(value, name, isItem, budget), start);
      },
      budget,
    ),
  );
}

function readMember(value: Value, name: string, isItem: boolean, budget: Budget): Value {
  const key = /^\d+$/.test(name) ? BigInt(name) : name;
  return isItem ? getItem(value, key, budget) : getAttribute(value, name, budget);
}

/** What `value.name` is in a template: an attribute, else an item, else Undefined. */
export function getAttribute(value: Value, name: string, budget: Budget): Value {
  return orElse(findAttribute(value, name, budget), () =>
    orElse(findItem(value, name, budget), () => missing(value, name)),
  );
}

/** What `value[key]` is in a template: an item, else an attribute, else Undefined. */
export function getItem(value: Value, key: Value, budget: Budget): Value {
  const item = findItem(value, key, budget);
  if (item !== undefined) {
    return item;
  }
  return orElse(typeof key === "string" ? findAttribute(value, key, budget) : undefined, () => missing(value, key));
}

function missing(value: Value, key: Value): Undefined {
  const what = typeof key === "string" || typeof key === "bigint" ? `'${key}'` : `an item of type '${typeName(key)}'`;
  return new Undefined(`'${typeName(value)}' has no ${what}`);
}
