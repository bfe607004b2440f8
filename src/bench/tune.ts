// `bitnet tune`: what is searched, and how it is measured on a model.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { generateDummy } from "../convert/plan-dummy.js";
import { checkPredicts } from "../engine/model.js";
import { chooseKernel, supportedKernels, type TuningEntry } from "../engine/tuning.js";
import { loadAddon, type NativeModel, type NativeSession, type NativeTuning } from "../native/addon.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { makeTemporaryFolder } from "../system/folders.js";
import { PassRunner } from "./end-to-end.js";
import { type Phase, type SearchResult, type Settings, type Step, searchSettings, type Trial } from "./search.js";

export interface TunePlan {
  /** Default: random weights in the shapes of the 2B model. */
  model?: string;
  /** Fixed number. Default: searched. */
  threads?: number;
  quick: boolean;
  prompt: number; // tokens of a prefill
  generate: number; // tokens of a decode
  repetitions: number;
  signal?: AbortSignal;
  /** Called as each step begins: random weights are made where no model is given, then settings are tried. */
  onStep?: (step: "weights" | "search") => void;
  onTrial?: (trial: Trial) => void;
}

export interface TuneReport extends SearchResult {
  model: { path: string | null; weightBytes: number }; // null: random weights
  prompt: number;
  generate: number;
  start: Settings;
  entry: TuningEntry;
}

/** Weights of less than this may stay in the caches of a processor, and prefer other settings. */
export const bytesBeyondCaches = 2 ** 26;

