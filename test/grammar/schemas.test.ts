// 300 schemas with the mix of keywords that schemas in use have (scripts/make-schema-cases.mjs). ajv says what is valid.

import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { describe, expect, test } from "vitest";
import { GrammarError } from "../../src/grammar/error.js";
import { Grammar } from "../../src/grammar/grammar.js";

interface Case {
  schema: Record<string, unknown>;
  values: unknown[];
}

const cases = readFileSync("test/fixtures/schemas.jsonl", "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Case);

const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 6 });
formats.default(ajv);

function compile(schema: Record<string, unknown>): Grammar | GrammarError {
  try {
    return Grammar.fromJsonSchema(schema);
  } catch (error) {
    expect(error).toBeInstanceOf(GrammarError);
    return error as GrammarError;
  }
}

/** The same value in other spellings, of which the grammar may accept some. */
function spellings(value: unknown): string[] {
  const text = JSON.stringify(value);
  return [
    JSON.stringify(value, undefined, 1).replaceAll(/\n\s*/g, " "),
    text.replaceAll(",", ", ").replaceAll(":", ": "),
    text.replaceAll("a", "\\u0061"),
    text.replaceAll(/(\d)(?=[,}\]]|$)/g, "$1.0"),
    text.replaceAll(/(\d)(?=[,}\]]|$)/g, "$1e0"),
    text.replaceAll(/(\d)(?=[,}\]]|$)/g, "$10"),
    text.replace("{", '{"extra":1,'),
    `${text} `,
  ];
}

describe("of 300 schemas", () => {
  const grammars = cases.map(({ schema, values }) => ({ schema, values, grammar: compile(schema) }));
  const compiled = grammars.flatMap(({ schema, values, grammar }) =>
    grammar instanceof Grammar ? [{ schema, values, grammar, validate: ajv.compile(schema) }] : [],
  );

  test("at least nine of ten can be held to", () => {
    expect(cases.length).toBe(300);
    expect(compiled.length).toBeGreaterThanOrEqual(270);
  });

  test("the others are refused with a keyword that the schema has at the pointer", () => {
    const refused = grammars.filter(({ grammar }) => grammar instanceof GrammarError);
    expect(refused.length).toBeGreaterThan(0);
    for (const { schema, grammar } of refused) {
      const { keyword, pointer } = (grammar as GrammarError).problem;
      if (keyword === "") {
        expect(cases.find((one) => one.schema === schema)?.values.some((value) => ajv.validate(schema, value))).toBe(
          false,
        );
        continue; // no value is valid at all
      }
      const steps = pointer.split("/").slice(1);
      const found = steps.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], schema);
      expect([pointer, steps.at(-1), found]).toEqual([pointer, keyword, expect.anything()]);
    }
  });

  test("no valid value is rejected and no other accepted", () => {
    let valid = 0;
    let invalid = 0;
    for (const { schema, values, grammar, validate } of compiled) {
      for (const value of values) {
        const isValid = validate(value);
        expect([schema, value, grammar.matches(JSON.stringify(value))]).toEqual([schema, value, isValid]);
        valid += Number(isValid);
        invalid += Number(!isValid);
      }
    }
    expect(valid).toBeGreaterThan(1000);
    expect(invalid).toBeGreaterThan(800);
  });

  test("no text of a grammar is anything but JSON that is valid, however it is spelled", () => {
    let accepted = 0;
    for (const { schema, values, grammar, validate } of compiled) {
      for (const text of values.flatMap(spellings).filter((one) => grammar.matches(one))) {
        expect([schema, text, validate(JSON.parse(text))]).toEqual([schema, text, true]);
        accepted += 1;
      }
    }
    expect(accepted).toBeGreaterThan(1000);
  });

  test("with strict: false every one is taken, and what was left out is named", () => {
    for (const { schema, values, grammar } of grammars) {
      if (grammar instanceof Grammar) {
        expect(grammar.ignored).toEqual([]);
      } else if (grammar.problem.keyword !== "") {
        const lenient = Grammar.fromJsonSchema(schema, { strict: false });
        expect(lenient.ignored.map(({ keyword, pointer }) => ({ keyword, pointer }))).toContainEqual(grammar.problem);
        const validate = ajv.compile(schema);
        for (const value of values.filter((one) => validate(one))) {
          expect([schema, value, lenient.matches(JSON.stringify(value))]).toEqual([schema, value, true]);
        }
      }
    }
  });
});
