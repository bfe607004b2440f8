// bitnet perplexity: the perplexity of every data set of a folder, the twin of test_perplexity.py.

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Command } from "commander";
import { type Twin, writeEmbeddingTwin } from "../../bench/twins.js";
import { embeddingTypes } from "../../convert/types.js";
import { loadModel } from "../../engine/model.js";
import { evaluatePerplexity } from "../../eval/perplexity.js";
import { BitnetError, convertingAsync, toBitnetError } from "../../system/errors.js";
import { makeFolder, writeOutput } from "../../system/files.js";
import { readTextFile } from "../../system/text-file.js";
import { llamaGroup, llamaRefusals } from "../llama-options.js";
import { applyAdapters, loraRows } from "../lora-rows.js";
import { chooseModel, locateModel, modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import { outputRows, readModel } from "../options.js";
import { colorsOf, columnsOf, interruptSignal, logLine, note, write, writeJson } from "../terminal/output.js";
import { type Column, formatMarkdownTable, formatTable } from "../terminal/table.js";
import { evaluatedModelRows, noteWarnings, showRunning, windowRows } from "../text-rows.js";

const groups = {
  data: groupOf("Data", {
    folder: {
      flags: "-d, --data-dir <dir>",
      help: "the folder of data sets: every FOLDER/NAME/test.txt is one",
      standard: "data",
    },
    contextSize: windowRows.contextSize,
    cacheType: windowRows.cacheType,
    quick: { flags: "-q, --quick", help: "the first 4096 characters of each, in a context of at most 128" },
    testEmbeddings: {
      flags: "-e, --test-embeddings",
      help: "also with every type of token embedding, in temporary files",
    },
  }),
  model: groupOf("Model", evaluatedModelRows),
  lora: groupOf("Adapters", loraRows),
  output: groupOf("Output", {
    outputDir: {
      flags: "-o, --output-dir <dir>",
      help: "where the results of each data set and the CSV file go",
      standard: "perplexity_results",
    },
    csvOutput: { flags: "--csv-output <file>", help: "the CSV file (default: perplexity_TIME.csv in that folder)" },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
  ignored: groupOf("Ignored", {
    ...llamaGroup.rows,
    peer: {
      flags: "--llama-perplexity <path>",
      ignored: "perplexity is computed here",
    },
    quantizer: { flags: "--quantize-bin <path>", ignored: "models are converted here" },
  }),
};

type PerplexityValues = GroupValues<typeof groups>;

interface SetResult {
  model: string;
  dataset: string;
  /** null where the set failed. */
  perplexity: number | null;
  error: number | null;
  seconds: number;
  /** "success", or what went wrong. */
  status: string;
}

export default function configurePerplexity(command: Command): void {
  const read = addOptions(command, groups);
  refuseOptions(command, llamaRefusals);
  command
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
A data set that fails has the reason as its status; the others go on, and the exit status is 0.
bitnet eval perplexity measures a single text.

Examples:
  $ bitnet perplexity -m model.gguf
  $ bitnet perplexity -m model.gguf -d texts -q --csv-output quick.csv
  $ bitnet perplexity -m model.gguf -e`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const model = chooseModel(command, named, options.model.path);
      if (!options.output.quiet) {
        noteIgnored(groups.ignored, options.ignored, note);
      }
      const path = await locateModel(model, { quiet: options.output.quiet });
      await measureFolder({ ...options, model: { ...options.model, path } });
    });
}

async function measureFolder(options: PerplexityValues): Promise<void> {
  const { data, output } = options;
  const signal = interruptSignal();
  const sets = await findSets(data.folder);
  await convertingAsync(() => makeFolder(output.outputDir));
  const results: SetResult[] = [];
  const csv = output.csvOutput ?? join(output.outputDir, `perplexity_${timeStamp()}.csv`);
  try {
    const { path } = readModel(options.model);
    await measureModel(path, basename(path), sets, options, results, signal);
    for (const { name } of data.testEmbeddings ? embeddingTypes() : []) {
      await measureTwin(path, name, sets, options, results, signal);
    }
  } finally {
    if (results.length > 0) {
      await writeOutput(csv, Buffer.from(formatCsv(results)));
    }
  }
  if (!output.quiet) {
    note(`wrote ${csv}`);
  }
  if (output.json) {
    writeJson(results);
  } else {
    write(formatResults(results));
  }
}

interface DataSet {
  name: string;
  file: string;
}

async function findSets(folder: string): Promise<DataSet[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    const { code, message } = toBitnetError(error);
    const hint = `data sets are files ${join(folder, "NAME", "test.txt")}; -d names another folder, bitnet eval perplexity -f a text`;
    throw new BitnetError(code, message, { hint, cause: error });
  });
  const files = names.sort().map((name) => ({ name, file: join(folder, name, "test.txt") }));
  const found: DataSet[] = [];
  for (const set of files) {
    const info = await stat(set.file).catch(() => undefined);
    if (info?.isFile()) {
      found.push(set);
    }
  }
  if (found.length === 0) {
    throw new BitnetError(
      "NOT_FOUND",
      `${folder} has no data sets: expected files ${join(folder, "NAME", "test.txt")}`,
    );
  }
  return found;
}

/** The model with another type of token embedding, which is deleted when it is measured. */
async function measureTwin(
  path: string,
  type: string,
  sets: readonly DataSet[],
  options: PerplexityValues,
  results: SetResult[],
  signal: AbortSignal,
): Promise<void> {
  const label = `${basename(path)}, ${type.toLowerCase()} embedding`;
  let twin: Twin | undefined;
  try {
    twin = await writeEmbeddingTwin(path, type, { kernelConfig: options.model.kernelConfig, signal });
    await measureModel(twin.path, label, sets, options, results, signal);
  } catch (error) {
    if (signal.aborted || twin !== undefined) {
      throw error;
    }
    // A type may not fit the rows of this model.
    results.push(...sets.map(({ name }) => failed(label, name, error)));
  } finally {
    await twin?.delete();
  }
}

function failed(model: string, dataset: string, error: unknown): SetResult {
  const { message } = toBitnetError(error);
  return { model, dataset, perplexity: null, error: null, seconds: 0, status: message };
}

const quickCharacters = 4096;
const quickContext = 128;

async function measureModel(
  path: string,
  label: string,
  sets: readonly DataSet[],
  { data, model: values, lora, output }: PerplexityValues,
  results: SetResult[],
  signal: AbortSignal,
): Promise<void> {
  const { load } = readModel(values);
  await using model = await loadModel(path, { ...load, signal });
  noteWarnings(model.info.warnings, output.quiet);
  await applyAdapters(model, lora, { quiet: output.quiet, signal });
  const contextSize = data.quick ? Math.min(data.contextSize, quickContext) : data.contextSize;
  for (const { name, file } of sets) {
    const running = showRunning(name, output.quiet);
    if (!output.quiet) {
      logLine(`${label}: ${name}`);
    }
    try {
      const text = await readTextFile(file);
      const result = await evaluatePerplexity(model, data.quick ? text.slice(0, quickCharacters) : text, {
        contextSize,
        cacheType: data.cacheType,
        signal,
        onProgress: ({ done, total, perplexity }) => running.update(done, total, perplexity),
      });
      const { perplexity, error = null, seconds } = result;
      results.push({ model: label, dataset: name, perplexity, error, seconds, status: "success" });
      const log = join(output.outputDir, `${label.replace(/[^\w.-]+/g, "_")}_${name}.json`);
      await writeOutput(log, Buffer.from(`${JSON.stringify({ model: path, dataset: name, ...result }, null, 2)}\n`));
    } catch (error) {
      if (signal.aborted) {
        throw error;
      }
      results.push(failed(label, name, error));
    } finally {
      running.stop();
    }
  }
}

/** 20260131_235959, as the script names its files. */
function timeStamp(): string {
  return new Date().toISOString().slice(0, 19).replace("T", "_").replace(/[-:]/g, "");
}

/** The columns of the script, then ours. */
function formatCsv(results: readonly SetResult[]): string {
  const quote = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = results.map(({ model, dataset, perplexity, error, seconds, status }) =>
    [dataset, perplexity?.toFixed(4) ?? "", seconds.toFixed(2), status, error?.toFixed(5) ?? "", model]
      .map(quote)
      .join(","),
  );
  return `${["dataset,perplexity,time_seconds,status,error,model", ...lines].join("\n")}\n`;
}

function formatResults(results: readonly SetResult[]): string {
  const columns: Column[] = [
    { header: "MODEL", optional: true },
    { header: "DATA" },
    { header: "PERPLEXITY", numeric: true },
    { header: "+/-", numeric: true },
    { header: "SECONDS", numeric: true, optional: true },
    { header: "STATUS" },
  ];
  const rows = results.map(({ model, dataset, perplexity, error, seconds, status }) => [
    model,
    dataset,
    perplexity?.toFixed(4) ?? "-",
    error?.toFixed(5) ?? "-",
    seconds.toFixed(1),
    status,
  ]);
  const width = columnsOf(process.stdout);
  const lines =
    width === undefined
      ? formatMarkdownTable({ columns, rows })
      : formatTable({ columns, rows, width, headerStyle: colorsOf(process.stdout).bold });
  return `${lines.join("\n")}\n`;
}
