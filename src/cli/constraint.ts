// What generated text is held to, from the command line: a grammar or a JSON schema, typed or in a file.

import type { GenerateOptions } from "../engine/request.js";
import { Grammar } from "../grammar/grammar.js";
import type { JsonSchema } from "../grammar/schema.js";
import { BitnetError, toBitnetError } from "../system/errors.js";
import { readTextFile } from "../system/text-file.js";
import type { OptionRows, RowValues } from "./option-rows.js";

export const constraintRows = {
  grammar: { flags: "--grammar <text>", help: "grammar that the text must follow, in llama.cpp's syntax (GBNF)" },
  grammarFile: { flags: "--grammar-file <file>", help: "the same from a file" },
  schema: {
    flags: "-j, --json-schema <json>",
    help: "JSON schema that the text must be valid by; {} is any JSON",
  },
  schemaFile: { flags: "--json-schema-file <file>", help: "the same from a file", aliases: ["-jf"] },
} as const satisfies OptionRows;

type Values = RowValues<typeof constraintRows>;

/** The library's option for them; nothing if none is given. Throws USAGE for more than one, and for what is wrong. */
export async function readConstraint(values: Values): Promise<Pick<GenerateOptions, "grammar">> {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  if (given.length > 1) {
    throw new BitnetError("USAGE", "expected one of --grammar, --grammar-file, -j and -jf, not several");
  }
  const { grammar, grammarFile, schema, schemaFile } = values;
  const file = grammarFile ?? schemaFile;
  const text = file === undefined ? (grammar ?? schema) : await readTextFile(file);
  if (text === undefined) {
    return {};
  }
  const isSchema = (schema ?? schemaFile) !== undefined;
  try {
    return { grammar: isSchema ? Grammar.fromJsonSchema(parseSchema(text)) : Grammar.fromGbnf(text) };
  } catch (thrown) {
    const error = toBitnetError(thrown);
    throw file === undefined ? error : new BitnetError(error.code, `${file}: ${error.message}`, { cause: thrown });
  }
}

/** Throws USAGE for what is no JSON. */
export function parseSchema(text: string): JsonSchema {
  try {
    return JSON.parse(text) as JsonSchema;
  } catch (cause) {
    throw new BitnetError("USAGE", `the schema is not valid JSON: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}
