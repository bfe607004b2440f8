// Whole passes over a model, as llama-bench does them: each repetition starts from an empty context, or from one that
// is filled to a depth.

import { basename } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type AdapterSource, loadAdapter } from "../engine/adapter.js";
import { runAbortable } from "../engine/generate.js";
import { checkPredicts } from "../engine/model.js";
import { type AppliedTuning, applyTuning } from "../engine/tuning.js";
import {
  type CacheType,
  loadAddon,
  type NativeAdapterUse,
  type NativeLoadOptions,
  type NativeModel,
  type NativePassTimes,
  type NativeSession,
} from "../native/addon.js";
import { at } from "../system/at.js";
import { countOf } from "../system/counts.js";
import { converting, convertingAsync, throwIfAborted } from "../system/errors.js";
import { type EnergyMeter, type EnergyReading, openEnergyMeter } from "./energy.js";
import {
  type Bound,
  higherLimits,
  type Limits,
  limitOf,
  listWork,
  measureLimits,
  type PassShape,
  totalWork,
} from "./limits.js";
import { type Summary, summarize } from "./stats.js";

export interface BenchPlan {
  models: string[];
  passes: PassShape[];
  threads: number[];
  kernels: (string | undefined)[];
  repetitions: number;
  warmup: boolean;
  /** Measure the machine's limits too. */
  roofline: boolean;
  /** How the model is loaded, as for any other use of it. */
  load: Pick<NativeLoadOptions, "kernelConfig" | "tokenizerPre" | "layout" | "fastHead">;
  /** How keys and values are kept. Default: "f16". */
  cacheType?: CacheType;
  /** Of every session. Default: none. */
  adapters?: readonly AdapterSource[];
  /** Seconds of rest before each test. Default: none. */
  delay?: number;
  signal?: AbortSignal;
  onProgress?: (progress: BenchProgress) => void;
  onResult?: (result: BenchResult, limits: Limits | undefined) => void;
}

export interface BenchProgress {
  done: number; // passes, those for warming up included, and measurements of the limits
  total: number;
  what: string;
}

export interface BenchModel {
  path: string;
  name: string | null;
  architecture: string;
  weightType: string;
  embeddingType: string;
  bytes: number;
  parameters: number;
  copiedBytes: number; // memory for weights beside the file
  layout?: string; // of the ternary weights in memory, if it was asked for
  fastHead: boolean; // false if it was turned off
}

export interface BenchResult extends PassShape {
  model: BenchModel;
  kernel: string;
  threads: number;
  cacheType: CacheType;
  /** What of the tuning file was in use; null: nothing. */
  tuning: AppliedTuning | null;
  test: string; // "pp512", "tg128", "pp512+tg128", with " @ d4096" after a filled context
  startedAt: string;
  seconds: number[]; // of each repetition
  tokensPerSecond: Summary & { samples: number[] };
  bytes: number; // read from memory by one repetition
  operations: number; // of one repetition, in the ternary matrices
  /** Of the median repetition. Undefined without a roofline. */
  limit?: { percent: number; bound: Bound };
  /** Over all repetitions; null if it cannot be measured here. */
  joulesPerToken: number | null;
}

export interface BenchReport {
  results: BenchResult[];
  limits: Limits[];
  energy: { source: string } | { unavailable: string };
}

export async function runBench(plan: BenchPlan): Promise<BenchReport> {
  const energy = await openEnergyMeter();
  const report: BenchReport = { results: [], limits: [], energy: energy.status };
  const progress = new ProgressCounter(plan);
  try {
    for (const path of plan.models) {
      for (const kernel of plan.kernels) {
        for (const threads of plan.threads) {
          await benchModel({ path, kernel, threads }, plan, energy, progress, report);
        }
      }
    }
  } finally {
    energy.close();
  }
  return report;
}

class ProgressCounter {
  #done = 0;
  readonly #total: number;
  readonly #report: BenchPlan["onProgress"];

