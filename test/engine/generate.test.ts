// Text pieces of a vocabulary whose tokens carry their leading space (SPM).

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type GenerateOptions, generateText, newTimings, planGeneration } from "../../src/engine/generate.js";
import { openTokenizer, type Tokenizer } from "../../src/engine/tokenizer.js";
import type { NativeSession } from "../../src/native/addon.js";
import { findFixture } from "../support/fixtures.js";
import { writeGguf } from "../support/write-gguf.js";

const texts = ["<unk>", "<s>", "</s>", "▁Once", "▁upon", "▁a", "▁time", ",", "▁", "e"];
const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const tokens = [...texts, ...bytes];
const kinds = [2, 3, 3, ...texts.slice(3).map(() => 1), ...bytes.map(() => 6)];

let folder: string;
let tokenizer: Tokenizer;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-generate-"));
  const path = join(folder, "spm.gguf");
  writeGguf(path, {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": Float32Array.from(tokens, (_, id) => -id),
    "tokenizer.ggml.token_type": Int32Array.from(kinds),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
  });
  tokenizer = openTokenizer(path);
});
afterAll(() => rmSync(folder, { recursive: true }));

const idOf = (text: string) => tokens.indexOf(text);
const byteId = (byte: number) => texts.length + byte;

/** Text pieces of a session whose network chooses `ids`, after a prompt. */
async function generate(prompt: string | number[], ids: number[], options: GenerateOptions = {}): Promise<string[]> {
  let next = 0;
  const session = {
    contextSize: 64,
    prefill: async () => ({ reused: 0, evaluated: 0 }),
    setSampling: () => {},
    step: async () => ({ id: ids[next++] ?? idOf("</s>") }),
    abort: () => {},
  } as unknown as NativeSession;
  const plan = planGeneration(tokenizer, session.contextSize, prompt, options);
  const pieces: string[] = [];
  for await (const piece of generateText(session, tokenizer, plan, newTimings())) {
    pieces.push(piece.text);
  }
  return pieces;
}

describe("with an SPM vocabulary", () => {
  test("text that continues a prompt keeps its leading space", async () => {
    const ids = [idOf("▁upon"), idOf("▁a"), idOf("▁time")];
    expect(await generate("Once", ids)).toEqual([" upon", " a", " time", ""]);
  });

  test("text after nothing but BOS has no leading space", async () => {
    expect(await generate([1], [idOf("▁Once"), idOf("▁upon")])).toEqual(["Once", " upon", ""]);
  });

  test("a prompt and what continues it, together, are the text of all ids", async () => {
    const ids = [idOf("▁upon"), idOf(","), idOf("▁"), idOf("▁a"), idOf("e")];
    for (const prompt of ["Once", " Once", "Once ", "e", ","]) {
      const promptIds = [...tokenizer.encode(prompt)];
      const text = (await generate(promptIds, ids)).join("");
      expect(tokenizer.decode(promptIds) + text).toBe(tokenizer.decode([...promptIds, ...ids]));
    }
  });

  test("bytes of a character become text when it is whole", async () => {
    const snowman = [...Buffer.from("☃")].map(byteId);
    expect(await generate("Once", [...snowman, idOf("▁a")])).toEqual(["", "", "☃", " a", ""]);
  });

  test("a stop string may begin with the space of the first piece", async () => {
    expect((await generate("Once", [idOf("▁upon"), idOf("▁a"), idOf("▁time")], { stop: [" a"] })).join("")).toBe(
      " upon",
    );
    expect((await generate("Once", [idOf("▁a"), idOf("▁time")], { stop: [" a"] })).join("")).toBe("");
  });

  const vocabulary = findFixture("vocab", "llama-spm.gguf");
  test.skipIf(vocabulary === undefined)("the same with the vocabulary of Llama 2", async () => {
    const llama = openTokenizer(vocabulary ?? "");
    const story = [...llama.encode("Once upon a time, in a land far away")];
    for (let cut = 2; cut < story.length; cut++) {
      const [before, after] = [story.slice(0, cut), story.slice(cut)];
      const decoder = llama.createDecoder();
      const first = before.map((id) => decoder.push(id)).join("");
      const second = after.map((id) => decoder.push(id)).join("") + decoder.flush();
      expect(first + second).toBe("Once upon a time, in a land far away");
      expect(second.startsWith(" ") || second.startsWith(",")).toBe(true);
    }
  });
});
