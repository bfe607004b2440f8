// bitnet doctor: is what is computed right here, and which way of running a model is the best one on this machine?

import type { Command } from "commander";
import { compareStrategies, type StrategyReport, type StrategyRun } from "../../bench/strategies.js";
import { bundledModel } from "../../models/bundled.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { BitnetError } from "../../system/errors.js";
import { locateModel } from "../model-argument.js";
import { addOptions, groupOf } from "../option-rows.js";
import { modelRows, outputRows } from "../options.js";
import { oneLine } from "../terminal/format.js";
import { columnsOf, interruptSignal, write, writeJson } from "../terminal/output.js";
import { createSteps } from "../terminal/steps.js";
import { formatTable } from "../terminal/table.js";

const groups = {
  doctor: groupOf("Doctor", {
    strategies: {
      flags: "--strategies",
      help: "measure every way of running a model here: kernels and layouts, bitnet.cpp and transformers where they are",
    },
    path: modelRows.path,
    threads: modelRows.threads,
    bitnetCpp: {
      flags: "--bitnet-cpp <program>",
      help: "bitnet.cpp's llama-cli (default: the one in PATH or build/bin)",
    },
    checkpoint: { flags: "--checkpoint <dir>", help: "the model's checkpoint, for transformers" },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
};

export default function configureDoctor(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", "the model, as for -m")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet doctor --strategies
  $ bitnet doctor --strategies -m model.gguf --json`,
    )
    .action(async (named: string | undefined) => {
      const { strategies, path, json, quiet, ...options } = read().doctor;
      if (!strategies) {
        command.error("expected --strategies", { exitCode: 2 });
      }
      const model = (await locateModel(named ?? path, { quiet })) ?? bundledModel.path;
      const steps = await createSteps({ quiet });
      const report = await compareStrategies({
        ...{ ...options, model, signal: interruptSignal() },
        onRun: (name) => steps.begin({ doing: `Measuring ${name}`, done: `Measured ${name}`, isObvious: true }),
      });
      steps.succeed();
      if (json) {
        writeJson({ machine: describeMachine(), model, ...report });
      } else {
        write(`${formatMachine(describeMachine())}\n\n${describeReport(report)}\n`);
      }
      if (!report.sameText) {
        throw new BitnetError("INTERNAL", "kernels differ in what they compute on this machine", {
          hint: "BITNET_KERNEL=scalar is the one to trust; please report this with the output of --json",
        });
      }
    });
}

function describeReport({ runs, advice, sameText, prompt }: StrategyReport): string {
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
  const same = sameText ? "all of them wrote the same text" : "THEY WROTE DIFFERENT TEXTS";
  return [table.join("\n"), `prompt ${JSON.stringify(prompt)}; of bitnet's own, ${same}`, uses.join("\n")].join("\n\n");
}

function cellsOf({ name, problem, loadMs, promptTokensPerSecond, tokensPerSecond }: StrategyRun): string[] {
  const number = (value: number | undefined) => (value === undefined ? "-" : value.toPrecision(3).replace(/e\+.*/, ""));
  const round = (value: number | undefined) => (value === undefined ? "-" : String(Math.round(value)));
  const speed = (value: number | undefined) => (value !== undefined && value >= 100 ? round(value) : number(value));
  return [name, round(loadMs), speed(promptTokensPerSecond), speed(tokensPerSecond), oneLine(problem ?? "")];
}
