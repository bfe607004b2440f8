// Answers wrapped between words as they stream in: what stands in the rows of a terminal.

import xterm from "@xterm/headless";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WordWrap } from "../../src/cli/terminal/word-wrap.js";

/** The rows of a terminal of so many columns, after a text that came in these pieces. */
async function show(pieces: readonly string[], columns: number): Promise<string[]> {
  const screen = new xterm.Terminal({ cols: columns, rows: 50, allowProposedApi: true });
  const wrap = new WordWrap(() => columns);
  const text = [...pieces.map((piece) => wrap.push(piece)), wrap.flush()].join("");
  await new Promise<void>((resolve) => screen.write(text.replaceAll("\n", "\r\n"), resolve));
  const rows = Array.from({ length: 50 }, (_, i) => screen.buffer.active.getLine(i)?.translateToString(true) ?? "");
  return rows.slice(0, rows.findLastIndex((row) => row !== "") + 1).map((row) => row.trimEnd());
}

describe("an answer on a terminal of 20 columns", () => {
  test.each([
    ["is wrapped between words", "the quick brown fox jumps", ["the quick brown fox", "jumps"]],
    ["fills a row to its last column", "abcdefghi abcdefghij klm", ["abcdefghi abcdefghij", "klm"]],
    ["keeps its own line breaks", "one\n\ntwo\nthree", ["one", "", "two", "three"]],
    ["loses the spaces at a break only", "a  b            c      d efghij", ["a  b            c", "d efghij"]],
    [
      "breaks a word that is longer than a row",
      `see ${"x".repeat(45)} y`,
      ["see", "x".repeat(20), "x".repeat(20), "xxxxx y"],
    ],
    ["breaks between wide characters", "ab 你好世界你好世界你好", ["ab 你好世界你好世界", "你好"]],
    ["begins no row with closing punctuation", "你好世界你好世界你好。好", ["你好世界你好世界你", "好。好"]],
    [
      "counts accents as nothing",
      `${"e\u0301".repeat(8)} ${"e\u0301".repeat(11)} f`,
      [`${"e\u0301".repeat(8)} ${"e\u0301".repeat(11)}`, "f"],
    ],
    [
      "hangs the rows of a list",
      "- one two three four five\n12. one two three four five",
      ["- one two three four", "  five", "12. one two three", "    four five"],
    ],
    ["hangs a list within a list", "    - one two three four", ["    - one two three", "      four"]],
    [
      "leaves code as it is",
      "x\n```c\nint a = 1; int b = 2;\n```\none two three four five",
      ["x", "```c", "int a = 1; int b = 2", ";", "```", "one two three four", "five"],
    ],
    ["leaves indented code as it is", "    int a = 1; int b;\nx", ["    int a = 1; int b", ";", "x"]],
    ["leaves tables as they are", "| one | two | three |", ["| one | two | three", "|"]],
  ])("%s", async (_, text, rows) => {
    expect(await show([text], 20)).toEqual(rows);
    expect(await show(text.split(""), 20)).toEqual(rows);
  });

  test("is the same text but for white space, in whatever pieces it comes", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", " ", "\n", "-", "你", "。", "é", "`", "\t", "👍") });
    fc.assert(
      fc.property(fc.array(text), fc.integer({ min: 4, max: 30 }), (pieces, columns) => {
        const wrap = new WordWrap(() => columns);
        const out = [...pieces.map((piece) => wrap.push(piece)), wrap.flush()].join("");
        expect(out.replace(/\s/g, "")).toBe(pieces.join("").replace(/\s/g, ""));
      }),
    );
  });

  test("goes on in the new width when the terminal is resized", () => {
    let columns = 20;
    const wrap = new WordWrap(() => columns);
    const first = wrap.push("the quick brown fox jumps over ");
    columns = 40;
    expect(first + wrap.push("the lazy dog and then sleeps well") + wrap.flush()).toBe(
      "the quick brown fox\njumps over the lazy dog and then sleeps\nwell",
    );
  });
});
