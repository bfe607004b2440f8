// bitnet bench kernels: the ternary products alone, the twin of test_gemm_kernel.sh.

import { type Command, InvalidArgumentError } from "commander";
import { formatKernelReport } from "../../bench/kernel-report.js";
import { benchKernels, type Shape, shapeSets } from "../../bench/kernels.js";
import { findLayout, weightLayouts } from "../../engine/layouts.js";
import { supportedKernels } from "../../engine/tuning.js";
import { loadAddon, type WeightLayout } from "../../native/addon.js";
import { describeMachine } from "../../native/machine.js";
import { formatKernelTable } from "../bench-table.js";
import { measureRows, resultRows, writeResults } from "../measuring.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import { collectNames, listFrom, unique } from "../parsers.js";
import { interruptSignal, note } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const setNames = Object.keys(shapeSets);

const ignoredGroup = groupOf("Ignored", {
  skipBuild: { flags: "-s, --skip-build", ignored: "there is nothing to build" },
});

const groups = {
  tests: groupOf("Tests", {
    kernels: {
      flags: "--kernel <names>",
      help: "kernels to measure (default: all that this CPU has)",
      variable: false,
      parse: collectNames,
    },
    layouts: {
      flags: "--layouts <names>",
      help: `how the weights lie in memory: ${weightLayouts.join(", ")}; all of them: all`,
      parse: parseLayouts,
      standard: ["i2_s"],
    },
    shapes: {
      flags: "--shapes <list>",
      help: `ROWSxCOLUMNS, or sets of them: ${setNames.join(", ")}`,
      parse: parseShapes,
      standard: parseShapes(setNames.join(",")),
      standardHelp: "all sets",
    },
    batches: {
      flags: "--batches <n>",
      help: "tokens that are multiplied at once",
      parse: listFrom(1, 65536),
      standard: [1, 8, 128],
    },
    threads: measureRows.threads,
    repetitions: { ...measureRows.repetitions, aliases: ["-i", "--iterations"] },
    cached: {
      flags: "--cached",
      help: "multiply the same weights again and again, as test_gemm_kernel.sh does",
    },
  }),
  output: groupOf("Output", resultRows),
  ignored: ignoredGroup,
};

export default function configureBenchKernels(command: Command): void {
  const read = addOptions(command, groups);
  refuseOptions(command, {
    "-n -c": "--shapes ROWSxCOLUMNS names the matrices, --batches the tokens",
    "-w": "every kernel is compared with scalar before it is timed, which warms it up",
    "-m --model": "random matrices are measured; bitnet bench -m MODEL measures a model",
  });
  command
    .addHelpText(
      "after",
      `
Every kernel is compared with scalar before it is timed.

Examples:
  $ bitnet bench kernels
  $ bitnet bench kernels --kernel avx2 --shapes 2560x2560,6912x2560 --batches 1,512 -t 1,2
  $ bitnet bench kernels --layouts all --shapes 2B --batches 1
  $ bitnet bench kernels --shapes gemm --batches 1,32,128,256,512,2048 --cached -o gemm.csv`,
    )
    .action(async () => {
      const { parent } = command;
      const misplaced = parent?.options.find((option) => parent.getOptionValueSource(option.attributeName()) === "cli");
      if (misplaced !== undefined) {
        command.error(`give the options of 'bench kernels' after it: ${misplaced.flags}`, { exitCode: 2 });
      }
      await run(read());
    });
}

function parseLayouts(text: string): WeightLayout[] {
  const names = text.split(",").map((name) => name.trim());
  return names.flatMap((name) => {
    const found = name === "all" ? weightLayouts : findLayout(name);
    if (found === undefined) {
      throw new InvalidArgumentError(`Expected names of layouts: ${weightLayouts.join(", ")} or all.`);
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

async function run({ tests, output, ignored }: GroupValues<typeof groups>): Promise<void> {
  noteIgnored(ignoredGroup, ignored, note);
  const progress = createProgress("measuring", "steps");
  try {
    const report = await benchKernels({
      kernels: unique(tests.kernels ?? supportedKernels()),
      layouts: unique(tests.layouts),
      shapes: tests.shapes,
      batches: unique(tests.batches),
      threads: unique(tests.threads ?? [loadAddon().physicalCores()]),
      repetitions: tests.repetitions,
      cached: tests.cached ?? false,
      signal: interruptSignal(),
      onProgress: ({ done, total, what }) => progress.update(done, total, { name: what }),
    });
    progress.stop();
    const results = { machine: describeMachine(), ...report };
    await writeResults(
      {
        as: (format) => formatKernelReport(results, format),
        table: (...where) => formatKernelTable(results, ...where),
      },
      output,
    );
  } finally {
    progress.stop();
  }
}
