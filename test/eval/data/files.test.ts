// Data sets in files of the user: every format, every way in which one can be wrong. The Parquet files were made by pyarrow.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fieldsOf, integerOf, integersOf, textOf, textsOf } from "../../../src/eval/columns.js";
import { listLocalSplits } from "../../../src/eval/data/files.js";
import { loadSplit } from "../../../src/eval/data/load.js";
import { locateError, originOf } from "../../../src/eval/data/origin.js";
import type { Doc } from "../../../src/eval/data/types.js";
import { root } from "../../support/fixtures.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-data-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const source = { id: "owner/name" };

async function read(path: string, split = "test"): Promise<Doc[]> {
  return (await loadSplit(source, split, { local: path })).documents;
}

let files = 0;

function write(end: string, contents: string | Uint8Array): string {
  const path = join(folder, `file-${files++}${end}`);
  writeFileSync(path, contents);
  return path;
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.unreachable("it succeeded"),
    (error) => error,
  );
}

const parquet = (name: string) => join(root, "test", "fixtures", "eval", "data", `${name}.parquet`);

describe("JSON lines", () => {
  test("are rows in their order, whatever ends the lines, with and without a mark or a last line end", async () => {
    const rows = [
      { question: "Größe? 🦊", choices: { text: ["a", "b"] } },
      { question: "", n: 2 },
    ];
    const lines = rows.map((row) => JSON.stringify(row));
    for (const text of [lines.join("\n"), `${lines.join("\r\n")}\r\n`, `\ufeff${lines.join("\n\n")}\n`]) {
      expect(await read(write(".jsonl", text))).toEqual(rows);
    }
  });

  test("say the line that is no object", async () => {
    const path = write(".jsonl", '{"a": 1}\n\n[1]\n');
    expect(await failure(read(path))).toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(`${path}, line 3: expected an object`),
    });
  });

  test("say line and column of what is no JSON, also where the file was cut off", async () => {
    const path = write(".jsonl", '{"a": 1}\n{"a": "two');
    expect(await failure(read(path))).toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("at line 2, column 7"),
    });
  });

  test("refuse a line that is huge, one that is not UTF-8, and one that is nested without end", async () => {
    const huge = write(".jsonl", `{"a": 1}\n{"a": "${"x".repeat(17 * 2 ** 20)}"}\n`);
    expect(await failure(read(huge))).toMatchObject({
      code: "BAD_FILE",
      message: `${huge}, line 2: longer than 16777216 bytes`,
    });
    const latin = write(".jsonl", Buffer.from('{"a": 1}\n{"a": "\xe4"}\n', "latin1"));
    expect(await failure(read(latin))).toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("line 2, is not UTF-8"),
    });
    const deep = write(".jsonl", `{"a": ${"[".repeat(100_000)}${"]".repeat(100_000)}}\n`);
    expect(await failure(read(deep))).toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("line 1: lists and objects in more than 64 levels"),
    });
  });

  test("may be in a file called .json, which may also be one list", async () => {
    const rows = [{ a: 1 }, { a: 2 }];
    expect(await read(write(".json", '{"a": 1}\n{"a": 2}'))).toEqual(rows);
    expect(await read(write(".json", `\ufeff \n${JSON.stringify(rows, null, 2)}`))).toEqual(rows);
    const path = write(".json", '[{"a": 1}, 2]');
    expect(await failure(read(path))).toMatchObject({
      message: expect.stringContaining(`${path}, row 2: expected an object`),
    });
  });

  test("without a row are refused", async () => {
    for (const path of [write(".jsonl", "\n"), write(".json", "[]"), write(".csv", "a,b\n")]) {
      expect(await failure(read(path))).toMatchObject({ code: "BAD_FILE", message: `${path} has no rows` });
    }
  });
});

