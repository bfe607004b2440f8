// Perplexity of a text, by llama.cpp's rules: windows of the context's size, each on its own, the later half scored.

import { dirname } from "node:path";
import type { Model, Session } from "../engine/model.js";
import type { CacheType } from "../native/addon.js";
import { throwIfAborted } from "../system/errors.js";
import { findTarget, requireSpace, writeThenRename } from "../system/files.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { BaseWriter, baseFileBytes } from "./base-file.js";
import { hashText } from "./samples.js";
import { logprobOf, normalizerOf } from "./softmax.js";
import { Moments } from "./statistics.js";
import { encodeText, planWindows, type TextPlan, type Window } from "./windows.js";

export interface PerplexityOptions {
  /** Tokens of a window. Default: 512. */
  contextSize?: number;
  /** Windows at most. Default: all of the text. */
  chunks?: number;
  /** Windows begin at multiples of so many tokens; then only the last so many of each are scored. Default: 0, off. */
  stride?: number;
  /** How keys and values are kept. Default: "f16". */
  cacheType?: CacheType;
  /** Read the names of control tokens in the text as those tokens. Default: false. */
  parseSpecial?: boolean;
  /** Writes the distributions of all scored places to this file, for `evaluateDivergence`. Not with `stride`. */
  saveLogits?: string;
  /** Called once, before anything is evaluated. */
  onStart?: (start: PerplexityStart) => void;
  /** Called after each window. */
  onProgress?: (progress: PerplexityProgress) => void;
  signal?: AbortSignal;
}

export const perplexityOptions: OptionNames<PerplexityOptions> = {
  contextSize: true,
  chunks: true,
  stride: true,
  cacheType: true,
  parseSpecial: true,
  saveLogits: true,
  onStart: true,
  onProgress: true,
  signal: true,
};

export interface PerplexityStart {
  /** Tokens of the text. */
  tokens: number;
  chunks: number;
  /** Scored tokens of each window. */
  scoredPerChunk: number;
  /** What the file of distributions will take. */
  fileBytes?: number;
}

export interface PerplexityProgress {
  done: number;
  total: number;
  /** Of all windows so far. */
  perplexity: number;
  /** Mean of -log p so far, and the standard error of that mean; undefined where the terms do not vary. */
  nll: number;
  nllError?: number;
}

/** What a number was measured with: without it, it cannot be compared. */
export interface EvaluationSetting {
  algorithm: "windows" | "strided windows";
  contextSize: number;
  stride: number;
  chunks: number;
  /** Whether each window's first token was replaced by BOS. */
  replacesFirst: boolean;
  kernel: string;
  threads: number;
  cacheType: CacheType;
  /** model.fingerprint() of the model's file. */
  modelFingerprint: string;
  textSha256: string;
}

export interface PerplexityResult extends EvaluationSetting {
  perplexity: number;
  /** One standard error; undefined where the terms do not vary. */
  error?: number;
  /** Mean of -log p, in nats. */
  nll: number;
  bitsPerByte: number;
  /** Tokens of the text, and those that were scored. */
  tokens: number;
  scored: number;
  /** Bytes of the scored tokens. */
  scoredBytes: number;
  /** After each window. */
  running: number[];
  seconds: number;
  tokensPerSecond: number;
}

/** Throws USAGE where the text is shorter than two windows. */
export async function evaluatePerplexity(
  model: Model,
  text: string,
  options: PerplexityOptions = {},
): Promise<PerplexityResult> {
  checkOptionNames("evaluatePerplexity", options, perplexityOptions);
  const { contextSize = 512, chunks, stride = 0, parseSpecial, saveLogits } = options;
  throwIfAborted(options.signal);
  const ids = await encodeText(model, text, { parseSpecial });
  const plan = planWindows(model, ids, { contextSize, chunks, stride, savesLogits: saveLogits !== undefined });
  if (saveLogits === undefined) {
    options.onStart?.(startOf(plan));
    return await scoreWindows(model, text, plan, options);
  }
  const shape = { contextSize, vocabSize: model.tokenizer.info.vocabSize, chunks: plan.windows.length };
  const target = await findTarget(saveLogits);
  const fileBytes = baseFileBytes(shape);
  options.onStart?.({ ...startOf(plan), fileBytes });
  await requireSpace(dirname(target), fileBytes);
  return await writeThenRename(target, async (partial) => {
    const writer = await BaseWriter.create(partial, shape, ids);
    try {
      const result = await scoreWindows(model, text, plan, options, writer);
      await writer.finish();
      return result;
    } finally {
      await writer.close();
    }
  });
}

