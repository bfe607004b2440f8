// bitnet logits: what the network computes, before any sampling.

import { type Command, InvalidArgumentError } from "commander";
import { loadModel, type Session } from "../../engine/model.js";
import type { Tokenizer } from "../../engine/tokenizer.js";
import { bundledModel } from "../../models/bundled.js";
import { BitnetError, reasonOf } from "../../system/errors.js";
import { writeOutput } from "../../system/files.js";
import { integerFrom, parseIds } from "../parsers.js";
import { interruptSignal, note, writeJson } from "../terminal/output.js";

interface LogitsOptions {
  model: string;
  ids?: number[];
  prompt?: string;
  all?: boolean;
  oneByOne?: boolean;
  top: number;
  out?: string;
  threads?: number;
  kernel?: string;
  tokenizerPre?: string;
  kernelConfig?: string;
}

export default function configureLogits(command: Command): void {
  command
    .option("-m, --model <file>", "GGUF file", bundledModel.path)
    .option("--ids <ids>", "the prompt as token ids, separated by commas", parsePromptIds)
    .option("-p, --prompt <text>", "the prompt as text; BOS is added as the model wants it")
    .option("--all", "of every position of the prompt, not of the last alone")
    .option("--one-by-one", "evaluate the prompt token by token instead of in batches")
    .option("--top <n>", "how many of the highest logits to print", integerFrom(1), 20)
    .option("--out <file>", "write all logits as little-endian float32 [positions, vocabulary] instead of printing")
    .option("-t, --threads <n>", "threads (default: the physical cores)", integerFrom(1, 1024))
    .option("--kernel <name>", "kernels to use, such as scalar (default: the best that this CPU has)")
    .option("--tokenizer-pre <name>", "pre-tokenizer to use instead of the file's")
    .option("--kernel-config <file>", "kernel_config.ini of a TL1 or TL2 file")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet logits -m model.gguf -p "The capital of France is" --top 5
  $ bitnet logits -m model.gguf --ids 128000,791 --all --out logits.f32`,
    )
    .action(async (options: LogitsOptions, command: Command) => {
      if ((options.ids === undefined) === (options.prompt === undefined)) {
        command.error("expected one of --ids and --prompt", { exitCode: 2 });
      }
      await printLogits(options);
    });
}

function parsePromptIds(text: string): number[] {
  const ids = parseIds(text);
  if (ids.length === 0) {
    throw new InvalidArgumentError("Expected at least one token id.");
  }
  return ids;
}

async function printLogits(options: LogitsOptions): Promise<void> {
  const { threads, kernel, tokenizerPre, kernelConfig } = options;
  const signal = interruptSignal();
  await using model = await loadModel(options.model, { threads, kernel, tokenizerPre, kernelConfig, signal });
  const ids = options.ids ?? [...model.tokenizer.encode(options.prompt ?? "", { parseSpecial: true })];
  await using session = model.createSession({ contextSize: Math.max(ids.length, 1) });
  const logits = await computeLogits(session, ids, options, signal);

  const positions = logits.length / model.info.vocabSize;
  if (options.out !== undefined) {
    await writeFloats(options.out, logits);
    note(`wrote ${positions} x ${model.info.vocabSize} float32 to ${options.out}`);
    return;
  }
  const first = ids.length - positions;
  writeJson({
    model: options.model,
    kernel: model.info.kernel,
    threads: model.info.threads,
    ids,
    positions: Array.from({ length: positions }, (_, row) => ({
      position: first + row,
      id: ids[first + row],
      top: topOf(logits.subarray(row * model.info.vocabSize, (row + 1) * model.info.vocabSize), options.top).map((id) =>
        describe(model.tokenizer, id, logits[row * model.info.vocabSize + id]),
      ),
    })),
  });
}

function describe(tokenizer: Tokenizer, id: number, logit: number | undefined) {
  // Some models have more rows in their head than tokens.
  return { id, logit, piece: id < tokenizer.info.vocabSize ? tokenizer.piece(id, { special: true }) : "" };
}

/** Logits of the last position, or of all, one row each. */
async function computeLogits(
  session: Session,
  ids: number[],
  options: { all?: boolean; oneByOne?: boolean },
  signal: AbortSignal,
): Promise<Float32Array> {
  if (!options.oneByOne) {
    await session.prefill(ids, { logits: options.all ? "all" : "last", signal });
    return session.logits();
  }
  const rows: Float32Array[] = [];
  for (let end = 1; end <= ids.length; end++) {
    await session.prefill(ids.slice(0, end), { signal });
    if (options.all || end === ids.length) {
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
    throw new BitnetError("NOT_FOUND", `cannot write the logits to ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