export async function tune(plan: TunePlan): Promise<TuneReport> {
  return convertingAsync(async () => {
    const cores = loadAddon().physicalCores();
    if (plan.threads !== undefined && plan.threads > cores) {
      throw new BitnetError(
        "USAGE",
        `expected at most ${cores} threads, the cores of this machine, but got ${plan.threads}`,
      );
    }
    if (plan.model !== undefined) {
      return tuneOn(plan.model, plan);
    }
    const folder = await makeTemporaryFolder("bitnet-tune-");
    try {
      const path = join(folder, "model.gguf");
      plan.onStep?.("weights");
      await generateDummy({
        outfile: path,
        size: "BitNet-b1.58-2B-4T",
        layers: plan.quick ? 4 : 8, // beyond the caches of most machines
        vocabSize: 4096, // the head is not what is tuned
        signal: plan.signal,
      });
      return await tuneOn(path, plan);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function tuneOn(path: string, plan: TunePlan): Promise<TuneReport> {
  const { prompt, generate } = plan;
  const start = defaultSettings(plan);
  plan.onStep?.("search");
  const bench = new SettingsBench(path, plan);
  try {
    const weightBytes = await bench.open(start);
    const result = await searchSettings(start, listSteps(start, plan), (...args) => bench.measure(...args), plan);
    const entry = describeEntry(result.settings, start);
    return { model: { path: plan.model ?? null, weightBytes }, prompt, generate, start, ...result, entry };
  } finally {
    bench.close();
  }
}

export function defaultSettings({ threads }: Pick<TunePlan, "threads">): Settings {
  const kernel = chooseKernel(undefined) ?? supportedKernels()[0] ?? "scalar";
  const parameters = Object.fromEntries(
    loadAddon()
      .tuningParameters()
      .map(({ name, standard }) => [name, standard]),
  ) as Required<NativeTuning>;
  return { kernel, threads: threads ?? loadAddon().physicalCores(), parameters };
}

/** Only what differs from the defaults. */
export function describeEntry({ kernel, threads, parameters }: Settings, start: Settings): TuningEntry {
  const names = Object.keys(parameters) as (keyof NativeTuning)[];
  const changed = names.filter((name) => parameters[name] !== start.parameters[name]);
  return {
    ...(kernel === supportedKernels()[0] ? {} : { kernel }),
    ...(threads === loadAddon().physicalCores() ? {} : { threads }),
    parameters: Object.fromEntries(changed.map((name) => [name, parameters[name]])),
    tunedKernel: kernel,
    tunedAt: new Date().toISOString(),
  };
}

const kib = 1024;

interface Searched {
  name: keyof NativeTuning;
  phases: Phase[];
  values: number[];
  applies?: Step["applies"];
  hasSeveralHills?: boolean;
}

/** These kernels have a way of their own to multiply batches. */
function hasTiles({ kernel }: Settings): boolean {
  return kernel === "amx" || kernel.startsWith("avx512");
}

const searched: Searched[] = [
  { name: "batchRows", phases: ["prefill"], values: [1, 2, 3, 4, 6, 8, 16].map((n) => 96 * n) },
  {
    name: "blockBytes",
    phases: ["prefill"],
    values: [64, 128, 192, 256, 384, 512, 768, 1024, 2048].map((n) => n * kib),
    applies: (settings) => !hasTiles(settings),
  },
  {
    name: "prefetchBytes",
    phases: ["decode"],
    values: [1, 2, 4, 6, 8, 12, 16].map((n) => n * kib),
    hasSeveralHills: true,
  },
  { name: "decodeRows", phases: ["decode"], values: [32, 64, 128, 256, 1024] },
  { name: "spinMicroseconds", phases: ["decode"], values: [0, 50, 300, 1000] },
  {
    name: "tileTokens",
    phases: ["few"],
    values: [8, 12, 16, 20, 24, 32],
    applies: hasTiles,
  },
];

export function listSteps(start: Settings, plan: Pick<TunePlan, "threads">): Step[] {
  const steps: Step[] = [];
  const kernels = supportedKernels().filter((name) => name !== "scalar" || name === start.kernel);
  if (chooseKernel(undefined) === undefined && kernels.length > 1) {
    steps.push({
      name: "kernel",
      phases: ["prefill", "decode"],
      values: kernels,
      get: ({ kernel }) => kernel,
      set: (settings, kernel) => ({ ...settings, kernel: String(kernel) }),
    });
  }
  if (plan.threads === undefined && start.threads > 1) {
    steps.push({
      name: "threads",
      phases: ["prefill", "decode"],
      values: listThreads(start.threads),
      get: ({ threads }) => threads,
      set: (settings, threads) => ({ ...settings, threads: Number(threads) }),
    });
  }
  return [...steps, ...searched.map(parameterStep)];
}

function parameterStep({ name, ...rest }: Searched): Step {
  return {
    name,
    ...rest,
    get: ({ parameters }) => parameters[name],
    set: (settings, value) => ({ ...settings, parameters: { ...settings.parameters, [name]: Number(value) } }),
  };
}

/** Fewer threads can be faster where memory is the limit. */
export function listThreads(cores: number): number[] {
  const numbers = [cores, cores - 1, ...[7, 6, 5, 4, 3, 2].map((eighths) => Math.ceil((cores * eighths) / 8))];
  return [...new Set(numbers)].filter((n) => n >= 1).sort((a, b) => b - a);
}

const fewTokens = [2, 3, 4, 6, 8, 12, 16, 24];

/** Measures settings on one model. Kernel and threads belong to a loaded model: the two that were used last stay open. */
class SettingsBench {
  readonly #path: string;
  readonly #plan: TunePlan;
  readonly #open = new Map<string, { model: NativeModel; session: NativeSession; runners: Map<Phase, PassRunner[]> }>();

  constructor(path: string, plan: TunePlan) {
    this.#path = path;
    this.#plan = plan;
  }

  /** Bytes of the weights. */
  async open(settings: Settings): Promise<number> {
    return (await this.#load(settings)).model.cost().weightBytes;
  }

  async measure(settings: Settings, phase: Phase): Promise<number> {
    const { model, runners } = await this.#load(settings);
    model.setTuning(settings.parameters);
    let seconds = 0;
    for (const runner of runners.get(phase) ?? []) {
      await runner.prepare();
      const times = await runner.time(phase === "decode" ? this.#plan.generate : 0);
      seconds += phase === "decode" ? times.decode : times.prefill;
    }
    return Math.max(seconds, Number.MIN_VALUE);
  }

  async #load({ kernel, threads }: Settings) {
    const key = `${kernel} ${threads}`;
    let entry = this.#open.get(key);
    if (entry === undefined) {
      const [oldest] = this.#open.size >= 2 ? this.#open.keys() : [];
      this.#closeModel(oldest);
      entry = await this.#create(kernel, threads);
    }
    this.#open.delete(key); // to the end: used last
    this.#open.set(key, entry);
    return entry;
  }

  async #create(kernel: string, threads: number) {
    const { prompt, generate, signal } = this.#plan;
    const model = await loadAddon().loadModel(this.#path, { kernel, threads });
    try {
      checkPredicts(model.info);
      const session = model.createSession({
        contextSize: Math.max(prompt, generate, ...fewTokens) + 3,
        sharePrompts: false,
      });
      const runnerOf = (n: number) => new PassRunner(model, session, { prompt: n, generate: 0, depth: 0 }, signal);
      const runners = new Map<Phase, PassRunner[]>([
        ["prefill", [runnerOf(prompt)]],
        ["few", fewTokens.map(runnerOf)],
        ["decode", [runnerOf(0)]],
      ]);
      await runnerOf(Math.min(prompt, 32)).run(1); // warms up
      return { model, session, runners };
    } catch (error) {
      model.close();
      throw error;
    }
  }

  #closeModel(key: string | undefined): void {
    const entry = key === undefined ? undefined : this.#open.get(key);
    if (key !== undefined && entry !== undefined) {
      entry.session.close();
      entry.model.close();
      this.#open.delete(key);
    }
  }

  close(): void {
    for (const key of [...this.#open.keys()]) {
      this.#closeModel(key);
    }
  }
}

/** Tokens that one run of a phase evaluates. */
export function tokensOf(phase: Phase, { prompt, generate }: Pick<TunePlan, "prompt" | "generate">): number {
  return { prefill: prompt, decode: generate, few: fewTokens.reduce((sum, n) => sum + n, 0) }[phase];
}
