// bitnet compare: whether a change cost quality. Two models, or two settings of one, on the same text.

import { basename } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { adapterName } from "../../adapter/peft.js";
import { type Twin, writeEmbeddingTwin } from "../../bench/twins.js";
import { embeddingTypes, namesOf } from "../../convert/types.js";
import { type ComparedSide, type ComparisonResult, compareModels, type SideReport } from "../../eval/compare.js";
import { drawPanels, type Line, type Panel } from "../../plot/panels.js";
import { writeOutput } from "../../system/files.js";
import { readTextFile } from "../../system/text-file.js";
import { formatEstimate, showDivergence } from "../divergence-report.js";
import { adapterChoices, locateAdapters, loraRows } from "../lora-rows.js";
import { locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { modelRows, outputRows, readModel } from "../options.js";
import { parseCacheType, parseLayout, typeFrom } from "../parsers.js";
import { formatBytes, wrapWords } from "../terminal/format.js";
import { colorsOf, columnsOf, interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { type Column, formatMarkdownTable, formatTable } from "../terminal/table.js";
import { keepFinished, readChunks, windowRows } from "../text-rows.js";

/** A value for both sides, or one for each. */
type Pair<T> = readonly [before: T, after: T];

function pairOf<T>(parse: (word: string) => T): (text: string) => Pair<T> {
  return (text) => {
    const [before, after = before, ...more] = text.split(",").map((word) => parse(word.trim()));
    if (before === undefined || after === undefined || more.length > 0) {
      throw new InvalidArgumentError("Expected one value, or two separated by a comma.");
    }
    return [before, after];
  };
}

const { contextSize, chunks, parseSpecial } = windowRows;

const groups = {
  text: groupOf("Text", {
    file: { flags: "-f, --file <file>", help: "the text that both predict" },
    contextSize,
    chunks,
    parseSpecial,
  }),
  sides: groupOf("What differs: one value for both, or BEFORE,AFTER", {
    cacheType: {
      flags: "--cache-type <types>",
      help: "how keys and values are kept: f16,q8",
      parse: pairOf((word) => parseCacheType(word)),
    },
    kernel: {
      flags: "--kernel <names>",
      help: "kernels: scalar,avx2 (default: the best that this CPU has)",
      variable: false,
      parse: pairOf((word) => word),
    },
    layout: {
      flags: "--layout <names>",
      help: "how ternary weights lie in memory: auto,lut (default: auto)",
      variable: false,
      parse: pairOf(parseLayout),
    },
    embeddingType: {
      flags: "--embedding-type <types>",
      help: `type of the token embedding, in temporary files: f16,q6_k; ${namesOf(embeddingTypes())}`,
      parse: pairOf((word) => typeFrom(embeddingTypes())(word)),
    },
  }),
  lora: groupOf("Adapters of the second side", loraRows),
  model: groupOf("Both", {
    threads: modelRows.threads,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
    inPlace: modelRows.inPlace,
  }),
  output: groupOf("Output", {
    plot: { flags: "--plot <file>", help: "draw perplexity and divergence over the text as SVG" },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
};

type CompareValues = GroupValues<typeof groups>;

export default function configureCompare(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[before]", "the model before the change (default: the bundled one)")
    .argument("[after]", "the model after it (default: the same, with the second one of the settings)")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet compare f16.gguf q6_k.gguf -f text.txt
  $ bitnet compare model.gguf -f text.txt --cache-type f16,q8
  $ bitnet compare model.gguf -f text.txt --lora adapter/
  $ bitnet compare model.gguf -f text.txt --embedding-type f16,q4_0 --plot cost.svg`,
    )
    .action(async (before: string | undefined, after: string | undefined) => {
      const options = read();
      const { file } = options.text;
      if (file === undefined) {
        command.error("expected a text: -f FILE", { exitCode: 2 });
      }
      const adapts = adapterChoices(options.lora).length > 0;
      const differing =
        adapts || Object.values(options.sides).some((pair) => pair !== undefined && pair[0] !== pair[1]);
      if (after === undefined && !differing) {
        command.error("expected a second model, or two values of one of the settings", { exitCode: 2 });
      }
      await compare(options, file, [before, after ?? before]);
    });
}

async function compare(options: CompareValues, file: string, named: Pair<string | undefined>): Promise<void> {
  const { text: values, output } = options;
  const signal = interruptSignal();
  const text = await readTextFile(file);
  const twins: Twin[] = [];
  const progress = showDivergence(output.quiet);
  let last = "";
  try {
    const before = await prepareSide(options, named[0], 0, twins, signal);
    const after = await prepareSide(options, named[1], 1, twins, signal);
    const result = await keepFinished(
      () =>
        compareModels(before, after, text, {
          contextSize: values.contextSize,
          chunks: readChunks(values.chunks),
          parseSpecial: values.parseSpecial,
          signal,
          onProgress: (state) => {
            progress.update(state);
            const { divergence, ratio } = state.statistics;
            last =
              `stopped after ${state.done} of ${state.total} windows: perplexity ratio ${formatEstimate(ratio, 5)}, ` +
              `KL divergence ${formatEstimate(divergence, 6)}`;
          },
        }).finally(() => progress.stop()),
      () => last || undefined,
    );
    await showResult(result, output);
  } finally {
    await Promise.all(twins.map((twin) => twin.delete()));
  }
}

async function prepareSide(
  { sides, lora, model, output }: CompareValues,
  named: string | undefined,
  side: 0 | 1,
  twins: Twin[],
  signal: AbortSignal,
): Promise<ComparedSide> {
  const located = await locateModel(named, { quiet: output.quiet });
  const { path, load } = readModel({ ...model, path: located });
  const kernel = sides.kernel?.[side];
  const layout = sides.layout?.[side];
  const cacheType = sides.cacheType?.[side];
  const type = sides.embeddingType?.[side];
  const settings = [kernel, layout, cacheType, type].filter((value) => value !== undefined);
  const adapters = side === 1 ? await locateAdapters(lora, { quiet: output.quiet }) : [];
  const label = [basename(path), ...settings, ...adapters.map((adapter) => adapterName(adapter.path))].join(", ");
  if (type === undefined) {
    return { label, path, load: { ...load, kernel, layout }, cacheType, adapters };
  }
  const twin = await writeEmbeddingTwin(path, type, { kernelConfig: model.kernelConfig, signal });
  twins.push(twin);
  return { label, path: twin.path, load: { ...load, kernel, layout }, cacheType, adapters };
}

async function showResult(result: ComparisonResult, { json, plot }: CompareValues["output"]): Promise<void> {
  if (json) {
    writeJson(result);
  } else {
    write(formatComparison(result));
  }
  if (plot !== undefined) {
    await writeOutput(plot, Buffer.from(drawComparison(result)));
    note(`wrote ${plot}`);
  }
}

function formatComparison({ before, after, divergence, sentence }: ComparisonResult): string {
  const width = columnsOf(process.stdout);
  const { bold } = colorsOf(process.stdout);
  const columns: Column[] = [
    { header: "" },
    { header: "BEFORE", numeric: true },
    { header: "AFTER", numeric: true },
    { header: "CHANGE", numeric: true },
  ];
  const rows = [
    ["perplexity", ...[before, after].map(({ perplexity }) => formatEstimate(perplexity, 4)), percentOf(divergence)],
    ["KL divergence", "", formatEstimate(divergence.divergence, 6), ""],
    ["same top token", "", formatEstimate(percents(divergence.sameTop), 2, " %"), ""],
    changeRow(
      "prompt tokens/s",
      before,
      after,
      ({ tokensPerSecond }) => tokensPerSecond,
      (n) => n.toFixed(1),
    ),
    changeRow(
      "generated tokens/s",
      before,
      after,
      ({ generatedPerSecond }) => generatedPerSecond,
      (n) => n.toFixed(1),
    ),
    changeRow("memory when loaded", before, after, ({ loadedBytes }) => loadedBytes, formatBytes),
    changeRow("keys and values", before, after, ({ cacheBytes }) => cacheBytes, formatBytes),
    changeRow("file", before, after, ({ fileBytes }) => fileBytes, formatBytes),
  ];
  const table =
    width === undefined
      ? formatMarkdownTable({ columns, rows })
      : formatTable({ columns, rows, width, headerStyle: bold });
  const about = [
    `before: ${before.label} (${before.kernel}, ${before.cacheType} cache, ${before.weightType}, ${before.embeddingType})`,
    `after: ${after.label} (${after.kernel}, ${after.cacheType} cache, ${after.weightType}, ${after.embeddingType})`,
    `${divergence.chunks} windows of ${divergence.contextSize} tokens, ${divergence.scored} of them scored`,
  ];
  const lines = (text: string) => (width === undefined ? [text] : wrapWords(text, width));
  return [...about.flatMap(lines), "", ...table, "", "Did this change cost quality?", ...lines(sentence), ""].join(
    "\n",
  );
}

function percents({ value, error }: { value: number; error: number }): { value: number; error: number } {
  return { value: 100 * value, error: 100 * error };
}

function percentOf({ ratio }: ComparisonResult["divergence"]): string {
  return formatEstimate(percents({ value: ratio.value - 1, error: ratio.error }), 3, " %");
}

function changeRow(
  name: string,
  before: SideReport,
  after: SideReport,
  of: (side: SideReport) => number | undefined,
  format: (value: number) => string,
): string[] {
  const [a, b] = [of(before), of(after)];
  const cell = (value: number | undefined) => (value === undefined ? "-" : format(value));
  const change = a === undefined || b === undefined ? "" : `${b >= a ? "+" : ""}${(100 * (b / a - 1)).toFixed(1)} %`;
  return [name, cell(a), cell(b), change];
}

/** How both come to their values as the text goes on, and how the divergence is distributed. */
function drawComparison({ before, after, running, divergence, sentence }: ComparisonResult): string {
  const line = (label: string, values: readonly number[], dash = ""): Line => ({
    label,
    meaning: label,
    dash,
    points: values.map((y, i) => ({ x: i + 1, y, low: y, high: y })),
  });
  const panels: Panel[] = [
    {
      title: "Perplexity",
      xLabel: "windows of the text",
      yLabel: "of all windows so far",
      lines: [line("before", running.before), line("after", running.after, "7 4")],
    },
    {
      title: "KL divergence",
      xLabel: "windows of the text",
      yLabel: "mean of all windows so far",
      lines: [line("after from before", running.divergence)],
    },
  ];
  const title = before.label === after.label ? before.label : `${before.label} and ${after.label}`;
  return drawPanels(panels, title, `${divergence.scored} scored tokens. ${sentence}`);
}
