import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import type { BitnetError } from "../../src/system/errors.js";
import { type Example, parseExample } from "../../src/train/data/example.js";
import {
  type DataSource,
  parseSource,
  type ReadOptions,
  readExamples,
  startTally,
} from "../../src/train/data/sources.js";
import { createRandom } from "../support/random.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-train-data-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function read(source: DataSource | string, options: ReadOptions = {}) {
  const from = typeof source === "string" ? { name: source } : source;
  const tally = startTally(from);
  const examples: Example[] = [];
  for await (const example of readExamples(from, tally, (example) => example, options)) {
    examples.push(example);
  }
  const texts = examples.map((example) =>
    example.kind === "text" ? example.text : example.messages.map(({ content }) => content).join("|"),
  );
  return { examples, texts, tally };
}

const lines = ['{"text":"one"}', "", '{"text":"two"}', '{"input":"three","output":"four"}'].join("\n");

describe("examples from files", () => {
  it("are lines of JSON, empty ones left out, each with its place", async () => {
    const { texts, examples, tally } = await read(file("a.jsonl", `\ufeff${lines}\r\n`));
    expect(texts).toEqual(["one", "two", "three|four"]);
    expect(examples.map(({ origin }) => [origin.unit, origin.number])).toEqual([
      ["line", 1],
      ["line", 3],
      ["line", 4],
    ]);
    expect(tally).toMatchObject({ examples: 3, skipped: 0, dropped: 0 });
  });

  it("may be packed with gzip, as a list of JSON, or both", async () => {
    const list = `[ {"text":"one, [two]"},\n{"text":"a \\"quoted] comma\\", and {"} ,\n\n {"text":"three"} ]\n`;
    const expected = ["one, [two]", 'a "quoted] comma", and {', "three"];
    expect((await read(file("list.json", list))).texts).toEqual(expected);
    expect((await read(file("list.json.gz", gzipSync(list)))).texts).toEqual(expected);
    expect((await read(file("a.jsonl.gz", gzipSync(lines)))).texts).toEqual(["one", "two", "three|four"]);
    expect((await read(file("empty.json", "[]"))).texts).toEqual([]);
  });

  it("are documents of plain text, divided by lines that end them, or the file whole", async () => {
    const { texts, examples } = await read(
      file("t.txt", "\na\nb\n<|endoftext|>\n<|endoftext|>\n  c\r\nd <|endoftext|>\n"),
    );
    expect(texts).toEqual(["a\nb", "  c\nd <|endoftext|>"]);
    expect(examples.map(({ origin }) => origin.number)).toEqual([1, 3]);
    expect((await read(file("whole.txt", "a\n\nb\n"))).texts).toEqual(["a\n\nb"]);
  });

  it("are rows that the caller has", async () => {
    const { texts, examples } = await read({ name: "rows", rows: [{ text: "a" }, { input: "b", output: "c" }] });
    expect(texts).toEqual(["a", "b|c"]);
    expect(examples[1]?.origin).toEqual({ file: "rows", number: 2, unit: "row" });
  });

  it("stop at the first one that is wrong, or count them", async () => {
    const path = file("bad.jsonl", '{"text":"one"}\n{"text":2}\n{"txt":"x"}\n{"text":\n{"text":"five"}\n');
    await expect(read(path)).rejects.toThrow(`${path}, line 2: text: expected a text, got a number`);
    const { texts, tally } = await read(path, { skipBad: true });
    expect(texts).toEqual(["one", "five"]);
    expect(tally).toMatchObject({ examples: 2, skipped: 3 });
    expect(tally.firstSkipped).toBe(`${path}, line 2: text: expected a text, got a number`);
  });

  it("can be the first few, and the rest is counted", async () => {
    const { texts, tally } = await read(file("c.jsonl", lines), { maxSamples: 2 });
    expect(texts).toEqual(["one", "two"]);
    expect(tally.dropped).toBe(1);
  });

  it.each([
    ["a.parquet", "PAR1", "training data of this kind is not read"],
    ["data.jsonl", "PAR1\u0000\u0000", "training data of this kind is not read"],
    ["cut.jsonl.gz", gzipSync(lines).subarray(0, 30), "not a whole gzip file"],
    ["noise.jsonl.gz", Buffer.from("no gzip at all"), "not a whole gzip file"],
    ["cut.json", '[{"text":"a"},', "the list has no end"],
    ["behind.json", '[{"text":"a"}] x', "text behind the end of the list"],
    ["commas.json", '[,{"text":"a"}]', "a comma without an item before it"],
    ["deep.jsonl", `{"text":${"[".repeat(1000)}${"]".repeat(1000)}}`, "in more than 64 levels"],
    ["latin.txt", Buffer.from([0x61, 0xe4, 0x62]), "is not UTF-8 text"],
    ["long.jsonl", `{"text":"${"a".repeat(17 * 2 ** 20)}"}`, "line 1: longer than 16 MiB"],
    ["long.json", `[{"text":"${"a".repeat(17 * 2 ** 20)}"}]`, "item 1: longer than 16 MiB"],
  ])("are refused with one clear error: %s", async (name, content, message) => {
    await expect(read(file(name, content))).rejects.toThrow(message);
  });

  it("of any bytes are examples, or one error that is not of this program", async () => {
    const next = createRandom(5);
    const chat = {
      messages: [
        { role: "user", content: 'a\\u00e9 "b"' },
        { role: "assistant", content: "c" },
      ],
    };
    const objects = [chat, { text: "x" }, { input: "y", output: "z" }, { prompt: [], completion: [] }];
    const texts = [objects.map((value) => JSON.stringify(value)).join("\n"), JSON.stringify(objects, null, 1)];
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(texts[round % 2] ?? "");
      for (let flips = 1 + Math.floor(next() * 4); flips > 0; flips--) {
        bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256);
      }
      const path = file("fuzzed.json", next() < 0.1 ? bytes.subarray(0, Math.floor(next() * bytes.length)) : bytes);
      const error = await read(path).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error === undefined ? "BAD_FILE" : (error as BitnetError).code).toBe("BAD_FILE");
    }
  });

  it("are told apart from what is no file", async () => {
    await expect(read(join(folder, "none.jsonl"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(read(folder)).rejects.toThrow("it is a directory");
  });
});

describe("the weight of a file", () => {
  it("stands behind its name, unless that is the name of a file", () => {
    expect(parseSource("a.jsonl:0.3")).toEqual({ name: "a.jsonl", weight: 0.3 });
    expect(parseSource("C:\\data.jsonl")).toEqual({ name: "C:\\data.jsonl" });
    expect(parseSource("a.jsonl")).toEqual({ name: "a.jsonl" });
    expect(() => parseSource("a.jsonl:0")).toThrow("expected a weight above 0 and at most 100, got 0");
    if (process.platform !== "win32") {
      const odd = file("odd:2", lines);
      expect(parseSource(odd)).toEqual({ name: odd });
    }
  });
});

describe("an example", () => {
  it.each([
    [{ messages: "x" }, "messages: expected a list of messages, got a string"],
    [{ messages: [{ role: "usr", content: "x" }] }, 'messages[0]: expected a role, got "usr"'],
    [{ messages: [{ role: "user" }] }, "messages[0]: content: expected a text, got nothing"],
    [
      { messages: [{ role: "assistant", content: null, tool_calls: [{}] }] },
      "messages[0]: tool_calls cannot be trained",
    ],
    [{ prompt: "a", completion: [] }, "expected two texts or two lists of messages, got a string and a list"],
    [{ instruction: "a", output: 3 }, "output: expected a text, got a number"],
    [{ question: "a" }, "no known form of an example: its keys are question"],
    [[1], "expected an object with an example, got a list"],
    [{ messages: Array(1001).fill({ role: "user", content: "x" }) }, "1001 messages; at most 1000 are taken"],
  ])("of a wrong form says what is wrong: %j", (value, message) => {
    expect(() => parseExample(value)).toThrow(message);
  });

  it("has a system message where its form has one", () => {
    const roles = (value: unknown) => {
      const content = parseExample(value);
      return content.kind === "chat" ? content.messages.map(({ role, content }) => `${role}: ${content}`) : [];
    };
    expect(roles({ system: "s", instruction: "i", input: "x", output: "o" })).toEqual([
      "system: s",
      "user: i\n\nx",
      "assistant: o",
    ]);
    expect(roles({ system: "s", conversations: [{ from: "human", value: "h" }] })).toEqual(["system: s", "user: h"]);
    expect(roles({ messages: [{ role: "user", content: [{ type: "text", text: "a" }] }] })).toEqual(["user: a"]);
  });
});
