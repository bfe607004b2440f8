// The native tokenizer against @huggingface/tokenizers, an independent implementation, on the same tokenizer.json.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as OracleTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openTokenizer, type Tokenizer } from "../../src/engine/tokenizer.js";
import { findFixture } from "../support/fixtures.js";
import { writeGguf } from "../support/write-gguf.js";

interface TokenizerJson {
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
  added_tokens: { id: number; content: string }[];
}

const directory = mkdtempSync(join(tmpdir(), "bitnet-tokenizer-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** A GGUF with just the vocabulary of a byte-level BPE tokenizer.json whose pre-tokenizer is Llama 3's. */
function writeVocabulary(json: TokenizerJson, path: string): void {
  const { vocab, merges } = json.model;
  const control = json.added_tokens.map((token) => token.content);
  const regular = Object.keys(vocab)
    .filter((token) => !control.includes(token))
    .sort((a, b) => (vocab[a] ?? 0) - (vocab[b] ?? 0));
  writeGguf(path, {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": [...regular, ...control],
    "tokenizer.ggml.token_type": Int32Array.from([...regular.map(() => 1), ...control.map(() => 3)]),
    "tokenizer.ggml.merges": merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" "))),
    "tokenizer.ggml.bos_token_id": regular.length,
    "tokenizer.ggml.eos_token_id": regular.length + 1,
  });
}

// Text with the joints that pre-tokenizers differ in, besides anything else that Unicode has.
const joints = [
  "'s",
  "'LL",
  " ",
  "  ",
  "\n",
  "\r\n",
  "\t",
  "\u00a0",
  "\u3000",
  "123",
  "4567",
  "²",
  "don't",
  "é",
  "e\u0301",
];
const marks = ["中文", "かな", "한글", "ابج", "👩‍🚀", "🇩🇪", "!!", "...", "$1", "`", "_a", "\u200d", "Ünï"];
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc
    .array(fc.oneof(fc.constantFrom(...joints, ...marks), fc.string({ unit: "grapheme", maxLength: 6 })))
    .map((parts) => parts.join("")),
);

const sources = {
  "the tiny model": findFixture("tiny-bitnet", "tokenizer.json"),
  "Llama 3": findFixture("llama3", "tokenizer.json"), // another project's; only in the shared folder
};

for (const [name, source] of Object.entries(sources)) {
  describe.skipIf(source === undefined)(`with the vocabulary of ${name}`, () => {
    let native: Tokenizer;
    let oracle: OracleTokenizer;

    beforeAll(() => {
      const json: TokenizerJson = JSON.parse(readFileSync(source ?? "", "utf8"));
      const path = join(directory, `${name}.gguf`);
      writeVocabulary(json, path);
      native = openTokenizer(path);
      oracle = new OracleTokenizer(json, {});
    });

    test("gives the same ids as @huggingface/tokenizers for any text", () => {
      const check = (text: string) => {
        const expected = oracle.encode(text, { add_special_tokens: false }).ids;
        expect(Array.from(native.encode(text, { addSpecial: false }))).toEqual(expected);
      };
      fc.assert(fc.property(anyText, check), { numRuns: 2000, seed: 158 });
    });

    test("decodes to the text that was encoded", () => {
      const check = (text: string) => {
        expect(native.decode(native.encode(text))).toBe(text);
      };
      fc.assert(fc.property(anyText, check), { numRuns: 1000, seed: 159 });
    });

    test("streams the decoded text, whatever the tokens cut apart", () => {
      const check = (text: string) => {
        const decoder = native.createDecoder();
        const streamed = Array.from(native.encode(text), (id) => decoder.push(id)).join("");
        expect(streamed + decoder.flush()).toBe(text);
      };
      fc.assert(fc.property(anyText, check), { numRuns: 500, seed: 160 });
    });

    test("reads control tokens in a text only when asked to", () => {
      const text = "a<|eot_id|>b";
      const eot = native.info.eot;
      expect(Array.from(native.encode(text, { parseSpecial: true }))).toContain(eot);
      expect(Array.from(native.encode(text))).not.toContain(eot);
      expect(native.decode(native.encode(text))).toBe(text);
    });
  });
}
