import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readTokenizer } from "../../src/checkpoint/tokenizer.js";
import { trainTokenizer } from "../../src/train/tokenizer/train.js";
import { root } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-train-tokenizer-"));
afterAll(() => rmSync(folder, { recursive: true }));
const fixtures = join(root, "test", "fixtures", "train", "bpe");

const rows = (...texts: string[]) => [{ name: "rows", rows: texts.map((text) => ({ text })) }];

async function train(texts: string[], vocabSize: number) {
  const out = mkdtempSync(join(folder, "out-"));
  await trainTokenizer(out, rows(...texts), { vocabSize, contextLength: 64 });
  return JSON.parse(readFileSync(join(out, "tokenizer.json"), "utf8")).model;
}

describe("training of a tokenizer", () => {
  it("finds the merges of the trainer in Python, ties included", async () => {
    const out = join(folder, "golden");
    await trainTokenizer(out, [{ name: join(fixtures, "texts.txt") }], { vocabSize: 959, contextLength: 512 });
    const { merges, vocab } = JSON.parse(readFileSync(join(out, "tokenizer.json"), "utf8")).model;
    expect(merges).toEqual(readFileSync(join(fixtures, "merges.txt"), "utf8").trimEnd().split("\n"));
    expect(Object.keys(vocab)).toHaveLength(956);
  });

  it("writes files that are those of the bundled model but for the vocabulary", async () => {
    const bundled = join(root, "test", "fixtures", "tiny-bitnet");
    const out = join(folder, "as-bundled");
    await trainTokenizer(out, [{ name: join(fixtures, "texts.txt") }], { vocabSize: 300, contextLength: 512 });
    const read = (from: string, name: string) => readFileSync(join(from, name), "utf8");
    const config = read(bundled, "tokenizer_config.json");
    expect(read(out, "tokenizer_config.json")).toBe(
      config.replace("2045", "297").replace("2046", "298").replace("2047", "299"),
    );
    // The whole file, its vocabulary and the ids of control tokens taken out: also the order of keys and the spaces.
    const outline = (text: string) =>
      text.replace(/"vocab": \{.*?\n {2}\}|"merges": \[.*?\n {2}\]/gs, "").replace(/\b(?:204[567]|29[789])\b/g, "ID");
    expect(outline(read(out, "tokenizer.json"))).toBe(outline(read(bundled, "tokenizer.json")));
    // Digits are entries of the vocabulary in their place, not first as in a JavaScript object.
    expect(read(out, "tokenizer.json").match(/"vocab": \{\s*"!": 0,/)).not.toBeNull();
  });

  it("is read by the converter, with its control tokens", async () => {
    const out = join(folder, "read");
    await trainTokenizer(out, rows("hello hello 12 12 \u00fcber \u4e16\u754c"), { vocabSize: 270, contextLength: 64 });
    const { entries, size } = await readTokenizer(out, {});
    const entry = (key: string) => entries.find(([name]) => name === `tokenizer.ggml.${key}`)?.[2];
    expect(size).toBe(270);
    expect(entry("pre")).toBe("llama-bpe");
    expect(entry("tokens")?.toString()).toMatch(/,<\|begin_of_text\|>,<\|end_of_text\|>,<\|eot_id\|>$/);
    expect(entry("bos_token_id")).toBe(267);
  });

  it("takes the pair that is last in order among equals", async () => {
    expect((await train(["ab cd ab cd"], 260)).merges).toEqual(["\u0120 c"]);
    expect((await train(["aaaaa"], 261)).merges).toEqual(["a a", "aa aa"]);
  });

  it("gives two ways to one text one entry", async () => {
    const { merges, vocab } = await train(["abab abab xab xab abx abx aba aba bab bab".repeat(3)], 266);
    expect(new Set(merges).size).toBe(merges.length);
    expect(Object.values<number>(vocab).sort((a, b) => a - b)).toEqual(Array.from({ length: 263 }, (_, id) => id));
  });

  it("counts the contents of chats with the names of their roles, and cuts out names of control tokens", async () => {
    const out = join(folder, "chat");
    const chat = {
      messages: [
        { role: "user", content: "q<|eot_id|>q" },
        { role: "assistant", content: "Assistant" },
      ],
    };
    await trainTokenizer(out, [{ name: "rows", rows: [chat] }], { vocabSize: 270, contextLength: 64 });
    const { vocab } = JSON.parse(readFileSync(join(out, "tokenizer.json"), "utf8")).model;
    expect(Object.keys(vocab).join(" ")).toContain("ssistant");
    expect(vocab.eot).toBeUndefined();
  });

  it("says how many entries texts give, and which sizes there are", async () => {
    await expect(train(["ab"], 300)).rejects.toThrow("the texts give a vocabulary of 257 entries, not of 297");
    await expect(train(["ab"], 100)).rejects.toThrow("expected an integer from 260 to 1048576, got 100");
    await expect(train(["ab"], 2.5)).rejects.toThrow("got 2.5");
  });

  it("stops when it is told to, and leaves nothing behind", async () => {
    const out = join(folder, "aborted");
    const stop = AbortSignal.abort();
    writeFileSync(join(folder, "t.txt"), "some words here");
    const run = trainTokenizer(out, [{ name: join(folder, "t.txt") }], {
      vocabSize: 260,
      contextLength: 8,
      signal: stop,
    });
    await expect(run).rejects.toMatchObject({ code: "ABORTED" });
    expect(() => readFileSync(join(out, "tokenizer.json"))).toThrow("ENOENT");
  });
});
