// Shards as documents of a run. Ids are read where they are needed: what is kept in memory is where each document begins.

import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { at } from "../../system/at.js";
import { BitnetError, converting, throwIfAborted, toBitnetError } from "../../system/errors.js";
import { readJsonFile } from "../../system/json.js";
import type { Documents } from "./documents.js";
import type { Origin } from "./example.js";
import { requireDataFile } from "./read-files.js";
import { ignoredLabel, type TrainingDocument } from "./render.js";
import { headerBytes, maxShardTokens, readHeader, type ShardWidth } from "./shard-format.js";

/** What the ids are of. */
export interface ShardVocabulary {
  vocabSize: number;
  /** -1 if there is none; likewise `eos`. */
  bos: number;
  eos: number;
}

interface Shard {
  path: string;
  file: number;
  width: ShardWidth;
  /** Where documents begin and the last one ends, in tokens. */
  offsets: Uint32Array;
}

/**
 * Opens shards and reads them through once: every id has to be in the vocabulary, and where a file has no index beside it,
 * documents begin at BOS, or behind EOS. Close them at the end.
 */
export async function openShards(
  paths: readonly string[],
  vocabulary: ShardVocabulary,
  signal?: AbortSignal,
): Promise<ShardDocuments> {
  const shards: Shard[] = [];
  try {
    for (const path of paths) {
      shards.push(await openShard(path, vocabulary, signal));
    }
  } catch (error) {
    closeAll(shards);
    throw toBitnetError(error);
  }
  return new ShardDocuments(shards);
}

export class ShardDocuments implements Documents {
  readonly #shards: readonly Shard[];
  /** Number of the first document of each. */
  readonly #first: number[] = [];
  readonly count: number;
  readonly tokens: number;

  constructor(shards: readonly Shard[]) {
    this.#shards = shards;
    let count = 0;
    let tokens = 0;
    for (const { offsets } of shards) {
      this.#first.push(count);
      count += offsets.length - 1;
      tokens += at(offsets, offsets.length - 1);
    }
    this.count = count;
    this.tokens = tokens;
  }

  lengthOf(document: number): number {
    const { shard, index } = this.#find(document);
    return at(shard.offsets, index + 1) - at(shard.offsets, index);
  }

  read(document: number, from = 0, to = this.lengthOf(document)): TrainingDocument {
    const { shard, index } = this.#find(document);
    const ids = readIds(shard, at(shard.offsets, index) + from, to - from);
    const labels = ids.slice();
    labels[0] = ignoredLabel;
    return { ids, labels };
  }

  originOf(document: number): Origin {
    const { shard, index } = this.#find(document);
    return { file: shard.path, number: index + 1, unit: "document" };
  }

