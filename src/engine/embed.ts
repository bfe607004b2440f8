// Embeddings: what is checked of the inputs, and how many of them the engine gets at a time.

import {
  type NativeAdapterUse,
  type NativeModel,
  type NativeModelInfo,
  type NativeSession,
  type Pooling,
  poolings,
} from "../native/addon.js";
import { abortedError, BitnetError, converting, convertingAsync, throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import type { AdapterUse } from "./adapter.js";
import { euclidean, type Normalization, normalizeVector } from "./normalization.js";
import { checkNumber } from "./request.js";
import { checkTokens, type Tokenizer } from "./tokenizer.js";

/** A text, or token ids that are taken as they are. */
export type EmbedInput = string | Int32Array | readonly number[];

export interface EmbedOptions {
  /** "none" gives a vector for each token. Default: what the file says. */
  pooling?: Pooling;
  /** Default: 2, a Euclidean length of 1. */
  normalize?: Normalization;
  /** Keep so many of the first components, before they are normalized. Default: all. */
  dimensions?: number;
  /** Cut inputs that are longer than the context, but for the token that ends them. Default: refuse them. */
  truncate?: boolean;
  /** Read the names of control tokens in texts as these tokens. Default: false. */
  parseSpecial?: boolean;
  /** In whose name it is computed, see `createSession`. */
  client?: string;
  weight?: number;
  background?: boolean;
  /** See `createSession`. */
  adapters?: readonly AdapterUse[];
  signal?: AbortSignal;
  /** After each input. */
  onProgress?: (progress: EmbedProgress) => void;
}

export interface EmbedProgress {
  inputs: number;
  tokens: number;
  totalInputs: number;
  totalTokens: number;
}

export interface Embeddings {
  /** In the order of the inputs. With the pooling "none" [tokens, dimensions] each, flat. */
  vectors: Float32Array[];
  /** Tokens that each input had, those that begin and end a text included. */
  tokens: number[];
  pooling: Pooling;
  dimensions: number;
}

const embedOptions: OptionNames<EmbedOptions> = {
  pooling: true,
  normalize: true,
  dimensions: true,
  truncate: true,
  parseSpecial: true,
  client: true,
  weight: true,
  background: true,
  adapters: true,
  signal: true,
  onProgress: true,
};

// Enough that short texts fill the steps of the engine.
const inputsAtOnce = 64;
// Longer texts are read on another thread.
const shortText = 4096;

interface Plan {
  inputs: Int32Array[];
  pooling: Pooling;
  normalize: Normalization;
  dimensions: number;
}

export async function embed(
  model: { native: NativeModel; tokenizer: Tokenizer; adapters: readonly NativeAdapterUse[] },
  inputs: readonly EmbedInput[],
  options: EmbedOptions,
): Promise<Embeddings> {
  checkEmbedOptions(options, model.native.info);
  if (!Array.isArray(inputs)) {
    throw new BitnetError("USAGE", "embed: expected a list of texts or of lists of token ids");
  }
  throwIfAborted(options.signal);
  const { embeddingLength, pooling } = model.native.info;
  const plan: Plan = {
    inputs: await toTokens(inputs, options, model.native.info, model.tokenizer),
    pooling: options.pooling ?? pooling,
    normalize: options.normalize ?? euclidean,
    dimensions: options.dimensions ?? embeddingLength,
  };
  const vectors = await computeAll(model, plan, options);
  return {
    vectors: vectors.map((vector) => finish(vector, embeddingLength, plan)),
    tokens: plan.inputs.map((ids) => ids.length),
    pooling: plan.pooling,
    dimensions: plan.dimensions,
  };
}

function checkEmbedOptions(options: EmbedOptions, { embeddingLength }: NativeModelInfo): void {
  checkOptionNames("embed", options, embedOptions);
  const { pooling, normalize, dimensions } = options;
  if (pooling !== undefined && !poolings.includes(pooling)) {
    throw new BitnetError("USAGE", `pooling must be one of ${poolings.join(", ")}, not ${String(pooling)}`);
  }
  if (dimensions !== undefined) {
    checkNumber("dimensions", dimensions, { min: 1, max: embeddingLength, integer: true });
  }
  if (normalize !== undefined && !(normalize === -1 || (Number.isFinite(normalize) && normalize >= 0))) {
    throw new BitnetError("USAGE", `normalize must be -1 (none), 0 (largest 32760) or p of a norm, not ${normalize}`);
  }
}

/** The ids of every input, all checked before anything is computed. */
async function toTokens(
  inputs: readonly EmbedInput[],
  options: EmbedOptions,
  { contextLength }: NativeModelInfo,
  tokenizer: Tokenizer,
): Promise<Int32Array[]> {
  const all: Int32Array[] = [];
  for (const [i, input] of inputs.entries()) {
    if (typeof input !== "string" && !Array.isArray(input) && !(input instanceof Int32Array)) {
      throw new BitnetError("USAGE", `inputs[${i}] is neither a text nor a list of token ids`);
    }
    const ids = cutToContext(
      await encode(input, options, tokenizer),
      options.truncate === true,
      contextLength,
      tokenizer,
    );
    if (ids.length === 0) {
      throw new BitnetError("USAGE", `inputs[${i}] has no tokens: expected 1 to ${contextLength}`);
    }
    if (ids.length > contextLength) {
      throw new BitnetError(
        "USAGE",
        `inputs[${i}] has ${ids.length} tokens, more than the context of ${contextLength}`,
        {
          hint: "truncate (--truncate) cuts what is too long",
        },
      );
    }
    all.push(ids);
    throwIfAborted(options.signal);
  }
  return all;
}

async function encode(input: EmbedInput, { parseSpecial }: EmbedOptions, tokenizer: Tokenizer): Promise<Int32Array> {
  if (typeof input !== "string") {
    return checkTokens(input, tokenizer.info.vocabSize);
  }
  return input.length <= shortText
    ? tokenizer.encode(input, { parseSpecial })
    : await tokenizer.encodeAsync(input, { parseSpecial });
}

/** Cut to the context; the token that ends a text stays, as it is what models pool or attend to. */
function cutToContext(ids: Int32Array, truncate: boolean, contextLength: number, { info }: Tokenizer): Int32Array {
  if (!truncate || ids.length <= contextLength) {
    return ids;
  }
  const cut = ids.slice(0, contextLength);
  const last = ids.at(-1);
  if (last !== undefined && last === info.eos) {
    cut[contextLength - 1] = last;
  }
  return cut;
}

/** A few at a time, each with a session of its own; the engine joins them into steps. */
async function computeAll(
  { native, adapters }: { native: NativeModel; adapters: readonly NativeAdapterUse[] },
  plan: Plan,
  options: EmbedOptions,
): Promise<Float32Array[]> {
  const { signal, onProgress, client, weight, background } = options;
  const vectors: Float32Array[] = [];
  const total = { totalInputs: plan.inputs.length, totalTokens: plan.inputs.reduce((sum, ids) => sum + ids.length, 0) };
  const contextSize = plan.inputs.reduce((most, { length }) => Math.max(most, length), 1);
  const sessions: NativeSession[] = [];
  const abort = () => {
    for (const session of sessions) {
      session.abort();
    }
  };
  const rest = plan.inputs.entries();
  const done = { inputs: 0, tokens: 0 };
  const work = async (session: NativeSession) => {
    for (const [i, ids] of rest) {
      throwIfAborted(signal);
      vectors[i] = await convertingAsync(() => session.embed(ids, plan.pooling));
      done.inputs += 1;
      done.tokens += ids.length;
      onProgress?.({ ...done, ...total });
    }
  };
  signal?.addEventListener("abort", abort, { once: true });
  try {
    for (let i = 0; i < Math.min(inputsAtOnce, plan.inputs.length); i++) {
      sessions.push(
        converting(() =>
          native.createSession({ contextSize, sharePrompts: false, client, weight, background, adapters }),
        ),
      );
    }
    await allOrFirstError(sessions.map(work), abort);
    return vectors;
  } catch (error) {
    throw signal?.aborted === true ? abortedError(signal) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
    for (const session of sessions) {
      session.close();
    }
  }
}

/** Waits for all, also when one fails: `stop` ends the others then. */
async function allOrFirstError(work: Promise<void>[], stop: () => void): Promise<void> {
  let first: { error: unknown } | undefined;
  await Promise.all(
    work.map((one) =>
      one.catch((error: unknown) => {
        first ??= { error };
        stop();
      }),
    ),
  );
  if (first !== undefined) {
    throw first.error;
  }
}

/** One vector of each row: its first components, normalized. */
function finish(states: Float32Array, width: number, { dimensions, normalize }: Plan): Float32Array {
  const rows = states.length / width;
  const out = dimensions === width ? states : new Float32Array(rows * dimensions);
  for (let row = 0; row < rows; row++) {
    const vector = out.subarray(row * dimensions, (row + 1) * dimensions);
    if (out !== states) {
      vector.set(states.subarray(row * width, row * width + dimensions));
    }
    normalizeVector(vector, normalize);
  }
  return out;
}
