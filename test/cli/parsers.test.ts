import { InvalidArgumentError } from "commander";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  collectBias,
  integerFrom,
  listFrom,
  numberFrom,
  parseCacheType,
  parseIds,
  parseLayout,
  unescapeText,
} from "../../src/cli/parsers.js";

describe("numbers", () => {
  test.each(["", "x", "1.5", "1e3", "0x10", " 1", "1 ", "--1", "NaN", "Infinity", "0", "1025", "99999999999999999999"])(
    "an integer from 1 to 1024 is not %j",
    (text) => {
      expect(() => integerFrom(1, 1024)(text)).toThrow(InvalidArgumentError);
    },
  );

  test("every integer of the range is read back", () => {
    fc.assert(
      fc.property(fc.integer({ min: -5, max: 1000 }), (n) => {
        expect(integerFrom(-5, 1000)(String(n))).toBe(n);
      }),
    );
  });

  test.each(["", ".", "2", "-0.1", "1,5", "0.5x", "NaN", "Infinity", "1e"])("a probability is not %j", (text) => {
    expect(() => numberFrom(0, 1)(text)).toThrow(InvalidArgumentError);
  });

  test.each([
    ["0", 0],
    ["1", 1],
    [".5", 0.5],
    ["1.", 1],
    ["+0.25", 0.25],
    ["5e-2", 0.05],
  ])("a probability may be written %s", (text, value) => {
    expect(numberFrom(0, 1)(text)).toBe(value);
  });
});

describe("listFrom", () => {
  test.each([
    ["1,2,4", [1, 2, 4]],
    ["1-4", [1, 2, 3, 4]],
    ["0-4096+2048", [0, 2048, 4096]],
    ["1-8*2, 3", [1, 2, 4, 8, 3]],
    ["5-5", [5]],
  ])("reads %j as llama-bench does", (text, expected) => {
    expect(listFrom(0, 4096)(text)).toEqual(expected);
  });

  test.each(["4-1", "1-4+0", "0-8*2", "1-8*1", "1-4096", "1-", "-1", "0-5000+5000", "1-2-3", "1-4/2"])(
    "refuses %j",
    (text) => {
      expect(() => listFrom(0, 4096)(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe("parseLayout", () => {
  test.each([
    ["auto", "auto"],
    ["I2_S", "i2_s"],
    ["i2s", "i2_s"],
    ["trit", "trits"],
    ["tl1", "pairs"],
    ["triples", "triples"],
    ["lut", "lut"],
  ])("takes %s for %s", (text, layout) => {
    expect(parseLayout(text)).toBe(layout);
  });

  test("lists the names for any other", () => {
    expect(() => parseLayout("rows")).toThrow(/auto, i2_s, trits, pairs, triples/);
  });
});

describe("collectBias", () => {
  test("collects repeated biases", () => {
    expect([...collectBias("11-inf", collectBias("7+1.5"))]).toEqual([
      [7, 1.5],
      [11, Number.NEGATIVE_INFINITY],
    ]);
  });

  test.each(["", "7", "+1", "7+", "7+inf", "x+1", "7+1+1", "-7+1"])("refuses %j", (text) => {
    expect(() => collectBias(text)).toThrow(InvalidArgumentError);
  });
});

describe("parseIds", () => {
  test.each(["1,2,3", "1 2 3", "[1, 2, 3]", " [1,2,3]\n", "1, 2 ,3,"])("reads %j", (text) => {
    expect(parseIds(text)).toEqual([1, 2, 3]);
  });

  test.each(["1,x", "1.5", "-1", "[[1]]", "1;2", "12345678901"])("refuses %j", (text) => {
    expect(() => parseIds(text)).toThrow(InvalidArgumentError);
  });
});

describe("unescapeText", () => {
  test.each([
    ["a\\nb", "a\nb"],
    ["\\t\\r\\'\\\"\\\\", "\t\r'\"\\"],
    ["\\x41\\x0a", "A\n"],
    ["\\\\n", "\\n"],
    ["\\q \\x4 \\", "\\q \\x4 \\"],
  ])("turns %j into %j", (text, expected) => {
    expect(unescapeText(text)).toBe(expected);
  });
});

describe("parseCacheType", () => {
  test.each([
    ["f16", "f16"],
    ["q8", "q8"],
    ["q8_0", "q8"],
  ] as const)("takes %s", (text, type) => {
    expect(parseCacheType(text)).toBe(type);
    expect(parseCacheType(text, type)).toBe(type);
  });

  test.each(["", "q4_0", "F16", "q8_1"])("rejects %j", (text) => {
    expect(() => parseCacheType(text)).toThrow(InvalidArgumentError);
  });

  test("rejects keys and values of different types", () => {
    expect(() => parseCacheType("f16", "q8")).toThrow(/same type/);
  });
});
