// bitnet logits: what the network computes, before any sampling.

import { basename } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { loadModel, type Session } from "../../engine/model.js";
import type { Tokenizer } from "../../engine/tokenizer.js";
import { countOf } from "../../system/counts.js";
import { withContext } from "../../system/errors.js";
import { writeOutput } from "../../system/files.js";
import { applyAdapters, loraRows } from "../lora-rows.js";
import { chooseModel, locateModel, modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { modelRows, outputRows, readModel, withHelp } from "../options.js";
import { integerFrom, parseIds } from "../parsers.js";
import { noteOwnBos } from "../prompt.js";
import { oneLine, wrapWords } from "../terminal/format.js";
import { colorsOf, columnsOf, interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { type Column, formatTable } from "../terminal/table.js";

const groups = {
  prompt: groupOf("Prompt", {
    ids: { flags: "--ids <ids>", help: "the prompt as token ids, separated by commas", parse: parsePromptIds },
    prompt: { flags: "-p, --prompt <text>", help: "the prompt as text; BOS is added as the model wants it" },
    oneByOne: { flags: "--one-by-one", help: "evaluate the prompt token by token instead of in batches" },
  }),
  model: groupOf("Model", {
    path: modelRows.path,
    threads: modelRows.threads,
    kernel: modelRows.kernel,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
  }),
  lora: groupOf("Adapters", loraRows),
  output: groupOf("Output", {
    all: { flags: "--all", help: "logits of every position of the prompt, not of the last alone" },
    top: {
      flags: "--top <n>",
      help: "how many of the highest logits to print",
      parse: integerFrom(1),
      standard: 20,
    },
    out: {
      flags: "--out <file>",
      help: "write all logits as little-endian float32 [positions, vocabulary] instead of printing",
    },
    json: withHelp(outputRows.json, "print one JSON object, as where stdout is no terminal"),
  }),
};

type LogitsOptions = GroupValues<typeof groups>;

export default function configureLogits(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet logits -m model.gguf -p "The capital of France is" --top 5
  $ bitnet logits -m model.gguf --ids 128000,791 --all --out logits.f32`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const model = chooseModel(command, named, options.model.path);
      const { ids, prompt } = options.prompt;
      if ((ids === undefined) === (prompt === undefined)) {
        command.error("expected one of --ids and --prompt", { exitCode: 2 });
      }
      const path = await locateModel(model);
      await printLogits({ ...options, model: { ...options.model, path } });
    });
}

function parsePromptIds(text: string): number[] {
  const ids = parseIds(text);
  if (ids.length === 0) {
    throw new InvalidArgumentError("Expected at least one token id.");
  }
  return ids;
}

async function printLogits({ prompt, output, ...options }: LogitsOptions): Promise<void> {
  const { path, load } = readModel(options.model);
  const signal = interruptSignal();
  await using model = await loadModel(path, { ...load, signal });
  for (const text of model.info.warnings) {
    note(text);
  }
  await applyAdapters(model, options.lora, { signal });
  noteOwnBos(model.tokenizer, prompt.prompt ?? "", note);
  const ids = prompt.ids ?? [...model.tokenizer.encode(prompt.prompt ?? "", { parseSpecial: true })];
  await using session = model.createSession({ contextSize: Math.max(ids.length, 1) });
  const { all, out, top, json } = output;
  const logits = await computeLogits(session, ids, { all, oneByOne: prompt.oneByOne, signal });

  const positions = logits.length / model.info.vocabSize;
  if (out !== undefined) {
    await writeFloats(out, logits);
    note(`wrote ${positions} x ${model.info.vocabSize} float32 to ${out}`);
    return;
  }
  const first = ids.length - positions;
  const report = {
    model: path,
    kernel: model.info.kernel,
    threads: model.info.threads,
    ids,
    positions: Array.from({ length: positions }, (_, row) => ({
      position: first + row,
      id: ids[first + row],
      top: topOf(logits.subarray(row * model.info.vocabSize, (row + 1) * model.info.vocabSize), top).map((id) =>
        describe(model.tokenizer, id, logits[row * model.info.vocabSize + id]),
      ),
    })),
  };
  const columns = columnsOf(process.stdout);
  if (json || columns === undefined) {
    writeJson(report);
  } else {
    write(formatLogits(report, model.tokenizer, columns));
  }
}

interface LogitsReport {
  model: string;
  kernel: string;
  threads: number;
  positions: { position: number; id: number | undefined; top: ReturnType<typeof describe>[] }[];
}

/** A table for each position: which tokens the network holds most likely after it. */
function formatLogits(
  { model, kernel, threads, positions }: LogitsReport,
  tokenizer: Tokenizer,
  width: number,
): string {
  const { bold, dim } = colorsOf(process.stdout);
  const columns: Column[] = [{ header: "ID", numeric: true }, { header: "LOGIT", numeric: true }, { header: "TOKEN" }];
  const tables = positions.map(({ position, id, top }) => {
    const after = id === undefined ? "" : `, after ${id} ${JSON.stringify(tokenizer.piece(id, { special: true }))}`;
    const rows = top.map(({ id, logit = Number.NaN, piece }) => [String(id), logit.toFixed(3), JSON.stringify(piece)]);
    const title = bold(oneLine(`position ${position}${after}`));
    return [title, ...formatTable({ columns, rows, width, indent: "  ", headerStyle: dim })].join("\n");
  });
  const about = oneLine(`${basename(model)}, kernel ${kernel}, ${countOf(threads, "thread")}`);
  return `${[...tables, dim(wrapWords(about, width).join("\n"))].join("\n\n")}\n`;
}

function describe(tokenizer: Tokenizer, id: number, logit: number | undefined) {
  // Some models have more rows in their head than tokens.
  return { id, logit, piece: id < tokenizer.info.vocabSize ? tokenizer.piece(id, { special: true }) : "" };
}

/** Logits of the last position, or of all, one row each. */
async function computeLogits(
  session: Session,
  ids: number[],
  { all, oneByOne, signal }: { all?: boolean; oneByOne?: boolean; signal: AbortSignal },
): Promise<Float32Array> {
  if (!oneByOne) {
    await session.prefill(ids, { logits: all ? "all" : "last", signal });
    return session.logits();
  }
  const rows: Float32Array[] = [];
  for (let end = 1; end <= ids.length; end++) {
    await session.prefill(ids.slice(0, end), { signal });
    if (all || end === ids.length) {
      rows.push(session.logits().slice());
    }
  }
  return concatenate(rows);
}

function concatenate(rows: Float32Array[]): Float32Array {
  const width = rows[0]?.length ?? 0;
  const all = new Float32Array(width * rows.length);
  for (const [row, values] of rows.entries()) {
    all.set(values, row * width);
  }
  return all;
}

/** The ids of the n highest logits, highest first; equal ones by id. */
function topOf(logits: Float32Array, n: number): number[] {
  const ids = Array.from(logits, (_, id) => id);
  ids.sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b);
  return ids.slice(0, n);
}

async function writeFloats(path: string, values: Float32Array): Promise<void> {
  try {
    await writeOutput(path, Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  } catch (error) {
    throw withContext(`cannot write the logits to ${path}`, error);
  }
}
