// The tokenizers of checkpoints: what is made of tokenizer.json, tokenizer.model and tiktoken's ranks, and whether the
// result tokenizes as llama.cpp does.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readTokenizer, type TokenizerOptions } from "../../src/checkpoint/tokenizer.js";
import { parseSentencePiece, parseTiktoken, parseTokenizerJson } from "../../src/checkpoint/vocabulary.js";
import { writeModel } from "../../src/convert/write.js";
import { openTokenizer } from "../../src/engine/tokenizer.js";
import { type Gguf, openGguf } from "../../src/gguf/gguf.js";
import { type Json, withFolder } from "../support/checkpoints.js";
import { findFixture, root } from "../support/fixtures.js";

const tinyTokenizer = JSON.parse(
  readFileSync(join(root, "test", "fixtures", "tiny-bitnet-packed", "tokenizer.json"), "utf8"),
) as Json & { model: { vocab: Record<string, number>; merges: string[] } };

/** Writes the tokenizer of a checkpoint with these files as a GGUF file. */
async function convertTokenizer(
  folder: string,
  files: Record<string, string | Buffer>,
  options: TokenizerOptions = {},
): Promise<string> {
  const source = join(folder, "source");
  mkdirSync(source, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(source, name), content);
  }
  const path = join(folder, "vocab.gguf");
  const { entries } = await readTokenizer(source, options);
  await writeModel({ sources: [], metadata: entries, tensors: [], warnings: [] }, { outfile: path });
  return path;
}

async function metadataOf(
  files: Record<string, string | Buffer>,
  options?: TokenizerOptions,
): Promise<Record<string, unknown>> {
  return withFolder(async (folder) => {
    const gguf = openGguf(await convertTokenizer(folder, files, options));
    const lists = ["tokens", "token_type"].map((name) => [name, gguf.metadataArray(`tokenizer.ggml.${name}`)]);
    return { ...gguf.metadata(), ...Object.fromEntries(lists) };
  });
}

interface Conformance {
  texts: string[];
  ids: number[][];
}

function readConformance(folder: string, name: string): Conformance | undefined {
  const paths = [findFixture(folder, `${name}.inp`), findFixture(folder, `${name}.out`)];
  const [inputs, outputs] = paths.map((path) => (path === undefined ? undefined : readFileSync(path, "utf8")));
  if (inputs === undefined || outputs === undefined) {
    return undefined;
  }
  const ids = outputs.split("\n").map((line) =>
    line
      .split(" ")
      .filter((word) => word !== "")
      .map(Number),
  );
  const texts = inputs.split("\n__ggml_vocab_test__\n");
  return { texts, ids: ids.slice(0, texts.length) };
}

function expectConformance(path: string, { texts, ids }: Conformance): void {
  const tokenizer = openTokenizer(path);
  expect(texts.length).toBeGreaterThan(30);
  for (const [i, text] of texts.entries()) {
    expect([...tokenizer.encode(text, { addSpecial: false, parseSpecial: true })], JSON.stringify(text)).toEqual(
      ids[i],
    );
  }
}

function stringsOf(gguf: Gguf, key: string): string[] {
  return gguf.metadataArray(`tokenizer.ggml.${key}`) as string[];
}

const byteLevel = (regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, use_regex: regex });