  constructor(plan: BenchPlan) {
    const passes = plan.passes.length * (plan.repetitions + Number(plan.warmup));
    const steps = passes + (plan.roofline ? 2 : 0);
    this.#total = plan.models.length * plan.kernels.length * plan.threads.length * steps;
    this.#report = plan.onProgress;
  }

  /** `what` goes on; `finished` steps are over. */
  next(what: string, finished = 0): void {
    this.#done += finished;
    this.#report?.({ done: this.#done, total: this.#total, what });
  }
}

async function benchModel(
  { path, kernel, threads }: { path: string; kernel?: string; threads: number },
  plan: BenchPlan,
  energy: EnergyMeter,
  progress: ProgressCounter,
  report: BenchReport,
): Promise<void> {
  const { load, signal } = plan;
  throwIfAborted(signal);
  progress.next(`loading ${basename(path)}`);
  const { options, applied } = await applyTuning({ ...load, threads, kernel });
  const model = await convertingAsync(() => loadAddon().loadModel(path, options));
  try {
    checkPredicts(model.info);
    const adapters = await loadAdapters(model, plan);
    const limits = plan.roofline ? await limitsFor(model.info.kernel, threads, report, progress) : undefined;
    const results: BenchResult[] = [];
    for (const shape of plan.passes) {
      await rest(plan, progress);
      const result = {
        ...(await benchPass({ native: model, adapters }, path, shape, plan, energy, progress)),
        tuning: applied ?? null,
      };
      results.push(result);
      addLimit(result, model, limits);
      plan.onResult?.(result, limits);
    }
    if (limits !== undefined) {
      // What was measured before may have met a busy moment of the machine.
      throwIfAborted(signal);
      progress.next(`${nameLimits(threads)}, once more`);
      Object.assign(limits, higherLimits(limits, await measureLimits(limits.kernel, threads)));
      progress.next("done", 1);
      for (const result of results) {
        addLimit(result, model, limits);
      }
    }
    report.results.push(...results);
  } finally {
    model.close();
  }
}

async function limitsFor(
  kernel: string,
  threads: number,
  report: BenchReport,
  progress: ProgressCounter,
): Promise<Limits> {
  progress.next(nameLimits(threads));
  let limits = report.limits.find((known) => known.kernel === kernel && known.threads === threads);
  const measured = await measureLimits(kernel, threads);
  progress.next("limits measured", 1);
  if (limits === undefined) {
    limits = measured;
    report.limits.push(limits);
  }
  return Object.assign(limits, higherLimits(limits, measured));
}

function nameLimits(threads: number): string {
  return `limits of the machine, ${countOf(threads, "thread")}`;
}

/** Lets the machine cool down. */
async function rest({ delay = 0, signal }: BenchPlan, progress: ProgressCounter): Promise<void> {
  if (delay > 0) {
    progress.next(`resting for ${delay} s`);
    await convertingAsync(() => setTimeout(delay * 1000, undefined, { signal }));
  }
}

function addLimit(result: BenchResult, model: NativeModel, limits: Limits | undefined): void {
  const cost = model.cost(result.cacheType);
  // How fast floats can be multiplied is not measured, so prefill of a dense model has no known limit.
  if (limits !== undefined && (cost.ternaryOperations > 0 || result.prompt === 0)) {
    const { seconds, bound } = limitOf(listWork(cost, result), limits);
    result.limit = { percent: (100 * seconds) / summarize(result.seconds).median, bound };
  }
}

/** What `--lora` names, for every session. */
async function loadAdapters(model: NativeModel, { adapters, signal }: BenchPlan): Promise<NativeAdapterUse[]> {
  const uses: NativeAdapterUse[] = [];
  for (const { path, ...options } of adapters ?? []) {
    const adapter = await loadAdapter(model, path, { ...options, signal });
    uses.push(adapter.use(adapter.scale));
  }
  return uses;
}

