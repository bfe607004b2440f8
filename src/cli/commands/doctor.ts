// bitnet doctor: what this machine and a model are to each other, is what is computed right here, and which way of
// running a model is the best one?

import type { Command } from "commander";
import { compareStrategies, type StrategyReport, type StrategyRun } from "../../bench/strategies.js";
import { diagnose } from "../../doctor/diagnose.js";
import { bundledModel } from "../../models/bundled.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { BitnetError } from "../../system/errors.js";
import { formatPage } from "../doctor-page.js";
import { formatReport } from "../doctor-report.js";
import { chooseModel, locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { modelRows, outputRows, withHelp } from "../options.js";
import { findSettingsFile } from "../settings.js";
import { oneLine } from "../terminal/format.js";
import { colorsOf, columnsOf, interruptSignal, write, writeJson } from "../terminal/output.js";
import { createSteps } from "../terminal/steps.js";
import { formatTable } from "../terminal/table.js";
import { variables } from "../variables.js";

const groups = {
  doctor: groupOf("Doctor", {
    path: withHelp(modelRows.path, "the model: a GGUF file or a name of bitnet list (default: the bundled one)"),
    quick: { flags: "--quick", help: "measure nothing, and do not read the weights" },
    online: { flags: "--online", help: "ask whether the hub can be reached; nothing else uses the network" },
    threads: modelRows.threads,
    report: {
      flags: "--report",
      help: "Markdown for a report about a fault, without names, folders and addresses of yours",
    },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
  strategies: groupOf("Strategies", {
    strategies: {
      flags: "--strategies",
      help: "measure every way of running a model here: kernels and layouts, bitnet.cpp and transformers where they are",
    },
    bitnetCpp: {
      flags: "--bitnet-cpp <program>",
      help: "bitnet.cpp's llama-cli (default: the one in PATH or build/bin)",
    },
    checkpoint: { flags: "--checkpoint <dir>", help: "the model's checkpoint, for transformers" },
  }),
};

type DoctorOptions = GroupValues<typeof groups>;

export default function configureDoctor(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", "the model, as for -m")
    .addHelpText(
      "after",
      `
The exit status is 0 if all is right, also with warnings, and 1 if there are problems.

Examples:
  $ bitnet doctor
  $ bitnet doctor -m model.gguf
  $ bitnet doctor --quick --report > report.md
  $ bitnet doctor --strategies -m model.gguf --json`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const { path, report, json, quick, online } = options.doctor;
      const model = chooseModel(command, named, path);
      const { strategies, bitnetCpp, checkpoint } = options.strategies;
      if (report && json) {
        command.error("expected one of --report and --json, not both", { exitCode: 2 });
      }
      if (strategies && (report || quick || online)) {
        command.error("--strategies measures by itself: expected no --report, --quick or --online", { exitCode: 2 });
      }
      if (!strategies && (bitnetCpp !== undefined || checkpoint !== undefined)) {
        command.error("--bitnet-cpp and --checkpoint belong to --strategies", { exitCode: 2 });
      }
      await (strategies ? measureStrategies(model, options) : examine(command, model, options.doctor));
    });
}

/** Everybody has them. */
const ordinary = new Set(["HOME", "PATH", "TERM", "COLUMNS"]);

async function examine(command: Command, model: string | undefined, options: DoctorOptions["doctor"]): Promise<void> {
  const { threads, quick, online, report, json, quiet } = options;
  const steps = await createSteps({ quiet });
  const settings = findSettingsFile(command);
  const diagnosis = await diagnose({
    ...{ model, threads, quick, online, signal: interruptSignal() },
    variables: [...variables.flatMap(({ names }) => names).filter((name) => !ordinary.has(name)), "BITNET_*"],
    settingsFiles: settings === undefined ? [] : [settings],
    onStep: (what) => steps.begin({ doing: what, done: what }),
  }).catch((error: unknown) => {
    steps.fail();
    throw error;
  });
  steps.succeed();
  if (json) {
    writeJson(diagnosis);
  } else if (report) {
    write(formatReport(diagnosis));
  } else {
    write(formatPage(diagnosis, columnsOf(), colorsOf(process.stdout)));
  }
  process.exitCode = diagnosis.status === "problem" ? 1 : 0;
}

async function measureStrategies(named: string | undefined, options: DoctorOptions): Promise<void> {
  const { threads, json, quiet } = options.doctor;
  const { bitnetCpp, checkpoint } = options.strategies;
  const model = (await locateModel(named, { quiet })) ?? bundledModel.path;
  const steps = await createSteps({ quiet });
  const report = await compareStrategies({
    ...{ model, threads, bitnetCpp, checkpoint, signal: interruptSignal() },
    onRun: (name) => steps.begin({ doing: `Measuring ${name}`, done: `Measured ${name}`, isObvious: true }),
  });
  steps.succeed();
  if (json) {
    writeJson({ machine: describeMachine(), model, ...report });
  } else {
    write(`${formatMachine(describeMachine())}\n\n${describeReport(report)}\n`);
  }
  if (!report.agrees) {
    throw new BitnetError("INTERNAL", "kernels differ in what they compute on this machine", {
      hint: "BITNET_KERNEL=scalar is the one to trust; please report this with the output of --json",
    });
  }
}

function describeReport({ runs, advice, sameText, agrees, prompt }: StrategyReport): string {
  const columns = [
    { header: "strategy", whole: true },
    ...["load ms", "prompt tok/s", "text tok/s"].map((header) => ({ header, numeric: true })),
    { header: "" },
  ];
  const width = columnsOf();
  const table = formatTable({ columns, rows: runs.map(cellsOf), width });
  const uses = formatTable({
    columns: [{ header: "for", whole: true }, { header: "take", whole: true }, { header: "as" }],
    rows: advice.map(({ use, strategy, why }) => [use, strategy, why]),
    width,
  });
  const texts = sameText
    ? "all of them wrote the same text"
    : "all compute the same, and roundings made some texts others";
  const same = agrees ? texts : "THEY COMPUTE DIFFERENT THINGS";
  return [table.join("\n"), `prompt ${JSON.stringify(prompt)}; of bitnet's own, ${same}`, uses.join("\n")].join("\n\n");
}

function cellsOf({ name, problem, loadMs, promptTokensPerSecond, tokensPerSecond }: StrategyRun): string[] {
  const number = (value: number | undefined) => (value === undefined ? "-" : value.toPrecision(3).replace(/e\+.*/, ""));
  const round = (value: number | undefined) => (value === undefined ? "-" : String(Math.round(value)));
  const speed = (value: number | undefined) => (value !== undefined && value >= 100 ? round(value) : number(value));
  return [name, round(loadMs), speed(promptTokensPerSecond), speed(tokensPerSecond), oneLine(problem ?? "")];
}
