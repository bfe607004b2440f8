// The three vocabulary files of checkpoints - tokenizer.json, SentencePiece's tokenizer.model, tiktoken's ranks - as one
// table of tokens. tokenizer.ts makes GGUF metadata of it.

import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";

export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface Vocabulary {
  model: "gpt2" | "llama"; // byte-level BPE, SentencePiece
  /** Pre-tokenizer of byte-level BPE; undefined if its rule is none that is known. */
  pre?: string;
  /** The rule as the file has it, for a message. */
  rule?: string;
  /** Gaps are undefined. */
  tokens: (string | undefined)[];
  types: number[];
  scores?: number[];
  merges?: string[];
  addBos?: boolean;
  addEos?: boolean;
  addSpacePrefix?: boolean;
  special: { bos?: number; eos?: number; unk?: number; pad?: number };
}

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

const maxTokens = 2 ** 22;
const addedScore = -1000;

/** Puts added tokens into the table; what the vocabulary itself calls unknown, control or byte stays that. */
export function addTokens(vocabulary: Vocabulary, added: readonly AddedToken[], path: string): void {
  for (const { id, content, special } of added) {
    if (!Number.isInteger(id) || id < 0 || id >= maxTokens) {
      throw new BitnetError("BAD_FILE", `${path}: the added token ${JSON.stringify(content)} has the id ${id}`);
    }
    const type = vocabulary.types[id];
    if (vocabulary.tokens[id] === content && type !== tokenTypes.normal && type !== tokenTypes.userDefined) {
      continue;
    }
    if (vocabulary.scores !== undefined && vocabulary.tokens[id] === undefined) {
      vocabulary.scores[id] = addedScore;
    }
    vocabulary.tokens[id] = content;
    vocabulary.types[id] = special ? tokenTypes.control : tokenTypes.userDefined;
  }
}

// ---- tokenizer.json

type Json = Record<string, unknown>;

export function parseTokenizerJson(json: Json, path: string): Vocabulary {
  const model = asObject(json.model);
  const type = model.type ?? (model.merges === undefined ? undefined : "BPE");
  if (type !== "BPE") {
    throw new BitnetError("UNSUPPORTED", `${path}: tokenizer of type ${JSON.stringify(type)}; only BPE is supported`);
  }
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of Object.entries(asObject(model.vocab))) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= maxTokens) {
      throw new BitnetError("BAD_FILE", `${path}: token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}`);
    }
    tokens[id] = token;
  }
  const merges = parseMerges(model.merges, path);
  const preTokenizers = flatten(json.pre_tokenizer, "pretokenizers");
  const byteLevel = [...preTokenizers, ...flatten(json.decoder, "decoders")].some((node) => node.type === "ByteLevel");
  const vocabulary: Vocabulary = {
    ...(byteLevel ? byteLevelParts(preTokenizers, merges) : spmParts(json, preTokenizers, tokens, merges)),
    tokens,
    types: Array.from(tokens, (token) => (byteLevel ? tokenTypes.normal : spmTypeOf(token, model.unk_token))),
    special: {},
  };
  addTokens(vocabulary, parseAddedTokens(json.added_tokens), path);
  applyTemplate(vocabulary, json);
  return vocabulary;
}

function byteLevelParts(
  preTokenizers: Json[],
  merges: string[],
): Pick<Vocabulary, "model" | "pre" | "rule" | "merges"> {
  const rule = preTokenizers
    .map(describePreTokenizer)
    .filter((text) => text !== "")
    .join(" ; ");
  return { model: "gpt2", pre: knownRules.get(rule), rule, merges };
}

/** BPE over characters with byte fallback, as converted from SentencePiece: its scores are the ranks of the merges. */
function spmParts(
  json: Json,
  preTokenizers: Json[],
  tokens: (string | undefined)[],
  merges: string[],
): Pick<Vocabulary, "model" | "scores" | "addSpacePrefix"> {
  const rank = new Map<string, number>();
  for (const [i, merge] of merges.entries()) {
    const result = merge.replace(" ", "");
    rank.set(result, Math.min(rank.get(result) ?? i, i));
  }
  const metaspace = preTokenizers.find((node) => node.type === "Metaspace");
  const prepends = flatten(json.normalizer, "normalizers").some((node) => node.type === "Prepend");
  const metaspacePrepends =
    metaspace !== undefined && metaspace.prepend_scheme !== "never" && metaspace.add_prefix_space !== false;
  return {
    model: "llama",
    scores: Array.from(tokens, (token) => -(rank.get(token ?? "") ?? 0)),
    addSpacePrefix: prepends || metaspacePrepends,
  };
}

function spmTypeOf(token: string | undefined, unknown: unknown): number {
  if (token !== undefined && token === unknown) {
    return tokenTypes.unknown;
  }
  return token !== undefined && /^<0x[0-9A-F]{2}>$/.test(token) ? tokenTypes.byte : tokenTypes.normal;
}