async function benchPass(
  { native: model, adapters }: { native: NativeModel; adapters: NativeAdapterUse[] },
  path: string,
  shape: PassShape,
  plan: BenchPlan,
  energy: EnergyMeter,
  progress: ProgressCounter,
): Promise<Omit<BenchResult, "tuning">> {
  const test = nameTest(shape);
  const { prompt, generate, depth } = shape;
  const { cacheType = "f16" } = plan;
  const contextSize = depth + prompt + generate + 2;
  const session = converting(() => model.createSession({ contextSize, cacheType, sharePrompts: false, adapters }));
  try {
    const runner = new PassRunner(model, session, shape, plan.signal);
    if (plan.warmup) {
      progress.next(`${test}, warming up`);
      await runner.run(Math.min(generate, 1));
      progress.next(test, 1);
    }
    const startedAt = new Date().toISOString();
    const seconds: number[] = [];
    const readings: EnergyReading[] = [];
    let evaluated = 0;
    for (let i = 0; i < plan.repetitions; i++) {
      await runner.prepare();
      await energy.start();
      const times = await runner.time(generate);
      readings.push(await energy.stop());
      evaluated += times.evaluated;
      seconds.push((prompt > 0 ? times.prefill : 0) + times.decode);
      progress.next(`${test}, ${i + 1} of ${plan.repetitions}`, 1);
    }
    const samples = seconds.map((time) => (prompt + generate) / time);
    const joules = readings.reduce<number | null>((sum, j) => (sum === null || j === null ? null : sum + j), 0);
    return {
      model: describeModel(model, path, plan.load),
      kernel: model.info.kernel,
      threads: model.info.threads,
      cacheType,
      test,
      ...shape,
      startedAt,
      seconds,
      tokensPerSecond: { ...summarize(samples), samples },
      ...totalWork(listWork(model.cost(cacheType), shape)),
      joulesPerToken: joules === null ? null : joules / evaluated,
    };
  } finally {
    session.close();
  }
}

/** Runs one pass again and again, each time from the same state of the cache. */
export class PassRunner {
  readonly #session: NativeSession;
  readonly #signal: AbortSignal | undefined;
  readonly #base: Int32Array; // what is in the cache when the clock starts
  readonly #tokens: Int32Array;

  constructor(model: NativeModel, session: NativeSession, { prompt, depth }: PassShape, signal?: AbortSignal) {
    this.#session = session;
    this.#signal = signal;
    // Without a prompt, decoding needs one token to start from.
    const tokens = randomTokens(model, depth + prompt || 1);
    this.#tokens = tokens;
    // One token that is not the first of the sequence empties the cache.
    const other = (at(tokens, 0) + 1) % model.info.vocabSize;
    this.#base = depth > 0 ? tokens.slice(0, depth) : Int32Array.of(other);
  }

  async prepare(): Promise<void> {
    await runAbortable(this.#session, this.#signal, () => this.#session.prefill(this.#base, "last"));
  }

  time(generate: number): Promise<NativePassTimes> {
    return runAbortable(this.#session, this.#signal, () => this.#session.timePass(this.#tokens, generate));
  }

  async run(generate: number): Promise<void> {
    await this.prepare();
    await this.time(generate);
  }
}

/** The same ones in every run. The first is BOS if the model wants one. */
function randomTokens(model: NativeModel, count: number): Int32Array {
  const { bos, addBos } = model.tokenizer.info;
  const size = model.info.vocabSize;
  let state = 1;
  const tokens = Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * size);
  });
  if (addBos && bos >= 0) {
    tokens[0] = bos;
  }
  return tokens;
}

/** llama-bench's names. */
export function nameTest({ prompt, generate, depth }: PassShape): string {
  const parts = [prompt > 0 ? `pp${prompt}` : "", generate > 0 ? `tg${generate}` : ""].filter((part) => part !== "");
  return parts.join("+") + (depth > 0 ? ` @ d${depth}` : "");
}

function describeModel(
  { info }: NativeModel,
  path: string,
  { layout, fastHead = true }: BenchPlan["load"],
): BenchModel {
  return {
    path,
    name: info.name,
    architecture: info.architecture,
    weightType: info.weightType,
    embeddingType: info.embeddingType,
    bytes: info.fileSize,
    parameters: info.parameterCount,
    copiedBytes: info.copiedBytes,
    layout,
    fastHead,
  };
}
