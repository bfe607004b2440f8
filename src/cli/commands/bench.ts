// bitnet bench: how fast a model runs here and how fast it could, the twin of llama-bench and e2e_benchmark.py.

import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { compareResults, parseEarlier, toEarlier } from "../../bench/compare.js";
import { denseTwinBytes, writeDenseTwin } from "../../bench/dense-twin.js";
import { type BenchPlan, runBench } from "../../bench/end-to-end.js";
import type { Limits, PassShape } from "../../bench/limits.js";
import { type Format, formatReport, formats, type MachineReport } from "../../bench/report.js";
import { defaultThreads } from "../../engine/tuning.js";
import { bundledModel } from "../../models/bundled.js";
import type { CacheType } from "../../native/addon.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { BitnetError } from "../../system/errors.js";
import { collectNames, collectText, integerFrom, listFrom, parseCacheType, unique } from "../parsers.js";
import { interruptSignal, note, write } from "../terminal/output.js";
import { formatBytes } from "../terminal/progress.js";
import { startProgress } from "../terminal/steps.js";
import { configureBenchKernels } from "./bench-kernels.js";

interface BenchOptions {
  model?: string[];
  nPrompt: number[];
  nGen: number[];
  promptGenerate?: PassShape[];
  depth: number[];
  threads?: number[];
  kernel?: string[];
  repetitions: number;
  warmup: boolean;
  roofline: boolean;
  output: Format;
  json?: boolean;
  baseline?: "f16";
  compare?: string;
  plot?: string;
  layout?: "auto" | "i2_s" | "lut" | "trit";
  cacheType?: CacheType;
  fastHead: boolean;
  kernelConfig?: string;
  tokenizerPre?: string;
}

const maxTokens = 2 ** 22;

export default function configureBench(command: Command): void {
  command
    .option(
      "-m, --model <files>",
      "GGUF files, separated by commas or repeated (default: the bundled model)",
      collectText,
    )
    .option("-p, --n-prompt <n>", "prompt tokens of prefill tests; 0: none", listFrom(0, maxTokens), [512])
    .option("-n, --n-gen <n>", "tokens of decode tests; 0: none", listFrom(0, maxTokens), [128])
    .option(
      "--prompt-generate <p,n>",
      "also -pg: a test of p prompt tokens, then n decoded ones; repeatable",
      collectPair,
    )
    .option("-d, --depth <n>", "tokens in the context before each test", listFrom(0, maxTokens), [0])
    .option("-t, --threads <n>", "threads (default: the physical cores)", listFrom(1, 1024))
    .option("--kernel <names>", "kernels to use (default: the best that this CPU has)", collectNames)
    .option("-r, --repetitions <n>", "times that each test is repeated", integerFrom(1, 10_000), 5)
    .option("--no-warmup", "do not run each test once before it is timed")
    .option("--no-roofline", "do not measure what the machine could do at most")
    .addOption(new Option("-o, --output <format>", "format of the results").choices(formats).default("md"))
    .option("--json", "the same as -o json")
    .addOption(
      new Option("--baseline <type>", "measure the model as dense F16 too, in a temporary file").choices(["f16"]),
    )
    .option("--compare <file>", "show ratios to an earlier run: -o json of this command or of llama-bench")
    .option("--plot <file>", "draw tokens/s over threads and batch as SVG")
    .addOption(
      new Option("--layout <name>", "how ternary weights lie in memory (default: BITNET_LAYOUT, else auto)").choices([
        "auto",
        "i2_s",
        "lut",
        "trit",
      ]),
    )
    .option("--cache-type <type>", "keys and values: f16, or q8; also -ctk, -ctv (default: f16)", parseCacheType)
    .option("--no-fast-head", "score the head from its float weights alone")
    .option("--tokenizer-pre <name>", "pre-tokenizer to use instead of the file's")
    .option("--kernel-config <file>", "kernel_config.ini of TL1 and TL2 files")
    .addHelpText(
      "after",
      `
Lists are separated by commas; every combination is measured.

Examples:
  $ bitnet bench -m model.gguf
  $ bitnet bench -m model.gguf -p 128,512 -n 64 -t 1,2,4 -d 0,4096
  $ bitnet bench -m a.gguf -m b.gguf -o json > results.json
  $ bitnet bench -m a.gguf --compare results.json --plot speed.svg
  $ bitnet bench kernels --shapes 2B --batches 1,128`,
    )
    .action(async (options: BenchOptions) => {
      await bench(options);
    });
  configureBenchKernels(command.enablePositionalOptions().command("kernels"));
}

