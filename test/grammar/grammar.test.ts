// Grammars from every front end. JSON schemas are compared with ajv, regular expressions with JavaScript's own.

import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Grammar } from "../../src/grammar/grammar.js";
import type { JsonSchema } from "../../src/grammar/schema.js";
import { evaluateSchema } from "../support/evaluate-schema.js";

const ajv = new Ajv2020({ strict: false });
formats.default(ajv);

function failure(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toMatchObject({ code: "USAGE" });
    return (error as Error).message;
  }
  return "";
}

describe("a regular expression", () => {
  test.each([
    ["a|bc", ["a", "bc"], ["b", "abc", ""]],
    ["^a+$", ["a", "aa"], ["", "b"]],
    ["[a-c]{2,3}", ["ab", "abc"], ["a", "abcd"]],
    ["[^a]", ["b", "ä", "😀", "\n"], ["a", "bb"]],
    [".", ["a", "😀"], ["\n", ""]],
    ["\\d\\D\\w\\W\\s\\S", ["1aa- x"], ["a1aa x"]],
    ["(?:a(b)?)*?", ["", "aab"], ["b"]],
    ["\\u{1F600}|\\x41|\\u0042|\\cJ", ["😀", "A", "B", "\n"], ["C"]],
    ["[\\]\\-\\\\]+", ["]-\\"], ["a"]],
    ["(?<year>[0-9]{4})-\\.", ["2026-."], ["2026-x"]],
    ["\\/\\$\\^", ["/$^"], [""]],
    ["^(?=.*[0-9])(?=.*[a-z]$).{3,}", ["1aa", "é2z"], ["123", "1a", "1aB"]],
    ["^(?!ab|b$)[a-c]+", ["a", "bb", "aab"], ["ab", "abc", "b"]],
  ])("%s matches whole texts as JavaScript does", (pattern, right, wrong) => {
    const grammar = Grammar.fromRegex(pattern);
    for (const text of [...right, ...wrong]) {
      expect([text, grammar.matches(text)]).toEqual([text, new RegExp(`^(?:${pattern})$`, "u").test(text)]);
      expect([text, grammar.matches(text)]).toEqual([text, right.includes(text)]);
    }
  });

  const atoms = fc.constantFrom("a", "b", "[ab]", "[^a]", ".", "\\d", '"', "\\\\", "\\n", "é");
  const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
    pattern: fc.oneof(
      { maxDepth: 4 },
      atoms,
      fc.tuple(tie("pattern"), fc.constantFrom("*", "+", "?", "{1,2}")).map(([part, times]) => `(?:${part})${times}`),
      fc.tuple(tie("pattern"), tie("pattern")).map(([one, other]) => one + other),
      fc.tuple(tie("pattern"), tie("pattern")).map(([one, other]) => `(?:${one}|${other})`),
    ),
  }));
  const texts = fc.array(fc.constantFrom("a", "b", "1", '"', "\\", "\n", "é", "😀"), { maxLength: 5 });

  test("of any shape matches what JavaScript's own does, also within JSON", () => {
    fc.assert(
      fc.property(pattern, fc.array(texts, { minLength: 1, maxLength: 8 }), (source, samples) => {
        const whole = Grammar.fromRegex(source);
        const inJson = Grammar.fromJsonSchema({ type: "string", pattern: source });
        for (const text of samples.map((parts) => parts.join(""))) {
          expect(whole.matches(text)).toBe(new RegExp(`^(?:${source})$`, "u").test(text));
          expect(inJson.matches(JSON.stringify(text))).toBe(new RegExp(source, "u").test(text));
        }
      }),
      { numRuns: 150 },
    );
  });

  test.each([
    ["(a", /Unterminated group/],
    ["a(?=b)", /look-ahead/],
    ["(?!b)a", /look-ahead/],
    ["(?<!a)b", /look-behind/],
    ["(a)\\1", /reference/],
    ["\\bword", /\\b/],
    ["\\p{L}", /Unicode properties/],
    ["a^b", /ends of a pattern/],
    ["a{200000}", /100,000/],
    ["a".repeat(5000), /4096/],
  ])("%s is refused", (source, problem) => {
    expect(failure(() => Grammar.fromRegex(source))).toMatch(problem);
  });
});

