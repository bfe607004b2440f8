// JSON schemas (draft 2020-12) as grammars. Every text of the grammar is JSON that the schema accepts; what cannot be held
// to exactly is refused by keyword and JSON pointer, never left out.

import { writeArray } from "./arrays.js";
import { GrammarError, type GrammarProblem, type IgnoredKeyword } from "./error.js";
import { type All, type Flat, typeBits } from "./flat.js";
import { isObject, type JsonObject } from "./json.js";
import { isAnnotation } from "./keywords.js";
import { weaken } from "./lenient.js";
import { nothing } from "./numbers.js";
import { writeNumeric } from "./numeric.js";
import { writeObject } from "./objects.js";
import { depthOf } from "./pointer.js";
import { writeString } from "./strings.js";
import { joinChoices, Writer } from "./writer.js";

export type JsonSchema = boolean | Readonly<Record<string, unknown>>;

export interface SchemaOptions {
  /** `false`: keywords that cannot be held to are left out and told. By default they are refused. */
  strict?: boolean;
}

export interface SchemaGrammar {
  /** GBNF. */
  text: string;
  ignored: readonly IgnoredKeyword[];
}

const maxSchemaBytes = 256 * 1024;
const maxNesting = 256; // of brackets: a schema within a schema is up to three of them
const maxDepth = 64; // of schemas within schemas
const maxReferenced = 128; // ... with those that references lead to
const maxIgnored = 64;

/** GBNF for exactly the values of a schema, with rules `root` and `r1`, `r2` ... of its own. Throws GrammarError. */
export function writeSchemaGrammar(schema: JsonSchema): string {
  return writeSchema(schema, {}).text;
}

/** The same, and what was left out. */
export function writeSchema(schema: JsonSchema, { strict = true }: SchemaOptions): SchemaGrammar {
  let checked = copySchema(schema);
  const ignored: IgnoredKeyword[] = [];
  for (;;) {
    try {
      return { text: new SchemaWriter(checked).write(), ignored };
    } catch (error) {
      const weaker =
        !strict && error instanceof GrammarError && ignored.length < maxIgnored ? weaken(checked, error) : undefined;
      if (weaker === undefined) {
        throw error;
      }
      checked = weaker.schema;
      ignored.push(weaker.ignored);
    }
  }
}

/** The schema as JSON has it. */
function copySchema(schema: JsonSchema): unknown {
  const top: GrammarProblem = { keyword: "", pointer: "" };
  let text: string;
  try {
    text = JSON.stringify(schema) ?? "";
  } catch (cause) {
    throw new GrammarError(top, "it is nested too deeply or refers to itself", { cause });
  }
  if (text.length > maxSchemaBytes || Buffer.byteLength(text) > maxSchemaBytes) {
    throw new GrammarError(top, `more than ${maxSchemaBytes / 1024} KiB`);
  }
  if (nestingOf(text) > maxNesting) {
    throw new GrammarError(top, `more than ${maxNesting} brackets within each other`);
  }
  return JSON.parse(text);
}

function nestingOf(json: string): number {
  let [depth, deepest] = [0, 0];
  for (const [mark] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    depth += mark === "[" || mark === "{" ? 1 : mark === "]" || mark === "}" ? -1 : 0;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

class SchemaWriter {
  readonly #root: unknown;
  readonly #writer: Writer;
  readonly #known = new Map<string, string>(); // what must be valid together: its rule
  #depth = 0;

  constructor(root: unknown) {
    this.#root = root;
    this.#writer = new Writer(root);
  }

  write(): string {
    const root = this.#writeAll([{ schema: this.#root, at: "" }]);
    return this.#writer.text(root);
  }

  /** An expression for the values that are valid by all of these. */
  readonly #writeAll = (all: All): string => {
    const left = all
      .map((one) => this.#writer.expander.resolve(one))
      .filter(({ schema, not }) => schema !== (not !== true));
    if (left.length === 0) {
      return this.#writer.basic("value");
    }
    if (left.some(({ schema, not }) => schema === (not === true))) {
      return nothing;
    }
    const key = [...new Set(left.map(({ at, not }) => `${not === true ? "!" : ""}${at}`))].sort().join(" & ");
    const known = this.#known.get(key);
    if (known !== undefined) {
      return known;
    }
    const [{ at } = { at: "" }] = left;
    if (depthOf(at) > maxDepth) {
      throw new GrammarError({ keyword: "", pointer: at }, `more than ${maxDepth} schemas within each other`);
    }
    if (this.#depth >= maxReferenced) {
      const problem = { keyword: "", pointer: at };
      throw new GrammarError(problem, `more than ${maxReferenced} schemas and references within each other`);
    }
    const name = this.#writer.addRule(nothing);
    this.#known.set(key, name); // before its text, which may name it
    this.#depth += 1;
    this.#writer.setRule(name, this.#writeAlternatives(left));
    this.#depth -= 1;
    return name;
  };

  #writeAlternatives(all: All): string {
    const separate = this.#separate(all);
    if (separate !== undefined) {
      return joinChoices(separate.map((one) => this.#writeAll([one])));
    }
    return joinChoices(this.#writer.expander.expand(all).flatMap((flat) => this.#writeFlat(flat)));
  }

  /** Alternatives that stand alone, so that what they refer to is written once. */
  #separate(all: All): All | undefined {
    const [one] = all;
    if (one === undefined || all.length > 1 || one.not === true || !isObject(one.schema)) {
      return undefined;
    }
    const schema: JsonObject = one.schema;
    const [keyword, ...more] = Object.keys(schema).filter((name) => !isAnnotation(name));
    if (more.length > 0 || (keyword !== "anyOf" && keyword !== "oneOf")) {
      return undefined;
    }
    const list = schema[keyword];
    if (!Array.isArray(list) || list.length === 0) {
      return undefined; // is refused where it is read
    }
    const parts = list.map((part: unknown, i) => ({ schema: part, at: `${one.at}/${keyword}/${i}` }));
    const areDisjoint = () =>
      parts.every((part, i) => parts.slice(0, i).every((other) => this.#writer.expander.areDisjoint(part, other)));
    return keyword === "anyOf" || areDisjoint() ? parts : undefined;
  }

  #writeFlat(flat: Flat): readonly string[] {
    const writer = this.#writer;
    if (flat.values !== undefined) {
      return flat.values.filter((value) => writer.isValid(flat, value)).map((value) => writer.value(value));
    }
    const written: string[] = [];
    const has = (bit: number) => (flat.types & bit) !== 0;
    const isExcluded = (value: unknown) => flat.notValues.some((no) => no.value === value);
    if (has(typeBits.object)) {
      written.push(writeObject(writer, flat, this.#writeAll));
    }
    if (has(typeBits.array)) {
      written.push(writeArray(writer, flat, this.#writeAll));
    }
    if (has(typeBits.string)) {
      written.push(writeString(writer, flat));
    }
    if (has(typeBits.integer | typeBits.fraction)) {
      written.push(writeNumeric(writer, flat));
    }
    for (const value of [true, false]) {
      if (has(typeBits.boolean) && !isExcluded(value)) {
        written.push(`"${value}"`);
      }
    }
    if (has(typeBits.null) && !isExcluded(null)) {
      written.push('"null"');
    }
    return written;
  }
}
