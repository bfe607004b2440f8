// Two models, or one with two settings, on the same text: what both predict, how fast, in how much memory.

import { type LoadOptions, loadModel, type Model } from "../engine/model.js";
import type { CacheType } from "../native/addon.js";
import { throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type DivergenceOptions, type DivergenceResult, evaluateDivergence } from "./divergence.js";
import { type Judgement, judgeChange } from "./verdict.js";

/** One side of a comparison. */
export interface ComparedSide {
  /** What it is called. */
  label: string;
  path: string;
  load?: LoadOptions;
  /** Default: "f16". */
  cacheType?: CacheType;
}

export interface CompareOptions extends Pick<DivergenceOptions, "chunks" | "top" | "signal" | "onProgress"> {
  /** Tokens of a window. Default: 512. */
  contextSize?: number;
  parseSpecial?: boolean;
}

const compareOptions: OptionNames<CompareOptions> = {
  contextSize: true,
  parseSpecial: true,
  chunks: true,
  top: true,
  signal: true,
  onProgress: true,
};

export interface SideReport {
  label: string;
  path: string;
  kernel: string;
  cacheType: CacheType;
  /** As asked for. */
  layout: string;
  weightType: string;
  embeddingType: string;
  /** Of the file. */
  fileBytes: number;
  /** Resident memory that loading took, where the system tells, and that of keys and values of a window. */
  loadedBytes?: number;
  cacheBytes: number;
  perplexity: { value: number; error: number };
  /** Tokens of the text per second, with all their logits. */
  tokensPerSecond: number;
  /** Tokens per second when it generates. */
  generatedPerSecond: number;
}

export interface ComparisonResult extends Judgement {
  /** Before the change and after it. */
  before: SideReport;
  after: SideReport;
  divergence: DivergenceResult;
  /** After each window. */
  running: { before: number[]; after: number[]; divergence: number[] };
}

/** How the second side differs from the first one. Both are loaded at the same time. */
export async function compareModels(
  before: ComparedSide,
  after: ComparedSide,
  text: string,
  options: CompareOptions = {},
): Promise<ComparisonResult> {
  checkOptionNames("compareModels", options, compareOptions);
  const { contextSize = 512, parseSpecial, signal, onProgress, ...rest } = options;
  throwIfAborted(signal);
  const [first, firstBytes] = await loadSide(before, signal);
  await using base = first;
  const [second, secondBytes] = await loadSide(after, signal);
  await using model = second;
  const running: ComparisonResult["running"] = { before: [], after: [], divergence: [] };
  const divergence = await evaluateDivergence(
    model,
    { model: base, text, contextSize, cacheType: before.cacheType, parseSpecial },
    {
      ...rest,
      cacheType: after.cacheType,
      signal,
      onProgress: (progress) => {
        running.before.push(progress.statistics.basePerplexity.value);
        running.after.push(progress.statistics.perplexity.value);
        running.divergence.push(progress.statistics.divergence.value);
        onProgress?.(progress);
      },
    },
  );
  const tokens = divergence.chunks * contextSize;
  const report = async (side: ComparedSide, of: Model, loadedBytes: number | undefined): Promise<SideReport> => {
    const isBase = side === before;
    return {
      ...(await describeSide(side, of, { contextSize, signal })),
      loadedBytes,
      perplexity: isBase ? divergence.basePerplexity : divergence.perplexity,
      tokensPerSecond: tokens / (isBase ? divergence.baseSeconds : divergence.modelSeconds),
    };
  };
  return {
    ...judgeChange(divergence),
    before: await report(before, base, firstBytes),
    after: await report(after, model, secondBytes),
    divergence,
    running,
  };
}

async function loadSide(
  { path, load }: ComparedSide,
  signal: AbortSignal | undefined,
): Promise<[Model, number | undefined]> {
  const resident = process.memoryUsage.rss();
  const model = await loadModel(path, { ...load, signal });
  const grown = process.memoryUsage.rss() - resident;
  return [model, grown > 0 ? grown : undefined];
}

/** Enough to tell a speed. */
const generatedTokens = 32;

async function describeSide(
  { label, path, load, cacheType = "f16" }: ComparedSide,
  model: Model,
  { contextSize, signal }: { contextSize: number; signal?: AbortSignal },
): Promise<Omit<SideReport, "perplexity" | "tokensPerSecond" | "loadedBytes">> {
  await using session = model.createSession({ contextSize, cacheType, sharePrompts: false });
  const prompt = model.tokenizer.encode("The");
  const { timings } = await session.generateTokens(prompt, {
    maxTokens: Math.min(generatedTokens, contextSize - prompt.length),
    ignoreEos: true,
    temperature: 0,
    signal,
  }).result;
  return {
    label,
    path,
    kernel: model.info.kernel,
    cacheType,
    layout: load?.layout ?? "auto",
    weightType: model.info.weightType,
    embeddingType: model.info.embeddingType,
    fileBytes: model.info.fileSize,
    cacheBytes: session.kvBytes,
    generatedPerSecond: (1000 * timings.decodedTokens) / timings.generateMs,
  };
}