describe("a JSON schema", () => {
  const cases: [string, JsonSchema, unknown[]][] = [
    ["no limits", {}, [1, "a", null, true, [], {}, [1, { a: [] }], 1.5e10, "ä\u2028"]],
    ["true", true, [1, {}]],
    ["types", { type: ["string", "null"] }, ["", null, 1, [], false]],
    ["integers", { type: "integer" }, [0, -5, 12345678901234, 1.5, "1"]],
    ["enum", { enum: ["a", 1, null, { b: [1] }, 'q"'] }, ["a", 1, null, { b: [1] }, { b: [2] }, 'q"', "b"]],
    ["const", { const: { a: 1, b: "x" } }, [{ a: 1, b: "x" }, { a: 2, b: "x" }, {}]],
    ["enum of a type", { type: "integer", enum: [1, "a", 2.5] }, [1, "a", 2.5]],
    [
      "lengths",
      { type: "string", minLength: 2, maxLength: 3 },
      ["a", "ab", "😀😀😀", "😀😀😀😀", "\n\n", '"'.repeat(3)],
    ],
    ["a pattern", { type: "string", pattern: "^[a-z]+-\\d{2}$" }, ["ab-12", "ab-1", "-12", "AB-12"]],
    ["a pattern somewhere", { type: "string", pattern: "b" }, ["abc", "b", "", "ac"]],
    ["items", { type: "array", items: { type: "integer" } }, [[], [1], [1, 2, 3], [1, "a"], {}]],
    [
      "counts of items",
      { type: "array", items: { type: "null" }, minItems: 1, maxItems: 2 },
      [[], [null], [null, null], [null, null, null]],
    ],
    [
      "a tuple",
      { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }], items: false },
      [[], ["a"], ["a", 1], ["a", 1, 2], [1]],
    ],
    [
      "a tuple with more",
      { type: "array", prefixItems: [{ type: "string" }], items: { type: "null" }, minItems: 2, maxItems: 3 },
      [["a"], ["a", null], ["a", null, null], ["a", null, null, null], [null, null]],
    ],
    ["no items", { type: "array", maxItems: 0 }, [[], [1]]],
    [
      "properties",
      {
        type: "object",
        properties: { a: { type: "integer" }, b: { type: "string" } },
        required: ["b"],
        additionalProperties: false,
      },
      [{ b: "x" }, { a: 1, b: "x" }, { a: 1 }, {}, { a: "x", b: "x" }, { b: "x", c: 1 }],
    ],
    [
      "optional properties",
      { type: "object", properties: { a: {}, b: {}, c: {} }, additionalProperties: false },
      [{}, { a: 1 }, { b: 1 }, { c: 1 }, { a: 1, c: 1 }, { b: 2, c: 1 }, { a: 1, b: 1, c: 1 }, { d: 1 }],
    ],
    [
      "other properties",
      { type: "object", properties: { ab: { type: "integer" } }, additionalProperties: { type: "string" } },
      [{ ab: 1 }, { ab: "x" }, { abc: "x" }, { a: "x" }, { b: "x", c: "y" }, { b: 1 }, { ab: 1, x: "y" }],
    ],
    ["required without a schema", { type: "object", required: ["z"] }, [{ z: 1 }, {}, { z: [], y: 1 }, { y: 1 }]],
    [
      "names by a pattern",
      { type: "object", patternProperties: { "^x-": { type: "integer" } }, additionalProperties: false },
      [{}, { "x-a": 1 }, { "x-a": "b" }, { y: 1 }, { "x-a": 1, "x-b": 2 }],
    ],
    ["references", { $defs: { n: { type: "integer" } }, type: "array", items: { $ref: "#/$defs/n" } }, [[1, 2], ["a"]]],
    [
      "a tree",
      {
        $defs: {
          tree: {
            type: "object",
            properties: { value: { type: "integer" }, children: { type: "array", items: { $ref: "#/$defs/tree" } } },
            required: ["value"],
            additionalProperties: false,
          },
        },
        $ref: "#/$defs/tree",
      },
      [{ value: 1 }, { value: 1, children: [{ value: 2, children: [] }] }, { value: 1, children: [{}] }],
    ],
    ["itself", { type: ["array", "null"], items: { $ref: "#" } }, [null, [], [[null], []], [1]]],
    ["anyOf", { anyOf: [{ type: "integer" }, { type: "string", maxLength: 1 }] }, [1, "a", "ab", null]],
    [
      "anyOf beside others",
      { type: "object", properties: { a: { type: "integer" } }, anyOf: [{ required: ["a"] }, { required: ["b"] }] },
      [{ a: 1 }, { b: 1 }, {}, { a: "x" }],
    ],
    ["oneOf by type", { oneOf: [{ type: "integer" }, { type: "array" }] }, [1, [], "a"]],
    [
      "oneOf by a property",
      {
        oneOf: [
          { type: "object", properties: { kind: { const: "a" }, n: { type: "integer" } }, required: ["kind", "n"] },
          { type: "object", properties: { kind: { const: "b" } }, required: ["kind"] },
        ],
      },
      [{ kind: "a", n: 1 }, { kind: "b" }, { kind: "a" }, { kind: "c" }],
    ],
    [
      "allOf",
      {
        allOf: [
          { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
          { properties: { b: { type: "string" } }, required: ["b"] },
        ],
      },
      [{ a: 1, b: "x" }, { a: 1 }, { b: "x" }],
    ],
    ["allOf of bounds", { allOf: [{ type: "integer", minimum: 3 }, { maximum: 7 }, { minimum: 5 }] }, [4, 5, 7, 8]],
    ["not of a bound", { type: "integer", not: { minimum: 3 } }, [2, 3, 4]],
    ["not of an exclusive bound", { type: "integer", not: { exclusiveMaximum: 3 } }, [2, 3, 4]],
    ["not of a length", { type: "string", not: { minLength: 2, maxLength: 3 } }, ["a", "ab", "abc", "abcd"]],
    ["not of properties", { not: { properties: { a: { const: 1 } } } }, [{ a: 1 }, { a: 2 }, {}, 5]],
    ["not of a tuple", { type: "array", not: { prefixItems: [{ const: 1 }, true] } }, [[1], [2], [], [2, 1]]],
    ["not of oneOf", { type: "integer", not: { oneOf: [{ minimum: 3 }, { maximum: 5 }] } }, [2, 3, 5, 6]],
    [
      "items that are different by their schemas",
      { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }], items: false, uniqueItems: true },
      [[], ["a"], ["a", 1], [1, "a"], ["a", 1, 2]],
    ],
    ["whole numbers of 32 bits", { type: "number", format: "int32" }, [1, -(2 ** 31), 2 ** 31, 0.5]],
    ["JSON pointers", { type: "string", format: "json-pointer" }, ["", "/a~1b/0", "a", "/~2"]],
    ["relative pointers", { type: "string", format: "relative-json-pointer" }, ["0", "1/a", "2#", "01", "/a", ""]],
    [
      "URI references",
      { type: "string", format: "uri-reference" },
      ["", "a/b?c#d", "//h/p", "/p", "http://h:80/", "a b", "%", "./a:b"],
    ],
    [
      "templates",
      { type: "string", format: "uri-template" },
      ["/a/{b}{?c,d*}", "{+x:3}", "plain", "{", "{}", "a b", "{a:0}"],
    ],
    ["not of a pointer", { type: "string", not: { format: "json-pointer" } }, ["/a", "a", ""]],
    ["base64", { type: "string", format: "byte" }, ["", "YQ==", "YWJj", "YQ", "Y", "ä"]],
    ["formats that say nothing", { type: "string", format: "password" }, ["", "x", 5]],
    ["multiples", { type: "integer", multipleOf: 7 }, [0, 7, -14, 49, 700, 8, 71, 1]],
    [
      "annotations",
      { type: "integer", title: "t", description: "d", default: 3, examples: [1], $comment: "c" },
      [1, "a"],
    ],
    [
      "names with quotes",
      {
        type: "object",
        properties: { 'a"b': { type: "null" }, "c\\d\n": { type: "null" } },
        additionalProperties: false,
      },
      [{ 'a"b': null }, { "c\\d\n": null }, { a: null }],
    ],
  ];

  test.each(cases)("with %s accepts what ajv accepts", (_, schema, values) => {
    const grammar = Grammar.fromJsonSchema(schema);
    const validate = ajv.compile(schema);
    expect(values.some((value) => validate(value))).toBe(true);
    for (const value of values) {
      const text = JSON.stringify(value);
      expect([text, grammar.matches(text)]).toEqual([text, validate(value)]);
    }
  });

  test("lets one space stand where JSON has any, and escapes in strings", () => {
    const grammar = Grammar.fromJsonSchema({ type: "object", properties: { a: { type: "array" } } });
    expect(grammar.matches('{ "a": [ 1, 2 ] }')).toBe(true);
    expect(grammar.matches('{"a":[1,2]}')).toBe(true);
    expect(grammar.matches('{  "a":[]}')).toBe(false);
    const string = Grammar.fromJsonSchema({ type: "string", minLength: 1, maxLength: 1 });
    for (const text of ['"\\u00e4"', '"\\n"', '"\\ud83d\\ude00"', '"😀"', '"\\/"']) {
      expect([text, string.matches(text)]).toEqual([text, true]);
    }
    for (const text of ['"\\ud83d"', '"\n"', '"\\x"', '""', '"ab"']) {
      expect([text, string.matches(text)]).toEqual([text, false]);
    }
  });

  const bound = fc.oneof(
    fc.integer({ min: -150, max: 150 }),
    fc.integer({ min: -30_000, max: 30_000 }).map((n) => n / 100),
  );
  const bounds = fc.record(
    { minimum: bound, maximum: bound, exclusiveMinimum: bound, exclusiveMaximum: bound },
    { requiredKeys: [] },
  );

  test("with any bounds accepts the numbers that ajv accepts", () => {
    const numbers = fc.array(
      fc.oneof(
        bound,
        fc.integer({ min: -2000, max: 2000 }).map((n) => n / 1000),
      ),
      { minLength: 12 },
    );
    fc.assert(
      fc.property(bounds, fc.boolean(), numbers, (limits, isInteger, others) => {
        const schema = { type: isInteger ? "integer" : "number", ...limits };
        const validate = ajv.compile(schema);
        const near = Object.values(limits).flatMap((limit) => [
          limit,
          limit + 1,
          limit - 1,
          limit + 0.01,
          limit - 0.01,
        ]);
        const samples = [...near.map((n) => Number(n.toFixed(2))), ...others, 0];
        if (!samples.some((n) => validate(n))) {
          return; // there may be no such number at all
        }
        const grammar = Grammar.fromJsonSchema(schema);
        for (const n of samples) {
          expect([n, grammar.matches(String(n))]).toEqual([n, validate(n)]);
        }
      }),
      { numRuns: 300 },
    );
  });

  test.each<[JsonSchema, RegExp]>([
    [{ contains: { const: 1 }, unevaluatedItems: false }, /\/unevaluatedItems: beside contains/],
    [{ contains: {}, minContains: 1001 }, /\/contains: supported are 3 of it .* counts up to some 1000/],
    [{ contains: {}, maxContains: -1 }, /\/maxContains: expected a whole number/],
    [{ not: { format: "uri" } }, /\/not\/format: not of this format is not supported/],
    [{ not: { unevaluatedProperties: false } }, /\/not\/unevaluatedProperties: not of this keyword/],
    [{ not: {} }, /at the top: the grammar matches no text/],
    [{ type: "array", uniqueItems: true }, /\/uniqueItems/],
    [{ properties: { a: { not: { multipleOf: 3 } } } }, /\/properties\/a\/not\/multipleOf/],
    [{ properties: { "a/b": { minProperties: 3 } } }, /\/properties\/a~1b\/minProperties/],
    [
      {
        oneOf: [
          { type: "integer", multipleOf: 3 },
          { type: "integer", multipleOf: 2 },
        ],
      },
      /\/oneOf: values may be valid by both/,
    ],
    [{ type: "string", minLength: 5000, pattern: "a" }, /\/minLength/],
    [{ type: "string", format: "regex" }, /\/format: expected one of/],
    [{ type: "strong" }, /\/type: expected one of object/],
    [{ $ref: "https://example.org/schema" }, /\/\$ref: expected a place in this schema/],
    [{ $ref: "#/%E0%A4%A" }, /there is no #\/%E0%A4%A/],
    [{ $ref: "#/$defs/none" }, /there is no #\/\$defs\/none/],
    [{ $defs: { a: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" }, /matches no text|themselves/],
    [{ minimum: "1" }, /\/minimum: expected a number/],
    [{ multipleOf: 0.3 }, /\/multipleOf/],
    [{ enum: [] }, /\/enum/],
    [{ type: "string", pattern: "(?=a)" }, /\/pattern: a look-ahead/],
    [{ type: "string", pattern: "^(a|b(?=c))" }, /\/pattern: a look-ahead/],
    [{ properties: { a: 1 } } as JsonSchema, /\/properties\/a: expected a schema/],
    [{ description: "x".repeat(300_000) }, /256 KiB/],
  ])("%j is refused by keyword and place", (schema, problem) => {
    expect(failure(() => Grammar.fromJsonSchema(schema))).toMatch(problem);
  });

  /** What the schema accepts, in any order of the properties, and nothing else; undefined if it is refused. */
  function agrees(schema: Record<string, unknown>, values: readonly unknown[]): boolean | undefined {
    const validate = (value: unknown) => evaluateSchema(schema, value) !== undefined;
    let grammar: Grammar;
    try {
      grammar = Grammar.fromJsonSchema(schema);
    } catch (error) {
      const isEmpty = /matches no text/.test((error as Error).message);
      return isEmpty && !values.some((value) => validate(value)) ? true : undefined;
    }
    for (const value of values) {
      const isHeld = orders(value).some((one) => grammar.matches(JSON.stringify(one)));
      expect([schema, value, isHeld]).toEqual([schema, value, validate(value)]);
    }
    return true;
  }

  function orders(value: unknown): unknown[] {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return [value];
    }
    const all = (entries: [string, unknown][]): [string, unknown][][] =>
      entries.length === 0
        ? [[]]
        : entries.flatMap((one) => all(entries.filter((other) => other !== one)).map((rest) => [one, ...rest]));
    return all(Object.entries(value)).map((entries) => Object.fromEntries(entries));
  }

  test("that counts items, and closes lists, accepts the lists that are valid", () => {
    const kinds = [{ type: "integer" }, { const: 1 }, { enum: [1, 2, "a"] }, { type: "string" }, { minimum: 2 }, true];
    const kind = fc.constantFrom<JsonSchema[]>(...kinds, false, { type: ["integer", "null"] });
    const count = fc.integer({ min: 0, max: 3 });
    const limits = {
      ...{ prefixItems: fc.array(kind, { minLength: 1, maxLength: 2 }), items: kind, contains: kind },
      ...{ minContains: count, maxContains: count, minItems: count, maxItems: fc.integer({ min: 0, max: 5 }) },
    };
    const arrays = fc.record(limits, { requiredKeys: [] });
    const schemas = fc.oneof(
      arrays,
      fc.record({ ...limits, contains: kind }, { requiredKeys: ["contains", "minContains", "maxContains"] }),
      fc.tuple(arrays, arrays).map((allOf) => ({ allOf })),
      fc
        .tuple(fc.array(arrays, { minLength: 1, maxLength: 3 }), fc.constantFrom<JsonSchema[]>(false, { const: 1 }))
        .map(([anyOf, unevaluatedItems]) => ({
          ...{ anyOf: anyOf.map(({ contains: _, ...rest }) => rest), unevaluatedItems },
        })),
      arrays.map((not) => ({ not: { type: "array", ...not } })),
    );
    const lists = fc.array(fc.array(fc.constantFrom(1, 2, 3, "a", null, 0.5), { maxLength: 5 }), { minLength: 12 });
    let held = 0;
    fc.assert(
      fc.property(schemas, lists, (schema, values) => {
        held += Number(agrees({ type: "array", ...schema }, values) === true);
      }),
      { numRuns: 300 },
    );
    expect(held).toBeGreaterThan(200);
  });

  test("that closes objects, whatever accepts them, accepts the objects that are valid", () => {
    const parts = fc.constantFrom<Record<string, unknown>[]>(
      { properties: { a: { type: "integer" } } },
      { properties: { b: { const: 1 } }, required: ["b"] },
      { required: ["c"], properties: { c: true } },
      { patternProperties: { "^x": { type: "integer" } } },
      { not: { required: ["a"] } },
      { not: { not: { properties: { a: { const: 1 } } } } },
      { additionalProperties: { type: "integer" }, properties: { a: true } },
      { dependentSchemas: { a: { properties: { b: { type: "integer" } } } } },
      JSON.parse(
        '{"if":{"properties":{"a":{"const":1}},"required":["a"]},"then":{"properties":{"b":true}},"else":{"properties":{"c":true}}}',
      ),
      { anyOf: [{ properties: { a: true }, required: ["a"] }, { properties: { c: true } }] },
      { properties: { c: true }, unevaluatedProperties: { type: "string" } },
    );
    const some = fc.array(parts, { minLength: 1, maxLength: 3 });
    const schemas = fc.record(
      {
        ...{ properties: fc.constantFrom({ a: true }, { c: { const: 2 } }), allOf: some, anyOf: some, oneOf: some },
        unevaluatedProperties: fc.constantFrom<JsonSchema[]>(false, false, true, { type: "integer" }),
      },
      { requiredKeys: ["unevaluatedProperties"] },
    );
    const value = fc.constantFrom(1, 2, "s");
    const objects = fc.record({ a: value, b: value, c: value, x: value }, { requiredKeys: [] });
    let held = 0;
    fc.assert(
      fc.property(schemas, fc.array(objects, { minLength: 12, maxLength: 16 }), (schema, values) => {
        held += Number(agrees({ type: "object", ...schema }, values) === true);
      }),
      { numRuns: 300 },
    );
    expect(held).toBeGreaterThan(150);
  });

  test("nested without an end is refused", () => {
    let deep: Record<string, unknown> = {};
    for (let i = 0; i < 100; i++) {
      deep = { type: "array", items: deep };
    }
    expect(failure(() => Grammar.fromJsonSchema(deep))).toMatch(/more than 64 schemas/);
    const chain = Array.from({ length: 2000 }, (_, i) => [
      `d${i}`,
      { type: "array", items: { $ref: `#/$defs/d${i + 1}` } },
    ]);
    const chained = { $defs: { ...Object.fromEntries(chain), d2000: {} }, $ref: "#/$defs/d0" };
    expect(failure(() => Grammar.fromJsonSchema(chained))).toMatch(/more than 128 schemas and references/);
    const loop: Record<string, unknown> = {};
    loop.items = loop;
    expect(failure(() => Grammar.fromJsonSchema(loop))).toMatch(/refers to itself/);
  });
});

test("a choice is one of its texts", () => {
  const grammar = Grammar.fromChoices(["yes", 'no "way"', "ä\n"]);
  expect(["yes", 'no "way"', "ä\n", "maybe", ""].map((text) => grammar.matches(text))).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
  expect(failure(() => Grammar.fromChoices([]))).toMatch(/expected 1 to 10000 texts/);
});
