// The tests of Jinja2: what stands after "is".

import { type Bound, bind } from "./arguments.js";
import { isFilter } from "./filters.js";
import { type Budget, unsupported } from "./limits.js";
import { isLower, isUpper } from "./methods.js";
import { binary, compare, isIn } from "./operators.js";
import { textOf } from "./text.js";
import {
  type Arguments,
  Callable,
  Dict,
  Helper,
  hasLength,
  isEqual,
  isList,
  Lazy,
  Markup,
  numberOf,
  payReading,
  Range,
  type Runtime,
  Tuple,
  Undefined,
  type Value,
} from "./values.js";

interface Test {
  signature: string;
  call(value: Value, bound: Bound, runtime: Runtime): boolean;
}

const test = (call: (value: Value, runtime: Runtime) => boolean): Test => ({
  signature: "",
  call: (value, _, runtime) => call(value, runtime),
});

const withOther = (call: (value: Value, other: Value, runtime: Runtime) => boolean): Test => ({
  signature: "other",
  call: (value, [other = null], runtime) => call(value, other, runtime),
});

const comparing = (operator: string) =>
  withOther((value, other, { budget }) => compare(operator, value, other, budget));

const rest = (value: Value, divisor: Value, { budget }: Runtime) => binary("%", value, divisor, budget);

function readText(value: Value, budget: Budget): string {
  const text = textOf(value, budget);
  payReading(text, budget);
  return text;
}

function isSame(value: Value, other: Value): boolean {
  if (value === null || typeof value === "boolean" || other === null || typeof other === "boolean") {
    return value === other;
  }
  if (typeof value !== "object" && typeof value === typeof other) {
    throw unsupported("'sameas' for numbers and texts, which depends on Python's memory,");
  }
  return value === other;
}

const isSequence = (value: Value) =>
  typeof value === "string" ||
  isList(value) ||
  [Tuple, Dict, Range, Markup, Undefined].some((type) => value instanceof type);

const equal = withOther((value, other, { budget }) => isEqual(value, other, budget));

const tests: Record<string, Test> = {
  boolean: test((value) => typeof value === "boolean"),
  callable: test(
    (value) =>
      [Callable, Undefined].some((type) => value instanceof type) ||
      (value instanceof Helper && value.call !== undefined),
  ),
  defined: test((value) => !(value instanceof Undefined)),
  divisibleby: {
    signature: "num",
    call: (value, [divisor = null], runtime) => isEqual(rest(value, divisor, runtime), 0n, runtime.budget),
  },
  eq: equal,
  "==": equal,
  equalto: equal,
  escaped: test((value) => value instanceof Markup),
  even: test((value, runtime) => isEqual(rest(value, 2n, runtime), 0n, runtime.budget)),
  false: test((value) => value === false),
  filter: test((value) => typeof value === "string" && isFilter(value)),
  float: test((value) => typeof value === "number"),
  ge: comparing(">="),
  ">=": comparing(">="),
  greaterthan: comparing(">"),
  gt: comparing(">"),
  ">": comparing(">"),
  in: withOther((value, container, { budget }) => isIn(value, container, budget)),
  integer: test((value) => typeof value === "bigint"),
  iterable: test((value) => hasLength(value) || value instanceof Lazy),
  le: comparing("<="),
  "<=": comparing("<="),
  lessthan: comparing("<"),
  lower: test((value, { budget }) => isLower(readText(value, budget))),
  lt: comparing("<"),
  "<": comparing("<"),
  mapping: test((value) => value instanceof Dict),
  ne: comparing("!="),
  "!=": comparing("!="),
  none: test((value) => value === null),
  number: test((value) => numberOf(value) !== undefined),
  odd: test((value, runtime) => isEqual(rest(value, 2n, runtime), 1n, runtime.budget)),
  sameas: withOther(isSame),
  sequence: test(isSequence),
  string: test((value) => typeof value === "string" || value instanceof Markup),
  test: test((value) => typeof value === "string" && isTest(value)),
  true: test((value) => value === true),
  undefined: test((value) => value instanceof Undefined),
  upper: test((value, { budget }) => isUpper(readText(value, budget))),
};

export function isTest(name: string): boolean {
  return Object.hasOwn(tests, name);
}

export function applyTest(name: string, value: Value, args: Arguments, runtime: Runtime): boolean {
  const found = isTest(name) ? tests[name] : undefined;
  if (found === undefined) {
    throw unsupported(`the test '${name}'`);
  }
  return found.call(value, bind(`the test '${name}'`, found.signature, args), runtime);
}
