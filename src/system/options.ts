// Options from outside: an unknown name is a slip that would change nothing in silence.

import { closest } from "./closest.js";
import { BitnetError } from "./errors.js";

/** The names of an options type, written down once beside it. */
export type OptionNames<Options> = Readonly<Record<keyof Options, true>>;

/** USAGE if `options` has a name that is none of `names`; `subject` is what takes the options. */
export function checkOptionNames(subject: string, options: object, names: Readonly<Record<string, true>>): void {
  // A caller without types may hand over anything.
  if (typeof options !== "object" || options === null) {
    throw new BitnetError("USAGE", `${subject}: expected an object with options, got ${String(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(names, name)) {
      const known = Object.keys(names);
      const nearest = closest(name, known);
      const hint = nearest === undefined ? `its options: ${known.join(", ")}` : `did you mean ${nearest}?`;
      throw new BitnetError("USAGE", `${subject} has no option "${name}"`, { hint });
    }
  }
}

/** USAGE if a value is none of `choices`; undefined is the default. */
export function checkChoice(name: string, value: unknown, choices: readonly (string | boolean)[]): void {
  if (value !== undefined && !choices.some((choice) => choice === value)) {
    throw new BitnetError("USAGE", `${name}: expected ${choices.join(" or ")}, got ${shownOf(value)}`);
  }
}

/** USAGE if a path that is needed is none. */
export function checkPath(name: string, value: unknown): void {
  if (typeof value !== "string" || value === "") {
    throw new BitnetError("USAGE", `${name}: expected a path, got ${shownOf(value)}`);
  }
}

function shownOf(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : typeof value;
}