function collectPair(text: string, earlier: PassShape[] = []): PassShape[] {
  const match = /^(\d{1,7}),(\d{1,7})$/.exec(text);
  const [prompt, generate] = [Number(match?.[1]), Number(match?.[2])];
  if (!(prompt >= 1 && generate >= 1 && prompt <= maxTokens && generate <= maxTokens)) {
    throw new InvalidArgumentError("Expected two numbers of tokens, like 512,128.");
  }
  return [...earlier, { prompt, generate, depth: 0 }];
}

async function bench(options: BenchOptions): Promise<void> {
  const signal = interruptSignal();
  const { compare } = options;
  const earlier = compare === undefined ? undefined : parseEarlier(await readFile(compare, "utf8"), compare);
  const models = listModels(options.model);
  const progress = startProgress();
  const plan: BenchPlan = {
    models,
    passes: listPasses(options),
    threads: unique(options.threads ?? [await defaultThreads()]),
    kernels: options.kernel === undefined ? [undefined] : unique(options.kernel),
    repetitions: options.repetitions,
    warmup: options.warmup,
    roofline: options.roofline,
    load: {
      kernelConfig: options.kernelConfig,
      tokenizerPre: options.tokenizerPre,
      layout: options.layout,
      fastHead: options.fastHead,
    },
    cacheType: options.cacheType,
    signal,
    onProgress: progress.update,
  };
  try {
    const report: MachineReport = { machine: describeMachine(), ...(await runBench(plan)) };
    if (earlier !== undefined) {
      report.comparisons = compareResults(report.results, earlier);
    }
    if (options.baseline !== undefined) {
      progress.stop();
      for (const model of models) {
        await addBaseline(report, plan, model);
      }
    }
    progress.stop();
    write(formatReport(report, options.json ? "json" : options.output));
    if (options.plot !== undefined) {
      const { drawPlot } = await import("../../bench/plot.js"); // its libraries take a while to load
      await writeFile(options.plot, drawPlot(report.results, formatMachine(report.machine)));
      note(`wrote ${options.plot}`);
    }
  } finally {
    progress.stop();
  }
}

/** The same tests on the dense F16 twin of a model, and the speed-up over it. */
async function addBaseline(report: MachineReport, plan: BenchPlan, model: string): Promise<void> {
  const { signal } = plan;
  const { kernelConfig } = plan.load;
  note(`writing the F16 baseline, ${formatBytes(denseTwinBytes(model))}, to a temporary file`);
  const twin = await writeDenseTwin(model, { kernelConfig, signal });
  try {
    const { results, limits } = await runBench({ ...plan, models: [twin.path] });
    const ours = report.results.filter((result) => result.model.path === model);
    const pairs = ours.flatMap((result) => {
      const same = results.filter(({ kernel }) => kernel === result.kernel).map(toEarlier);
      return compareResults([result], same);
    });
    report.results.push(...results);
    report.limits.push(...limits.filter((entry) => !report.limits.some((known) => isSameLimit(known, entry))));
    report.comparisons = [...(report.comparisons ?? []), ...pairs];
  } finally {
    await twin.delete();
  }
}

function isSameLimit(a: Limits, b: Limits): boolean {
  return a.kernel === b.kernel && a.threads === b.threads;
}

function listModels(given: string[] | undefined): string[] {
  if (given === undefined) {
    note(bundledModel.note);
    return [bundledModel.path];
  }
  return unique(given.flatMap((text) => (existsSync(text) ? [text] : text.split(","))));
}

function listPasses({ nPrompt, nGen, promptGenerate = [], depth: depths }: BenchOptions): PassShape[] {
  const passes = unique(depths).flatMap((depth) => [
    ...unique(nPrompt).map((prompt) => ({ prompt, generate: 0, depth })),
    ...unique(nGen).map((generate) => ({ prompt: 0, generate, depth })),
    ...promptGenerate.map((pass) => ({ ...pass, depth })),
  ]);
  const real = passes.filter(({ prompt, generate }) => prompt + generate > 0);
  if (real.length === 0) {
    throw new BitnetError("USAGE", "there is nothing to measure", { hint: "give -p, -n or -pg a number above 0" });
  }
  return real;
}