function parseMerges(value: unknown, path: string): string[] {
  if (!Array.isArray(value)) {
    throw new BitnetError("BAD_FILE", `${path}: has no list of merges`);
  }
  return value.map((merge: unknown) => {
    const text = Array.isArray(merge) ? merge.join(" ") : merge;
    if (typeof text !== "string") {
      throw new BitnetError("BAD_FILE", `${path}: ${JSON.stringify(merge)} is not a merge`);
    }
    return text;
  });
}

export function parseAddedTokens(value: unknown): AddedToken[] {
  return (Array.isArray(value) ? value : []).map((entry: unknown) => {
    const { id, content, special } = asObject(entry);
    return { id: Number(id), content: typeof content === "string" ? content : "", special: special === true };
  });
}

/** Which special tokens the template puts around a text. */
function applyTemplate(vocabulary: Vocabulary, json: Json): void {
  const template = flatten(json.post_processor, "processors").find((node) => node.type === "TemplateProcessing");
  if (template === undefined) {
    return;
  }
  const single = Array.isArray(template.single) ? template.single.map(asObject) : [];
  const idOf = (node: Json | undefined): number | undefined => {
    const { id: text } = asObject(node?.SpecialToken);
    const id = typeof text === "string" ? vocabulary.tokens.indexOf(text) : -1;
    return id < 0 ? undefined : id;
  };
  const [bos, eos] = [idOf(single[0]), single.length > 1 ? idOf(single.at(-1)) : undefined];
  vocabulary.addBos = bos !== undefined;
  vocabulary.addEos = eos !== undefined;
  vocabulary.special = { bos, eos };
}

