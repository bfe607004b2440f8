// bitnet finetune: an adapter beside the frozen weights of a model, or with --full all of its weights.

import { statSync } from "node:fs";
import type { Command } from "commander";
import { bundledModel } from "../../models/bundled.js";
import { describeData } from "../../train/data/report.js";
import { estimateRun } from "../../train/estimate.js";
import {
  defaultAdapter,
  type FinetuneOptions,
  type FinetuneResult,
  finetunePrepared,
  prepareFinetune,
} from "../../train/finetune.js";
import { requireFreeFolder } from "../../train/run.js";
import { asUsage, locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import { chatRows, modelRows, withHelp } from "../options.js";
import { integerFrom, numberFrom } from "../parsers.js";
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
  keepingRows,
  openSources,
  parseLayers,
  parseTargets,
  readPrompts,
  runRows,
  sayTo,
  settingRows,
  trainingOutputRows,
  trainingRefusals,
  trainOnRow,
} from "../training-rows.js";

const listGroups = () => ({
  model: groupOf("Model", {
    path: withHelp(
      modelRows.path,
      "the base: a GGUF file, the folder of a checkpoint, a name of bitnet list, 2b (default: the bundled one)",
    ),
    full: { flags: "--full", help: "train all weights; the base is the folder of a checkpoint with float weights" },
    chatTemplate: chatRows.chatTemplate,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
  }),
  data: groupOf("Data", { ...dataRows, trainOn: trainOnRow }),
  adapter: groupOf("Adapter", {
    rank: {
      flags: "--lora-r <n>",
      help: `rank (default: ${defaultAdapter.rank})`,
      aliases: ["--lora-rank"],
      parse: integerFrom(1, 1024),
    },
    alpha: {
      flags: "--lora-alpha <a>",
      help: `what is added is multiplied by alpha / rank (default: ${defaultAdapter.alpha})`,
      parse: numberFrom(Number.MIN_VALUE, 1e6),
    },
    dropout: {
      flags: "--lora-dropout <p>",
      help: `share of its inputs that is zeroed while it is trained (default: ${defaultAdapter.dropout})`,
      parse: numberFrom(0, 1 - Number.EPSILON),
    },
    rslora: { flags: "--rslora", help: "multiply by alpha / sqrt(rank) instead", aliases: ["--use-rslora"] },
    targets: {
      flags: "--target-modules <names>",
      help: "which matrices (default: q,k,v,o,gate,up,down)",
      aliases: ["--lora-target-modules"],
      parse: parseTargets,
    },
    layers: {
      flags: "--layers <list>",
      help: "which layers, like 20-29; those below the lowest one cost no backward pass (default: all)",
      aliases: ["--layers-to-transform"],
      parse: parseLayers,
    },
    dtype: {
      flags: "--adapter-dtype <type>",
      help: "how its numbers are written",
      choices: ["f32", "bf16"],
      standard: "f32",
    },
  }),
  settings: groupOf("Training", settingRows("lora")),
  keeping: groupOf("Progress and checkpoints", {
    ...keepingRows("lora"),
    evalPrompts: {
      flags: "--eval-prompts <file>",
      help: "questions, one a line, that are asked before and after",
    },
  }),
  run: groupOf("Run", runRows),
  output: groupOf("Output", trainingOutputRows("the result")),
  ignored: ignoredGroup,
});

type FinetuneValues = GroupValues<ReturnType<typeof listGroups>>;

export default function configureFinetune(command: Command): void {
  const read = addOptions(command, listGroups());
  refuseOptions(command, trainingRefusals);
  command
    .addHelpText(
      "after",
      `
Ctrl-C saves a checkpoint; the same command with --resume goes on from there.

Examples:
  $ bitnet finetune --data examples.jsonl --dry-run
  $ bitnet finetune --data examples.jsonl -o my-adapter
  $ bitnet run --lora my-adapter -cnv
  $ bitnet finetune -m 2b --data chats.jsonl --eval-split 0.05 --epochs 3 -o my-adapter
  $ bitnet finetune -m master/ --full --data chats.jsonl -o my-model`,
    )
    .action(async () => {
      const values = read();
      const problem = findProblem(values);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await runFinetune(values);
    });
}

