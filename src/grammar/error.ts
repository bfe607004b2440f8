import { BitnetError } from "../system/errors.js";
import { unescapePointer } from "./json.js";

/** Where a grammar or schema is wrong, for programs. */
export interface GrammarProblem {
  /** What is not supported or wrong in a schema, as "uniqueItems"; "" where a schema as a whole is. */
  keyword: string;
  /** Its place in the schema, as a JSON pointer (RFC 6901). */
  pointer: string;
}

/** A keyword that was left out, and why. */
export interface IgnoredKeyword extends GrammarProblem {
  reason: string;
}

/** A schema that cannot be held to. */
export class GrammarError extends BitnetError {
  readonly problem: GrammarProblem;

  constructor(problem: GrammarProblem, what: string, options: { cause?: unknown } = {}) {
    const { pointer } = problem;
    super("USAGE", `schema, ${pointer === "" ? "at the top" : pointer}: ${what}`, options);
    this.problem = problem;
  }
}

/** `pointer` ends with the keyword. */
export function refuse(pointer: string, what: string): never {
  const keyword = pointer.slice(pointer.lastIndexOf("/") + 1);
  throw new GrammarError({ keyword: unescapePointer(keyword), pointer }, what);
}
