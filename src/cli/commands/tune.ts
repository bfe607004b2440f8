// bitnet tune: the fastest settings for this machine, found by measuring; the twin of tune_gemm_config.py.

import { resolve } from "node:path";
import type { Command } from "commander";
import { formatSpeed, toCsv } from "../../bench/report.js";
import type { Phase, PhaseComparison, Trial } from "../../bench/search.js";
import { bytesBeyondCaches, type TunePlan, type TuneReport, tokensOf, tune } from "../../bench/tune.js";
import { findTuningFile, resetTuning, saveTuning } from "../../engine/tuning.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { BitnetError, reasonOf } from "../../system/errors.js";
import { findTarget, replaceFile } from "../../system/files.js";
import { shortenHome } from "../../system/folders.js";
import { wrapText } from "../help.js";
import { chooseModel, locateModel, modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, refuseOptions } from "../option-rows.js";
import { modelRows, outputRows, withHelp } from "../options.js";
import { integerFrom } from "../parsers.js";
import { formatBytes } from "../terminal/format.js";
import { columnsOf, interruptSignal, note, write, writeJson, writeText } from "../terminal/output.js";
import { createSteps, type Steps } from "../terminal/steps.js";
import { formatMarkdownTable, formatTable } from "../terminal/table.js";

const groups = {
  model: groupOf("Model", {
    path: withHelp(modelRows.path, "GGUF file to measure with (default: random weights in the shapes of the 2B model)"),
    threads: withHelp(modelRows.threads, "tune for so many threads (default: finds the best number)"),
  }),
  tests: groupOf("Tests", {
    quick: { flags: "--quick", help: "fewer values and repetitions" },
    prompt: {
      flags: "-p, --n-prompt <n>",
      help: "tokens of the prompts that are timed",
      parse: integerFrom(1, 2 ** 16),
      standard: 256,
    },
    generate: {
      flags: "-n, --n-gen <n>",
      help: "tokens that are decoded",
      parse: integerFrom(1, 2 ** 16),
      standard: 16,
    },
    repetitions: {
      flags: "-r, --repetitions <n>",
      help: "pairs of a comparison (default: 5, with --quick 3)",
      parse: integerFrom(1, 1000),
    },
  }),
  output: groupOf("Output", {
    file: {
      flags: "--output <file>",
      variable: false,
      help: "tuning file to write (default: BITNET_TUNING, else ~/.bitnet/tuning.json); FILE.csv: all that was tried",
    },
    dryRun: { flags: "--dry-run", help: "save nothing" },
    reset: { flags: "--reset", help: "forget what was found for this machine, and measure nothing" },
    json: withHelp(outputRows.json, "print one JSON object, with everything that was tried"),
  }),
};

type TuneOptions = GroupValues<typeof groups>;

export default function configureTune(command: Command): void {
  const read = addOptions(command, groups);
  refuseOptions(command, {
    "--custom": "the search tries all settings; loadModel(path, { tuning }) takes your own, see docs/benchmarks.md",
  });
  command
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
What is found is used by every command on this machine from then on. It changes the speed alone: results stay the same,
bit by bit. --kernel and -t win over it, and BITNET_TUNING=none turns it off.

Examples:
  $ bitnet tune
  $ bitnet tune -m model.gguf --quick
  $ bitnet tune --reset`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const model = chooseModel(command, named, options.model.path);
      await (options.output.reset ? reset(options) : run(options, model));
    });
}

function fileOf({ output: { file } }: TuneOptions): string | undefined {
  return file === undefined || isTable(file) ? findTuningFile() : resolve(file);
}

/** tune_gemm_config.py writes its measurements to such a file. */
function isTable(file: string): boolean {
  return /\.csv$/i.test(file);
}

async function reset(options: TuneOptions): Promise<void> {
  const file = fileOf(options);
  const isReset = file !== undefined && (await resetTuning(file));
  if (options.output.json) {
    writeJson({ file: file ?? null, reset: isReset });
  } else {
    write(
      isReset
        ? `Forgotten: this machine's entry in ${shortenHome(file)}\n`
        : "There is nothing to forget for this machine.\n",
    );
  }
}

