import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseExample } from "../../src/train/data/example.js";
import { root } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-training-data-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Message {
  role: string;
  content: string;
}
interface Test {
  kind: string;
  messages: Message[];
  answer: string;
  must: string[];
}

function generate(name: string, ...options: string[]): string {
  const out = join(folder, name);
  const script = join(root, "scripts", "make-training-data.mjs");
  execFileSync(process.execPath, [script, out, "--megabytes", "0.6", "--tests", "200", ...options]);
  return out;
}

const linesOf = (out: string, name: string) => readFileSync(join(out, name), "utf8").trimEnd().split("\n");

/** Every sum that is asked in words or digits: "plus 3 4". */
function sumsIn(text: string): string[] {
  const found = text.toLowerCase().matchAll(/\b([a-z]+|\d+) ?(plus|minus|\+|-) ?([a-z]+|\d+)\b/g);
  return [...found].map(([, a = "", sign = "", b = ""]) =>
    [sign === "+" ? "plus" : sign === "-" ? "minus" : sign, numberOf(a), numberOf(b)].join(" "),
  );
}

const numberWords =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split(
    " ",
  );
function numberOf(word: string): number {
  return numberWords.includes(word) ? numberWords.indexOf(word) : Number(word);
}

describe("the generator of training data", () => {
  let out = "";
  let train: string[] = [];
  let tests: Test[] = [];
  beforeAll(() => {
    out = generate("one");
    train = linesOf(out, "train.jsonl");
    tests = linesOf(out, "test.jsonl").map((line) => JSON.parse(line));
  }, 120_000);

  it("writes the same for a seed, and other lines for another one", () => {
    const read = (from: string) =>
      ["train", "valid", "test"].map((name) => readFileSync(join(from, `${name}.jsonl`), "utf8"));
    expect(read(generate("again"))).toEqual(read(out));
    const other = new Set(linesOf(generate("other", "--seed", "2"), "train.jsonl"));
    expect(train.filter((line) => other.has(line)).length).toBeLessThan(train.length / 10);
  }, 120_000);

  it("repeats no line, in no file", () => {
    const all = [...train, ...linesOf(out, "valid.jsonl"), ...linesOf(out, "test.jsonl")];
    expect(new Set(all).size).toBe(all.length);
  });

  it("writes examples that training reads", () => {
    const kinds = [...train, ...linesOf(out, "valid.jsonl")].map((line) => parseExample(JSON.parse(line)).kind);
    expect(new Set(kinds)).toEqual(new Set(["text", "chat"]));
  });

  it("asks in tests what no line of the training data asks", () => {
    const trained = new Set(train.flatMap(sumsIn));
    const asked = tests
      .filter(({ kind }) => kind === "sum")
      .flatMap(({ messages }) => sumsIn(messages.at(-1)?.content ?? ""));
    expect(trained.size).toBeGreaterThan(50);
    expect(asked.length).toBeGreaterThan(3);
    expect(asked.filter((sum) => trained.has(sum))).toEqual([]);
    const plain = (text = "") => text.toLowerCase().replace(/[.?!]$/, "");
    const known = new Set(
      train.flatMap((line) => ((JSON.parse(line).messages ?? []) as Message[]).map((m) => plain(m.content))),
    );
    const alone = tests.filter(
      ({ kind, messages }) => ["repeat", "places", "where"].includes(kind) && messages.length === 1,
    );
    expect(alone.length).toBeGreaterThan(3);
    expect(alone.filter(({ messages }) => known.has(plain(messages[0]?.content)))).toEqual([]);
  });

  it("has right answers to sums and counting", () => {
    const turns = train.flatMap((line) => (JSON.parse(line).messages ?? []) as Message[]);
    const sums = turns.flatMap(({ role, content }) =>
      role === "assistant" ? [...content.toLowerCase().matchAll(/^(\w+) (plus|minus) (\w+) is (\w+)\.$/g)] : [],
    );
    expect(sums.length).toBeGreaterThan(50);
    for (const [text, a = "", sign, b = "", result = ""] of sums) {
      expect([text, numberOf(result)]).toEqual([
        text,
        sign === "plus" ? numberOf(a) + numberOf(b) : numberOf(a) - numberOf(b),
      ]);
      expect(numberOf(result)).toBeGreaterThanOrEqual(0);
      expect(numberOf(result)).toBeLessThanOrEqual(20);
    }
  });

  it("accepts its own answers by the words that they must have", () => {
    const plain = (text: string) =>
      ` ${text
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, " ")
        .trim()} `;
    for (const { answer, must, kind } of tests) {
      expect([kind, answer, must.length > 0 && must.every((words) => plain(answer).includes(plain(words)))]).toEqual([
        kind,
        answer,
        true,
      ]);
    }
    expect(new Set(tests.map(({ kind }) => kind)).size).toBeGreaterThan(15);
  });

  it("keeps the names of a story to its end", () => {
    const lexicon = readFileSync(join(root, "scripts", "training-data", "lexicon.mjs"), "utf8");
    const listed = lexicon.slice(0, lexicon.indexOf("/** Kind of animal")).matchAll(/"([A-Z][^"]+)"/g);
    const names = new Set([...listed].flatMap(([, words = ""]) => words.trim().split(" ")));
    const stories = train
      .map((line) => JSON.parse(line).text as string | undefined)
      .filter((text) => text !== undefined);
    expect(stories.length).toBeGreaterThan(200);
    for (const text of stories) {
      const inside = new Set(text.match(/\b[A-Z][a-z]+\b/g)?.filter((word) => names.has(word)));
      expect([text, inside.size <= 2]).toEqual([text, true]);
    }
  });
});