  /** Numbers of the documents of some of the files, in the order in which they were opened. */
  documentsOf(paths: readonly string[]): Uint32Array {
    const ranges = this.#shards.map(({ path, offsets }, i) => ({
      isWanted: paths.includes(path),
      first: at(this.#first, i),
      count: offsets.length - 1,
    }));
    const wanted = ranges.filter(({ isWanted }) => isWanted);
    const numbers = new Uint32Array(wanted.reduce((sum, { count }) => sum + count, 0));
    let end = 0;
    for (const { first, count } of wanted) {
      for (let i = 0; i < count; i++) {
        numbers[end++] = first + i;
      }
    }
    return numbers;
  }

  close(): void {
    closeAll(this.#shards);
  }

  #find(document: number): { shard: Shard; index: number } {
    let [low, high] = [0, this.#first.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      [low, high] = document >= at(this.#first, middle) ? [middle, high] : [low, middle];
    }
    return { shard: at(this.#shards, low), index: document - at(this.#first, low) };
  }
}

function closeAll(shards: readonly Shard[]): void {
  for (const { file } of shards) {
    closeSync(file);
  }
}

async function openShard(path: string, vocabulary: ShardVocabulary, signal?: AbortSignal): Promise<Shard> {
  await requireDataFile(path);
  const file = converting(() => openSync(path, "r"));
  try {
    const { size } = await stat(path);
    const header = Buffer.alloc(headerBytes);
    const length = readSync(file, header, 0, headerBytes, 0);
    const { width, tokens } = readHeader(header.subarray(0, length), size, path);
    const stem = path.replace(/\.bin$/, "");
    const index = existsSync(`${stem}.idx`) ? await readIndex(`${stem}.idx`, tokens) : undefined;
    const scan = await scanShard({ path, file, width }, header, tokens, vocabulary, signal);
    await checkDescription(`${stem}.json`, path, scan.sha256);
    return { path, file, width, offsets: index ?? scan.offsets };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/** uint32 offsets: from 0 on, rising, the last one the number of tokens. */
async function readIndex(path: string, tokens: number): Promise<Uint32Array> {
  const { size } = await stat(path);
  const isPossible = size % 4 === 0 && size >= 8 && size <= 4 * Math.min(tokens + 1, maxShardTokens);
  const bytes = isPossible ? await readFile(path) : Buffer.alloc(0);
  const offsets = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const rises = offsets.every((offset, i) => i === 0 || offset > at(offsets, i - 1));
  if (!isPossible || offsets[0] !== 0 || !rises || offsets.at(-1) !== tokens) {
    throw new BitnetError("BAD_FILE", `${path}: expected where documents begin in ${tokens} tokens, rising from 0`, {
      hint: "delete it: documents are then told by BOS or EOS",
    });
  }
  return offsets;
}

const chunkTokens = 2 ** 18;

/** Checks all ids, finds documents, and hashes the file. */
async function scanShard(
  shard: Pick<Shard, "path" | "file" | "width">,
  header: Buffer,
  tokens: number,
  vocabulary: ShardVocabulary,
  signal?: AbortSignal,
): Promise<{ offsets: Uint32Array; sha256: string }> {
  const hash = createHash("sha256").update(header);
  const starts: number[] = [];
  const marks = beginningsOf(vocabulary);
  let before = -1;
  for (let from = 0; from < tokens; from += chunkTokens) {
    throwIfAborted(signal);
    const ids = readRaw(shard, from, Math.min(chunkTokens, tokens - from));
    hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
    for (let i = 0; i < ids.length; i++) {
      const id = at(ids, i);
      if (id >= vocabulary.vocabSize) {
        throw outsideError(shard.path, from + i, id, vocabulary.vocabSize);
      }
      if (from + i === 0 || id === marks.first || (before === marks.last && id !== marks.first)) {
        starts.push(from + i);
      }
      before = id;
    }
    await new Promise(setImmediate);
  }
  return { offsets: Uint32Array.from([...starts, tokens]), sha256: hash.digest("hex") };
}

/** A token that begins documents, and one that ends them; a vocabulary with one for both has it at the beginning. */
function beginningsOf({ bos, eos }: ShardVocabulary): { first: number; last: number } {
  const none = -2;
  return { first: bos >= 0 ? bos : none, last: eos >= 0 && eos !== bos ? eos : none };
}

function outsideError(path: string, place: number, id: number, vocabSize: number): BitnetError {
  return new BitnetError("BAD_FILE", `${path}: token ${place} is ${id}, but the vocabulary has ${vocabSize} entries`, {
    hint: "it was written with another tokenizer",
  });
}

/** What stands beside a shard tells whether it is still the one that was written. */
async function checkDescription(path: string, shard: string, sha256: string): Promise<void> {
  if (!existsSync(path)) {
    return; // of another program
  }
  const about = Object(await readJsonFile(path, 2 ** 24)) as { sha256?: unknown };
  if (about.sha256 !== undefined && about.sha256 !== sha256) {
    throw new BitnetError("BAD_FILE", `${shard}: it is not what ${path} describes`, { hint: "write the data again" });
  }
}

function readIds(shard: Shard, from: number, count: number): Int32Array {
  return Int32Array.from(readRaw(shard, from, count));
}

function readRaw({ path, file, width }: Pick<Shard, "path" | "file" | "width">, from: number, count: number) {
  const bytes = new ArrayBuffer(count * width.bytes);
  const read = converting(() =>
    readSync(file, new Uint8Array(bytes), 0, bytes.byteLength, headerBytes + from * width.bytes),
  );
  if (read !== bytes.byteLength) {
    throw new BitnetError("BAD_FILE", `${path}: it has become shorter while it was read`);
  }
  return width.bytes === 2 ? new Uint16Array(bytes) : new Uint32Array(bytes);
}