describe("tokenizer.json", () => {
  const llama3 = findFixture("llama3", "tokenizer.json");
  const conformance = readConformance("llama3", "conformance");

  test.skipIf(llama3 === undefined)("Llama 3's tokenizes like llama.cpp", async () => {
    await withFolder(async (folder) => {
      const path = await convertTokenizer(folder, { "tokenizer.json": readFileSync(llama3 ?? "") });
      expectConformance(path, conformance ?? { texts: [], ids: [] });
      const { info } = openTokenizer(path);
      expect(info).toMatchObject({ model: "gpt2", pre: "llama-bpe", vocabSize: 128256, addBos: true, addEos: false });
    });
  });

  const gpt2 = findFixture("vocab", "gpt-2.gguf");
  test.skipIf(gpt2 === undefined)("GPT-2's tokenizes like llama.cpp, its merges as strings or as pairs", async () => {
    const gguf = openGguf(gpt2 ?? "");
    const tokens = stringsOf(gguf, "tokens");
    const merges = stringsOf(gguf, "merges");
    for (const list of [merges, merges.map((merge) => merge.split(" "))]) {
      const json = {
        pre_tokenizer: byteLevel(true),
        decoder: byteLevel(true),
        model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: list },
      };
      await withFolder(async (folder) => {
        const path = await convertTokenizer(folder, { "tokenizer.json": JSON.stringify(json) });
        expect(openGguf(path).metadata()["tokenizer.ggml.pre"]).toBe("gpt-2");
        expectConformance(path, readConformance("vocab", "gpt-2.gguf") ?? { texts: [], ids: [] });
      });
    }
  });

  const spm = findFixture("vocab", "llama-spm.gguf");
  test.skipIf(spm === undefined)("Llama 2's, a BPE over characters, tokenizes like SentencePiece", async () => {
    const gguf = openGguf(spm ?? "");
    const tokens = stringsOf(gguf, "tokens");
    const ids = new Map(tokens.map((token, id) => [token, id]));
    const scores = gguf.metadataArray("tokenizer.ggml.scores") as number[];
    const types = gguf.metadataArray("tokenizer.ggml.token_type") as number[];
    const byScore = tokens.map((_, id) => id).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0));
    // As Hugging Face derives them: each way to make a token of two others.
    const merges = byScore
      .filter((id) => types[id] === 1)
      .flatMap((id) => {
        const chars = [...(tokens[id] ?? "")];
        const cuts = chars.slice(1).map((_, i) => [chars.slice(0, i + 1).join(""), chars.slice(i + 1).join("")]);
        return cuts.filter((parts) => parts.every((part) => ids.has(part))).map((parts) => parts.join(" "));
      });
    const json = {
      normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace" }] },
      pre_tokenizer: null,
      decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }] },
      model: { type: "BPE", unk_token: "<unk>", byte_fallback: true, vocab: Object.fromEntries(ids), merges },
      added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true })),
    };
    await withFolder(async (folder) => {
      const path = await convertTokenizer(folder, { "tokenizer.json": JSON.stringify(json) });
      expectConformance(path, readConformance("vocab", "llama-spm.gguf") ?? { texts: [], ids: [] });
      expect(openGguf(path).metadataArray("tokenizer.ggml.token_type")).toEqual(types);
    });
  });

  const llama3Rule = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  const split = (regex: string) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated" });
  const sequence = (...pretokenizers: unknown[]) => ({ type: "Sequence", pretokenizers });
  const punctuation = { type: "Punctuation", behavior: "Contiguous" };
  const rules: [name: string, preTokenizer: unknown][] = [
    ["llama-bpe", sequence(split(llama3Rule), byteLevel(false))],
    ["qwen2", sequence(split(llama3Rule.replace("{1,3}", "")), byteLevel(false))],
    ["gpt-2", byteLevel(true)],
    [
      "falcon",
      sequence(punctuation, byteLevel(true), { type: "Digits", individual_digits: false }, split("[0-9][0-9][0-9]")),
    ],
    ["falcon3", sequence(punctuation, byteLevel(true), { type: "Digits", individual_digits: true })],
  ];
  test.each(rules)("the rule of %s is recognized", (name, preTokenizer) => {
    const json = { ...tinyTokenizer, pre_tokenizer: preTokenizer };
    expect(parseTokenizerJson(json, "tokenizer.json").pre).toBe(name);
  });

  test("a rule that is not known is refused, quoting it, unless one is named", async () => {
    const files = {
      "tokenizer.json": JSON.stringify({ ...tinyTokenizer, pre_tokenizer: sequence(split("\\d+"), byteLevel(false)) }),
    };
    await expect(metadataOf(files)).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("\\d+"),
    });
    expect((await metadataOf(files, { pre: "qwen2" }))["tokenizer.ggml.pre"]).toBe("qwen2");
  });

  test.each<[string, unknown, string]>([
    ["another kind of model", { ...tinyTokenizer, model: { type: "Unigram", vocab: [] } }, 'type "Unigram"'],
    [
      "an id that is no number",
      { ...tinyTokenizer, model: { ...tinyTokenizer.model, vocab: { a: "b" } } },
      'has the id "b"',
    ],
    ["an id beyond reason", { ...tinyTokenizer, model: { ...tinyTokenizer.model, vocab: { a: 1e12 } } }, "has the id"],
    ["an added token beyond reason", { ...tinyTokenizer, added_tokens: [{ id: -1, content: "x" }] }, "has the id -1"],
    ["no merges", { ...tinyTokenizer, model: { type: "BPE", vocab: { a: 0 } } }, "no list of merges"],
    ["a merge that is none", { ...tinyTokenizer, model: { ...tinyTokenizer.model, merges: [7] } }, "7 is not a merge"],
    ["a list", [], "expected a JSON object"],
  ])("refuses %s", async (_, json, message) => {
    await expect(metadataOf({ "tokenizer.json": JSON.stringify(json) })).rejects.toThrow(message);
  });
});

