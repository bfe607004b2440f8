// bitnet train: a model from nothing but a config.json and texts.

import type { Command } from "commander";
import { estimateRun } from "../../train/estimate.js";
import { type PretrainOptions, preparePretrain, pretrainPrepared } from "../../train/pretrain.js";
import { asUsage } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import { integerFrom } from "../parsers.js";
import { quoteArgument } from "../terminal/format.js";
import { terminationSignal, write, writeJson } from "../terminal/output.js";
import { printDryRun } from "../training-dry-run.js";
import { formatOutcome, noteStopped } from "../training-outcome.js";
import { createTrainingView } from "../training-progress.js";
import {
  checkpointingOf,
  dataRows,
  findEvaluationProblem,
  ignoredGroup,
  joinRow,
  keepingRows,
  openSources,
  runRows,
  sayTo,
  settingRows,
  trainingOutputRows,
  trainingRefusals,
} from "../training-rows.js";

const listGroups = () => ({
  model: groupOf("Model", {
    config: {
      flags: "--config <file>",
      help: "config.json as Hugging Face has it, or the folder that it is in",
      aliases: ["-m", "--model-config"],
      variable: false, // BITNET_CONFIG is the file of options
    },
    tokenizer: {
      flags: "--tokenizer <which>",
      help: "new, or a folder with a tokenizer (default: that beside config.json, else new)",
    },
    vocabSize: {
      flags: "--vocab-size <n>",
      help: "entries of a new tokenizer (default: what config.json says)",
      parse: integerFrom(260, 2 ** 20),
    },
  }),
  data: groupOf("Data", {
    ...dataRows,
    data: {
      ...dataRows.data,
      help: "what is trained: JSONL, .txt, shards (.bin); FILE:0.3: so much of it in an epoch; repeatable",
    },
    joinShare: joinRow,
  }),
  settings: groupOf("Training", settingRows("new")),
  keeping: groupOf("Progress and checkpoints", keepingRows("new")),
  run: groupOf("Run", runRows),
  output: groupOf("Output", trainingOutputRows("the model")),
  ignored: ignoredGroup,
});

type TrainValues = GroupValues<ReturnType<typeof listGroups>>;

export default function configureTrain(command: Command): void {
  const read = addOptions(command, listGroups());
  refuseOptions(command, trainingRefusals);
  command
    .addHelpText(
      "after",
      `
Ctrl-C saves a checkpoint; the same command with --resume goes on from there.

Examples:
  $ bitnet train --config config.json --data texts.txt -o model --dry-run
  $ bitnet train --config config.json --tokenizer new --data stories.jsonl -o model
  $ bitnet train --config config.json --data stories.jsonl -o model --resume`,
    )
    .action(async () => {
      const values = read();
      const problem = findProblem(values);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await runTrain(values);
    });
}

function findProblem({ model, data, keeping, output }: TrainValues): string | undefined {
  if (model.config === undefined) {
    return "expected what the model is: --config config.json";
  }
  if (data.data === undefined) {
    return "expected data: --data texts.jsonl";
  }
  if (output.output === undefined) {
    return "expected where the model goes: -o FOLDER (with --dry-run, too: the data is made ready there)";
  }
  return findEvaluationProblem(data, keeping);
}

async function runTrain(values: TrainValues): Promise<void> {
  const { json, quiet, dryRun } = values.output;
  noteIgnored(ignoredGroup, values.ignored, sayTo(quiet));
  const view = createTrainingView({ json, quiet });
  const signal = terminationSignal();
  const options: PretrainOptions = { ...(await readOptions(values, signal)), onEvent: (event) => view.show(event) };
  try {
    const prepared = await asUsage(() => preparePretrain(options), "see bitnet train --help");
    try {
      if (dryRun) {
        const estimate = await estimateRun(prepared.run);
        view.stop();
        return printDryRun({ estimate }, { json });
      }
      const result = await pretrainPrepared(prepared, options);
      view.stop();
      if (json) {
        writeJson({ kind: "result", ...result });
      } else {
        const next = [
          `bitnet run -m ${quoteArgument(result.gguf)} -p "Once upon a time"`,
          `bitnet finetune -m ${quoteArgument(result.master)} --full ...`,
        ];
        write(`${formatOutcome(result, next)}\n`);
      }
    } finally {
      prepared.close();
    }
  } catch (error) {
    view.stop();
    await noteStopped(error, options.out, quiet);
    throw error;
  }
}

async function readOptions(values: TrainValues, signal: AbortSignal): Promise<PretrainOptions> {
  const { model, data, settings, keeping, run, output } = values;
  const { data: names, evalData, ...reading } = data;
  return {
    ...{ ...reading, ...settings, ...keeping, ...run, signal },
    config: model.config ?? "",
    tokenizer: model.tokenizer,
    vocabSize: model.vocabSize,
    data: (await openSources(names, signal)) ?? [],
    evalData: await openSources(evalData, signal),
    out: output.output ?? "",
    gradientCheckpointing: checkpointingOf(run.gradientCheckpointing),
    reportTo: output.reportTo,
  };
}
