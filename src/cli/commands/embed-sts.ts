// bitnet embed sts: how well the similarity of sentences goes with what people say of them.

import type { Command } from "commander";
import { evaluateSts, readStsPairs, stsInstruction } from "../../embed/sts.js";
import { loadSplit } from "../../eval/data/load.js";
import { embedModelRows, loadEmbedder, locateEmbedder, notePooling, vectorRows } from "../embed-rows.js";
import { loraRows } from "../lora-rows.js";
import { modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { outputRows } from "../options.js";
import { integerFrom } from "../parsers.js";
import { formatDuration } from "../terminal/bar.js";
import { colorsOf, columnsOf, interruptSignal, write, writeJson } from "../terminal/output.js";
import { createSteps } from "../terminal/steps.js";
import { formatTable } from "../terminal/table.js";

const groups = {
  data: groupOf("Data", {
    data: {
      flags: "--data <path>",
      help: "pairs with sentence1, sentence2 and score: .jsonl, .json, .csv, .parquet, or a folder (default: stsbenchmark)",
    },
    split: { flags: "--split <name>", help: "which part of the data", standard: "test" },
    limit: { flags: "--limit <n>", help: "only the first pairs", parse: integerFrom(3) },
    offline: { flags: "--offline", help: "take stsbenchmark from the cache alone" },
  }),
  prompts: groupOf("Prompts", {
    instruction: {
      flags: "--instruction <text>",
      help: "before both sentences",
      standard: stsInstruction,
      negated: "sentences as they are",
    },
  }),
  model: groupOf("Model", embedModelRows),
  lora: groupOf("Adapters", loraRows),
  vectors: groupOf("Vectors", vectorRows),
  output: groupOf("Output", outputRows),
};

type StsValues = GroupValues<typeof groups>;

const benchmark = { id: "mteb/stsbenchmark-sts" };

export default function configureEmbedSts(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
The main score is Spearman's correlation of the cosines with the scores, as mteb has it.

Examples:
  $ bitnet embed sts -m model.gguf
  $ bitnet embed sts -m model.gguf --pooling last --data pairs.jsonl --json`,
    )
    .action((named: string | undefined) => {
      const options = read();
      return evaluate(named === undefined ? options : { ...options, model: { ...options.model, path: named } });
    });
}

async function evaluate(options: StsValues): Promise<void> {
  const { data, prompts, output, vectors } = options;
  const signal = interruptSignal();
  const { documents, path } = await loadSplit(benchmark, data.split, {
    ...(data.data === undefined ? {} : { local: data.data }),
    ...(data.offline ? { offline: true } : {}),
    signal,
  });
  const pairs = readStsPairs(documents, path).slice(0, data.limit);
  const modelPath = await locateEmbedder(options.model, output.quiet);
  await using model = await loadEmbedder(modelPath, {
    model: options.model,
    lora: options.lora,
    quiet: output.quiet,
    signal,
  });
  const steps = await createSteps({ json: true, quiet: output.quiet });
  const progress = steps.progress("embedding", "steps");
  const startedAt = performance.now();
  const instruction = prompts.instruction === false ? "" : prompts.instruction;
  const result = await evaluateSts(model, pairs, {
    ...{ ...vectors, instruction, signal },
    onProgress: (done, total) => progress.update(done, total),
  });
  progress.stop();
  const embedMs = performance.now() - startedAt;
  if (!output.quiet) {
    notePooling(model, result.pooling, vectors.pooling);
  }
  if (output.json || columnsOf(process.stdout) === undefined) {
    const { architecture, name, kernel, threads } = model.info;
    writeJson({
      model: { path: modelPath, name, architecture, kernel, threads },
      ...{ data: path, split: data.split, ...result, timings: { embedMs } },
    });
  } else {
    write(describe(result, embedMs));
  }
}

function describe(result: Awaited<ReturnType<typeof evaluateSts>>, ms: number): string {
  const { bold, dim } = colorsOf(process.stdout);
  const { spearman, pearson, pairs, pooling, dimensions, tokens } = result;
  const rows = [
    ["Spearman", spearman.toFixed(4)],
    ["Pearson", pearson.toFixed(4)],
  ];
  const columns = [{ header: "CORRELATION" }, { header: "VALUE", numeric: true }];
  const table = formatTable({ columns, rows, width: columnsOf(process.stdout), headerStyle: bold });
  const about = `${pairs} pairs, ${tokens} tokens, pooling ${pooling}, ${dimensions} dimensions, ${formatDuration(ms / 1000)}`;
  return `${[...table, "", dim(about)].join("\n")}\n`;
}
