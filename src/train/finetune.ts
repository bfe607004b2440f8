// Fine-tuning: an adapter beside the frozen weights of a model, or all weights of a float master.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterDtype } from "../adapter/write-peft.js";
import { convertCheckpoint } from "../convert/convert.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { checkChoice, checkOptionNames, checkPath, type OptionNames } from "../system/options.js";
import { type AnsweredPrompt, answerPrompts } from "./answers.js";
import { type Base, type BaseOptions, openBase } from "./base.js";
import { type AdapterShape, adapterNames, type Trainable } from "./core/trainable.js";
import { Batches } from "./data/batches.js";
import { loadTrainingData, type TrainingData } from "./data/load.js";
import { planAll } from "./data/plan.js";
import { trainOnNames } from "./data/render.js";
import { exportAdapter } from "./export-adapter.js";
import { exportModel } from "./export-model.js";
import { type DataOptions, sourcesOf, type TrainingInput } from "./inputs.js";
import {
  checkRunControl,
  type RunControl,
  type RunEvent,
  type RunParts,
  requireFreeFolder,
  runControl,
  runTraining,
} from "./run.js";
import { hashesOfData, recordOptions } from "./run-options.js";
import { batchOptionsOf, resolveSettings, settingsAmong, type TrainSettings, trainSettings } from "./settings.js";
import type { TrainerResult } from "./trainer.js";

export interface FinetuneOptions extends Partial<TrainSettings>, RunControl, DataOptions, Omit<BaseOptions, "signal"> {
  /** A GGUF file, or the folder of a Hugging Face checkpoint; with `full` one with float weights. */
  model: string;
  data: TrainingInput | readonly TrainingInput[];
  /** Train all weights instead of an adapter. Default: false. */
  full?: boolean;
  /** Default: rank 32, alpha 64, dropout 0.1, all seven matrices of all layers. */
  adapter?: Partial<AdapterShape>;
  /** How numbers of an adapter are written. Default: "f32". */
  adapterDtype?: Exclude<AdapterDtype, "f16">;
  /** Questions that are asked before and after. */
  evalPrompts?: readonly string[];
  onEvent?: (event: FinetuneEvent) => void;
}

export type FinetuneEvent =
  | RunEvent
  /** So many examples are read. */
  | { kind: "reading"; examples: number }
  | { kind: "data"; data: TrainingData }
  /** What is written is read back and loaded. */
  | { kind: "exporting" }
  | ({ kind: "answer"; when: "before" | "after" } & AnsweredPrompt);

/** What came of it. */
export interface FinetuneResult extends TrainerResult {
  folder: string;
  /** Of an adapter: the same as a GGUF file. Of a whole model: the model. */
  gguf: string;
  /** Of a whole model: folders that transformers reads; `master` trains on. */
  master?: string;
  packed?: string;
  answers: { prompt: string; before: string; after: string }[];
  warnings: string[];
}

export const defaultAdapter = { rank: 32, alpha: 64, dropout: 0.1 } as const satisfies AdapterShape;

const finetuneOptions: OptionNames<FinetuneOptions> = {
  ...trainSettings,
  ...runControl,
  model: true,
  data: true,
  full: true,
  adapter: true,
  adapterDtype: true,
  evalData: true,
  evalSplit: true,
  maxSamples: true,
  skipBad: true,
  trainOn: true,
  evalPrompts: true,
  chatTemplate: true,
  tokenizerPre: true,
  kernelConfig: true,
  onEvent: true,
};

/** All that is known before anything is trained. */
export interface PreparedFinetune {
  base: Base;
  data: TrainingData;
  run: RunParts;
}

/** Reads base and data. Throws NOT_FOUND, BAD_FILE with the line of the data, UNSUPPORTED, USAGE. */
export async function prepareFinetune(options: FinetuneOptions): Promise<PreparedFinetune> {
  checkOptionNames("finetune", options, finetuneOptions);
  const { full = false, signal, onEvent, adapter, trainOn = "assistant" } = options;
  checkPath("model", options.model);
  checkChoice("trainOn", trainOn, trainOnNames);
  checkChoice("adapterDtype", options.adapterDtype, ["f32", "bf16"]);
  checkRunControl(options);
  if (adapter !== undefined) {
    checkOptionNames("finetune: adapter", adapter, adapterNames);
  }
  if (full && adapter !== undefined) {
    throw new BitnetError("USAGE", "finetune: full trains all weights and takes no adapter");
  }
  const base = await openBase(options.model, options);
  if (full && "gguf" in base.source) {
    throw new BitnetError("UNSUPPORTED", `${options.model}: all weights are trained from the folder of a checkpoint`, {
      hint: "name the folder with the float master, such as microsoft/bitnet-b1.58-2B-4T-bf16's; an adapter needs none",
    });
  }
  const settings = settingsOf(options, base);
  const data = await loadTrainingData(
    sourcesOf(options.data, "data"),
    { ...base, trainOn },
    {
      maxLength: settings.maxLength,
      maxSamples: options.maxSamples,
      skipBad: options.skipBad,
      evalData: options.evalData === undefined ? undefined : sourcesOf(options.evalData, "evalData"),
      evalSplit: options.evalSplit,
      seed: settings.seed,
      signal,
      onProgress: (examples) => onEvent?.({ kind: "reading", examples }),
    },
  );
  onEvent?.({ kind: "data", data });
  return { base, data, run: describeRun(options, base, data, settings) };
}

/** Rows are no longer than the model was trained for, unless that is asked for. */
function settingsOf(options: FinetuneOptions, { contextLength }: Base): TrainSettings {
  const given = settingsAmong(options);
  const settings = resolveSettings(options.full ? "full" : "lora", given);
  return { ...settings, maxLength: given.maxLength ?? Math.min(settings.maxLength, contextLength) };
}

