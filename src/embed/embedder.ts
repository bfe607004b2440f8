// Embeddings of texts that come one after the other: a few at a time go to the model.

import type { Pooling } from "../native/addon.js";
import { BitnetError } from "../system/errors.js";
import type { Normalization } from "./vectors.js";

export interface EmbedSettings {
  /** Default: the file's own. */
  pooling?: Pooling;
  /** Default: 2. */
  normalize?: Normalization;
  /** Cut to so many before they are normalized. Default: all. */
  dimensions?: number;
  /** Cut texts that are longer than the context. Default: refuse them. */
  truncate?: boolean;
  /** Names of control tokens in texts are those tokens. */
  parseSpecial?: boolean;
  signal?: AbortSignal;
}

export interface EmbeddedTexts {
  /** With the pooling "none", those of all tokens of a text in one. */
  vectors: Float32Array[];
  tokens: number[];
  pooling: Pooling;
  dimensions: number;
}

/** A model that embeds. */
export interface Embedder {
  embed(texts: readonly string[], settings: EmbedSettings): Promise<EmbeddedTexts>;
}

/** Whether the projections of a file have norms of their own: files of the makers of the ternary embedding models. */
export function hasInputNorms(tensorNames: Iterable<string>): boolean {
  return [...tensorNames].some((name) => name.endsWith("_norm_in.weight"));
}

export interface EmbeddedBatch extends EmbeddedTexts {
  /** Place of its first text among all. */
  first: number;
  texts: string[];
}

// Enough that short texts fill the steps of the engine, few enough that an interruption costs little.
const batchTexts = 64;
const batchChars = 32 * 2 ** 10;

/** Vectors of all texts in their order; `first` is the place of the first text. */
export async function* embedTexts(
  model: Embedder,
  texts: AsyncIterable<string> | Iterable<string>,
  settings: EmbedSettings & { prefix?: string } = {},
  first = 0,
): AsyncGenerator<EmbeddedBatch, void, undefined> {
  const { prefix = "", ...rest } = settings;
  let at = first;
  for await (const batch of inBatches(texts)) {
    const prefixed = batch.map((text) => prefix + text);
    const embedded = await model.embed(prefixed, rest).catch((error: unknown) => {
      throw withPlace(error, at);
    });
    yield { ...embedded, first: at, texts: batch };
    at += batch.length;
  }
}

/** What is wrong with an input of a batch, as the text that it is of all. */
function withPlace(error: unknown, first: number): unknown {
  const match = error instanceof BitnetError ? /^inputs\[(\d+)\] (.*)$/s.exec(error.message) : null;
  if (!(error instanceof BitnetError) || match === null) {
    return error;
  }
  const { code, hint, cause } = error;
  return new BitnetError(code, `text ${first + Number(match[1]) + 1} ${match[2]}`, { hint, cause });
}

async function* inBatches(texts: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string[], void, undefined> {
  let batch: string[] = [];
  let chars = 0;
  for await (const text of texts) {
    batch.push(text);
    chars += text.length;
    if (batch.length >= batchTexts || chars >= batchChars) {
      yield batch;
      batch = [];
      chars = 0;
    }
  }
  if (batch.length > 0) {
    yield batch;
  }
}