function startOf({ ids, windows, scored }: TextPlan): PerplexityStart {
  return { tokens: ids.length, chunks: windows.length, scoredPerChunk: scored };
}

async function scoreWindows(
  model: Model,
  text: string,
  plan: TextPlan,
  options: PerplexityOptions,
  writer?: BaseWriter,
): Promise<PerplexityResult> {
  const { signal, onProgress, cacheType = "f16", stride = 0 } = options;
  await using session = model.createSession({ contextSize: plan.windowSize, cacheType, sharePrompts: false });
  const terms = new Moments();
  const running: number[] = [];
  const started = performance.now();
  for (const window of plan.windows) {
    for (const logprob of await scoreWindow(session, window, writer, signal)) {
      terms.add(-logprob);
    }
    running.push(Math.exp(terms.mean));
    onProgress?.({ done: running.length, total: plan.windows.length, ...summaryOf(terms) });
  }
  const seconds = (performance.now() - started) / 1000;
  const { perplexity, nll, nllError } = summaryOf(terms);
  const scoredBytes = countBytes(model, plan.windows);
  return {
    ...settingOf(model, text, { contextSize: options.contextSize ?? 512, stride, cacheType, plan }),
    perplexity,
    error: nllError === undefined ? undefined : nllError * perplexity,
    nll,
    bitsPerByte: terms.sum / Math.LN2 / scoredBytes,
    tokens: plan.ids.length,
    scored: terms.count,
    scoredBytes,
    running,
    seconds,
    tokensPerSecond: (plan.windows.length * plan.windowSize) / seconds,
  };
}

/** Log-probabilities of the scored tokens of a window; `writer` gets the whole distributions. */
async function scoreWindow(
  session: Session,
  { ids, text, from }: Window,
  writer: BaseWriter | undefined,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  if (writer === undefined) {
    return (await session.score(ids, { from, signal })).logprobs;
  }
  const logprobs = new Float64Array(ids.length - from);
  await session.distributions(ids, { from, signal }, async ({ first, rows, width, logits }) => {
    for (let i = 0; i < rows; i++) {
      const row = logits.subarray(i * width, (i + 1) * width);
      const normalizer = normalizerOf(row);
      const logprob = logprobOf(row, text[first + i] ?? -1, normalizer);
      logprobs[first + i - from] = logprob;
      await writer.add(row, normalizer, -logprob);
    }
  });
  return logprobs;
}

/** `nllError` is llama.cpp's: the deviation of the terms over the root of their number less one. */
function summaryOf(terms: Moments): Pick<PerplexityProgress, "perplexity" | "nll" | "nllError"> {
  const { variance, count, mean } = terms;
  const nllError = variance > 0 && count > 1 ? Math.sqrt(variance / (count - 1)) : undefined;
  return { perplexity: Math.exp(mean), nll: mean, nllError };
}

/** A byte that two windows score, as in a strided evaluation of a text's end, counts twice, as its tokens do. */
function countBytes({ tokenizer }: Model, windows: readonly Window[]): number {
  const lengths = new Map<number, number>();
  let sum = 0;
  for (const { text, from } of windows) {
    for (const id of text.subarray(from)) {
      const length = lengths.get(id) ?? tokenizer.bytes(id).length;
      lengths.set(id, length);
      sum += length;
    }
  }
  return sum;
}

export function settingOf(
  model: Model,
  text: string | undefined,
  {
    contextSize,
    stride,
    cacheType,
    plan,
  }: { contextSize: number; stride: number; cacheType: CacheType; plan: Pick<TextPlan, "windows"> },
): EvaluationSetting {
  const { addBos, bos } = model.tokenizer.info;
  return {
    algorithm: stride > 0 ? "strided windows" : "windows",
    contextSize,
    stride,
    chunks: plan.windows.length,
    replacesFirst: stride === 0 && addBos && bos >= 0,
    kernel: model.info.kernel,
    threads: model.info.threads,
    cacheType,
    modelFingerprint: model.fingerprint(),
    textSha256: hashText(text ?? ""),
  };
}
