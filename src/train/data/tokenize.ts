// Text to shards, once: `bitnet train` reads its data from there.

import { at } from "../../system/at.js";
import { BitnetError } from "../../system/errors.js";
import { hashFiles } from "../../system/hash-files.js";
import { hashIds } from "./keyed.js";
import { type Rendering, renderExample } from "./render.js";
import { ShardWriter } from "./shard-writer.js";
import { type DataSource, type ReadOptions, readExamples, type SourceTally, startTally } from "./sources.js";

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

/**
 * Writes train-00000.bin ..., of several sources train1-00000.bin, train2-00000.bin ..., and with a split eval-00000.bin ...
 * Every token but BOS is learned from them.
 */
export async function tokenizeToShards(
  folder: string,
  sources: readonly DataSource[],
  { tokenizer, format }: Omit<Rendering, "trainOn">,
  options: TokenizeOptions = {},
): Promise<TokenizedData> {
  const { evalSplit = 0, seed = 0, shardTokens, tokenizerHash, onProgress, signal } = options;
  if (!(evalSplit >= 0 && evalSplit < 1)) {
    throw new BitnetError("USAGE", `evalSplit: expected a share from 0 to below 1, got ${evalSplit}`);
  }
  const { vocabSize } = tokenizer.info;
  const description = { tokenizer: tokenizerHash, sources: await describeSources(sources, signal) };
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
    return { training: written, evaluation: await evaluation.finish(), ...total, sources: tallies };
  } finally {
    await Promise.all([evaluation, ...training].map((writer) => writer.abandon()));
  }
}

async function describeSources(sources: readonly DataSource[], signal: AbortSignal | undefined): Promise<object[]> {
  const described: object[] = [];
  for (const { name, rows } of sources) {
    described.push(rows === undefined ? { file: name, sha256: await hashFiles([name], signal) } : { rows: name });
  }
  return described;
}
