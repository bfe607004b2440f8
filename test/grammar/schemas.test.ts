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
const isUri = ajv.compile({ format: "uri" });
const encode = (text: string) => text.replaceAll(/[^\0-\x7f]/gu, encodeURIComponent);
ajv.addFormat("iri", (text: string) => isUri(encode(text))); // RFC 3987, 3.1

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

describe("a hostile schema", () => {
  const many = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i));
  const deep = (open: string, close: string, n: number) => JSON.parse(`${open.repeat(n)}{}${close.repeat(n)}`);

  test.each<[string, Record<string, unknown>, RegExp | undefined]>([
    [
      "of alternatives in each other's company",
      { allOf: many(12, (i) => ({ anyOf: [{ required: [`a${i}`] }, { required: [`b${i}`] }] })) },
      /combinations of alternatives/,
    ],
    [
      "whose references double at each step",
      {
        $defs: {
          ...Object.fromEntries(many(100, (i) => [`d${i}`, { anyOf: many(2, () => ({ $ref: `#/$defs/d${i + 1}` })) }])),
          d100: { type: "null" },
        },
        $ref: "#/$defs/d0",
      },
      undefined,
    ],
    ["of long lists against each other", { allOf: many(4, () => ({ enum: many(6000, (i) => i) })) }, undefined],
    ["that turns around and around", deep('{"not":', "}", 60), undefined],
    ["nested deeper than a stack", deep('{"items":', "}", 5000), /nested too deeply|brackets within each other/],
    ["of patterns that backtrack", { patternProperties: { "^(a+)+$": {} }, required: ["a".repeat(60)] }, undefined],
    [
      "of patterns that explode",
      { type: "string", pattern: "a.{25}$", not: { pattern: "b.{25}$" } },
      /too (many|much)/,
    ],
    ["that counts without end", { type: "array", items: { maxLength: 100_000 }, maxItems: 100_000 }, undefined],
    ["of tiny bounds", { type: "number", minimum: 1e-300 }, /\/minimum: a bound of 1e-300/],
    ["that refers to itself alone", { anyOf: [{ type: "null" }, { $ref: "#" }], minimum: 1 }, /lead to themselves/],
  ])("%s is held to or refused, and soon", (_, schema, problem) => {
    const grammar = compile(schema);
    if (problem === undefined) {
      expect(grammar).toBeInstanceOf(Grammar);
    } else {
      expect((grammar as GrammarError).message).toMatch(problem);
    }
  });
});

describe("compiled on another thread", () => {
  test("grammars are the same, and kept for the next request", async () => {
    const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };
    const made = await Grammar.fromJsonSchemaAsync(schema);
    expect([made.matches('{"a": 1}'), made.matches("{}")]).toEqual([true, false]);
    expect(Grammar.fromJsonSchema(schema)).toBe(made);
    expect(await Grammar.fromJsonSchemaAsync(structuredClone(schema))).toBe(made);
    expect(Grammar.fromJsonSchema(schema, { strict: false })).not.toBe(made);
    expect((await Grammar.fromRegexAsync("a+")).matches("aa")).toBe(true);
    expect((await Grammar.fromChoicesAsync(["x", "y"])).matches("y")).toBe(true);
    expect((await Grammar.fromGbnfAsync('root ::= "z"')).matches("z")).toBe(true);
  });

  test("what is wrong rejects as it throws", async () => {
    await expect(Grammar.fromGbnfAsync("root ::= (")).rejects.toMatchObject({ code: "USAGE" });
    await expect(Grammar.fromJsonSchemaAsync({ format: "none" })).rejects.toMatchObject({
      problem: { keyword: "format", pointer: "/format" },
    });
    await expect(Grammar.fromJsonSchemaAsync({ allOf: [{ type: "null" }, { type: "string" }] })).rejects.toMatchObject({
      problem: { keyword: "", pointer: "" },
    });
  });

  test("the 64 used last are kept", () => {
    const first = Grammar.fromRegex("first");
    const second = Grammar.fromRegex("second");
    for (let i = 0; i < 62; i++) {
      Grammar.fromRegex(`other ${i}`);
    }
    expect(Grammar.fromRegex("first")).toBe(first); // now the youngest
    Grammar.fromRegex("one more");
    expect(Grammar.fromRegex("first")).toBe(first);
    expect(Grammar.fromRegex("second")).not.toBe(second);
  });
});

test("any JSON object has blanks of one space at most", () => {
  const { jsonObject } = Grammar;
  for (const text of ["{}", '{ "a": [ 1, {} ], "b": "  x" }']) {
    expect([text, jsonObject.matches(text)]).toEqual([text, true]);
  }
  for (const text of ["[]", "1", "{  }", '{"a":1\n}', " {}", "{} "]) {
    expect([text, jsonObject.matches(text)]).toEqual([text, false]);
  }
});
