// bitnet bench: how fast a model runs here and how fast it could, the twin of llama-bench, e2e_benchmark.py and
// quantize_embeddings.py.

import { existsSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import { compareResults, parseEarlier, toEarlier } from "../../bench/compare.js";
import { type BenchPlan, type BenchReport, runBench } from "../../bench/end-to-end.js";
import type { Limits, PassShape } from "../../bench/limits.js";
import { formatReport, type MachineReport } from "../../bench/report.js";
import {
  denseTwinBytes,
  embeddingTwinBytes,
  type Twin,
  writeDenseTwin,
  writeEmbeddingTwin,
} from "../../bench/twins.js";
import { embeddingTypes, namesOf } from "../../convert/types.js";
import { defaultThreads } from "../../engine/tuning.js";
import { bundledModel } from "../../models/bundled.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { BitnetError, reasonOf } from "../../system/errors.js";
import { writeOutput } from "../../system/files.js";
import { readTextFile } from "../../system/text-file.js";
import { formatBenchTable } from "../bench-table.js";
import { llamaGroup } from "../llama-options.js";
import { locateAdapters, loraRows } from "../lora-rows.js";
import { measureRows, resultRows, writeResults } from "../measuring.js";
import { locateModel, modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import { modelRows, sessionRows } from "../options.js";
import { collectNames, collectText, integerFrom, listFrom, unique } from "../parsers.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, note } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const maxTokens = 2 ** 22;

const { gpuLayers, splitMode, mainGpu, tensorSplit, device, batchSize, ubatchSize, overrideTensor } = llamaGroup.rows;
const { cpuMask, cpuStrict, poll, numa, nCpuMoe, rpc } = llamaGroup.rows;

/** What else llama-bench takes; it has values, and lists of them, where llama-cli has switches. */
const ignoredGroup = groupOf("Ignored", {
  gpuLayers,
  splitMode: { ...splitMode, harmless: "none" },
  mainGpu: { ...mainGpu, harmless: "0" },
  tensorSplit,
  device,
  kvOffload: {
    flags: "--nkvo <0|1>",
    aliases: ["-nkvo", "--no-kv-offload"],
    ignored: gpuLayers.ignored,
    harmless: "1",
  },
  batchSize,
  ubatchSize,
  cpuMask,
  cpuStrict,
  poll,
  numa,
  flashAttention: {
    flags: "--flash-attn <0|1>",
    aliases: ["-fa"],
    ignored: "attention is computed without a matrix of scores, always",
    harmless: "1",
  },
  mmap: { flags: "--mmap <0|1>", aliases: ["-mmp"], ignored: "files are mapped, always", harmless: "1" },
  embeddings: {
    flags: "--embeddings <0|1>",
    aliases: ["-embd"],
    ignored: "texts are measured, not text embeddings",
    harmless: "0",
  },
  opOffload: {
    flags: "--nopo <0|1>",
    aliases: ["-nopo", "--no-op-offload"],
    ignored: gpuLayers.ignored,
    harmless: "0",
  },
  nCpuMoe,
  rpc,
  overrideTensor,
  directIo: { flags: "--direct-io <0|1>", aliases: ["-dio"], ignored: "files are mapped, always", harmless: "0" },
  progress: { flags: "--progress", ignored: "progress is shown, always" },
});

const groups = {
  models: groupOf("Models", {
    paths: {
      flags: modelRows.path.flags,
      help: "GGUF files, separated by commas or repeated (default: the bundled model)",
      parse: collectText,
    },
    baseline: {
      flags: "--baseline <type>",
      help: "measure the model as dense F16 too, in a temporary file",
      choices: ["f16"],
    },
    embeddingTypes: {
      flags: "--embedding-types <list>",
      help: `measure the model with these types of token embedding, in temporary files: ${namesOf(embeddingTypes())}; or all`,
      parse: parseEmbeddingTypes,
    },
  }),
  tests: groupOf("Tests", {
    prompts: {
      flags: "-p, --n-prompt <n>",
      help: "prompt tokens of prefill tests; 0: none",
      parse: listFrom(0, maxTokens),
      standard: [512],
    },
    generated: {
      flags: "-n, --n-gen <n>",
      aliases: ["--n-token"],
      help: "tokens of decode tests; 0: none",
      parse: listFrom(0, maxTokens),
      standard: [128],
    },
    pairs: {
      flags: "--prompt-generate <p,n>",
      help: "a test of p prompt tokens, then n decoded ones; repeatable",
      parse: collectPair,
      aliases: ["-pg"],
    },
    depths: {
      flags: "-d, --n-depth <n>",
      aliases: ["--depth"],
      help: "tokens in the context before each test",
      parse: listFrom(0, maxTokens),
      standard: [0],
    },
    threads: measureRows.threads,
    kernels: {
      flags: "--kernel <names>",
      help: "kernels to use (default: the best that this CPU has)",
      variable: false,
      parse: collectNames,
    },
    repetitions: measureRows.repetitions,
    warmup: { flags: "--no-warmup", help: "do not run each test once before it is timed" },
    delay: { flags: "--delay <seconds>", help: "rest before each test (default: 0)", parse: integerFrom(0, 3600) },
    priority: {
      flags: "--prio <n>",
      help: "priority of the process: -1 low, 0 normal, 1 medium, 2 high, 3 highest (default: 0)",
      parse: integerFrom(-1, 3),
    },
    roofline: { flags: "--no-roofline", help: "do not measure what the machine could do at most" },
  }),
  load: groupOf("Loading", {
    layout: modelRows.layout,
    fastHead: modelRows.fastHead,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
  }),
  lora: groupOf("Adapters", loraRows),
  session: groupOf("Context", { cacheType: sessionRows.cacheType }),
  output: groupOf("Output", {
    ...resultRows,
    compare: {
      flags: "--compare <file>",
      help: "show ratios to an earlier run: -o json of this command or of llama-bench",
    },
    plot: { flags: "--plot <file>", help: "draw tokens/s over threads, batch and context as SVG" },
  }),
  ignored: ignoredGroup,
};

type BenchOptions = GroupValues<typeof groups>;

export default function configureBench(command: Command): void {
  const read = addOptions(command, groups);
  refuseOptions(command, {
    "-c --ctx-size": "a context has the size that its test needs; -d fills it beforehand",
    "-hf -hfr --hf-repo -hff --hf-file": "-m takes owner/name[:type] of the Hugging Face hub",
    "-hft --hf-token": "set HF_TOKEN, which other processes cannot read as they can a command line",
    "--list-devices": "bitnet version --verbose names the CPU and its kernels",
    "-w": "-n and -p are the numbers of tokens; --no-warmup leaves the warm-up out",
  });
  command
    .argument("[models...]", modelHelp)
    .enablePositionalOptions() // `bench kernels` has options of the same names
    .addHelpText(
      "after",
      `
Lists are separated by commas; 1-4, 0-4096+1024 and 1-8*2 are ranges. Every combination is measured.

Examples:
  $ bitnet bench -m model.gguf
  $ bitnet bench -m model.gguf -p 128,512 -n 64 -t 1,2,4 -d 0,4096
  $ bitnet bench -m a.gguf -m b.gguf -o json > results.json
  $ bitnet bench -m a.gguf --compare results.json --plot speed.svg
  $ bitnet bench -m model.gguf --embedding-types q6_k,q4_0 -p 128 -n 0 -t 1-8*2 -o embeddings.csv
  $ bitnet bench kernels --shapes 2B --batches 1,128`,
    )
    .action((named: string[]) => bench(read(), named));
}

function collectPair(text: string, earlier: PassShape[] = []): PassShape[] {
  const match = /^(\d{1,7}),(\d{1,7})$/.exec(text);
  const [prompt, generate] = [Number(match?.[1]), Number(match?.[2])];
  if (!(prompt >= 1 && generate >= 1 && prompt <= maxTokens && generate <= maxTokens)) {
    throw new InvalidArgumentError("Expected two numbers of tokens, like 512,128.");
  }
  return [...earlier, { prompt, generate, depth: 0 }];
}

function parseEmbeddingTypes(text: string, earlier: string[] = []): string[] {
  const known = embeddingTypes().map(({ name }) => name.toLowerCase());
  const types = text.split(",").flatMap((word) => {
    const name = word.trim().toLowerCase();
    if (name !== "all" && !known.includes(name)) {
      throw new InvalidArgumentError(`Expected types separated by commas, of ${known.join(", ")}, or all.`);
    }
    return name === "all" ? known : name;
  });
  return [...earlier, ...types];
}

async function bench(options: BenchOptions, named: readonly string[]): Promise<void> {
  const signal = interruptSignal();
  const { tests, output } = options;
  const { compare, plot } = output;
  noteIgnored(ignoredGroup, options.ignored, note);
  const earlier = compare === undefined ? undefined : parseEarlier(await readTextFile(compare), compare);
  const models = await locateModels([...(options.models.paths ?? []), ...named]);
  const progress = createProgress("measuring", "steps");
  const plan: BenchPlan = {
    models,
    passes: listPasses(tests),
    threads: unique(tests.threads ?? [await defaultThreads()]),
    kernels: tests.kernels === undefined ? [undefined] : unique(tests.kernels),
    repetitions: tests.repetitions,
    warmup: tests.warmup,
    roofline: tests.roofline,
    delay: tests.delay,
    load: options.load,
    cacheType: options.session.cacheType,
    adapters: await locateAdapters(options.lora),
    signal,
    onProgress: ({ done, total, what }) => progress.update(done, total, { name: what }),
  };
  applyPriority(tests.priority);
  try {
    const report = await measure(plan, options.models.embeddingTypes, (text) => progress.line(text));
    if (earlier !== undefined) {
      report.comparisons = compareResults(report.results, earlier);
    }
    if (options.models.baseline !== undefined) {
      progress.stop();
      for (const model of models) {
        await addBaseline(report, plan, model);
      }
    }
    progress.stop();
    await writeResults(
      { as: (format) => formatReport(report, format), table: (...where) => formatBenchTable(report, ...where) },
      output,
    );
    if (plot !== undefined) {
      const { drawPlot } = await import("../../bench/plot.js");
      await writeOutput(plot, Buffer.from(drawPlot(report.results, formatMachine(report.machine))));
      note(`wrote ${plot}`);
    }
  } finally {
    progress.stop();
  }
}

/** As nice values; llama.cpp's "realtime" is the highest that there is here. */
const priorities = new Map([
  [-1, constants.priority.PRIORITY_BELOW_NORMAL],
  [1, constants.priority.PRIORITY_ABOVE_NORMAL],
  [2, constants.priority.PRIORITY_HIGH],
  [3, constants.priority.PRIORITY_HIGHEST],
]);

function applyPriority(priority: number | undefined): void {
  const nice = priorities.get(priority ?? 0);
  if (nice === undefined) {
    return;
  }
  try {
    setPriority(nice);
  } catch (error) {
    note(`--prio ${priority} has no effect: ${reasonOf(error)}`);
  }
}

/** Measures the models, or each with every one of these types of embedding instead. */
async function measure(
  plan: BenchPlan,
  types: string[] | undefined,
  say: (text: string) => void,
): Promise<MachineReport> {
  const machine = describeMachine();
  if (types === undefined) {
    return { machine, ...(await runBench(plan)) };
  }
  let report: MachineReport | undefined;
  for (const model of plan.models) {
    for (const type of unique(types)) {
      say(`writing ${formatBytes(embeddingTwinBytes(model, type))} with a ${type} embedding to a temporary file`);
      const twin = await writeEmbeddingTwin(model, type, { kernelConfig: plan.load.kernelConfig, signal: plan.signal });
      const measured = await measureTwin(twin, plan);
      const results = measured.results.map((result) => ({ ...result, model: { ...result.model, path: model } }));
      report ??= { machine, ...measured, results: [], limits: [] };
      report.results.push(...results);
      addLimits(report, measured);
    }
  }
  return report ?? { machine, ...(await runBench(plan)) };
}

async function measureTwin(twin: Twin, plan: BenchPlan): Promise<BenchReport> {
  try {
    return await runBench({ ...plan, models: [twin.path] });
  } finally {
    await twin.delete();
  }
}

/** The same tests on the dense F16 twin of a model, and the speed-up over it. */
async function addBaseline(report: MachineReport, plan: BenchPlan, model: string): Promise<void> {
  const { signal } = plan;
  const { kernelConfig } = plan.load;
  note(`writing the F16 baseline, ${formatBytes(denseTwinBytes(model))}, to a temporary file`);
  const measured = await measureTwin(await writeDenseTwin(model, { kernelConfig, signal }), plan);
  const ours = report.results.filter((result) => result.model.path === model);
  const pairs = ours.flatMap((result) => {
    const same = measured.results.filter(({ kernel }) => kernel === result.kernel).map(toEarlier);
    return compareResults([result], same);
  });
  report.results.push(...measured.results);
  addLimits(report, measured);
  report.comparisons = [...(report.comparisons ?? []), ...pairs];
}

function addLimits(report: BenchReport, { limits }: BenchReport): void {
  report.limits.push(...limits.filter((entry) => !report.limits.some((known) => isSameLimit(known, entry))));
}

function isSameLimit(a: Limits, b: Limits): boolean {
  return a.kernel === b.kernel && a.threads === b.threads;
}

async function locateModels(given: readonly string[]): Promise<string[]> {
  if (given.length === 0) {
    note(bundledModel.note);
    return [bundledModel.path];
  }
  const paths: string[] = [];
  for (const name of given.flatMap((text) => (existsSync(text) ? [text] : text.split(",")))) {
    paths.push(await locateModel(name));
  }
  return unique(paths);
}

function listPasses({ prompts, generated, pairs = [], depths }: BenchOptions["tests"]): PassShape[] {
  const passes = unique(depths).flatMap((depth) => [
    ...unique(prompts).map((prompt) => ({ prompt, generate: 0, depth })),
    ...unique(generated).map((generate) => ({ prompt: 0, generate, depth })),
    ...pairs.map((pass) => ({ ...pass, depth })),
  ]);
  const real = passes.filter(({ prompt, generate }) => prompt + generate > 0);
  if (real.length === 0) {
    throw new BitnetError("USAGE", "there is nothing to measure", { hint: "give -p, -n or -pg a number above 0" });
  }
  return real;
}