describe("the files beside it", () => {
  const json = JSON.stringify(tinyTokenizer);

  test("gaps up to the embedding's rows become tokens that no text makes", async () => {
    const metadata = await metadataOf({ "tokenizer.json": json }, { vocabSize: 2050 });
    expect((metadata.tokens as string[]).slice(-2)).toEqual(["[PAD2048]", "[PAD2049]"]);
    expect((metadata.token_type as number[]).slice(-3)).toEqual([3, 5, 5]);
  });

  test("special tokens are found by name, in tokenizer_config.json before config.json", async () => {
    const config = {
      bos_token: { content: "<|eot_id|>" },
      eos_token: "<|end_of_text|>",
      add_bos_token: false,
      pad_token: "no such token",
    };
    const files = { "tokenizer.json": json, "tokenizer_config.json": JSON.stringify(config) };
    const ids = { bosTokenId: 1, eosTokenId: 2, padTokenId: 3 };
    const metadata = await metadataOf(files, { ids });
    expect(metadata["tokenizer.ggml.bos_token_id"]).toBe(2047);
    expect(metadata["tokenizer.ggml.eos_token_id"]).toBe(2046);
    expect(metadata["tokenizer.ggml.padding_token_id"]).toBe(3);
    expect(metadata["tokenizer.ggml.add_bos_token"]).toBe(false);
    const bare = await metadataOf({ "tokenizer.json": json }, { ids });
    expect(bare["tokenizer.ggml.bos_token_id"]).toBe(1);
    expect(bare["tokenizer.ggml.add_bos_token"]).toBe(true); // by the template of tokenizer.json
  });

  test("added tokens are control tokens if they are special, and user's tokens otherwise", async () => {
    const decoder = { 2047: { content: "<|tool|>", special: false }, 2048: { content: "<|new|>", special: true } };
    const files = {
      "tokenizer.json": json,
      "tokenizer_config.json": JSON.stringify({ added_tokens_decoder: decoder }),
    };
    const metadata = await metadataOf(files);
    expect((metadata.tokens as string[]).slice(2047)).toEqual(["<|tool|>", "<|new|>"]);
    expect((metadata.token_type as number[]).slice(2046)).toEqual([3, 4, 3]);
  });

  test("the chat template may be a string, a list or a file of its own", async () => {
    const withConfig = (value: unknown) => ({
      "tokenizer.json": json,
      "tokenizer_config.json": JSON.stringify({ chat_template: value }),
    });
    expect((await metadataOf(withConfig("T")))["tokenizer.chat_template"]).toBe("T");
    const list = await metadataOf(
      withConfig([
        { name: "default", template: "D" },
        { name: "tool_use", template: "U" },
      ]),
    );
    expect(list["tokenizer.chat_template"]).toBe("D");
    expect(list["tokenizer.chat_template.tool_use"]).toBe("U");
    expect((await metadataOf({ ...withConfig("T"), "chat_template.jinja": "J" }))["tokenizer.chat_template"]).toBe("J");
  });
});

// ---- tokenizer.model

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
    if (rest < 128) {
      return Buffer.from(bytes);
    }
  }
}

const field = (number: number, wire: number, data: Buffer) => Buffer.concat([varint(number * 8 + wire), data]);
const message = (number: number, data: Buffer) => field(number, 2, Buffer.concat([varint(data.length), data]));

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

/** A SentencePiece model with these pieces. */
function encodeSentencePiece(pieces: { text: string; score: number; type: number }[], trainer: Buffer): Buffer {
  const encoded = pieces.map(({ text, score, type }) =>
    message(1, Buffer.concat([message(1, Buffer.from(text)), field(2, 5, float(score)), field(3, 0, varint(type))])),
  );
  return Buffer.concat([
    ...encoded,
    message(2, trainer),
    message(3, Buffer.concat([message(1, Buffer.from("identity")), field(3, 0, varint(1))])),
  ]);
}

const bpeTrainer = field(3, 0, varint(2));

