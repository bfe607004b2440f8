// Element access where the index is right by construction.

import { BitnetError } from "./errors.js";

/** list[i]. Throws INTERNAL if there is none: two lists that belong together do not have the same length. */
export function at<T>(list: ArrayLike<T>, i: number): T {
  const element = list[i];
  if (element === undefined) {
    throw new BitnetError("INTERNAL", `a list of ${list.length} has no element ${i}`);
  }
  return element;
}
