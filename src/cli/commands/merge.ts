// bitnet merge: adapters into the weights of a model, as far as that keeps what they do.

import { statSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { bundledModel } from "../../models/bundled.js";
import {
  formatShare,
  type MergeMeasure,
  type MergeOptions,
  type MergeReport,
  type MergeStep,
  mergeAdapter,
} from "../../train/merge.js";
import { locateAdapter } from "../adapter-argument.js";
import { adapterChoices, loraRows } from "../lora-rows.js";
import { locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { chatRows, modelRows, outputRows, withHelp } from "../options.js";
import { integerFrom } from "../parsers.js";
import { formatBytes, quoteArgument } from "../terminal/format.js";
import { columnsOf, interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { createSteps, type Step, type Steps } from "../terminal/steps.js";
import { formatTable } from "../terminal/table.js";
import { dataRows, openSources, settingRows, trainOnRow } from "../training-rows.js";

const listGroups = () => {
  const { lr, batchSize, accumulation, maxLength, packing, seed } = settingRows("full");
  return {
    model: groupOf("Model", {
      path: withHelp(
        modelRows.path,
        "the base: the folder of a checkpoint with float weights; with --to f16 any model (default: the bundled one)",
      ),
      lora: withHelp(
        loraRows.lora,
        "the adapter: a folder of PEFT, a .safetensors or .gguf file, owner/name; PATH=SCALE: so much of it; repeatable",
      ),
      loraScaled: loraRows.loraScaled,
      chatTemplate: chatRows.chatTemplate,
      threads: modelRows.threads,
    }),
    measure: groupOf("What it costs", {
      evalData: withHelp(
        dataRows.evalData,
        "what the losses are measured on, like what the adapter was trained on but unseen; repeatable",
      ),
      maxLength: withHelp(
        maxLength,
        "tokens of the longest example, the rest is cut (default: 2048, or the context of the model)",
      ),
      trainOn: withHelp(trainOnRow, "what of a chat counts: its answers, the last one, or every token"),
      skipBad: dataRows.skipBad,
      acceptLoss: {
        flags: "--accept-loss <share>",
        help: "share of what the adapter gains that the merge may take back; inf: any, which needs no --eval-data (default: 0.05)",
        parse: parseShare,
      },
    }),
    kind: groupOf("Result", {
      to: {
        flags: "--to <type>",
        help: "ternary weights again, of a master; or f16: float matrices, eight times larger, of any base",
        choices: ["ternary", "f16"],
        standard: "ternary",
      },
      recover: {
        flags: "--recover <steps>",
        help: "train all merged weights on for so many steps, on --data; needs the memory of finetune --full",
        parse: integerFrom(1, 2 ** 31 - 1),
      },
      data: withHelp(dataRows.data, "what they are trained on"),
      ...{ lr, batchSize, accumulation, packing, seed },
    }),
    output: groupOf("Output", {
      output: {
        flags: "-o, --output <folder>",
        help: "where master, packed and model.gguf go",
        aliases: ["--output-dir"],
      },
      ...outputRows,
    }),
  };
};

type MergeValues = GroupValues<ReturnType<typeof listGroups>>;

/** 0.05, "5%" or "inf". */
function parseShare(text: string): number {
  const [, number = "", percent] = /^(\d+\.?\d*|\.\d+)\s*(%?)$/.exec(text) ?? [];
  const share = /^inf(inity)?$/i.test(text) ? Number.POSITIVE_INFINITY : Number(number || "NaN") / (percent ? 100 : 1);
  if (Number.isNaN(share)) {
    throw new InvalidArgumentError("Expected a share such as 0.05, or inf.");
  }
  return share;
}

export default function configureMerge(command: Command): void {
  const read = addOptions(command, listGroups());
  command
    .addHelpText(
      "after",
      `
Ternary weights take up a change only where it crosses a threshold, so what is merged into them is measured. A ternary model
without its master (GGUF, packed) keeps its adapter beside it: bitnet run --lora.

Examples:
  $ bitnet merge -m master/ --lora my-adapter --eval-data unseen.jsonl -o merged
  $ bitnet merge -m master/ --lora adapter --eval-data new.jsonl --recover 100 --data old.jsonl -o m
  $ bitnet merge -m 2b --lora my-adapter --to f16 --eval-data unseen.jsonl -o merged`,
    )
    .action(async () => {
      const values = read();
      const problem = findProblem(values);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await runMerge(values);
    });
}

function findProblem({ model, measure, kind, output }: MergeValues): string | undefined {
  if (adapterChoices(model).length === 0) {
    return "expected an adapter: --lora FOLDER";
  }
  if (output.output === undefined) {
    return "expected where the result goes: -o FOLDER";
  }
  if (measure.evalData === undefined && measure.acceptLoss !== Number.POSITIVE_INFINITY) {
    return "expected --eval-data FILE to measure what the merge costs, or --accept-loss inf";
  }
  if ((kind.recover === undefined) !== (kind.data === undefined)) {
    return "--recover STEPS and --data FILE belong together";
  }
  return kind.recover !== undefined && kind.to === "f16"
    ? "--recover is for ternary weights: float ones lose nothing that it could bring back"
    : undefined;
}

async function runMerge(values: MergeValues): Promise<void> {
  const { json, quiet } = values.output;
  const steps = await createSteps({ json, quiet });
  const options = await readOptions(values);
  const view = new StepView(steps);
  let measured: MergeMeasure | undefined;
  try {
    const report = await mergeAdapter({
      ...options,
      onStep: (step) => view.show(step),
      onMeasured: (measure) => {
        measured = measure;
      },
    });
    steps.succeed();
    print(report, { json, accepted: true });
    if (!json && !quiet) {
      noteFiles(report);
    }
  } catch (error) {
    steps.fail();
    if (measured !== undefined) {
      print(measured, { json, accepted: false });
    }
    throw error;
  }
}

async function readOptions(values: MergeValues): Promise<MergeOptions> {
  const { model, measure, kind, output } = values;
  const signal = interruptSignal();
  const { evalData, ...measuring } = measure;
  const { to, recover, data, ...settings } = kind;
  const isFolder = model.path !== undefined && statSync(model.path, { throwIfNoEntry: false })?.isDirectory() === true;
  const adapters: MergeOptions["adapters"][number][] = [];
  for (const { path, scale } of adapterChoices(model)) {
    adapters.push({ path: await locateAdapter(path, { quiet: output.quiet }), scale });
  }
  const sources = await openSources(data, signal);
  return {
    ...{ to, adapters, signal, ...measuring },
    base: isFolder
      ? (model.path ?? "")
      : ((await locateModel(model.path, { quiet: output.quiet })) ?? bundledModel.path),
    evalData: await openSources(evalData, signal),
    chatTemplate: model.chatTemplate,
    threads: model.threads,
    out: output.output ?? "",
    ...(recover !== undefined && sources !== undefined && { recover: { steps: recover, data: sources, ...settings } }),
  };
}

const stepNames: Record<MergeStep["kind"], Step> = {
  convert: { doing: "Making a GGUF file of the base", done: "Made a GGUF file of the base" },
  base: { doing: "Measuring the base", done: "Measured the base" },
  adapter: { doing: "Measuring the adapter beside it", done: "Measured the adapter beside it" },
  merge: { doing: "Merging", done: "Merged" },
  recover: { doing: "Training the merged weights", done: "Trained the merged weights" },
  merged: { doing: "Measuring what was merged", done: "Measured what was merged" },
};

class StepView {
  readonly #steps: Steps;
  #kind: MergeStep["kind"] | undefined;

  constructor(steps: Steps) {
    this.#steps = steps;
  }

  show({ kind, progress }: MergeStep): void {
    if (this.#kind !== kind) {
      this.#kind = kind;
      this.#steps.begin(stepNames[kind]);
    }
    if (progress !== undefined && progress.done > 0) {
      this.#steps.progress(kind, "steps").update(progress.done, progress.total);
    }
  }
}

function print(measure: MergeMeasure | MergeReport, { json, accepted }: { json?: boolean; accepted: boolean }): void {
  if (json) {
    writeJson({ ...measure, accepted });
    return;
  }
  const { losses, lost, changed } = measure;
  const share = changed && formatShare(changed.codes / changed.total);
  const rows =
    losses === undefined
      ? [["merged", "", "", share ?? ""]]
      : [
          ["base", losses.base.toFixed(3), "", ""],
          ["adapter beside it", losses.adapter.toFixed(3), "", ""],
          ["merged", losses.merged.toFixed(3), lost === undefined ? "" : formatShare(Math.max(0, lost)), share ?? ""],
        ];
  const columns = [
    { header: "", firm: true },
    { header: "LOSS", numeric: true },
    { header: "TAKEN BACK", numeric: true },
    { header: "CODES CHANGED", numeric: true },
  ];
  write(`${formatTable({ columns, rows, width: columnsOf(process.stdout) }).join("\n")}\n`);
}

function noteFiles({ folder, files, gguf, master }: MergeReport): void {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  note(
    `wrote ${folder}: ${formatBytes(bytes)}; bitnet run -m ${quoteArgument(gguf ?? "")}${master === undefined ? "" : `; ${master} trains on`}`,
  );
}
