// The tokenizer of a checkpoint directory as GGUF metadata: vocabulary, special tokens, chat template.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { MetadataEntry } from "../gguf/gguf.js";
import { BitnetError } from "../system/errors.js";
import { readJson, readOptionalJson } from "./checkpoint.js";
import {
  type AddedToken,
  addTokens,
  asObject,
  looksLikeSentencePiece,
  parseSentencePiece,
  parseTiktoken,
  parseTokenizerJson,
  tokenTypes,
  type Vocabulary,
} from "./vocabulary.js";

export interface TokenizerOptions {
  /** Rows of the embedding: the table is filled up to it. Default: the vocabulary's own size. */
  vocabSize?: number;
  /** Of config.json, where the tokenizer's own files name none. */
  ids?: { bosTokenId?: number; eosTokenId?: number; padTokenId?: number };
  /** The token that ends every text, whatever the tokenizer's own files say. */
  end?: string;
  /** Whether a SentencePiece tokenizer puts a space first, whatever its own files say. */
  addSpacePrefix?: boolean;
  /** Pre-tokenizer to write instead of the one that is found. */
  pre?: string;
}

type Json = Record<string, unknown>;

/** Reads tokenizer.model (SentencePiece or tiktoken) or tokenizer.json and the files beside it. `size`: its tokens. */
export async function readTokenizer(
  directory: string,
  options: TokenizerOptions,
): Promise<{ entries: MetadataEntry[]; size: number }> {
  const { vocabulary, path } = await readVocabulary(directory);
  const config = (await readOptionalJson(join(directory, "tokenizer_config.json"))) ?? {};
  addTokens(vocabulary, await readAddedTokens(directory, config), join(directory, "tokenizer_config.json"));
  const size = fillUp(vocabulary, options.vocabSize, path);
  const entries = [
    ...vocabularyEntries(vocabulary, options, path),
    ...(await specialEntries(directory, vocabulary, config, options, size)),
    ...(await chatTemplateEntries(directory, config)),
  ];
  return { entries, size };
}

async function readVocabulary(directory: string): Promise<{ vocabulary: Vocabulary; path: string }> {
  const [modelPath, jsonPath] = [join(directory, "tokenizer.model"), join(directory, "tokenizer.json")];
  const bytes = existsSync(modelPath) ? await readFile(modelPath) : undefined;
  if (bytes !== undefined && looksLikeSentencePiece(bytes)) {
    return { vocabulary: parseSentencePiece(bytes, modelPath), path: modelPath };
  }
  if (existsSync(jsonPath)) {
    return { vocabulary: parseTokenizerJson(await readJson(jsonPath), jsonPath), path: jsonPath };
  }
  if (bytes !== undefined) {
    return { vocabulary: parseTiktoken(bytes.toString("latin1"), modelPath), path: modelPath };
  }
  throw new BitnetError("NOT_FOUND", `${directory}: no tokenizer: neither tokenizer.json nor tokenizer.model is there`);
}

async function readAddedTokens(directory: string, config: Json): Promise<AddedToken[]> {
  const old = Object.entries((await readOptionalJson(join(directory, "added_tokens.json"))) ?? {});
  const decoder = Object.entries(asObject(config.added_tokens_decoder));
  return [
    ...old.map(([content, id]) => ({ id: Number(id), content, special: false })),
    ...decoder.map(([id, entry]) => {
      const { content, special } = asObject(entry);
      return { id: Number(id), content: String(content), special: special === true };
    }),
  ];
}

/** Gives every id a token; returns their number. */
function fillUp(vocabulary: Vocabulary, vocabSize: number | undefined, path: string): number {
  const { tokens, types, scores } = vocabulary;
  if (vocabSize !== undefined && tokens.length > vocabSize) {
    throw new BitnetError(
      "BAD_FILE",
      `${path}: ${tokens.length} tokens, but vocab_size in config.json is ${vocabSize}`,
    );
  }
  const size = vocabSize ?? tokens.length;
  for (let id = 0; id < size; id++) {
    if (tokens[id] === undefined) {
      tokens[id] = `[PAD${id}]`;
      types[id] = tokenTypes.unused;
      if (scores !== undefined) {
        scores[id] = -1000;
      }
    }
  }
  return size;
}

