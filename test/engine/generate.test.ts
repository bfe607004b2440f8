// Text pieces of a vocabulary whose tokens carry their leading space (SPM).

import { describe, expect, test } from "vitest";
import type { GenerateOptions } from "../../src/engine/request.js";
import { openTokenizer } from "../../src/engine/tokenizer.js";
import { findFixture } from "../support/fixtures.js";
import { bytesOf, idOf, openSpmTokenizer, scriptedSession } from "../support/scripted-session.js";

const tokenizer = openSpmTokenizer();

/** Text pieces of a session whose network chooses `ids`, after a prompt. */
async function generate(prompt: string | number[], ids: number[], options: GenerateOptions = {}): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of scriptedSession(tokenizer, ids).generate(prompt, options)) {
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
    expect(await generate("Once", [...bytesOf("☃"), idOf("▁a")])).toEqual(["", "", "☃", " a", ""]);
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
