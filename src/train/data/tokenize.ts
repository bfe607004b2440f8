// Text to shards, once: `bitnet train` reads its data from there.

import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { at } from "../../system/at.js";
import { BitnetError } from "../../system/errors.js";
import { replaceFile } from "../../system/files.js";
import { hashFiles } from "../../system/hash-files.js";
import { readJsonFile } from "../../system/json.js";
import { stringifyJson } from "../../system/write-json.js";
import { hashIds } from "./keyed.js";
import { requireDataFile } from "./read-files.js";
import { type Rendering, renderExample } from "./render.js";
import { ShardWriter } from "./shard-writer.js";
import {
  checkReading,
  checkSplit,
  type DataSource,
  type ReadOptions,
  readExamples,
  type SourceTally,
  startTally,
} from "./sources.js";

export interface TokenizeOptions extends ReadOptions {
  /** Share of the documents that evaluate, from 0 to below 1; equal ones stay together. Default: 0. */
  evalSplit?: number;
  /** Of the choice which documents evaluate. Default: 0. */
  seed?: number;
  /** A file is ended by the document that reaches it. Default: 100 million. */
  shardTokens?: number;
  /** SHA-256 of the tokenizer, for NAME.json. */
  tokenizerHash?: string;
  onProgress?: (progress: { documents: number; tokens: number }) => void;
}

export interface TokenizedData {
  /** Paths of the files, for each source. */
  training: { paths: string[]; weight: number }[];
  evaluation: string[];
  documents: number;
  tokens: number;
  sources: SourceTally[];
}

const betweenReports = 1000; // documents

/** What shards are made of and how: equal descriptions give equal shards. */
interface ShardOrigin {
  tokenizer?: string;
  sources: { file?: string; rows?: string; sha256?: string; weight?: number }[];
  evalSplit: number;
  seed: number;
  maxSamples?: number;
  skipBad: boolean;
}

/** Says that all files of a folder are there, and what they were made of. */
const listName = "shards.json";
const maxListBytes = 2 ** 24;

/**
 * Writes train-00000.bin ..., of several sources train1-00000.bin, train2-00000.bin ..., and with a split eval-00000.bin ...
 * Every token but BOS is learned from them. A folder that has the shards of the same files already is left as it is.
 */
export async function tokenizeToShards(
  folder: string,
  sources: readonly DataSource[],
  { tokenizer, format }: Omit<Rendering, "trainOn">,
  options: TokenizeOptions = {},
): Promise<TokenizedData> {
  checkReading(sources, options);
  if (options.evalSplit !== undefined && options.evalSplit !== 0) {
    checkSplit(options.evalSplit);
  }
  const origin = await describeOrigin(sources, options);
  const there = await findTokenized(folder, origin);
  if (there !== undefined) {
    return there;
  }
  await rm(join(folder, listName), { force: true });
  const written = await writeShards(folder, sources, { tokenizer, format }, options, origin);
  await replaceFile(join(folder, listName), `${stringifyJson({ origin, data: namesOnly(written) }, 2)}\n`);
  return written;
}

async function writeShards(
  folder: string,
  sources: readonly DataSource[],
  { tokenizer, format }: Omit<Rendering, "trainOn">,
  options: TokenizeOptions,
  { tokenizer: hash, sources: described, evalSplit, seed }: ShardOrigin,
): Promise<TokenizedData> {
  const { shardTokens, onProgress } = options;
  const { vocabSize } = tokenizer.info;
  const description = { tokenizer: hash, sources: described };
  const writerOf = (name: string) => new ShardWriter({ folder, name, vocabSize, shardTokens, description });
  const evaluation = writerOf("eval");
  const training = sources.map((_, i) => writerOf(sources.length === 1 ? "train" : `train${i + 1}`));
  const total = { documents: 0, tokens: 0 };
  const tallies = sources.map(startTally);
  const written: TokenizedData["training"] = [];
  try {
    for (const [i, source] of sources.entries()) {
      const [tally, writer] = [at(tallies, i), at(training, i)];
      const use = (example: Parameters<typeof renderExample>[0]) =>
        renderExample(example, { tokenizer, format, trainOn: "all" });
      for await (const documents of readExamples(source, tally, use, options)) {
        for (const { ids } of documents) {
          await (hashIds(ids, seed) / 2 ** 53 < evalSplit ? evaluation : writer).add(ids);
          total.documents++;
          total.tokens += ids.length;
          if (total.documents % betweenReports === 0) {
            onProgress?.({ ...total });
          }
        }
      }
    }
    for (const [i, writer] of training.entries()) {
      const { name, weight } = at(tallies, i);
      const paths = await writer.finish();
      if (paths.length === 0) {
        throw new BitnetError("BAD_FILE", `${name}: no documents to train on`);
      }
      written.push({ paths, weight });
    }
    const evaluating = await evaluation.finish();
    if (evalSplit > 0 && evaluating.length === 0) {
      throw new BitnetError(
        "USAGE",
        `a split of ${evalSplit} leaves none of ${total.documents} documents to evaluate`,
        {
          hint: "split more off, or name other data: --eval-data FILE",
        },
      );
    }
    return { training: written, evaluation: evaluating, ...total, sources: tallies };
  } finally {
    await Promise.all([evaluation, ...training].map((writer) => writer.abandon()));
  }
}

async function describeOrigin(sources: readonly DataSource[], options: TokenizeOptions): Promise<ShardOrigin> {
  const { evalSplit = 0, seed = 0, maxSamples, skipBad = false, tokenizerHash, signal } = options;
  const described: ShardOrigin["sources"] = [];
  for (const { name, rows, weight } of sources) {
    if (rows === undefined) {
      await requireDataFile(name);
    }
    described.push(
      rows === undefined ? { file: name, sha256: await hashFiles([name], signal), weight } : { rows: name },
    );
  }
  return { tokenizer: tokenizerHash, sources: described, evalSplit, seed, maxSamples, skipBad };
}

/** Paths as names in the folder, which may be moved. */
function namesOnly({ training, evaluation, ...rest }: TokenizedData): TokenizedData {
  const names = (paths: readonly string[]) => paths.map((path) => basename(path));
  return {
    ...rest,
    training: training.map((part) => ({ ...part, paths: names(part.paths) })),
    evaluation: names(evaluation),
  };
}

/** What an earlier call has made of the same files; rows that only the caller has are never the same. */
async function findTokenized(folder: string, origin: ShardOrigin): Promise<TokenizedData | undefined> {
  const path = join(folder, listName);
  if (!existsSync(path) || origin.sources.some(({ rows }) => rows !== undefined)) {
    return undefined;
  }
  const list = Object(await readJsonFile(path, maxListBytes)) as { origin?: unknown; data?: TokenizedData };
  if (list.data === undefined || stringifyJson(list.origin) !== stringifyJson(origin)) {
    return undefined;
  }
  const { training, evaluation, ...rest } = list.data;
  const whole = (names: readonly string[]) => names.map((name) => join(folder, basename(name)));
  const data = {
    ...rest,
    training: training.map((part) => ({ ...part, paths: whole(part.paths) })),
    evaluation: whole(evaluation),
  };
  return [...data.training.flatMap(({ paths }) => paths), ...data.evaluation].every((file) => existsSync(file))
    ? data
    : undefined;
}
