// bitnet bench: how fast a model runs here and how fast it could, the twin of llama-bench and e2e_benchmark.py.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { compareResults, parseEarlier, toEarlier } from "../../bench/compare.js";
import { denseTwinBytes, writeDenseTwin } from "../../bench/dense-twin.js";
import { type BenchPlan, runBench } from "../../bench/end-to-end.js";
import type { Limits, PassShape } from "../../bench/limits.js";
import { formatReport, type MachineReport } from "../../bench/report.js";
import { defaultThreads } from "../../engine/tuning.js";
import { bundledModel } from "../../models/bundled.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { BitnetError } from "../../system/errors.js";
import { writeOutput } from "../../system/files.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { measureRows, modelRows, sessionRows } from "../options.js";
import { collectNames, collectText, listFrom, unique } from "../parsers.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, note, write } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const maxTokens = 2 ** 22;

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
      flags: "-d, --depth <n>",
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
    roofline: { flags: "--no-roofline", help: "do not measure what the machine could do at most" },
  }),
  load: groupOf("Loading", {
    layout: modelRows.layout,
    fastHead: modelRows.fastHead,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
  }),
  session: groupOf("Context", { cacheType: sessionRows.cacheType }),
  output: groupOf("Output", {
    format: measureRows.output,
    json: measureRows.json,
    compare: {
      flags: "--compare <file>",
      help: "show ratios to an earlier run: -o json of this command or of llama-bench",
    },
    plot: { flags: "--plot <file>", help: "draw tokens/s over threads and batch as SVG" },
  }),
};

type BenchOptions = GroupValues<typeof groups>;

export default function configureBench(command: Command): void {
  const read = addOptions(command, groups);
  command
    .enablePositionalOptions() // `bench kernels` has options of the same names
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
    .action(() => bench(read()));
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
  const { tests, output } = options;
  const { compare, plot } = output;
  const earlier = compare === undefined ? undefined : parseEarlier(await readFile(compare, "utf8"), compare);
  const models = listModels(options.models.paths);
  const progress = createProgress("measuring", "steps");
  const plan: BenchPlan = {
    models,
    passes: listPasses(tests),
    threads: unique(tests.threads ?? [await defaultThreads()]),
    kernels: tests.kernels === undefined ? [undefined] : unique(tests.kernels),
    repetitions: tests.repetitions,
    warmup: tests.warmup,
    roofline: tests.roofline,
    load: options.load,
    cacheType: options.session.cacheType,
    signal,
    onProgress: ({ done, total, what }) => progress.update(done, total, { name: what }),
  };
  try {
    const report: MachineReport = { machine: describeMachine(), ...(await runBench(plan)) };
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
    write(formatReport(report, output.json ? "json" : output.format));
    if (plot !== undefined) {
      const { drawPlot } = await import("../../bench/plot.js"); // its libraries take a while to load
      await writeOutput(plot, Buffer.from(drawPlot(report.results, formatMachine(report.machine))));
      note(`wrote ${plot}`);
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
