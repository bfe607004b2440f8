// bitnet embed: from texts to vectors, the twin of llama-embedding.

import type { Command } from "commander";
import { type EmbeddedBatch, type EmbedSettings, embedTexts } from "../../embed/embedder.js";
import { JsonlOutput, jsonLine, type LineForm, splitVector, writeVector } from "../../embed/jsonl-output.js";
import { NpyOutput, rangesOfNpy, readRanges } from "../../embed/npy-output.js";
import { countLines, type EmbeddingOutput, partialOf, withoutKept } from "../../embed/outputs.js";
import { type EmbeddingRanges, hasRanges, precisions, rangeWarnings } from "../../embed/quantize.js";
import type { StoreInfo } from "../../embed/store-info.js";
import type { Model } from "../../engine/model.js";
import { countOf } from "../../system/counts.js";
import { throwIfAborted } from "../../system/errors.js";
import { withLock } from "../../system/lock.js";
import { UsageError } from "../command.js";
import { readTexts, type TextSource } from "../embed-inputs.js";
import { createPrinter, llamaFormats } from "../embed-print.js";
import {
  embedModelRows,
  loadEmbedder,
  locateEmbedder,
  normalizeRow,
  notePooling,
  prefixOf,
  promptRows,
  vectorRows,
} from "../embed-rows.js";
import { llamaGroup } from "../llama-options.js";
import { loraRows } from "../lora-rows.js";
import { modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored } from "../option-rows.js";
import { generationRows, outputRows } from "../options.js";
import { collectText } from "../parsers.js";
import { interruptSignal, log, note, write, writeJson, writeText } from "../terminal/output.js";
import { createSteps, type Steps } from "../terminal/steps.js";
import { readerReady } from "../terminal/streams.js";

const formats = [...llamaFormats, "jsonl", "npy"] as const;

