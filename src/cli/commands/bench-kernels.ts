// bitnet bench kernels: the ternary products alone, the twin of test_gemm_kernel.sh.

import { type Command, InvalidArgumentError, Option } from "commander";
import { formatKernelReport } from "../../bench/kernel-report.js";
import { benchKernels, findLayout, layouts, type Shape, shapeSets } from "../../bench/kernels.js";
import { type Format, formats } from "../../bench/report.js";
import { listKernels } from "../../engine/model.js";
import { loadAddon, type WeightLayout } from "../../native/addon.js";
import { describeMachine } from "../../native/machine.js";
import { collectNames, integerFrom, listFrom, unique } from "../parsers.js";
import { interruptSignal, write } from "../terminal/output.js";
import { startProgress } from "../terminal/steps.js";

interface KernelOptions {
  kernel?: string[];
  layouts: WeightLayout[];
  shapes: Shape[];
  batches: number[];
  threads?: number[];
  repetitions: number;
  cached?: boolean;
  output: Format;
  json?: boolean;
}

const setNames = Object.keys(shapeSets);

export function configureBenchKernels(command: Command): void {
  command
    .description("measure the ternary matrix products of every kernel of this CPU")
    .option("--kernel <names>", "kernels to measure (default: all that this CPU has)", collectNames)
    .option(
      "--layouts <names>",
      `how the weights lie in memory: ${layouts.join(", ")}; all of them: all`,
      parseLayouts,
      ["i2s"],
    )
    .option(
      "--shapes <list>",
      `ROWSxCOLUMNS, or sets of them: ${setNames.join(", ")} (default: all sets)`,
      parseShapes,
      parseShapes(setNames.join(",")),
    )
    .option("--batches <n>", "tokens that are multiplied at once", listFrom(1, 65536), [1, 8, 128])
    .option("-t, --threads <n>", "threads (default: the physical cores)", listFrom(1, 1024))
    .option("-r, --repetitions <n>", "times that each product is repeated", integerFrom(1, 10_000), 5)
    .option("--cached", "multiply the same weights again and again, as test_gemm_kernel.sh does")
    .addOption(new Option("-o, --output <format>", "format of the results").choices(formats).default("md"))
    .option("--json", "the same as -o json")
    .option("--verbose", "print the stack of an error")
    .addHelpText(
      "after",
      `
Every kernel is compared with scalar before it is timed.

Examples:
  $ bitnet bench kernels
  $ bitnet bench kernels --kernel avx2 --shapes 2560x2560,6912x2560 --batches 1,512 -t 1,2
  $ bitnet bench kernels --layouts all --shapes 2B --batches 1
  $ bitnet bench kernels --shapes gemm --batches 1,32,128,256,512,2048 --cached -o csv > gemm.csv`,
    )
    .action(async (options: KernelOptions, command: Command) => {
      const { parent } = command;
      const misplaced = parent?.options.find((option) => parent.getOptionValueSource(option.attributeName()) === "cli");
      if (misplaced !== undefined) {
        command.error(`give the options of 'bench kernels' after it: ${misplaced.flags}`, { exitCode: 2 });
      }
      await run(options);
    });
  for (const option of command.options) {
    if (option.attributeName() === "shapes") {
      option.defaultValueDescription = "all sets";
    }
  }
}

function parseLayouts(text: string): WeightLayout[] {
  const names = text.split(",").map((name) => name.trim());
  return names.flatMap((name) => {
    const found = name === "all" ? layouts : findLayout(name);
    if (found === undefined) {
      throw new InvalidArgumentError(`Expected names of layouts: ${layouts.join(", ")} or all.`);
    }
    return found;
  });
}

function parseShapes(text: string): Shape[] {
  return text.split(",").flatMap((word) => {
    const set = shapeSets[word.trim()];
    if (set !== undefined) {
      return set.map(([rows, cols]) => ({ rows, cols }));
    }
    const match = /^(\d{1,6})x(\d{1,6})$/.exec(word.trim());
    const [rows, cols] = [Number(match?.[1]), Number(match?.[2])];
    if (!(rows >= 1 && cols >= 1 && rows <= 2 ** 20 && cols <= 2 ** 17)) {
      throw new InvalidArgumentError(`Expected shapes like 2560x6912 or names of sets (${setNames.join(", ")}).`);
    }
    return [{ rows, cols }];
  });
}

async function run(options: KernelOptions): Promise<void> {
  const progress = startProgress();
  try {
    const report = await benchKernels({
      kernels: unique(options.kernel ?? supportedKernels()),
      layouts: unique(options.layouts),
      shapes: options.shapes,
      batches: unique(options.batches),
      threads: unique(options.threads ?? [loadAddon().physicalCores()]),
      repetitions: options.repetitions,
      cached: options.cached ?? false,
      signal: interruptSignal(),
      onProgress: progress.update,
    });
    progress.stop();
    write(formatKernelReport({ machine: describeMachine(), ...report }, options.json ? "json" : options.output));
  } finally {
    progress.stop();
  }
}

function supportedKernels(): string[] {
  return listKernels()
    .filter(({ supported }) => supported)
    .map(({ name }) => name);
}
