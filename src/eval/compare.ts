// Two models, or one with two settings, on the same text: what both predict, how fast, in how much memory.

import type { AdapterSource } from "../engine/adapter.js";
import { type LoadOptions, loadModel, type Model, type Session } from "../engine/model.js";
import type { CacheType } from "../native/addon.js";
import { throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type DivergenceOptions, type DivergenceResult, evaluateDivergence } from "./divergence.js";
import { type Judgement, judgeChange } from "./verdict.js";
import { encodeText } from "./windows.js";

/** One side of a comparison. */
export interface ComparedSide {
  /** What it is called. */
  label: string;
  path: string;
  load?: LoadOptions;
  /** Default: "f16". */
  cacheType?: CacheType;
  /** Of every session. Default: none. */
  adapters?: readonly AdapterSource[];
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
  /** Tokens of a window per second, with all their logits. */
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
  const window = (await encodeText(base, text, { parseSpecial })).subarray(0, contextSize);
  await using baseSession = base.createSession({ contextSize, cacheType: before.cacheType, sharePrompts: false });
  await using session = model.createSession({ contextSize, cacheType: after.cacheType, sharePrompts: false });
  const [baseSpeed, speed] = await inTurns(
    () => measureSpeed(baseSession, window, signal),
    () => measureSpeed(session, window, signal),
  );
  return {
    ...judgeChange(divergence),
    before: {
      ...describeSide(before, base, baseSession),
      ...fastest(baseSpeed),
      loadedBytes: firstBytes,
      perplexity: divergence.basePerplexity,
    },
    after: {
      ...describeSide(after, model, session),
      ...fastest(speed),
      loadedBytes: secondBytes,
      perplexity: divergence.perplexity,
    },
    divergence,
    running,
  };
}

async function loadSide(
  { path, load, adapters = [] }: ComparedSide,
  signal: AbortSignal | undefined,
): Promise<[Model, number | undefined]> {
  const resident = process.memoryUsage.rss();
  const model = await loadModel(path, { ...load, signal });
  try {
    model.adapters = await Promise.all(
      adapters.map(({ path: from, ...options }) => model.loadAdapter(from, { ...options, signal })),
    );
  } catch (error) {
    model.close();
    throw error;
  }
  const grown = process.memoryUsage.rss() - resident;
  return [model, grown > 0 ? grown : undefined];
}

type Speed = Pick<SideReport, "tokensPerSecond" | "generatedPerSecond">;

/**
 * What both measure: each once for nothing, as whoever is first finds cold memory and clocks, then before, after, after,
 * before, so that what drifts meets both.
 */
export async function inTurns<Measured>(
  before: () => Promise<Measured>,
  after: () => Promise<Measured>,
): Promise<[before: Measured[], after: Measured[]]> {
  await before();
  await after();
  const first = await before();
  const others = [await after(), await after()];
  return [[first, await before()], others];
}

/** The one that was disturbed least. */
function fastest(speeds: readonly Speed[]): Speed {
  return {
    tokensPerSecond: Math.max(...speeds.map(({ tokensPerSecond }) => tokensPerSecond)),
    generatedPerSecond: Math.max(...speeds.map(({ generatedPerSecond }) => generatedPerSecond)),
  };
}

/** Enough to tell a speed. */
const generatedTokens = 32;
/** A turn of a small model is many passes. */
const leastMsOfTurn = 40;

async function measureSpeed(session: Session, window: Int32Array, signal: AbortSignal | undefined): Promise<Speed> {
  const speeds: Speed[] = [];
  const end = performance.now() + leastMsOfTurn;
  do {
    speeds.push(await measurePass(session, window, signal));
  } while (performance.now() < end);
  return fastest(speeds);
}

async function measurePass(session: Session, window: Int32Array, signal: AbortSignal | undefined): Promise<Speed> {
  const started = performance.now();
  await session.distributions(window, { from: 1, signal }, async () => {});
  const seconds = (performance.now() - started) / 1000;
  const prompt = window.subarray(0, 1);
  const { timings } = await session.generateTokens(prompt, {
    maxTokens: Math.min(generatedTokens, session.contextSize - prompt.length),
    ignoreEos: true,
    temperature: 0,
    signal,
  }).result;
  return {
    tokensPerSecond: window.length / seconds,
    generatedPerSecond: (1000 * timings.decodedTokens) / timings.generateMs,
  };
}

function describeSide({ label, path, load, cacheType = "f16" }: ComparedSide, model: Model, session: Session) {
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
  };
}