const groups = {
  texts: groupOf("Texts", {
    typed: {
      flags: "-p, --prompt <text>",
      help: "a text, or several with the separator between; repeatable",
      parse: collectText,
    },
    separator: { flags: "--embd-separator <text>", help: "what is between texts (default: the end of a line)" },
    file: {
      flags: "-f, --file <file>",
      help: 'a file of texts, one a line; "-" is stdin, which is read without -p, too',
    },
    jsonlField: { flags: "--jsonl <field>", help: "lines are JSON objects, of which this is the text" },
    escape: { ...generationRows.escape, help: "process \\n, \\t and the like in -p", negated: "take -p as it is" },
  }),
  prompts: groupOf("Prompts", promptRows),
  model: groupOf("Model", embedModelRows),
  lora: groupOf("Adapters", loraRows),
  vectors: groupOf("Vectors", { ...vectorRows, normalize: normalizeRow }),
  codes: groupOf("Fewer bits", {
    precision: { flags: "--quantize <type>", help: "codes in the place of float32", choices: precisions },
    ranges: {
      flags: "--ranges <file>",
      help: "of int8 and uint8: least and largest values, a .npy file of two rows or the .json of an earlier one",
    },
    calibration: {
      flags: "--calibration <file>",
      help: "of int8 and uint8: take the ranges of these vectors, a .npy file of floats",
    },
  }),
  output: groupOf("Output", {
    format: {
      flags: "--embd-output-format <format>",
      help: 'as llama-embedding: "", array, json, json+, raw; else jsonl or npy (default: by the name of -o, else "")',
      choices: formats,
    },
    file: { flags: "-o, --output <file>", help: "write jsonl or npy here, and go on where an earlier run was ended" },
    fresh: { flags: "--fresh", help: "begin anew, whatever an earlier run has left" },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
  ignored: llamaGroup,
};

type EmbedOptions = GroupValues<typeof groups>;
type Format = (typeof formats)[number];

export default function configureEmbed(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", modelHelp)
    .argument("[text]", "a text")
    .enablePositionalOptions() // subcommands have options of the same names
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet embed -m model.gguf -p "What is BitNet?"
  $ bitnet embed -m model.gguf -f texts.txt -o vectors.npy
  $ bitnet embed -m model.gguf --jsonl text -f rows.jsonl -o vectors.jsonl --quantize binary
  $ bitnet embed search --index vectors.npy -p "What is BitNet?" --top 5
  $ bitnet embed sts -m model.gguf --data sts.jsonl`,
    )
    .action(async (first: string | undefined, second: string | undefined) => {
      const options = read();
      const isModelTyped = (options.model.path ?? options.model.hubModel) !== undefined;
      const [named, operand, more] = isModelTyped ? [undefined, first, second] : [first, second, undefined];
      if (more !== undefined) {
        command.error("too many arguments: quote a text of several words", { exitCode: 2 });
      }
      const typed = [...(options.texts.typed ?? []), ...(operand === undefined ? [] : [operand])];
      const model = named === undefined ? options.model : { ...options.model, path: named };
      await embed({ ...options, model, texts: { ...options.texts, typed } });
    });
}

/** What is to be written, and where: throws UsageError for what contradicts itself. */
function planOutput({ output, codes }: EmbedOptions): { format: Format | "object"; file?: string } {
  const { file } = output;
  if (output.json && (output.format ?? file) !== undefined) {
    throw new UsageError("expected one of --json, --embd-output-format and -o, not several", "see bitnet embed --help");
  }
  const format = output.json ? "object" : (output.format ?? formatOfName(file));
  const isFile = format === "npy" || format === "jsonl";
  if (file !== undefined && !isFile) {
    throw new UsageError("-o needs --embd-output-format jsonl or npy", "other formats go to stdout: > FILE");
  }
  if (format === "npy" && file === undefined) {
    throw new UsageError("a .npy file has its texts beside it", "say where with -o FILE.npy");
  }
  const { precision, ranges, calibration } = codes;
  if ((ranges ?? calibration) !== undefined && (precision === undefined || !hasRanges(precision))) {
    throw new UsageError("--ranges and --calibration are for --quantize int8 or uint8", "see bitnet embed --help");
  }
  if (ranges !== undefined && calibration !== undefined) {
    throw new UsageError("expected one of --ranges and --calibration, not both", "see bitnet embed --help");
  }
  if (precision !== undefined && hasRanges(precision) && format !== "npy" && (ranges ?? calibration) === undefined) {
    throw new UsageError(
      `--quantize ${precision} needs the ranges of the dimensions`,
      "give --ranges or --calibration, or write a .npy file, which takes those of its own vectors",
    );
  }
  return { format, ...(file === undefined ? {} : { file }) };
}

function formatOfName(file: string | undefined): Format {
  if (file === undefined) {
    return "";
  }
  return /\.npy$/i.test(file) ? "npy" : "jsonl";
}

interface Run {
  model: Model;
  modelPath: string;
  options: EmbedOptions;
  settings: EmbedSettings & { prefix: string };
  ranges?: EmbeddingRanges;
  texts: AsyncIterable<string>;
  total?: number;
  signal: AbortSignal;
  steps: Steps;
  done: { texts: number; tokens: number; startedAt: number; last?: EmbeddedBatch };
}

async function embed(options: EmbedOptions): Promise<void> {
  const { output, texts, codes, vectors, prompts } = options;
  const plan = planOutput(options);
  const signal = interruptSignal();
  if (!output.quiet) {
    noteIgnored(llamaGroup, options.ignored, note);
  }
  const ranges = await readCodeRanges(codes, output.quiet);
  const modelPath = await locateEmbedder(options.model, output.quiet);
  await using model = await loadEmbedder(modelPath, {
    model: options.model,
    lora: options.lora,
    quiet: output.quiet,
    signal,
  });
  const { escape: escapes, typed = [], ...source } = texts;
  const textSource = { ...source, typed, escapes };
  const run: Run = {
    ...{ model, modelPath, options, signal, ...(ranges === undefined ? {} : { ranges }) },
    settings: { ...vectors, prefix: prefixOf(model, prompts), signal },
    texts: readTexts(textSource, signal),
    total: await countTexts(textSource),
    steps: await createSteps({ json: true, quiet: output.quiet }),
    done: { texts: 0, tokens: 0, startedAt: performance.now() },
  };
  try {
    if (plan.file !== undefined) {
      await embedToFile(run, plan.file, plan.format === "npy");
    } else {
      await print(run, plan.format);
    }
  } finally {
    run.steps.succeed();
  }
  tellEnd(run);
}

async function readCodeRanges(
  { ranges, calibration, precision }: EmbedOptions["codes"],
  quiet: boolean | undefined,
): Promise<EmbeddingRanges | undefined> {
  if (ranges !== undefined) {
    return readRanges(ranges);
  }
  if (calibration === undefined || precision === undefined) {
    return undefined;
  }
  const measured = await rangesOfNpy(calibration);
  for (const warning of quiet ? [] : rangeWarnings(precision, measured.rows)) {
    note(warning);
  }
  return measured.ranges;
}

/** Lines of a file are counted for the progress; of a pipe nobody knows. */
async function countTexts({ typed, file, separator }: TextSource): Promise<number | undefined> {
  if (file === undefined && typed.length > 0) {
    return typed.length;
  }
  return file === undefined || file === "-" || separator !== undefined
    ? undefined
    : typed.length + (await countLines(file).catch(() => ({ lines: 0 }))).lines;
}

/** Batches as they are done, counted and shown. */
async function* embedAll(run: Run, texts: AsyncIterable<string>, first = 0): AsyncGenerator<EmbeddedBatch> {
  const { model, settings, done, steps, total, options } = run;
  const progress = total === undefined ? undefined : steps.progress("embedding", "steps");
  for await (const batch of embedTexts(model, texts, settings, first)) {
    if (done.last === undefined && !options.output.quiet) {
      notePooling(model, batch.pooling, settings.pooling);
    }
    done.last = batch;
    done.texts += batch.texts.length;
    done.tokens += batch.tokens.reduce((sum, count) => sum + count, 0);
    progress?.update(first + done.texts, Math.max(total ?? 0, first + done.texts), { start: first });
    yield batch;
  }
  progress?.stop();
}

function tellEnd({ options, done, signal }: Run): void {
  throwIfAborted(signal);
  if (options.output.quiet) {
    return;
  }
  const ms = performance.now() - done.startedAt;
  const rate = (count: number) => ((1000 * count) / Math.max(ms, 1)).toFixed(1);
  const { pooling, dimensions } = done.last ?? {};
  const what = pooling === undefined ? "" : `; pooling ${pooling}, ${dimensions} dimensions`;
  log(
    `${countOf(done.texts, "text")}, ${countOf(done.tokens, "token")} in ${(ms / 1000).toFixed(2)} s: ` +
      `${rate(done.texts)} texts, ${rate(done.tokens)} tokens a second${what}`,
  );
}

async function embedToFile(run: Run, file: string, isNpy: boolean): Promise<void> {
  const { output } = run.options;
  const lock = { signal: run.signal, onWait: () => note(`waiting for another run that writes ${file}`) };
  await withLock(`${partialOf(file)}.lock`, lock, async () => {
    const target = await openOutput(run, file, isNpy);
    let isWhole = false;
    try {
      if (target.kept > 0 && !output.quiet) {
        note(`going on after ${target.kept} texts of an earlier run`);
      }
      for await (const batch of embedAll(run, withoutKept(run.texts, target, file), target.kept)) {
        await target.add(rowsOf(batch));
      }
      isWhole = true;
    } finally {
      await (isWhole ? Promise.resolve() : target.close());
    }
    for (const warning of await target.finish()) {
      note(warning);
    }
  });
  if (output.quiet !== true) {
    log(`wrote ${file}`);
  }
}

async function openOutput(run: Run, file: string, isNpy: boolean): Promise<EmbeddingOutput> {
  const { options, ranges } = run;
  const { precision } = options.codes;
  const info = describeRun(run);
  const { fresh = false } = options.output;
  if (isNpy) {
    const quantization = precision && { precision, ...(ranges === undefined ? {} : { ranges }) };
    return NpyOutput.open(file, info, { fresh, ...(quantization === undefined ? {} : { quantization }) });
  }
  return JsonlOutput.open(file, info, lineForm(run, info.dimensions, info.pooling), fresh);
}

function lineForm({ options, ranges }: Run, dimensions: number, pooling: string): LineForm {
  const { precision } = options.codes;
  return {
    ...{ dimensions, isList: pooling === "none" },
    ...(precision === undefined ? {} : { precision }),
    ...(ranges === undefined ? {} : { ranges }),
  };
}

/** What decides the vectors. */
function describeRun({ model, modelPath, settings, options }: Run): StoreInfo {
  const { embeddingLength } = model.info;
  const {
    pooling = model.info.pooling,
    dimensions = embeddingLength,
    truncate = false,
    parseSpecial = true,
  } = settings;
  return {
    ...{ model: model.fingerprint(), modelPath, pooling, prefix: settings.prefix, parseSpecial, truncate, lines: "" },
    ...{ dimensions: Math.min(dimensions, embeddingLength), normalize: options.vectors.normalize },
  };
}

function rowsOf({ texts, tokens, vectors }: EmbeddedBatch) {
  return texts.map((text, i) => ({ text, tokens: tokens[i] ?? 0, vector: vectors[i] ?? new Float32Array() }));
}

async function print(run: Run, format: Format | "object"): Promise<void> {
  if (format === "object") {
    await printObject(run);
  } else if (format === "jsonl") {
    await printLines(run);
  } else if (format !== "npy") {
    await printAsLlama(run, format);
  }
}

async function printObject(run: Run): Promise<void> {
  const { model, modelPath, options, ranges, done, settings } = run;
  const data: object[] = [];
  for await (const batch of embedAll(run, run.texts)) {
    const form = lineForm(run, batch.dimensions, batch.pooling);
    data.push(...rowsOf(batch).map((row, i): object => JSON.parse(jsonLine(batch.first + i, row, form))));
  }
  const { architecture, name, weightType, kernel, threads } = model.info;
  writeJson({
    model: { path: modelPath, name, architecture, weightType, kernel, threads },
    pooling: done.last?.pooling ?? null,
    dimensions: done.last?.dimensions ?? null,
    normalize: options.vectors.normalize,
    prefix: settings.prefix,
    precision: options.codes.precision ?? "float32",
    ...(ranges === undefined ? {} : { ranges: { min: [...ranges.min], max: [...ranges.max] } }),
    tokens: done.tokens,
    timings: { embedMs: performance.now() - done.startedAt },
    data,
  });
}

async function printLines(run: Run): Promise<void> {
  for await (const batch of embedAll(run, run.texts)) {
    const form = lineForm(run, batch.dimensions, batch.pooling);
    write(
      rowsOf(batch)
        .map((row, i) => jsonLine(batch.first + i, row, form))
        .join(""),
    );
    await readerReady(process.stdout, run.signal);
  }
}

async function printAsLlama(run: Run, format: Exclude<Format, "jsonl" | "npy">): Promise<void> {
  const { precision } = run.options.codes;
  const isWhole = precision !== undefined || run.options.vectors.normalize === 0;
  let printer: ReturnType<typeof createPrinter> | undefined;
  for await (const batch of embedAll(run, run.texts)) {
    if (printer === undefined) {
      printer = createPrinter(format, { isWhole, ofTokens: batch.pooling === "none" });
      write(printer.begin());
    }
    for (const { text, vector } of rowsOf(batch)) {
      for (const one of splitVector(vector, batch.dimensions)) {
        const form = lineForm(run, batch.dimensions, batch.pooling);
        writeText(printer.add(precision === undefined ? one : writeVector(one, form).embedding, text));
      }
    }
    await readerReady(process.stdout, run.signal);
  }
  writeText(printer?.end() ?? "");
}
