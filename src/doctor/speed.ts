// How fast the model is here, how fast it could be, and what keeps it from that.

import { PassRunner } from "../bench/end-to-end.js";
import { type Bound, type Limits, limitOf, listWork, measureLimits, type PassShape } from "../bench/limits.js";
import { checkPredicts } from "../engine/model.js";
import { applyTuning } from "../engine/tuning.js";
import type { NativeAddon, NativeModel } from "../native/addon.js";
import { convertingAsync, throwIfAborted, toBitnetError } from "../system/errors.js";
import { type Advice, adviceOf, type Context, type Finding, findingOf } from "./check.js";
import { type LoadFacts, watchLoad } from "./load.js";

export interface SpeedFacts {
  kernel: string;
  threads: number;
  /** Physical cores that this process may use. */
  cores: number;
  readBandwidth: number; // bytes per second
  int8Peak: number; // operations per second
  /** What is read for a token, without keys and values. */
  bytesPerToken: number;
  /** Lies in the caches of a processor, which are faster than memory: ceilings mean nothing. */
  isSmall: boolean;
  decode: PassFacts;
  prefill: PassFacts;
  load: LoadFacts;
}

export interface PassFacts {
  tokens: number;
  tokensPerSecond: number;
  /** null where it is not known: dense models have none for prefill. */
  ceiling: number | null;
  /** Of the ceiling, what was reached. */
  share: number | null;
  bound: Bound | null;
}

const limitSeconds = 0.3; // of each
const passSeconds = 1; // of each measured pass, about
const rounds = 2;
const smallBytes = 2 ** 25; // less than the last cache of many processors

export async function checkSpeed(context: Context): Promise<Finding<SpeedFacts>> {
  const { native, quick, modelProblem, signal } = context;
  if (native instanceof Error || quick || modelProblem !== undefined) {
    return findingOf<SpeedFacts>(null);
  }
  try {
    const facts = await measure(native, context);
    return findingOf(facts, adviseSpeed(facts));
  } catch (error) {
    throwIfAborted(signal);
    const { code } = toBitnetError(error);
    const isTold = code === "BAD_FILE" || code === "UNSUPPORTED" || code === "NOT_FOUND"; // by the check of the model
    return findingOf<SpeedFacts>(null, isTold ? [] : [adviceOf(error, "warning", "the speed was not measured")]);
  }
}

async function measure(addon: NativeAddon, context: Context): Promise<SpeedFacts> {
  const { model: path, env, signal, files, onStep } = context;
  const { options } = await applyTuning({ threads: context.threads }, env);
  onStep("Loading the model to measure it");
  const model = await convertingAsync(() => addon.loadModel(path, options));
  try {
    checkPredicts(model.info);
    const { kernel, threads } = model.info;
    onStep("Measuring memory and processor");
    const limits = await measureLimits(kernel, threads, limitSeconds);
    throwIfAborted(signal);
    const watched = watchLoad(files);
    onStep("Measuring how fast a prompt is read");
    const prefill = await measurePass(model, "prefill", limits, signal);
    onStep("Measuring how fast text is written");
    const decode = await measurePass(model, "decode", limits, signal);
    const load = watched(threads);
    const { weightBytes, headBytes } = model.cost();
    const bytesPerToken = weightBytes + headBytes;
    return {
      ...{ kernel, threads, cores: addon.physicalCores() },
      ...{ readBandwidth: limits.readBandwidth, int8Peak: limits.int8Peak },
      ...{ bytesPerToken, isSmall: bytesPerToken < smallBytes },
      ...{ decode, prefill, load },
    };
  } finally {
    model.close();
  }
}

type Kind = "decode" | "prefill";