describe("CSV", () => {
  test("names its columns in the first line; quotes hold commas, line ends and quotes", async () => {
    const text = '\ufeffid,"question, really",answer\r\n1,"a ""b"",\r\nc",x\r\n\r\n2,"",5" long\r\n';
    const rows = [
      { id: "1", "question, really": 'a "b",\r\nc', answer: "x" },
      { id: "2", "question, really": "", answer: '5" long' },
    ];
    expect(await read(write(".csv", text))).toEqual(rows);
    expect(await read(write(".csv", "a\r1\r2"))).toEqual([{ a: "1" }, { a: "2" }]);
  });

  test("reads the same however the file is cut into pieces", async () => {
    const rows = Array.from({ length: 30_000 }, (_, i) => ({ id: String(i), text: `"é", ${"x".repeat(i % 37)}\r\n` }));
    const lines = rows.map(({ id, text }) => `${id},"${text.replaceAll('"', '""')}"\r\n`);
    expect(await read(write(".csv", `id,text\r\n${lines.join("")}`))).toEqual(rows);
  });

  test.each([
    ["a,b\n1,2\n3\n", "line 3: expected 2 fields, one for each column, but got 1"],
    ['a,b\n"1\n2",3,4\n', "line 2: expected 2 fields, one for each column, but got 3"],
    ['a,b\n1,"2\n', "line 2: a quote is never closed"],
    ['a,b\n"1\n"x,2\n', "line 2: expected a comma or the end of the line behind a quoted field, but got x"],
    ["a,a\n1,2\n", 'line 1: two columns are called "a"'],
    [
      `a,b\n1,"${"x".repeat(17 * 2 ** 20)}"\n`,
      "line 2: a row of more than 16777216 characters; is a quote not closed?",
    ],
    [`a,b\n${",".repeat(2001)}\n`, "line 2: more than 2000 fields"],
  ])("says what is wrong and where (%#)", async (text, message) => {
    const path = write(".csv", text);
    expect(await failure(read(path))).toMatchObject({ code: "BAD_FILE", message: `${path}, ${message}` });
  });

  test("is UTF-8", async () => {
    for (const bytes of [Buffer.from("a\n\xe4\n", "latin1"), Buffer.from("\ufeffa\nb\n", "utf16le")]) {
      const path = write(".csv", bytes);
      expect(await failure(read(path))).toMatchObject({ code: "BAD_FILE", message: `${path} is not UTF-8 text` });
    }
  });
});

describe("Parquet", () => {
  test.each(["none", "snappy", "gzip", "zstd", "lz4", "pages-v2"])(
    "compressed with %s gives values as JSON has them",
    async (name) => {
      expect(await read(parquet(name))).toEqual([
        {
          id: "a",
          question: "What color is the sky?",
          choices: { text: ["green", "blue"], label: ["A", "B"] },
          answerKey: "B",
          score: 0.5,
          big: "9007199254740993",
          n: 7,
          day: "2026-01-02T00:00:00.000Z",
          flag: true,
          none: null,
          nested: [[1, 2], [], [3]],
        },
        {
          id: "b",
          question: "Größe? 🦊",
          choices: { text: [], label: [] },
          answerKey: "",
          score: Number.NaN,
          big: -5,
          n: null,
          day: null,
          flag: false,
          none: null,
          nested: null,
        },
        {
          id: "c",
          question: "",
          choices: { text: ["x"], label: ["1"] },
          answerKey: "1",
          score: -1e300,
          big: 0,
          n: -3,
          day: "1969-12-31T00:00:00.000Z",
          flag: null,
          none: null,
          nested: [[]],
        },
      ]);
    },
  );

  test("comes in the order of its row groups, whose rows are counted through", async () => {
    const rows = await read(parquet("many"));
    expect(rows).toEqual(Array.from({ length: 2500 }, (_, i) => ({ i, text: `row ${i}` })));
    expect(originOf(rows[2400] ?? {})).toEqual({ path: parquet("many"), place: "row 2401" });
  });

  test("that is cut off or damaged is refused", async () => {
    const bytes = readFileSync(parquet("snappy"));
    for (const end of [0, 4, 7, 100, bytes.length - 8, bytes.length - 1]) {
      const path = write(".parquet", bytes.subarray(0, end));
      expect(await failure(read(path))).toMatchObject({
        code: "BAD_FILE",
        message: expect.stringContaining(`${path} cannot be read as Parquet: `),
      });
    }
    const headless = write(".parquet", Buffer.concat([Buffer.alloc(500), bytes.subarray(500)]));
    expect(await failure(read(headless))).toMatchObject({ code: "BAD_FILE" });
  });

  test("that asks for far more memory than it is large costs its reader alone", async () => {
    expect(await failure(read(parquet("bomb-zstd")))).toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("a page has 314572"),
    });
    expect(await failure(read(parquet("bomb-run")))).toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("bomb-run.parquet cannot be read as Parquet: "),
    });
  });

  test("is not read on when nobody waits for it any more", async () => {
    const controller = new AbortController();
    const reading = loadSplit(source, "test", { local: parquet("many"), signal: controller.signal });
    controller.abort();
    expect(await failure(reading)).toMatchObject({ code: "ABORTED" });
  });
});

