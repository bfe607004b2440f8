// The arguments of a call, put where the parameters of a signature are.

import { TemplateError } from "./limits.js";
import { type Arguments, Callable, Markup, numberOf, requireDefined, typeName, type Value } from "./values.js";

/** In the order of the parameters; undefined where nothing was given. */
export type Bound = readonly (Value | undefined)[];

/**
 * Binds to a signature such as "old new /count?": parameters one after the other, "?" may be left out, "/" in front of a
 * name: it and those before it cannot be given by name. Whatever does not fit is an error.
 */
export function bind(call: string, signature: string, { positional, named }: Arguments): Bound {
  const parameters = signature.split(" ").filter((text) => text !== "");
  const lastUnnamed = parameters.findLastIndex((text) => text.startsWith("/"));
  if (positional.length > parameters.length) {
    throw new TemplateError(`${call} takes at most ${parameters.length} arguments, got ${positional.length}`);
  }
  const bound: (Value | undefined)[] = parameters.map((_, i) => positional[i]);
  const names = parameters.map((text) => text.replace(/[/?]/g, ""));
  for (const [name, value] of named) {
    const place = names.indexOf(name);
    if (place <= lastUnnamed || bound[place] !== undefined) {
      throw new TemplateError(`${call} got an unexpected argument '${name}'`);
    }
    bound[place] = value;
  }
  const missing = parameters.findIndex((text, i) => !text.endsWith("?") && bound[i] === undefined);
  if (missing >= 0) {
    throw new TemplateError(`${call} misses the argument '${names[missing]}'`);
  }
  return bound;
}

/** A function of the language, with its parameters checked. */
export function createFunction(name: string, signature: string, call: (bound: Bound) => Value): Callable {
  return new Callable(name, (args) => call(bind(`${name}()`, signature, args)));
}

export function requireText(value: Value | undefined, what: string): string {
  if (value instanceof Markup) {
    return value.text;
  }
  if (typeof value !== "string") {
    requireDefined(value ?? null);
    throw new TemplateError(`${what} must be a text, not ${typeName(value ?? null)}`);
  }
  return value;
}

/** The int, or `standard` if nothing was given. */
export function requireInteger(value: Value | undefined, what: string, standard?: number): number {
  if (value === undefined && standard !== undefined) {
    return standard;
  }
  requireDefined(value ?? null);
  const number = numberOf(value ?? null);
  if (typeof number !== "bigint") {
    throw new TemplateError(`${what} must be an int, not ${typeName(value ?? null)}`);
  }
  return Number(number);
}
