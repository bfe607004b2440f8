// Semantic textual similarity: how well the cosines of pairs of sentences go with what people say of them.

import type { Pooling } from "../native/addon.js";
import { BitnetError } from "../system/errors.js";
import { type Embedder, type EmbedSettings, embedTexts } from "./embedder.js";
import { choosePrefix } from "./prompts.js";
import { pearson, spearman } from "./statistics.js";
import { cosine } from "./vectors.js";

export interface StsPair {
  sentence1: string;
  sentence2: string;
  score: number;
}

/** What the models with instructions were taught with, for both sides. */
export const stsInstruction = "Retrieve semantically similar text";

export interface StsOptions extends Omit<EmbedSettings, "normalize"> {
  /** Of both sides. Default: stsInstruction; undefined texts are bare with "". */
  instruction?: string;
  onProgress?: (done: number, total: number) => void;
}

export interface StsResult {
  /** Of the ranks: the main score. */
  spearman: number;
  pearson: number;
  pairs: number;
  tokens: number;
  pooling: Pooling;
  dimensions: number;
  instruction: string;
}

/** Rows of a data set with sentence1, sentence2 and score. BAD_FILE names the row and the column that is wrong. */
export function readStsPairs(documents: readonly Readonly<Record<string, unknown>>[], source: string): StsPair[] {
  return documents.map(({ sentence1, sentence2, score }, i) => {
    const wrong = (column: string, expected: string, value: unknown) =>
      new BitnetError("BAD_FILE", `${source}: row ${i + 1}: ${column}: expected ${expected}, got ${typeof value}`);
    if (typeof sentence1 !== "string") {
      throw wrong("sentence1", "a text", sentence1);
    }
    if (typeof sentence2 !== "string") {
      throw wrong("sentence2", "a text", sentence2);
    }
    const number = typeof score === "string" && score.trim() !== "" ? Number(score) : score; // CSV files have texts only
    if (typeof number !== "number" || !Number.isFinite(number)) {
      throw wrong("score", "a number", score);
    }
    return { sentence1, sentence2, score: number };
  });
}

const fewestPairs = 3;

/** Each sentence is embedded once, however often it comes. */
export async function evaluateSts(
  model: Embedder,
  pairs: readonly StsPair[],
  { instruction = stsInstruction, onProgress, ...settings }: StsOptions = {},
): Promise<StsResult> {
  if (pairs.length < fewestPairs) {
    throw new BitnetError("USAGE", `expected at least ${fewestPairs} pairs of sentences, got ${pairs.length}`);
  }
  if (settings.pooling === "none") {
    throw new BitnetError("USAGE", "the pooling none gives no vector of a sentence: expected mean, cls or last");
  }
  const prefix = instruction === "" ? "" : choosePrefix({ instruction }, new Map());
  const sentences = [...new Set(pairs.flatMap(({ sentence1, sentence2 }) => [sentence1, sentence2]))];
  const vectors = new Map<string, Float32Array>();
  let tokens = 0;
  let last: { pooling: Pooling; dimensions: number } = { pooling: "none", dimensions: 0 };
  for await (const batch of embedTexts(model, sentences, { ...settings, prefix })) {
    for (const [i, text] of batch.texts.entries()) {
      vectors.set(text, batch.vectors[i] ?? new Float32Array());
    }
    tokens += batch.tokens.reduce((sum, count) => sum + count, 0);
    last = batch;
    onProgress?.(vectors.size, sentences.length);
  }
  const none = new Float32Array();
  const cosines = pairs.map(({ sentence1, sentence2 }) =>
    cosine(vectors.get(sentence1) ?? none, vectors.get(sentence2) ?? none),
  );
  const scores = pairs.map(({ score }) => score);
  return {
    ...{ spearman: spearman(cosines, scores), pearson: pearson(cosines, scores), pairs: pairs.length, tokens },
    ...{ pooling: last.pooling, dimensions: last.dimensions, instruction },
  };
}
