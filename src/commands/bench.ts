// bitnet bench: how fast a model runs here and how fast it could, the twin of llama-bench and e2e_benchmark.py.

import { existsSync } from "node:fs";
import { Presets, SingleBar } from "cli-progress";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type BenchProgress, runBench } from "../bench/end-to-end.js";
import type { PassShape } from "../bench/limits.js";
import { describeMachine } from "../bench/machine.js";
import { type Format, formatReport, formats } from "../bench/report.js";
import { bundledModel } from "../bundled-model.js";
import { BitnetError } from "../errors.js";
import { collectText, integerFrom } from "../options.js";
import { interruptSignal, note, write } from "../output.js";
import { defaultThreads } from "../tuning.js";

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
    .option("--tokenizer-pre <name>", "pre-tokenizer to use instead of the file's")
    .option("--kernel-config <file>", "kernel_config.ini of TL1 and TL2 files")
    .addHelpText(
      "after",
      `
Lists are separated by commas; every combination is measured.

Examples:
  $ bitnet bench -m model.gguf
  $ bitnet bench -m model.gguf -p 128,512 -n 64 -t 1,2,4 -d 0,4096
  $ bitnet bench -m a.gguf -m b.gguf -o json > results.json`,
    )
    .action(async (options: BenchOptions) => {
      await bench(options);
    });
}

/** A parser for a list of integers; a repeated option adds to it. */
function listFrom(min: number, max: number): (text: string, earlier?: number[]) => number[] {
  const parse = integerFrom(min, max);
  const lists = new WeakSet<number[]>(); // what this parser has made: a default is replaced, not added to
  return (text, earlier) => {
    const values = text.split(",").map((word) => parse(word.trim()));
    const all = [...(earlier !== undefined && lists.has(earlier) ? earlier : []), ...values];
    lists.add(all);
    return all;
  };
}

function collectPair(text: string, earlier: PassShape[] = []): PassShape[] {
  const match = /^(\d{1,7}),(\d{1,7})$/.exec(text);
  const [prompt, generate] = [Number(match?.[1]), Number(match?.[2])];
  if (!(prompt >= 1 && generate >= 1 && prompt <= maxTokens && generate <= maxTokens)) {
    throw new InvalidArgumentError("Expected two numbers of tokens, like 512,128.");
  }
  return [...earlier, { prompt, generate, depth: 0 }];
}

function collectNames(text: string, earlier: string[] = []): string[] {
  return [...earlier, ...text.split(",").map((name) => name.trim())];
}

async function bench(options: BenchOptions): Promise<void> {
  const signal = interruptSignal();
  const progress = startProgress();
  try {
    const report = await runBench({
      models: listModels(options.model),
      passes: listPasses(options),
      threads: unique(options.threads ?? [await defaultThreads()]),
      kernels: options.kernel === undefined ? [undefined] : unique(options.kernel),
      repetitions: options.repetitions,
      warmup: options.warmup,
      roofline: options.roofline,
      kernelConfig: options.kernelConfig,
      tokenizerPre: options.tokenizerPre,
      signal,
      onProgress: progress.update,
    });
    progress.stop();
    write(formatReport({ machine: describeMachine(), ...report }, options.output));
  } finally {
    progress.stop();
  }
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

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

/** A bar on a terminal, nothing elsewhere. */
function startProgress(): { update: (progress: BenchProgress) => void; stop: () => void } {
  if (!process.stderr.isTTY) {
    return { update: () => {}, stop: () => {} };
  }
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: "{bar} {percentage}%  ETA {eta_formatted}  {what}",
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false, // Ctrl-C belongs to the command
    },
    Presets.shades_grey,
  );
  let isStarted = false;
  return {
    update({ done, total, what }) {
      if (!isStarted) {
        isStarted = true;
        bar.start(total, 0, { what });
      }
      bar.update(done, { what });
    },
    stop() {
      bar.stop();
    },
  };
}
