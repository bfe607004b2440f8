// Chat templates: Jinja2 as transformers sets it up (trim_blocks, lstrip_blocks, loop controls, its own tojson, inside a
// sandbox), for values that are plain data.
//
// An interpreter of our own, because templates come from anywhere and must be told apart from programs: it counts its
// work, so that a template without end is an error after the same number of steps on every machine, without a thread or
// a process to kill. And its values are Python's: what another language's methods would do with the same arguments is
// close to what a model was trained on, but not always the same. What is not supported is an error that names it.

import type { Statement } from "./ast.js";
import { isFilter } from "./filters.js";
import { Interpreter } from "./interpreter.js";
import { type Budget, TemplateError } from "./limits.js";
import { parseTemplate } from "./parser.js";
import { isTest } from "./tests.js";
import { Dict, type Value } from "./values.js";

/** Plain data for a template. Whole numbers become ints. */
export type Plain = null | boolean | number | bigint | string | readonly Plain[] | { readonly [key: string]: Plain };

export class Template {
  readonly #statements: readonly Statement[];

  /** Throws TemplateError. */
  constructor(source: string) {
    this.#statements = guardStack(() => parseTemplate(source, { isFilter, isTest }));
  }

  /** Throws TemplateError; LimitError where it is more than `budget` has. */
  render(variables: Readonly<Record<string, Plain>>, budget: Budget, now = new Date()): string {
    return guardStack(() => {
      const values = Object.entries(variables).map(([name, value]): [string, Value] => [name, toValue(value)]);
      return new Interpreter(budget, now).render(this.#statements, values);
    });
  }
}

/** The levels that are counted fit on any usual stack; a smaller one is an error like any other. */
function guardStack<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof RangeError ? new TemplateError("nested too deep") : error;
  }
}

function toValue(plain: Plain): Value {
  if (typeof plain === "number") {
    return Number.isSafeInteger(plain) && !Object.is(plain, -0) ? BigInt(plain) : plain;
  }
  if (plain === null || typeof plain !== "object") {
    return plain;
  }
  if (isPlainList(plain)) {
    return plain.map(toValue);
  }
  return new Dict(Object.entries(plain).map(([key, value]): [string, Value] => [key, toValue(value)]));
}

function isPlainList(plain: Plain): plain is readonly Plain[] {
  return Array.isArray(plain);
}