async function measurePass(
  model: NativeModel,
  kind: Kind,
  limits: Limits,
  signal: AbortSignal | undefined,
): Promise<PassFacts> {
  const most = Math.max(2, Math.min(kind === "prefill" ? 512 : 128, Math.floor(model.info.contextLength / 2)));
  const shapeOf = (tokens: number): PassShape =>
    kind === "prefill" ? { prompt: tokens, generate: 0, depth: 0 } : { prompt: 0, generate: tokens, depth: 0 };
  const first = Math.min(most, kind === "prefill" ? 16 : 3);
  const trial = await timePass(model, shapeOf(first), kind, signal); // warms up, too
  const tokens = Math.max(2, Math.min(most, Math.floor((first * passSeconds) / trial)));
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    times.push(await timePass(model, shapeOf(tokens), kind, signal));
  }
  const seconds = Math.min(...times);
  const cost = model.cost();
  const isKnown = cost.ternaryOperations > 0 || kind === "decode";
  const limit = limitOf(listWork(cost, shapeOf(tokens)), limits);
  return {
    tokens,
    tokensPerSecond: tokens / seconds,
    ceiling: isKnown ? tokens / limit.seconds : null,
    share: isKnown ? limit.seconds / seconds : null,
    bound: isKnown ? limit.bound : null,
  };
}

async function timePass(model: NativeModel, shape: PassShape, kind: Kind, signal?: AbortSignal): Promise<number> {
  throwIfAborted(signal);
  const contextSize = shape.prompt + shape.generate + 2;
  const session = model.createSession({ contextSize, sharePrompts: false });
  try {
    const runner = new PassRunner(model, session, shape, signal);
    await runner.prepare();
    const times = await runner.time(shape.generate);
    return kind === "prefill" ? times.prefill : times.decode;
  } finally {
    session.close();
  }
}

/** Below these shares of the ceilings something is likely to be wrong; docs/benchmarks.md has what is usual. */
const lowDecode = 0.5;
const lowPrefill = 0.25;

function adviseSpeed(facts: SpeedFacts): Advice[] {
  const { isSmall, decode, prefill } = facts;
  const isLow = ({ share }: PassFacts, least: number) => share !== null && share < least;
  if (isSmall || !(isLow(decode, lowDecode) || isLow(prefill, lowPrefill))) {
    return [];
  }
  const [name, pass] = isLow(decode, lowDecode) ? ["writing", decode] : ["reading prompts", prefill];
  const what = `${name} reaches ${Math.round(100 * (pass.share ?? 0))} % of what this machine could do`;
  const reasons = listReasons(facts);
  return [
    {
      status: "warning",
      what: reasons.length === 0 ? what : `${what}: ${reasons.join(", ")}`,
      next:
        reasons.length === 0
          ? "bitnet tune -m MODEL finds the fastest settings; bitnet bench -m MODEL -t 1,2,4 compares threads"
          : "end what else runs and measure again; -t N with fewer threads leaves room for others",
    },
  ];
}

function listReasons({ load, threads, cores, kernel }: SpeedFacts): string[] {
  const { processorShare, stealShare, throttledShare, heatEvents, loadAverage } = load;
  const percent = (share: number) => `${Math.round(100 * share)} %`;
  const reasons: string[] = [];
  if (throttledShare !== null && throttledShare > 0.05) {
    reasons.push(`the cgroup's quota stopped it in ${percent(throttledShare)} of its periods`);
  }
  if (stealShare !== null && stealShare > 0.03) {
    reasons.push(`the host of this virtual machine took ${percent(stealShare)} of the time`);
  }
  if (processorShare < 0.85) {
    const load = loadAverage === null ? "" : ` (load average ${loadAverage.toFixed(1)})`;
    reasons.push(`its threads got ${percent(processorShare)} of the processors, others the rest${load}`);
  }
  if (heatEvents !== null && heatEvents > 0) {
    reasons.push("the processor slowed down because of heat");
  }
  if (threads !== cores) {
    reasons.push(`${threads} threads on ${cores} cores`);
  }
  if (kernel === "scalar") {
    reasons.push("the scalar kernel, which uses no vectors");
  }
  return reasons;
}
