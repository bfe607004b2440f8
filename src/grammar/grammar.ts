// Grammars that generated text must follow: written as GBNF, as a JSON schema, as a regular expression or as a choice.

import { createHash } from "node:crypto";
import { loadAddon, type NativeGrammar } from "../native/addon.js";
import { BitnetError, converting, toBitnetError } from "../system/errors.js";
import { GrammarError, type IgnoredKeyword } from "./error.js";
import { parseRegex } from "./regex.js";
import { type JsonSchema, type SchemaOptions, writeSchema, writeSchemaGrammar } from "./schema.js";
import { quoteText } from "./text.js";

/** Text in the grammar's syntax, from one of the front ends. */
interface Source {
  readonly text: string;
  readonly maxBytes: number;
  readonly ignored: readonly IgnoredKeyword[];
}

const maxWritten = 256 * 1024; // of GBNF from a user
const maxMade = 4 * 1024 * 1024; // of GBNF from a front end
const maxKept = 64;
const maxChoices = 10_000;

/** Those used last by the hash of what they were made from, as requests often repeat one. */
const compiled = new Map<string, Grammar>();

/** A compiled grammar: may be used for any number of generations at once. */
export class Grammar {
  /** GBNF. */
  readonly source: string;
  /** Keywords of a schema that were left out, with `strict: false`. */
  readonly ignored: readonly IgnoredKeyword[];
  readonly #native: NativeGrammar;

  private constructor(source: Source, native: NativeGrammar) {
    this.source = source.text;
    this.ignored = source.ignored;
    this.#native = native;
  }

  /** The syntax of llama.cpp's grammars, docs/grammar.md. Throws USAGE with line and column. */
  static fromGbnf(source: string): Grammar {
    return Grammar.#compile("gbnf", source, () => written(source));
  }

  /** GBNF that was put together of what front ends wrote, which may be longer than a user's. */
  static fromParts(source: string): Grammar {
    return Grammar.#compile("parts", source, () => ({ ...written(source), maxBytes: maxMade }));
  }

  /**
   * JSON that a schema (draft 2020-12) accepts, properties in the order of the schema. Throws GrammarError naming the
   * keyword and its JSON pointer for what cannot be held to exactly; with `strict: false` it is left out and named in
   * `ignored`.
   */
  static fromJsonSchema(schema: JsonSchema, options: SchemaOptions = {}): Grammar {
    return Grammar.#compile("schema", keyOf(schema, options), () => ofSchema(schema, options));
  }

  /** Text that a regular expression matches as a whole. Throws USAGE for what is not regular. */
  static fromRegex(pattern: string): Grammar {
    return Grammar.#compile("regex", pattern, () => ofRegex(pattern));
  }

  /** One of these texts. */
  static fromChoices(choices: readonly string[]): Grammar {
    return Grammar.#compile("choices", JSON.stringify(choices), () => ofChoices(choices));
  }

  // The same with the automata made on another thread: for servers.

  static fromGbnfAsync(source: string): Promise<Grammar> {
    return Grammar.#compileAsync("gbnf", source, () => written(source));
  }

  static fromJsonSchemaAsync(schema: JsonSchema, options: SchemaOptions = {}): Promise<Grammar> {
    return Grammar.#compileAsync("schema", keyOf(schema, options), () => ofSchema(schema, options));
  }

  static fromPartsAsync(source: string): Promise<Grammar> {
    return Grammar.#compileAsync("parts", source, () => ({ ...written(source), maxBytes: maxMade }));
  }

  static fromRegexAsync(pattern: string): Promise<Grammar> {
    return Grammar.#compileAsync("regex", pattern, () => ofRegex(pattern));
  }

  static fromChoicesAsync(choices: readonly string[]): Promise<Grammar> {
    return Grammar.#compileAsync("choices", JSON.stringify(choices), () => ofChoices(choices));
  }

  /** Any JSON object, as `response_format: json_object` asks for. */
  static get jsonObject(): Grammar {
    return Grammar.fromJsonSchema({ type: "object" });
  }

  static #compile(kind: string, from: string, write: () => Source): Grammar {
    const key = hashOf(kind, from);
    const known = compiled.get(key);
    if (known !== undefined) {
      return keep(key, known);
    }
    const source = write();
    try {
      return keep(key, new Grammar(source, loadAddon().compileGrammar(source.text, source.maxBytes)));
    } catch (error) {
      throw problemOf(error, kind);
    }
  }

  static async #compileAsync(kind: string, from: string, write: () => Source): Promise<Grammar> {
    const key = hashOf(kind, from);
    const known = compiled.get(key);
    if (known !== undefined) {
      return keep(key, known);
    }
    const source = write();
    try {
      return keep(key, new Grammar(source, await loadAddon().compileGrammarAsync(source.text, source.maxBytes)));
    } catch (error) {
      throw problemOf(error, kind);
    }
  }

  matches(text: string): boolean {
    return converting(() => this.#native.matches(text));
  }

  /** For the native side. */
  get native(): NativeGrammar {
    return this.#native;
  }
}

/** What the native side says of a schema is about all of it. */
function problemOf(cause: unknown, kind: string): BitnetError {
  const error = toBitnetError(cause);
  return kind === "schema" && error.code === "USAGE"
    ? new GrammarError({ keyword: "", pointer: "" }, error.message, { cause })
    : error;
}

function keep(key: string, grammar: Grammar): Grammar {
  compiled.delete(key);
  compiled.set(key, grammar);
  const [oldest] = compiled.keys();
  if (compiled.size > maxKept && oldest !== undefined) {
    compiled.delete(oldest);
  }
  return grammar;
}

function hashOf(kind: string, from: string): string {
  return createHash("sha256").update(`${kind}\n${from}`).digest("base64");
}

/** Texts that differ for different schemas; what is no JSON is told where the schema is read. */
function keyOf(schema: JsonSchema, { strict = true }: SchemaOptions): string {
  try {
    return `${strict} ${JSON.stringify(schema)}`;
  } catch {
    return `${strict} ${writeSchemaGrammar(schema)}`;
  }
}

function written(text: string): Source {
  return { text, maxBytes: maxWritten, ignored: [] };
}

function ofSchema(schema: JsonSchema, options: SchemaOptions): Source {
  return { maxBytes: maxMade, ...writeSchema(schema, options) };
}

function ofRegex(pattern: string): Source {
  return { text: `root ::= ${parseRegex(pattern, "regex").whole("text")}\n`, maxBytes: maxMade, ignored: [] };
}

function ofChoices(choices: readonly string[]): Source {
  if (choices.length === 0 || choices.length > maxChoices) {
    throw new BitnetError("USAGE", `choices: expected 1 to ${maxChoices} texts, but got ${choices.length}`);
  }
  return { text: `root ::= ${choices.map(quoteText).join(" | ")}\n`, maxBytes: maxMade, ignored: [] };
}
