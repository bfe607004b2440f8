// JSON as other programs write it.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseJson, readJsonFile } from "../../src/system/json.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-json-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(content: string | Uint8Array, maxBytes = 1000): Promise<unknown> {
  writeFileSync(join(folder, "a.json"), content);
  return readJsonFile(join(folder, "a.json"), maxBytes);
}

describe("what Python's json writes is read:", () => {
  test("NaN and the infinities", async () => {
    const text = '{"a": NaN, "b": [Infinity, -Infinity, -0.5e-3], "NaN": "Infinity \\u0000NaN", "__proto__": {"x": 1}}';
    const value = (await read(text)) as Record<string, unknown>;
    expect(value).toEqual(
      Object.fromEntries([
        ["a", Number.NaN],
        ["b", [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.0005]],
        ["NaN", "Infinity \u0000NaN"],
        ["__proto__", { x: 1 }],
      ]),
    );
    expect(Object.keys(value)).toContain("__proto__");
  });

  test("a byte order mark", async () => {
    expect(await read('\ufeff{"a": 1}')).toEqual({ a: 1 });
  });

  test("the same value as JSON.parse, whatever it is", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 1, 2), (value, indent) => {
        const [, ...rest] = parseJson(`[NaN, ${JSON.stringify(value, null, indent)}]`, "x") as unknown[];
        expect(rest).toEqual([JSON.parse(JSON.stringify(value))]);
      }),
    );
  });
});

describe("what is no JSON is told with its place:", () => {
  test.each([
    ['{\n  "a": 1,\n  "b": 2\n  "c": 3\n}', 'at line 4, column 3: expected a comma or } but found "\\""'],
    ['{"a": 1,}', 'at line 1, column 9: expected a key in double quotes but found "}"'],
    ["[1, 2", "at line 1, column 6: expected a comma or ] but found the end of the file"],
    ['{"a" 1}', 'at line 1, column 6: expected a colon but found "1"'],
    ["{'a': 1}", `at line 1, column 2: expected a key in double quotes but found "'"`],
    ['{"a": nan}', 'at line 1, column 7: expected a value but found "nan"'],
    ['{"a": 01}', 'at line 1, column 7: expected a value but found "01"'],
    ['{"a": +1}', 'at line 1, column 7: expected a value but found "+1"'],
    ['{"a": --Infinity}', 'at line 1, column 7: expected a value but found "--Infinity"'],
    ['{"a": 1} x', 'at line 1, column 10: expected the end of the file but found "x"'],
    ['{\r\n"a": "b\nc"}', "at line 2, column 6: expected the end of a string"],
    ['["\\x"]', "at line 1, column 2: expected the end of a string"],
    ["<html>", 'at line 1, column 1: expected a value but found "<"'],
    ["", "at line 1, column 1: expected a value but found the end of the file"],
    ["version https://git-lfs", 'at line 1, column 1: expected a value but found "version"'],
    [`${"[".repeat(600)}`, "at line 1, column 502: expected at most 500 levels"],
  ])("%j", async (text, place) => {
    await expect(read(text)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(`${join(folder, "a.json")}: not valid JSON ${place}`),
    });
  });

  test.each([
    [new Uint8Array([0x22, 0xff, 0x22]), "not UTF-8 text"],
    [Buffer.from('\ufeff{"a": 1}', "utf16le"), "it is UTF-16, not UTF-8"],
    [Buffer.from('{"a": 1}', "utf16le"), "it is UTF-16, not UTF-8"],
    [Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0]), "it is UTF-32, not UTF-8"],
  ])("text of another encoding", async (bytes, message) => {
    await expect(read(bytes)).rejects.toMatchObject({ message: expect.stringContaining(message) });
  });

  test("a file that is too long", async () => {
    await expect(read("[".repeat(2000))).rejects.toMatchObject({
      message: expect.stringMatching(/2000 bytes; at most 1000 expected$/),
    });
  });
});