function describeRun(options: FinetuneOptions, base: Base, data: TrainingData, settings: TrainSettings): RunParts {
  const { full = false, trainOn = "assistant" } = options;
  const shape: AdapterShape = { ...defaultAdapter, ...options.adapter };
  const rows = { length: settings.maxLength, packing: settings.packing };
  const hasEvaluation = data.evaluation.length > 0;
  return {
    ...options,
    title: `${base.name}: ${full ? "all weights" : "adapter"}`,
    source: base.source,
    core: full ? { mode: "full" } : { mode: "lora", adapter: shape },
    trained: full
      ? { kind: "model", folder: options.model }
      : { kind: "adapter", shape, origin: { baseName: options.model } },
    documents: data.documents,
    batches: new Batches(data.documents, data.training, batchOptionsOf(settings)),
    ...(hasEvaluation && { evaluation: planAll(data.documents, data.evaluation, rows) }),
    settings,
    record: {
      options: recordOptions(full ? "full" : "lora", settings, { trainOn, ...(full ? {} : { adapter: shape }) }),
      hashes: { ...base.hashes, ...hashesOfData(data) },
    },
  };
}

/**
 * Trains, writes the result into `out` and loads it once before it returns. Throws as prepareFinetune(); NO_MEMORY with
 * lengths that fit; ABORTED, after what was done so far is saved as a checkpoint.
 */
export async function finetune(options: FinetuneOptions): Promise<FinetuneResult> {
  checkOptionNames("finetune", options, finetuneOptions);
  await requireFreeFolder(options); // reading may take long
  return await finetunePrepared(await prepareFinetune(options), options);
}

/** The same, of what is read already. */
export async function finetunePrepared(prepared: PreparedFinetune, options: FinetuneOptions): Promise<FinetuneResult> {
  const { run, base } = prepared;
  const { onEvent, full = false } = options;
  const before = await answersBefore(options, base);
  const exported = await runTraining({ ...run, onEvent }, async (trainable, result) => {
    onEvent?.({ kind: "exporting" });
    return {
      ...result,
      ...(await (full ? writeModel(trainable, options) : writeTrainedAdapter(trainable, prepared, options, result))),
    };
  });
  const after = await answersAfter(options, base, exported);
  const answers = after.map(({ prompt, answer }, i) => ({ prompt, before: before[i]?.answer ?? "", after: answer }));
  return { ...exported, answers };
}

interface Written {
  folder: string;
  gguf: string;
  master?: string;
  packed?: string;
  warnings: string[];
}

async function writeModel(trainable: Trainable, { out, model, signal }: FinetuneOptions): Promise<Written> {
  const { gguf, master, packed } = await exportModel(out, trainable, { source: model, signal });
  if (gguf === undefined) {
    throw new BitnetError("INTERNAL", `${out}: no model.gguf was written`);
  }
  return { folder: out, gguf, master, packed, warnings: [] };
}

async function writeTrainedAdapter(
  trainable: Trainable,
  { run }: PreparedFinetune,
  { out, model, adapter, adapterDtype }: FinetuneOptions,
  result: TrainerResult,
): Promise<Written> {
  const { evalBefore, evalLoss, resultStep, tokens } = result;
  const { folder, gguf, warnings } = await exportAdapter(out, trainable, {
    base: { path: model },
    shape: { ...defaultAdapter, ...adapter },
    dtype: adapterDtype,
    card: {
      evalLoss: { before: evalBefore, after: evalLoss },
      results: { steps: resultStep, tokens },
      options: Object.fromEntries(
        Object.entries(run.record.options).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.join(", ") : String(value),
        ]),
      ),
    },
  });
  return { folder, gguf, warnings };
}

async function answersBefore(options: FinetuneOptions, base: Base): Promise<AnsweredPrompt[]> {
  const prompts = options.evalPrompts ?? [];
  if (prompts.length === 0 || options.resume) {
    return [];
  }
  return await withGguf(base, options, (path) => answer(path, "before", options, base));
}

async function answersAfter(
  options: FinetuneOptions,
  base: Base,
  { folder, gguf }: Written,
): Promise<AnsweredPrompt[]> {
  if ((options.evalPrompts ?? []).length === 0) {
    return [];
  }
  return options.full
    ? await answer(gguf, "after", options, base)
    : await withGguf(base, options, (path) => answer(path, "after", options, base, folder));
}

async function answer(
  path: string,
  when: "before" | "after",
  { evalPrompts = [], threads, kernel, signal, onEvent }: FinetuneOptions,
  { format }: Base,
  lora?: string,
): Promise<AnsweredPrompt[]> {
  const answers = await answerPrompts(path, evalPrompts, { lora, threads, kernel, format, signal });
  for (const answered of answers) {
    onEvent?.({ kind: "answer", when, ...answered });
  }
  return answers;
}

/** The base as a GGUF file: of a checkpoint one that is made for this and deleted. */
async function withGguf<T>(
  { source }: Base,
  { signal }: FinetuneOptions,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if ("gguf" in source) {
    return await use(source.gguf);
  }
  const scratch = await mkdtemp(join(tmpdir(), "bitnet-base-"));
  try {
    const outfile = join(scratch, "base.gguf");
    await convertCheckpoint({ source: source.checkpoint, outfile, outtype: "i2_s", signal });
    return await convertingAsync(() => use(outfile));
  } finally {
    await rm(scratch, { recursive: true, force: true }).catch(() => {}); // Windows keeps files that are mapped
  }
}