async function run(options: TuneOptions, chosen: string | undefined): Promise<void> {
  const { dryRun } = options.output;
  const file = dryRun ? undefined : fileOf(options);
  if (file === undefined && !dryRun) {
    throw new BitnetError(
      "USAGE",
      'there is no file to save to: BITNET_TUNING is "none", or this user has no home folder',
      {
        hint: "name one with --output FILE, or measure with --dry-run",
      },
    );
  }
  if (file !== undefined) {
    await checkTarget(file);
  }
  const { threads } = options.model;
  const model = await locateModel(chosen);
  const { quick = false, prompt, generate, repetitions = quick ? 3 : 5 } = options.tests;
  const steps = await createSteps(options.output);
  const report = await measure({ model, threads, quick, prompt, generate, repetitions }, steps);
  if (report.model.weightBytes < bytesBeyondCaches) {
    const size = formatBytes(report.model.weightBytes);
    note(`the weights of ${model} (${size}) fit in caches: a larger model may want other settings`);
  }
  if (file !== undefined) {
    await saveTuning(file, report.entry);
  }
  const { file: table } = options.output;
  if (table !== undefined && isTable(table)) {
    await replaceFile(
      table,
      toCsv(report.trials.map(({ adopted, ...trial }) => ({ ...trial, adopted: String(adopted) }))),
    );
    note(`wrote ${table}`);
  }
  if (options.output.json) {
    writeJson({ machine: describeMachine(), ...report, file: file ?? null });
  } else {
    writeText(formatTuning(report, file, columnsOf(process.stdout)));
  }
}

const stepTexts = {
  weights: {
    doing: "Making random weights in the shapes of the 2B model",
    done: "Made random weights in the shapes of the 2B model",
  },
  search: { doing: "Trying settings", done: "Tried all settings", isObvious: true },
};

/** Shows the search as steps, with a line for each setting that is tried. */
async function measure(plan: Omit<TunePlan, "signal" | "onStep" | "onTrial">, steps: Steps): Promise<TuneReport> {
  try {
    const report = await tune({
      ...plan,
      signal: interruptSignal(),
      onTrial: (trial) => steps.line(formatTrial(trial)),
      onStep: (step) => steps.begin(stepTexts[step]),
    });
    steps.succeed();
    return report;
  } catch (error) {
    steps.fail();
    throw error;
  }
}

/** Minutes of measuring should not end with a file that cannot be written. */
async function checkTarget(file: string): Promise<void> {
  try {
    await findTarget(file);
  } catch (error) {
    throw new BitnetError("USAGE", `${file}: ${reasonOf(error)}`);
  }
}

/** A gain that not every round agrees about, or that is within what chance gives, is not taken. */
export function formatTrial({ step, from, to, gain, adopted }: Trial): string {
  const verdict = adopted ? ", adopted" : gain > 0 ? ", not confirmed" : "";
  return `${step} ${from} -> ${to}: ${formatGain(gain)}${verdict}`;
}

const phaseNames: Record<Phase, (tokens: { prompt: number; generate: number }) => string> = {
  prefill: ({ prompt }) => `prefill, ${prompt} tokens`,
  few: () => "prefill, 2 to 24 tokens",
  decode: ({ generate }) => `decode, ${generate} tokens`,
};

/** `width`: columns of a terminal; without one the table is Markdown. */
export function formatTuning(report: TuneReport, file: string | undefined, width?: number): string {
  const toRow = ({ phase, before, after, gain }: PhaseComparison) => [
    phaseNames[phase](report),
    formatSpeed(tokensOf(phase, report) / before),
    formatSpeed(tokensOf(phase, report) / after),
    formatGain(gain),
  ];
  const numeric = true;
  const columns = [
    { header: "test" },
    { header: "t/s before", numeric },
    { header: "t/s after", numeric },
    { header: "gain", numeric },
  ];
  const rows = report.comparisons.map(toRow);
  const lines = width === undefined ? formatMarkdownTable({ columns, rows }) : formatTable({ columns, rows, width });
  const table = lines.map((line) => `${line}\n`).join("");
  const { kernel, threads, parameters } = report.entry;
  const changes = Object.entries({ kernel, threads, ...parameters }).filter(([, value]) => value !== undefined);
  const found =
    changes.length === 0
      ? "The defaults are the best here.\n"
      : `Best here: ${changes.map(([name, value]) => `${name} ${value}`).join(", ")}.\n`;
  const saved = file === undefined ? "Nothing was saved.\n" : `Saved in ${shortenHome(file)}.\n`;
  const wrap = (text: string) => (width === undefined ? text : wrapText(text, width));
  return `${wrap(formatMachine(describeMachine()))}\n\n${table}\n${wrap(found.trimEnd())}\n${saved}`;
}

function formatGain(gain: number): string {
  return `${gain < 0 ? "" : "+"}${(100 * gain).toFixed(1)} %`;
}
