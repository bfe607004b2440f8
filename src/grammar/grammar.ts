// Grammars that generated text must follow: written as GBNF, as a JSON schema, as a regular expression or as a choice.

import { loadAddon, type NativeGrammar } from "../native/addon.js";
import { BitnetError, converting } from "../system/errors.js";
import { parseRegex } from "./regex.js";
import { type JsonSchema, writeSchemaGrammar } from "./schema.js";
import { quoteText } from "./text.js";

const maxKept = 64;
const compiled = new Map<string, NativeGrammar>(); // those used last, as requests often repeat one

function compile(source: string): NativeGrammar {
  const native = compiled.get(source) ?? converting(() => loadAddon().compileGrammar(source));
  compiled.delete(source);
  compiled.set(source, native);
  for (const oldest of compiled.keys()) {
    if (compiled.size <= maxKept) {
      break;
    }
    compiled.delete(oldest);
  }
  return native;
}

/** A compiled grammar: may be used for any number of generations at once. */
export class Grammar {
  /** GBNF. */
  readonly source: string;
  readonly #native: NativeGrammar;

  private constructor(source: string) {
    this.source = source;
    this.#native = compile(source);
  }

  /** The syntax of llama.cpp's grammars, docs/grammar.md. Throws USAGE with line and column. */
  static fromGbnf(source: string): Grammar {
    return new Grammar(source);
  }

  /**
   * JSON that a schema (draft 2020-12) accepts, properties in the order of the schema. Throws USAGE naming the keyword and
   * its JSON pointer for what cannot be held to exactly.
   */
  static fromJsonSchema(schema: JsonSchema): Grammar {
    return new Grammar(writeSchemaGrammar(schema));
  }

  /** Text that a regular expression matches as a whole. Throws USAGE for what is not regular. */
  static fromRegex(pattern: string): Grammar {
    return new Grammar(`root ::= ${parseRegex(pattern, "regex").whole("text")}\n`);
  }

  /** One of these texts. */
  static fromChoices(choices: readonly string[]): Grammar {
    if (choices.length === 0) {
      throw new BitnetError("USAGE", "choices: expected at least one text");
    }
    return new Grammar(`root ::= ${choices.map(quoteText).join(" | ")}\n`);
  }

  matches(text: string): boolean {
    return converting(() => this.#native.matches(text));
  }

  /** For the native side. */
  get native(): NativeGrammar {
    return this.#native;
  }
}
