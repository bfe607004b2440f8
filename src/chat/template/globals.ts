// The functions that every template has: Jinja2's and those that transformers adds.

import { type Bound, bind, createFunction, requireText } from "./arguments.js";
import { type Budget, RaisedError, TemplateError, unsupported } from "./limits.js";
import {
  type Arguments,
  Callable,
  Dict,
  Helper,
  Namespace,
  numberOf,
  Range,
  type Runtime,
  requireDefined,
  requireItems,
  typeName,
  type Value,
} from "./values.js";

// As the sandbox of Jinja2, which is what transformers renders in.
const maxRange = 100_000n;

function range(bound: Bound): Range {
  const [first = null, second, third = 1n] = bound.map((value) => (value === undefined ? undefined : readInt(value)));
  const [start, stop] = second === undefined ? [0n, readInt(first)] : [readInt(first), second];
  const step = readInt(third);
  if (step === 0n) {
    throw new TemplateError("range() arg 3 must not be zero");
  }
  const span = step > 0n ? stop - start : start - stop;
  const size = step > 0n ? step : -step;
  const length = span <= 0n ? 0n : (span + size - 1n) / size;
  if (length > maxRange) {
    throw new TemplateError(`Range too big. The sandbox blocks ranges larger than ${maxRange}.`);
  }
  return new Range(start, stop, step, Number(length));
}

function readInt(value: Value): bigint {
  const number = numberOf(value);
  if (typeof number !== "bigint") {
    throw new TemplateError(`'${typeName(value)}' object cannot be interpreted as an integer`);
  }
  return number;
}

/** The entries that dict() and namespace() make of their arguments. */
function entriesOf({ positional, named }: Arguments, budget: Budget): [Value, Value][] {
  const [source, ...rest] = positional;
  if (rest.length > 0) {
    throw new TemplateError("expected at most 1 argument");
  }
  requireDefined(source ?? null);
  budget.step(source instanceof Dict ? 4 * source.size : 0); // a place in a table for each
  const pairs =
    source instanceof Dict || source === undefined
      ? Array.from(source?.entries() ?? [])
      : requireItems(source, budget).map((pair) => readPair(pair, budget));
  return [...pairs, ...named].map(([key, value]) => [key, value]);
}

function readPair(pair: Value, budget: Budget): [Value, Value] {
  const [key, value, ...rest] = requireItems(pair, budget);
  if (key === undefined || value === undefined || rest.length > 0) {
    throw new TemplateError("dict() needs pairs");
  }
  return [key, value];
}

class Cycler extends Helper {
  readonly name = "Cycler";
  readonly #items: readonly Value[];
  #place = 0;

  constructor(items: readonly Value[]) {
    super();
    if (items.length === 0) {
      throw new TemplateError("at least one item has to be provided");
    }
    this.#items = items;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "current":
        return this.#items[this.#place];
      case "next":
        return createFunction(name, "", () => {
          const item = this.#items[this.#place] ?? null;
          this.#place = (this.#place + 1) % this.#items.length;
          return item;
        });
      case "reset":
        return createFunction(name, "", () => {
          this.#place = 0;
          return null;
        });
      default:
        return undefined;
    }
  }
}

class Joiner extends Helper {
  readonly name = "Joiner";
  readonly #separator: Value;
  #isUsed = false;

  constructor(separator: Value) {
    super();
    this.#separator = separator;
  }

  attribute(): undefined {
    return undefined;
  }

  override call(args: Arguments): Value {
    bind("joiner()", "", args);
    const separator = this.#isUsed ? this.#separator : "";
    this.#isUsed = true;
    return separator;
  }
}

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = [
  ...["January", "February", "March", "April", "May", "June", "July"],
  ...["August", "September", "October", "November", "December"],
];
const two = (value: number) => String(value).padStart(2, "0");

const directives: Record<string, (now: Date) => string> = {
  "%%": () => "%",
  "%A": (now) => days[now.getDay()] ?? "",
  "%B": (now) => months[now.getMonth()] ?? "",
  "%H": (now) => two(now.getHours()),
  "%I": (now) => two(now.getHours() % 12 || 12),
  "%M": (now) => two(now.getMinutes()),
  "%S": (now) => two(now.getSeconds()),
  "%Y": (now) => String(now.getFullYear()),
  "%a": (now) => days[now.getDay()]?.slice(0, 3) ?? "",
  "%b": (now) => months[now.getMonth()]?.slice(0, 3) ?? "",
  "%d": (now) => two(now.getDate()),
  "%-d": (now) => String(now.getDate()),
  "%m": (now) => two(now.getMonth() + 1),
  "%-m": (now) => String(now.getMonth() + 1),
  "%p": (now) => (now.getHours() < 12 ? "AM" : "PM"),
  "%y": (now) => two(now.getFullYear() % 100),
};

/** datetime.now().strftime(format), in the time of this place and in English. */
function formatTime(format: string, now: Date, budget: Budget): string {
  budget.text(10 * format.length);
  return format.replace(/%-?.?/gs, (directive) => {
    const write = Object.hasOwn(directives, directive) ? directives[directive] : undefined;
    if (write === undefined) {
      throw unsupported(`'${directive}' of strftime_now`);
    }
    return write(now);
  });
}

export function createGlobals({ budget, now }: Runtime): Map<string, Value> {
  const list: Callable[] = [
    createFunction("range", "/start /stop? /step?", range),
    new Callable("dict", (args) => new Dict(entriesOf(args, budget), budget)),
    new Callable("namespace", (args) => {
      const entries = entriesOf(args, budget).map(([key, value]): [string, Value] => [
        requireText(key, "a name of namespace()"),
        value,
      ]);
      return new Namespace(new Map(entries));
    }),
    new Callable("cycler", ({ positional, named }) => {
      if (named.size > 0) {
        throw new TemplateError("cycler() takes no keyword arguments");
      }
      return new Cycler(positional);
    }),
    createFunction("joiner", "sep?", ([separator = ", "]) => new Joiner(separator)),
    createFunction("lipsum", "n? html? min? max?", () => {
      throw unsupported("the function 'lipsum'");
    }),
    createFunction("raise_exception", "message", ([message]) => {
      throw new RaisedError(requireText(message, "the message of raise_exception"));
    }),
    createFunction("strftime_now", "format", ([format]) => formatTime(requireText(format, "the format"), now, budget)),
  ];
  return new Map(list.map((item) => [item.name, item]));
}