function vocabularyEntries(vocabulary: Vocabulary, options: TokenizerOptions, path: string): MetadataEntry[] {
  const { model, tokens, types, scores, merges } = vocabulary;
  const pre = options.pre ?? (model === "llama" ? "default" : vocabulary.pre);
  if (pre === undefined) {
    throw new BitnetError("UNSUPPORTED", `${path}: the pre-tokenizer is none that is known: ${vocabulary.rule}`, {
      hint: "name one with --tokenizer-pre, such as llama-bpe, qwen2, gpt-2, falcon or falcon3",
    });
  }
  return [
    ["tokenizer.ggml.model", "string", model],
    ["tokenizer.ggml.pre", "string", pre],
    ["tokenizer.ggml.tokens", "strings", tokens as string[]],
    ["tokenizer.ggml.scores", "f32s", scores],
    ["tokenizer.ggml.token_type", "i32s", types],
    ["tokenizer.ggml.merges", "strings", merges],
  ];
}

async function specialEntries(
  directory: string,
  vocabulary: Vocabulary,
  config: Json,
  options: TokenizerOptions,
  size: number,
): Promise<MetadataEntry[]> {
  const map = (await readOptionalJson(join(directory, "special_tokens_map.json"))) ?? {};
  const idOf = (key: string, ...fallbacks: (number | undefined)[]): number | undefined => {
    const text = tokenText(config[key]) ?? tokenText(map[key]);
    const found = text === undefined ? -1 : vocabulary.tokens.indexOf(text);
    return [found >= 0 ? found : undefined, ...fallbacks].find((id) => id !== undefined && id < size);
  };
  const { special } = vocabulary;
  const { ids = {}, end } = options;
  const endOfText = end === undefined ? -1 : vocabulary.tokens.indexOf(end);
  const flag = (key: string) => (typeof config[key] === "boolean" ? (config[key] as boolean) : undefined);
  const spm = vocabulary.model === "llama";
  const spacePrefix = options.addSpacePrefix ?? flag("add_prefix_space") ?? vocabulary.addSpacePrefix ?? true;
  return [
    ["tokenizer.ggml.bos_token_id", "u32", idOf("bos_token", ids.bosTokenId, special.bos)],
    ["tokenizer.ggml.eos_token_id", "u32", endOfText >= 0 ? endOfText : idOf("eos_token", ids.eosTokenId, special.eos)],
    ["tokenizer.ggml.unknown_token_id", "u32", idOf("unk_token", special.unk)],
    ["tokenizer.ggml.padding_token_id", "u32", idOf("pad_token", ids.padTokenId, special.pad)],
    ["tokenizer.ggml.add_bos_token", "bool", flag("add_bos_token") ?? vocabulary.addBos ?? spm],
    ["tokenizer.ggml.add_eos_token", "bool", endOfText >= 0 ? true : (flag("add_eos_token") ?? vocabulary.addEos)],
    ["tokenizer.ggml.add_space_prefix", "bool", spm ? spacePrefix : undefined],
  ];
}

/** A special token as a string, or as an object with its content. */
function tokenText(value: unknown): string | undefined {
  const content = typeof value === "object" && value !== null ? asObject(value).content : value;
  return typeof content === "string" ? content : undefined;
}

async function chatTemplateEntries(directory: string, config: Json): Promise<MetadataEntry[]> {
  const file = join(directory, "chat_template.jinja");
  const json = await readOptionalJson(join(directory, "chat_template.json"));
  const template = existsSync(file) ? await readFile(file, "utf8") : (config.chat_template ?? json?.chat_template);
  if (typeof template === "string") {
    return [["tokenizer.chat_template", "string", template]];
  }
  const named = (Array.isArray(template) ? template : [])
    .map(asObject)
    .filter((entry) => typeof entry.template === "string");
  if (named.length === 0) {
    return [];
  }
  const others = named.filter((entry) => entry.name !== "default");
  const main = named.find((entry) => entry.name === "default");
  return [
    ["tokenizer.chat_template", "string", main === undefined ? undefined : String(main.template)],
    ["tokenizer.chat_templates", "strings", others.map(({ name }) => String(name))],
    ...others.map(({ name, template }): MetadataEntry => {
      return [`tokenizer.chat_template.${String(name)}`, "string", String(template)];
    }),
  ];
}