describe("tokenizer.model", () => {
  const spm = findFixture("vocab", "llama-spm.gguf");

  test.skipIf(spm === undefined)("Llama 2's pieces, scores and types come out as they went in", async () => {
    const gguf = openGguf(spm ?? "");
    const tokens = stringsOf(gguf, "tokens");
    const scores = gguf.metadataArray("tokenizer.ggml.scores") as number[];
    const types = gguf.metadataArray("tokenizer.ggml.token_type") as number[];
    const pieces = tokens.map((text, id) => ({ text, score: scores[id] ?? 0, type: types[id] ?? 1 }));
    await withFolder(async (folder) => {
      const added = JSON.stringify({ "<pad>": 32000 }); // as 1bitLLM's models have it
      const files = { "tokenizer.model": encodeSentencePiece(pieces, bpeTrainer), "added_tokens.json": added };
      const path = await convertTokenizer(folder, files, { vocabSize: 32002 });
      const made = openGguf(path);
      expect(stringsOf(made, "tokens")).toEqual([...tokens, "<pad>", "[PAD32001]"]);
      expect(made.metadataArray("tokenizer.ggml.scores")).toEqual([...scores, -1000, -1000]);
      expect(made.metadataArray("tokenizer.ggml.token_type")).toEqual([...types, 4, 5]);
      expect(openTokenizer(path).info).toMatchObject({ model: "llama", bos: 1, eos: 2, unk: 0, addBos: true });
      expect(made.metadata()["tokenizer.ggml.add_space_prefix"]).toBe(true);
      expectConformance(path, readConformance("vocab", "llama-spm.gguf") ?? { texts: [], ids: [] });
    });
  });

  const pieces = [
    { text: "<unk>", score: 0, type: 2 },
    { text: "a", score: -1, type: 1 },
  ];

  test("what a family says of its tokenizers stands above their files", async () => {
    const files = {
      "tokenizer.model": encodeSentencePiece(pieces, bpeTrainer),
      "tokenizer_config.json": JSON.stringify({ add_prefix_space: true, eos_token: "<unk>" }),
    };
    const plain = await metadataOf(files);
    expect(plain["tokenizer.ggml.add_space_prefix"]).toBe(true);
    expect(plain["tokenizer.ggml.eos_token_id"]).toBe(0);
    expect(plain["tokenizer.ggml.add_eos_token"]).not.toBe(true);
    const told = await metadataOf(files, { addSpacePrefix: false, end: "a" });
    expect(told["tokenizer.ggml.add_space_prefix"]).toBe(false);
    expect(told["tokenizer.ggml.eos_token_id"]).toBe(1);
    expect(told["tokenizer.ggml.add_eos_token"]).toBe(true);
    const none = await metadataOf(files, { end: "no such token" });
    expect(none["tokenizer.ggml.eos_token_id"]).toBe(0);
  });

  test("a unigram model is refused", () => {
    const bytes = encodeSentencePiece(pieces, field(3, 0, varint(1)));
    expect(() => parseSentencePiece(bytes, "tokenizer.model")).toThrow("only BPE (2) is supported");
  });

  test("a model cut anywhere is refused or read in part, never anything else", () => {
    const bytes = encodeSentencePiece(pieces, bpeTrainer);
    for (let length = 0; length < bytes.length; length++) {
      try {
        expect(parseSentencePiece(bytes.subarray(0, length), "tokenizer.model").tokens.length).toBeLessThanOrEqual(2);
      } catch (error) {
        expect(error).toMatchObject({ code: "BAD_FILE" });
      }
    }
  });
});

describe("tiktoken", () => {
  const llama3 = findFixture("llama3", "tokenizer.json");

  test.skipIf(llama3 === undefined)(
    "Llama 3's ranks give the merges and the control tokens of its tokenizer.json",
    () => {
      const json = JSON.parse(readFileSync(llama3 ?? "", "utf8")) as typeof tinyTokenizer;
      const expected = parseTokenizerJson(json, "tokenizer.json");
      const alphabet = new Map<string, number>();
      let next = 256;
      for (let byte = 0; byte < 256; byte++) {
        const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        alphabet.set(String.fromCodePoint(printable ? byte : next++), byte);
      }
      const lines = Object.entries(json.model.vocab).map(([token, rank]) => {
        const bytes = Buffer.from([...token].map((char) => alphabet.get(char) ?? 0));
        return `${bytes.toString("base64")} ${rank}`;
      });
      const actual = parseTiktoken(lines.join("\n"), "tokenizer.model");
      expect(actual.tokens.length).toBe(expected.tokens.length);
      expect(actual.tokens.filter((token, id) => token !== expected.tokens[id])).toEqual([]);
      expect(actual.types).toEqual(expected.types);
      expect(actual.merges?.length).toBe(expected.merges?.length);
      expect(actual.merges?.filter((merge, i) => merge !== expected.merges?.[i])).toEqual([]);
      expect(actual.pre).toBe("llama-bpe");
    },
  );

  test("a vocabulary that nobody knows needs the name of its rule", async () => {
    const files = { "tokenizer.model": "YQ== 0\nYg== 1\nYWI= 2\n" };
    await expect(metadataOf(files)).rejects.toThrow("pre-tokenizer");
    const metadata = await metadataOf(files, { pre: "qwen2" });
    expect(metadata.tokens).toEqual(["a", "b", "ab"]);
  });

  test("a line that is none is refused", () => {
    expect(() => parseTiktoken("YQ== 0\nnonsense\n", "tokenizer.model")).toThrow('"nonsense" is not a line');
  });
});
