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
