// bitnet eval kl: how far a model's distributions are from those of another one on the same text.

import type { Command } from "commander";
import { loadModel } from "../../engine/model.js";
import { type DivergenceOptions, type DivergenceResult, evaluateDivergence } from "../../eval/divergence.js";
import { readTextFile } from "../../system/text-file.js";
import { formatDivergence, showDivergence, warningsOf } from "../divergence-report.js";
import { applyAdapters, loraRows } from "../lora-rows.js";
import { chooseModel, locateModel, modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { outputRows, readModel } from "../options.js";
import { integerFrom } from "../parsers.js";
import { interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { evaluatedModelRows, keepFinished, noteWarnings, readChunks, windowRows } from "../text-rows.js";

const groups = {
  base: groupOf("Base", {
    file: {
      flags: "--base <file>",
      help: "distributions that bitnet eval perplexity --save-all-logits or llama-perplexity has written",
      aliases: ["--kl-divergence-base"],
    },
    model: { flags: "--base-model <model>", help: "a model that runs beside instead, on the text of -f" },
    text: { flags: "-f, --file <file>", help: "the text for --base-model; a file of --base has its own" },
    ...windowRows,
  }),
  model: groupOf("Model", evaluatedModelRows),
  lora: groupOf("Adapters", loraRows),
  output: groupOf("Output", {
    top: {
      flags: "--top <n>",
      help: "show the n places with the largest divergence, with the text before them (default: 0)",
      parse: integerFrom(0, 1000),
    },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
};

type DivergenceValues = GroupValues<typeof groups>;

export default function configureEvalKl(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet eval kl -m q4_0.gguf --base-model f16.gguf -f text.txt --top 20
  $ bitnet eval perplexity -m f16.gguf -f text.txt --save-all-logits base.kld
  $ bitnet eval kl -m q4_0.gguf --base base.kld`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const { base } = options;
      const model = chooseModel(command, named, options.model.path);
      if ((base.file === undefined) === (base.model === undefined)) {
        command.error("expected one of --base FILE and --base-model MODEL", { exitCode: 2 });
      }
      if ((base.model === undefined) !== (base.text === undefined)) {
        const what =
          base.model === undefined
            ? "-f is for --base-model: the file has its own text"
            : "--base-model needs a text: -f FILE";
        command.error(what, { exitCode: 2 });
      }
      const { quiet } = options.output;
      const path = await locateModel(model, { quiet });
      const baseModel = await locateModel(base.model, { quiet });
      await printDivergence({ ...options, base: { ...base, model: baseModel }, model: { ...options.model, path } });
    });
}

async function printDivergence({ base, model: named, lora, output }: DivergenceValues): Promise<void> {
  const { path, load } = readModel(named);
  const signal = interruptSignal();
  const text = base.text === undefined ? "" : await readTextFile(base.text);
  await using model = await loadModel(path, { ...load, signal });
  noteWarnings(model.info.warnings, output.quiet);
  await applyAdapters(model, lora, { quiet: output.quiet, signal });
  const progress = showDivergence(output.quiet);
  let last: { done: number; total: number; kl: number } | undefined;
  const options: DivergenceOptions = {
    cacheType: base.cacheType,
    chunks: readChunks(base.chunks),
    top: output.top,
    signal,
    onProgress: (state) => {
      progress.update(state);
      last = { done: state.done, total: state.total, kl: state.statistics.divergence.value };
    },
  };
  const run = async (): Promise<DivergenceResult> => {
    if (base.model === undefined) {
      return await evaluateDivergence(model, base.file ?? "", options);
    }
    await using other = await loadModel(base.model, { ...load, signal });
    const { contextSize, cacheType, parseSpecial } = base;
    return await evaluateDivergence(model, { model: other, text, contextSize, cacheType, parseSpecial }, options);
  };
  const result = await keepFinished(
    () => run().finally(() => progress.stop()),
    () => last && `stopped after ${last.done} of ${last.total} windows: mean KL divergence ${last.kl.toFixed(6)}`,
  );
  for (const warning of warningsOf(result)) {
    note(warning);
  }
  if (output.json) {
    writeJson({ model: path, base: base.model ?? base.file, ...result });
  } else {
    write(formatDivergence(result));
  }
}
