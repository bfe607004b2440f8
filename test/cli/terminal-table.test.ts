// Tables on a terminal and in pipes: columns that line up, whatever they hold and however wide the terminal is.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Column, formatMarkdownTable, formatTable } from "../../src/cli/terminal/table.js";
import { cutLine, displayWidth, shorten } from "../../src/cli/terminal/width.js";

const models = {
  columns: [
    { header: "NAME" },
    { header: "TYPE" },
    { header: "SIZE", numeric: true },
    { header: "WHERE", optional: true },
  ],
  rows: [
    ["microsoft/BitNet-b1.58-2B-4T-gguf", "I2_S", "1.19 GB", "~/.cache/huggingface/hub/models--microsoft--BitNet"],
    ["模型-甲", "TQ2_0", "76.0 MB", "~/models"],
    ["👩‍👩‍👧 family", "I2_S", "1 kB", ""],
  ],
};

describe("a table", () => {
  test("is as wide as its cells where nothing limits it; numbers end at the same place", () => {
    expect(formatTable(models)).toEqual([
      "NAME                               TYPE      SIZE  WHERE",
      "microsoft/BitNet-b1.58-2B-4T-gguf  I2_S   1.19 GB  ~/.cache/huggingface/hub/models--microsoft--BitNet",
      "模型-甲                            TQ2_0  76.0 MB  ~/models",
      "👩‍👩‍👧 family                          I2_S      1 kB",
    ]);
  });

  test.each([30, 40, 60, 80, 120])("fits %d columns: the widest texts lose their middle", (width) => {
    const lines = formatTable({ ...models, width });
    expect(Math.max(...lines.map((line) => displayWidth(line)))).toBeLessThanOrEqual(width);
    expect(lines).toHaveLength(4);
    expect(lines[1]).toMatch(/^mic.*I2_S/);
    expect(lines[1]).toContain("1.19 GB");
  });

  test("leaves out optional columns before texts become unreadable", () => {
    expect(formatTable({ ...models, width: 60 })[1]).toBe(
      "microsoft/…2B-4T-gguf  I2_S   1.19 GB  ~/.cache/h…ft--BitNet",
    );
    expect(formatTable({ ...models, width: 40 })).toEqual([
      "NAME                      TYPE      SIZE",
      "microsoft/Bi…-2B-4T-gguf  I2_S   1.19 GB",
      "模型-甲                   TQ2_0  76.0 MB",
      "👩‍👩‍👧 family                 I2_S      1 kB",
    ]);
  });

  test("stays in line for every text and every width", () => {
    const cell = fc.string({ unit: "grapheme", maxLength: 40 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 26 }),
        (rows, width) => {
          const lines = formatTable({ columns: [{ header: "A" }, { header: "B", numeric: false }], rows, width });
          expect(lines).toHaveLength(rows.length + 1);
          for (const line of lines) {
            expect(displayWidth(line)).toBeLessThanOrEqual(width);
          }
        },
      ),
    );
  });

  test("keeps whole texts, whatever else has to go", () => {
    const name = "microsoft/BitNet-b1.58-2B-4T-gguf";
    const columns: Column[] = [
      { header: "NAME", whole: true },
      { header: "WHERE", optional: true },
    ];
    const rows = [[name, "~/.local/share/bitnet/models"]];
    expect(formatTable({ columns, rows, width: 60 })[1]).toMatch(new RegExp(`^${name}  ~/\\S*…\\S*models$`));
    expect(formatTable({ columns, rows, width: 40 })).toEqual(["NAME", name]);
    expect(formatTable({ columns, rows, width: 20 })).toEqual(["NAME", name]);
  });

  test("shortens firm columns after the others", () => {
    const rows = [["a.key.that.names.something", "a value that says a lot of it"]];
    expect(formatTable({ columns: [{ firm: true }, {}], rows, width: 42 })).toEqual([
      expect.stringMatching(/^a\.key\.that\.names\.something {2}a val.*…/),
    ]);
    expect(formatTable({ columns: [{ firm: true }, {}], rows, width: 30 })).toEqual([
      expect.stringMatching(/^a\.key.*….* {2}a val.*…/),
    ]);
  });

  test("has no header where no column has one, and an indent that counts", () => {
    expect(formatTable({ columns: [{}, {}], rows: [["a", "b"]], indent: "  " })).toEqual(["  a  b"]);
    expect(formatTable({ columns: [{}, {}], rows: [] })).toEqual([]);
    expect(formatTable({ columns: [{}], rows: [["abcdefghijklmnopqrstuvwxyz"]], indent: "  ", width: 20 })).toEqual([
      "  abcdefghi…stuvwxyz",
    ]);
  });

  test("takes nothing from a cell that could move the cursor or add a line", () => {
    expect(formatTable({ columns: [{}, {}], rows: [["a\nb\u001b[1m", "c"], ["d"]] })).toEqual(["a b[1m  c", "d"]);
  });

  test("colours cells and header without moving them", () => {
    const bold = (text: string) => `<${text}>`;
    const columns = [{ header: "A", style: bold }, { header: "B" }];
    expect(formatTable({ columns, rows: [["x", "y"]], headerStyle: bold })).toEqual(["<A  B>", "<x>  y"]);
  });

  test("of many rows is no matter", () => {
    expect(formatTable({ columns: [{}], rows: Array.from({ length: 200_000 }, () => ["x"]) })).toHaveLength(200_000);
  });
});

describe("a table in Markdown", () => {
  test("keeps everything, aligns numbers and cannot be broken by a cell", () => {
    expect(
      formatMarkdownTable({
        columns: [{ header: "model" }, { header: "t/s", numeric: true }],
        rows: [
          ["a|b", "1.5"],
          ["模型\n", "100.25"],
        ],
      }),
    ).toEqual(["| model |    t/s |", "| ----- | -----: |", "| a\\|b  |    1.5 |", "| 模型  | 100.25 |"]);
  });
});

describe("a text that is too wide", () => {
  test("keeps both ends, and whole characters", () => {
    expect(shorten("ggml-model-i2_s.gguf", 20)).toBe("ggml-model-i2_s.gguf");
    expect(shorten("ggml-model-i2_s.gguf", 11)).toBe("ggml-….gguf");
    expect(shorten("模型模型模型", 8)).toBe("模型…型");
    expect(shorten("abc", 1)).toBe("…");
    expect(shorten("abc", 0)).toBe("");
    expect(shorten("e\u0301e\u0301e\u0301e\u0301", 3)).toBe("e\u0301…e\u0301");
  });

  test("of a sentence loses its end", () => {
    expect(cutLine("trying again\nin 5 s", 40)).toBe("trying again in 5 s");
    expect(cutLine("trying again in 5 s", 8)).toBe("trying …");
    expect(cutLine("模型模型", 4)).toBe("模…");
  });
});