const llama3Tail = String.raw`|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const contractions = ["(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"];
const gpt2Rule = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const threeDigits = "[0-9][0-9][0-9]";

// Rules as describePreTokenizer() writes them -> the names that GGUF has for them.
const knownRules = new Map<string, string>([
  ...contractions.flatMap((start): [string, string][] => [
    [start + llama3Tail, "llama-bpe"],
    [start + llama3Tail.replace("{1,3}", ""), "qwen2"],
  ]),
  [gpt2Rule, "gpt-2"],
  [`punctuation ; ${gpt2Rule} ; digits ; ${threeDigits}`, "falcon"],
  [`punctuation ; ${gpt2Rule} ; ${threeDigits}`, "falcon"],
  [`punctuation ; ${gpt2Rule} ; digit`, "falcon3"],
  [`punctuation ; ${gpt2Rule} ; [0-9]`, "falcon3"],
  [`punctuation ; ${gpt2Rule} ; digits ; [0-9]`, "falcon3"],
  [`punctuation ; ${gpt2Rule} ; digit ; [0-9]`, "falcon3"],
]);

function describePreTokenizer(node: Json): string {
  switch (node.type) {
    case "ByteLevel":
      return node.use_regex === false ? "" : gpt2Rule;
    case "Split":
      return String(asObject(node.pattern).Regex ?? asObject(node.pattern).String);
    case "Punctuation":
      return "punctuation";
    case "Digits":
      return node.individual_digits === true ? "digit" : "digits";
    default:
      return String(node.type);
  }
}

/** A node of tokenizer.json, or the members of a Sequence. */
function flatten(value: unknown, members: string): Json[] {
  const node = asObject(value);
  if (node.type === "Sequence" && Array.isArray(node[members])) {
    return node[members].flatMap((member) => flatten(member, members));
  }
  return node.type === undefined ? [] : [node];
}

export function asObject(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

// ---- tokenizer.model

/** Whether bytes look like a SentencePiece model: field 1, a message, first. */
export function looksLikeSentencePiece(bytes: Uint8Array): boolean {
  return bytes[0] === 0x0a;
}

export function parseSentencePiece(bytes: Buffer, path: string): Vocabulary {
  const vocabulary: Vocabulary = { model: "llama", tokens: [], types: [], scores: [], special: {} };
  for (const { field, data } of protobufFields(bytes, path)) {
    if (field === 1 && Buffer.isBuffer(data)) {
      const [piece, score, type] = pick(data, [1, 2, 3], path);
      vocabulary.tokens.push(Buffer.isBuffer(piece) ? piece.toString("utf8") : "");
      vocabulary.scores?.push(Buffer.isBuffer(score) ? score.readFloatLE() : 0);
      vocabulary.types.push(typeof type === "number" && type >= 1 && type <= 6 ? type : tokenTypes.normal);
    } else if (field === 2 && Buffer.isBuffer(data)) {
      readTrainerSpec(data, vocabulary, path);
    } else if (field === 3 && Buffer.isBuffer(data)) {
      const [addDummyPrefix] = pick(data, [3], path);
      vocabulary.addSpacePrefix = addDummyPrefix !== 0;
    }
  }
  if (vocabulary.tokens.length === 0 || vocabulary.tokens.length > maxTokens) {
    throw new BitnetError("BAD_FILE", `${path}: a SentencePiece model of ${vocabulary.tokens.length} pieces`);
  }
  return vocabulary;
}

function readTrainerSpec(data: Buffer, vocabulary: Vocabulary, path: string): void {
  const [modelType, unk, bos, eos, pad] = pick(data, [3, 40, 41, 42, 43], path);
  if ((modelType ?? 1) !== 2) {
    throw new BitnetError(
      "UNSUPPORTED",
      `${path}: a SentencePiece model of type ${modelType ?? 1}; only BPE (2) is supported`,
    );
  }
  // The defaults of SentencePiece; -1, written as a huge number, is none.
  const id = (value: Buffer | number | undefined, fallback: number | undefined) => {
    const n = typeof value === "number" ? value : fallback;
    return n !== undefined && n < maxTokens ? n : undefined;
  };
  vocabulary.special = { unk: id(unk, 0), bos: id(bos, 1), eos: id(eos, 2), pad: id(pad, undefined) };
}

/** The last value of each wanted field of a message. */
function pick(bytes: Buffer, wanted: number[], path: string): (Buffer | number | undefined)[] {
  const values = new Map<number, Buffer | number>();
  for (const { field, data } of protobufFields(bytes, path)) {
    values.set(field, data);
  }
  return wanted.map((field) => values.get(field));
}

/** The fields of a protobuf message: varints as numbers (exact below 2^53), all others as their bytes. */
function* protobufFields(bytes: Buffer, path: string): Generator<{ field: number; data: Buffer | number }> {
  let pos = 0;
  const take = (n: number): Buffer => {
    if (n > bytes.length - pos) {
      throw new BitnetError("BAD_FILE", `${path}: not a complete SentencePiece model (damaged file?)`);
    }
    pos += n;
    return bytes.subarray(pos - n, pos);
  };
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = take(1).readUInt8();
      value += (byte & 127) * factor;
      if (byte < 128 || factor > 2 ** 63) {
        return value;
      }
    }
  };
  while (pos < bytes.length) {
    const tag = varint();
    const wire = tag % 8;
    const field = Math.floor(tag / 8);
    const sizes: Record<number, number> = { 1: 8, 5: 4 };
    if (wire === 0) {
      yield { field, data: varint() };
    } else {
      yield { field, data: take(wire === 2 ? varint() : (sizes[wire] ?? Number.POSITIVE_INFINITY)) };
    }
  }
}

// ---- tiktoken

const llama3Ranks = 128000;

/** Lines of "base64 rank". The merges, which such files do not have, follow from the ranks. */
export function parseTiktoken(text: string, path: string): Vocabulary {
  const ranks = new Map<string, number>(); // bytes as Latin-1
  for (const line of text.split("\n").filter((line) => line.trim() !== "")) {
    const match = /^([A-Za-z0-9+/]+={0,2}) (\d{1,7})\s*$/.exec(line);
    if (match === null || Number(match[2]) >= maxTokens) {
      throw new BitnetError(
        "BAD_FILE",
        `${path}: ${JSON.stringify(line.slice(0, 60))} is not a line of a tiktoken file`,
      );
    }
    ranks.set(Buffer.from(at(match, 1), "base64").toString("latin1"), Number(match[2]));
  }
  const tokens: (string | undefined)[] = [];
  for (const [bytes, rank] of ranks) {
    tokens[rank] = byteLevelText(bytes);
  }
  const vocabulary: Vocabulary = {
    model: "gpt2",
    rule: "a tiktoken file, which does not say it",
    tokens,
    types: Array.from(tokens, () => tokenTypes.normal),
    merges: mergesOfRanks(ranks),
    special: {},
  };
  if (ranks.size === llama3Ranks) {
    vocabulary.pre = "llama-bpe";
    vocabulary.addBos = true;
    addTokens(vocabulary, llama3SpecialTokens(), path);
    vocabulary.special = { bos: llama3Ranks, eos: llama3Ranks + 1 };
  }
  return vocabulary;
}

/** Llama 3's control tokens, which its tiktoken file leaves out. */
function llama3SpecialTokens(): AddedToken[] {
  const named: Record<number, string> = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "<|eot_id|>",
  };
  let reserved = 0;
  return Array.from({ length: 256 }, (_, i) => ({
    id: llama3Ranks + i,
    content: named[i] ?? `<|reserved_special_token_${reserved++}|>`,
    special: true,
  }));
}

/** Tiktoken joins any two neighbours that make a token, lowest rank first: each such pair is a merge. */
function mergesOfRanks(ranks: Map<string, number>): string[] {
  const sorted = [...ranks].sort(([, a], [, b]) => a - b);
  const merges: string[] = [];
  for (const [token] of sorted) {
    const pairs: { text: string; left: number; right: number }[] = [];
    for (let at = 1; at < token.length; at++) {
      const [first, second] = [token.slice(0, at), token.slice(at)];
      const [left, right] = [ranks.get(first), ranks.get(second)];
      if (left !== undefined && right !== undefined) {
        pairs.push({ text: `${byteLevelText(first)} ${byteLevelText(second)}`, left, right });
      }
    }
    merges.push(...pairs.sort((a, b) => a.left - b.left || a.right - b.right).map(({ text }) => text));
  }
  return merges;
}

/** GPT-2's alphabet: printable bytes are themselves, the others the characters from U+0100 on. */
export const byteAlphabet = ((): string[] => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
})();

function byteLevelText(latin1: string): string {
  return Array.from(latin1, (char) => byteAlphabet[char.charCodeAt(0)]).join("");
}