describe("a folder", () => {
  function folderOf(contents: Record<string, string | Uint8Array>): string {
    const path = join(folder, `folder-${files++}`);
    for (const [name, text] of Object.entries(contents)) {
      mkdirSync(join(path, name, ".."), { recursive: true });
      writeFileSync(join(path, name), text);
    }
    return path;
  }

  test("has a file for each split, under its own name or at the end of another", async () => {
    const path = folderOf({
      "train.jsonl": '{"a": 1}',
      "mmlu.test.jsonl": '{"a": 2}',
      "dev.csv": "a\n3\n",
      "README.md": "# test",
      "latest.jsonl": "{}",
    });
    expect(await read(path, "train")).toEqual([{ a: 1 }]);
    expect(await read(path, "test")).toEqual([{ a: 2 }]);
    expect(await read(path, "dev")).toEqual([{ a: "3" }]);
    expect(await read(path, "validation")).toEqual([{ a: "3" }]); // there is no other
    expect(await listLocalSplits(path)).toEqual(["train", "validation", "dev", "test"]);
    expect(await listLocalSplits(join(path, "train.jsonl"))).toBeUndefined();
  });

  test("may be a copy of the hub's, in parts, which must all be there", async () => {
    const names = ["test-00000-of-00002.jsonl", "test-00001-of-00002.jsonl"];
    const path = folderOf({ [names[1] ?? ""]: '{"a": 2}', [names[0] ?? ""]: '{"a": 1}' });
    expect(await read(path)).toEqual([{ a: 1 }, { a: 2 }]);
    rmSync(join(path, names[0] ?? ""));
    expect(await failure(read(path))).toMatchObject({
      code: "BAD_FILE",
      message: `${path} has 1 of 2 parts of "test"`,
    });

    const bytes = readFileSync(parquet("many"));
    const converted = folderOf({ "test/0000.parquet": bytes, "test/0001.parquet": bytes });
    expect(await read(converted)).toHaveLength(5000);
  });

  test("with two files for a split, with none, or that is not there, is refused", async () => {
    const path = folderOf({ "test.jsonl": "{}", "test.csv": "a\n1\n" });
    expect(await failure(read(path))).toMatchObject({
      code: "BAD_FILE",
      message: `${path} has more than one file of the split "test": test.csv, test.jsonl`,
    });
    expect(await failure(read(path, "train"))).toMatchObject({
      code: "NOT_FOUND",
      message: `${path} has no file of the split "train"`,
      hint: "expected train.jsonl, train.json, train.csv, train.parquet",
    });
    expect(await failure(read(join(path, "nowhere")))).toMatchObject({ code: "NOT_FOUND" });
    expect(await failure(read(write(".txt", "a")))).toMatchObject({ code: "UNSUPPORTED" });
  });
});

describe("a document", () => {
  test("that is not as a task needs it is named with file, line and column", async () => {
    const line = { q: "?", label: "2", c: { text: ["a", 1] }, n: null, ids: [1, "2"], yes: true };
    const path = write(".jsonl", `${JSON.stringify(line)}\n`);
    const [doc = {}] = await read(path);
    expect(textOf(doc, "q")).toBe("?");
    expect(integerOf(doc, "label")).toBe(2);
    expect(integerOf(doc, "yes")).toBe(1);
    expect(integersOf(doc, "ids")).toEqual([1, 2]);
    for (const [readColumn, message] of [
      [() => textOf(doc, "question"), "column question: expected a text, got nothing"],
      [() => textsOf(fieldsOf(doc, "c"), "text"), 'column text: expected a list of texts, got ["a",1]'],
      [() => fieldsOf(doc, "n"), "column n: expected an object, got null"],
      [() => integerOf(doc, "q"), 'column q: expected an integer, got "?"'],
    ] as const) {
      const reading = Promise.resolve().then<unknown>(readColumn);
      expect(await failure(reading.catch((error) => Promise.reject(locateError(doc, error))))).toMatchObject({
        code: "BAD_FILE",
        message: `${path}, line 1, ${message}`,
        hint: "its columns are q, label, c, n, ids, yes; they must be those of the data set on the hub",
      });
    }
  });

  test("may have lists and objects as JSON where its file has no types", async () => {
    const [doc = {}] = await read(write(".csv", 'q,choices,label\n[?],"{""text"": [""a"", ""b""]}",1\n'));
    expect(textsOf(fieldsOf(doc, "choices"), "text")).toEqual(["a", "b"]);
    expect(textOf(doc, "q")).toBe("[?]");
    expect(integerOf(doc, "label")).toBe(1);
  });
});
