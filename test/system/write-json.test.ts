// JSON of what files may hold.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringifyJson } from "../../src/system/write-json.js";

describe("JSON", () => {
  test("of plain values is what JSON.stringify gives, but for escapes", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
        const text = stringifyJson(value, indent);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        if (!/[\x7f-\x9f\u202a-\u202e\u2066-\u2069]/.test(JSON.stringify(value))) {
          expect(text).toBe(JSON.stringify(value, null, indent));
        }
      }),
    );
  });

  test("leaves out what has no value, as JSON.stringify", () => {
    expect(stringifyJson({ a: undefined, b: [undefined], c: [] })).toBe('{"b":[null],"c":[]}');
  });

  test("keeps all digits of integers", () => {
    expect(stringifyJson({ hash: 15_702_152_105_487_630_865n, low: -(2n ** 63n) })).toBe(
      '{"hash":15702152105487630865,"low":-9223372036854775808}',
    );
  });

  test("has a text for numbers that JSON lacks", () => {
    expect(stringifyJson([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])).toBe(
      '["NaN","Infinity","-Infinity"]',
    );
  });

  test("has times with three decimals, and other numbers with all", () => {
    expect(stringifyJson({ promptMs: 13.325162912, rate: 13.325162912 })).toBe(
      '{"promptMs":13.325,"rate":13.325162912}',
    );
  });

  test("has no character that a terminal would obey, and says the same", () => {
    const text = '\x1b[31m\x9b2J\x7f\u202eexe.txt\u2066 "\\ \ud800';
    const written = stringifyJson({ [text]: text });
    expect(written).toMatch(/^[\x20-\x7e]*$/);
    expect(JSON.parse(written)).toEqual({ [text]: text });
  });
});