function findProblem({ model, data, adapter, keeping, output }: FinetuneValues): string | undefined {
  if (data.data === undefined) {
    return "expected data: --data examples.jsonl";
  }
  if (output.output === undefined && output.dryRun !== true) {
    return "expected where the result goes: -o FOLDER (or --dry-run)";
  }
  const given = Object.entries(adapter).find(([name, value]) => name !== "dtype" && value !== undefined);
  if (model.full && given !== undefined) {
    return "--full trains all weights: it takes no option of an adapter";
  }
  return model.full && model.path === undefined
    ? "--full needs the folder of a checkpoint with float weights: -m FOLDER"
    : findEvaluationProblem(data, keeping);
}

async function runFinetune(values: FinetuneValues): Promise<void> {
  const { json, quiet, dryRun } = values.output;
  noteIgnored(ignoredGroup, values.ignored, sayTo(quiet));
  const view = createTrainingView(json && dryRun ? { quiet: true } : { json, quiet }); // the report is one object
  const signal = terminationSignal();
  const options: FinetuneOptions = { ...(await readOptions(values, signal)), onEvent: (event) => view.show(event) };
  try {
    const prepared = await asUsage(async () => {
      if (!dryRun) {
        await requireFreeFolder(options); // reading may take long
      }
      return await prepareFinetune(options);
    }, "see bitnet finetune --help");
    if (dryRun) {
      const { data, run, base } = prepared;
      const report = describeData(data, run.batches, base.tokenizer, { rowLength: run.settings.maxLength });
      const estimate = await estimateRun(run);
      view.stop();
      return printDryRun({ data: report, estimate }, { json });
    }
    const result = await finetunePrepared(prepared, options);
    view.stop();
    for (const warning of json ? [] : result.warnings) {
      sayTo(quiet)(warning);
    }
    if (json) {
      writeJson({ kind: "result", ...result });
    } else {
      write(`${formatResult(result, values)}\n`);
    }
  } catch (error) {
    view.stop();
    await noteStopped(error, options.out, quiet);
    throw error;
  }
}

async function readOptions(values: FinetuneValues, signal: AbortSignal): Promise<FinetuneOptions> {
  const { model, data, adapter, settings, keeping, run, output } = values;
  const { path, full, ...text } = model;
  const { dtype, ...shape } = adapter;
  const { evalPrompts, ...kept } = keeping;
  const { data: names, evalData, ...reading } = data;
  const given = Object.entries(shape).filter(([, value]) => value !== undefined);
  return {
    ...{ ...text, ...reading, ...settings, ...kept, ...run, signal, full },
    evalPrompts: await readPrompts(evalPrompts),
    model: isFolder(path) ? path : ((await locateModel(path, { quiet: output.quiet })) ?? bundledModel.path),
    data: (await openSources(names, signal)) ?? [],
    evalData: await openSources(evalData, signal),
    out: output.output ?? "",
    gradientCheckpointing: checkpointingOf(run.gradientCheckpointing),
    reportTo: output.reportTo,
    ...(given.length > 0 && { adapter: Object.fromEntries(given) }),
    adapterDtype: dtype,
  };
}

function formatResult(result: FinetuneResult, { model }: FinetuneValues): string {
  const { folder, gguf, master } = result;
  if (master !== undefined) {
    const model = quoteArgument(gguf);
    return formatOutcome(result, [`bitnet run -m ${model} -cnv`, `bitnet serve -m ${model}`]);
  }
  // Models are run as GGUF files: a checkpoint becomes one first.
  const convert = isFolder(model.path) ? [`bitnet convert ${quoteArgument(model.path)} --outfile base.gguf`] : [];
  const base =
    convert.length > 0 ? " -m base.gguf" : model.path === undefined ? "" : ` -m ${quoteArgument(model.path)}`;
  const lora = quoteArgument(folder);
  return formatOutcome(result, [
    ...convert,
    `bitnet run${base} --lora ${lora} -cnv`,
    `bitnet serve${base} --lora ${lora}`,
  ]);
}

function isFolder(path: string | undefined): path is string {
  return path !== undefined && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
