// Training from nothing: a config.json, texts, and what tokenizer there is, become a model.

import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readModelConfig } from "../checkpoint/config.js";
import { copyTokenizerFiles, listTokenizerFiles } from "../checkpoint/side-files.js";
import { at } from "../system/at.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { makeFolder, replaceFile } from "../system/files.js";
import { hashFiles } from "../system/hash-files.js";
import { parseJson } from "../system/json.js";
import { checkOptionNames, checkPath, type OptionNames } from "../system/options.js";
import { readTextFile } from "../system/text-file.js";
import { hashTokenizer, readText, type TrainingText } from "./base.js";
import { Batches } from "./data/batches.js";
import { fingerprint } from "./data/fingerprint.js";
import { planAll } from "./data/plan.js";
import { openShards, type ShardDocuments } from "./data/shards.js";
import type { DataSource } from "./data/sources.js";
import { type TokenizedData, tokenizeToShards } from "./data/tokenize.js";
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
  withRunFolder,
} from "./run.js";
import { recordOptions } from "./run-options.js";
import { batchOptionsOf, resolveSettings, settingsAmong, type TrainSettings, trainSettings } from "./settings.js";
import { controlTokens } from "./tokenizer/files.js";
import { checkVocabSize, type TokenizerProgress, trainTokenizer } from "./tokenizer/train.js";
import type { TrainerResult } from "./trainer.js";

export interface PretrainOptions
  extends Partial<TrainSettings>,
    RunControl,
    Pick<DataOptions, "evalData" | "evalSplit" | "maxSamples" | "skipBad"> {
  /** config.json as Hugging Face has it, or the folder that it is in. */
  config: string;
  /** Texts and chats in all forms, or shards (.bin) of the same tokenizer. */
  data: TrainingInput | readonly TrainingInput[];
  /** "new", or a folder with a tokenizer. Default: that beside config.json, else "new". */
  tokenizer?: string;
  /** Entries of a new tokenizer. Default: what config.json says. */
  vocabSize?: number;
  onEvent?: (event: PretrainEvent) => void;
}

export type PretrainEvent =
  | RunEvent
  | { kind: "tokenizer"; progress: TokenizerProgress }
  | { kind: "tokenizing"; documents: number; tokens: number }
  | { kind: "shards"; documents: number; tokens: number; evaluation: number }
  | { kind: "exporting" };

export interface PretrainResult extends TrainerResult {
  folder: string;
  gguf: string;
  master: string;
  packed: string;
}

const pretrainOptions: OptionNames<PretrainOptions> = {
  ...trainSettings,
  ...runControl,
  config: true,
  data: true,
  tokenizer: true,
  vocabSize: true,
  evalData: true,
  evalSplit: true,
  maxSamples: true,
  skipBad: true,
  onEvent: true,
};

/** Folders of a run: what the model begins with, and its shards. */
const startName = "start";
const dataName = "data";
const configName = "config.json";

/**
 * Trains a model from random weights and writes it into `out` in all its forms, each of which is loaded once before it returns.
 * Throws NOT_FOUND, BAD_FILE with the line of the data, UNSUPPORTED for a family whose training is not known, USAGE;
 * NO_MEMORY with lengths that fit; ABORTED, after what was done so far is saved as a checkpoint.
 */
export async function pretrain(options: PretrainOptions): Promise<PretrainResult> {
  const prepared = await preparePretrain(options);
  try {
    return await pretrainPrepared(prepared, options);
  } finally {
    prepared.close();
  }
}

/** All that is known before anything is trained. */
export interface PreparedPretrain {
  run: RunParts;
  text: TrainingText;
  documents: number;
  tokens: number;
  evaluation: number; // documents
  close(): void;
}

/** Trains the tokenizer and writes the shards, as far as that is wanted and not done yet. */
export async function preparePretrain(options: PretrainOptions): Promise<PreparedPretrain> {
  checkOptionNames("pretrain", options, pretrainOptions);
  checkPath("config", options.config);
  checkRunControl(options);
  await requireFreeFolder(options); // before what that run began with is overwritten
  return await withRunFolder(options, async () => {
    await requireFreeFolder(options);
    return await prepareInFolder(options);
  });
}

async function prepareInFolder(options: PretrainOptions): Promise<PreparedPretrain> {
  const { out, signal, onEvent } = options;
  const start = join(out, startName);
  await makeFolder(start);
  await prepareStart(start, options);
  const text = await readText(start, { signal });
  const given = settingsAmong(options);
  const settings = resolveSettings("new", given);
  const maxLength = given.maxLength ?? Math.min(settings.maxLength, text.contextLength);
  const opened = await openData(options, text, await hashTokenizer(start, signal), settings.seed);
  const { documents } = opened.training;
  onEvent?.({ kind: "shards", documents: documents.count, tokens: documents.tokens, evaluation: opened.evalCount });
  try {
    const run = await describeRun(options, start, opened, { ...settings, maxLength });
    const counts = { documents: documents.count, tokens: documents.tokens, evaluation: opened.evalCount };
    return { run, text, ...counts, close: () => opened.close() };
  } catch (error) {
    opened.close();
    throw error;
  }
}

export async function pretrainPrepared({ run }: PreparedPretrain, options: PretrainOptions): Promise<PretrainResult> {
  const { out, signal, onEvent } = options;
  return await runTraining({ ...run, onEvent }, async (trainable, result) => {
    onEvent?.({ kind: "exporting" });
    const { gguf, master, packed } = await exportModel(out, trainable, { source: join(out, startName), signal });
    if (gguf === undefined || master === undefined || packed === undefined) {
      throw new BitnetError("INTERNAL", `${out}: a form of the model was not written`);
    }
    return { ...result, folder: out, gguf, master, packed };
  });
}

/** config.json and the tokenizer into `start`; a tokenizer that was trained there stays when the run goes on. */
async function prepareStart(start: string, options: PretrainOptions): Promise<void> {
  const folder = await folderOfConfig(options.config);
  const { tokenizer = (await listTokenizerFiles(folder)).includes("tokenizer.json") ? folder : "new" } = options;
  const config = await readConfig(options.config);
  if (tokenizer !== "new") {
    checkPath("tokenizer", tokenizer);
    await requireTokenizer(tokenizer, start, options);
    await copyTokenizerFiles(tokenizer, start);
    await replaceFile(join(start, configName), config.text);
    return;
  }
  const vocabSize = options.vocabSize ?? Number(config.value.vocab_size);
  checkVocabSize(vocabSize);
  const first = vocabSize - controlTokens.length;
  const ids = { vocab_size: vocabSize, bos_token_id: first, eos_token_id: first + 1, pad_token_id: first + 1 };
  await replaceFile(join(start, configName), `${JSON.stringify({ ...config.value, ...ids }, null, 2)}\n`);
  if (options.resume && existsSync(join(start, "tokenizer.json"))) {
    return;
  }
  const { contextLength = 2048 } = await readModelConfig(start);
  const { maxSamples, skipBad, signal, onEvent } = options;
  await trainTokenizer(start, sourcesOf(options.data, "data"), {
    ...{ vocabSize, contextLength, maxSamples, skipBad, signal },
    onProgress: (progress) => onEvent?.({ kind: "tokenizer", progress }),
  });
}

/** Throws NOT_FOUND for a folder without tokenizer; USAGE where it would replace that of the run that goes on. */
async function requireTokenizer(folder: string, start: string, options: PretrainOptions): Promise<void> {
  const { resume, force, vocabSize, signal } = options;
  if (vocabSize !== undefined) {
    throw new BitnetError("USAGE", `a vocabulary of ${vocabSize} is for a new tokenizer, and ${folder} has one`, {
      hint: "--tokenizer new trains one",
    });
  }
  if ((await listTokenizerFiles(folder)).length === 0) {
    throw new BitnetError("NOT_FOUND", `${folder}: no tokenizer: neither tokenizer.json nor tokenizer.model is there`);
  }
  if (resume && !force && (await listTokenizerFiles(start)).length > 0) {
    const [given, begun] = [await hashTokenizer(folder, signal), await hashTokenizer(start, signal)];
    if (given !== begun) {
      throw new BitnetError("USAGE", `${folder}: not the tokenizer that the run was begun with`, {
        hint: "give what it was begun with, or --force to go on all the same",
      });
    }
  }
}

async function folderOfConfig(path: string): Promise<string> {
  return (await convertingAsync(() => stat(path))).isDirectory() ? path : dirname(path);
}

async function readConfig(path: string): Promise<{ text: string; value: Record<string, unknown> }> {
  const file = (await stat(path)).isDirectory() ? join(path, configName) : path;
  const text = await convertingAsync(() => readTextFile(file));
  const value = parseJson(text, file);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new BitnetError("BAD_FILE", `${file}: expected a JSON object`);
  }
  return { text, value: value as Record<string, unknown> };
}

interface OpenedData {
  training: { documents: ShardDocuments; paths: { paths: string[]; weight: number }[] };
  evaluation?: { documents: ShardDocuments; paths: string[] };
  evalCount: number;
  close(): void;
}

/** Shards are taken as they are; all else becomes shards first. */
async function openData(
  options: PretrainOptions,
  { tokenizer, format }: TrainingText,
  tokenizerHash: string,
  seed: number,
): Promise<OpenedData> {
  const { signal, evalSplit, maxSamples, skipBad, onEvent } = options;
  if (evalSplit !== undefined && options.evalData !== undefined) {
    throw new BitnetError("USAGE", "evaluation data and a split of the training data exclude each other");
  }
  const common = { seed, tokenizerHash, maxSamples, skipBad, signal };
  const onProgress = (progress: { documents: number; tokens: number }) =>
    onEvent?.({ kind: "tokenizing", ...progress });
  const write = async (data: PretrainOptions["data"], folder: string, split?: number) => {
    const sources = sourcesOf(data, "data");
    const ready = takeShards(sources);
    return (
      ready ??
      (await tokenizeToShards(folder, sources, { tokenizer, format }, { ...common, evalSplit: split, onProgress }))
    );
  };
  const written = await write(options.data, join(options.out, dataName), evalSplit);
  const evalPaths =
    options.evalData === undefined
      ? written.evaluation
      : (await write(options.evalData, join(options.out, dataName, "eval"))).training.flatMap(({ paths }) => paths);
  const training = await openShards(
    written.training.flatMap(({ paths }) => paths),
    tokenizer.info,
    signal,
  );
  const evaluation = evalPaths.length === 0 ? undefined : await openShards(evalPaths, tokenizer.info, signal);
  return {
    training: { documents: training, paths: written.training },
    ...(evaluation && { evaluation: { documents: evaluation, paths: evalPaths } }),
    evalCount: evaluation?.count ?? 0,
    close: () => [training, evaluation].forEach((documents) => void documents?.close()),
  };
}

/** Data that is shards already. Throws USAGE for a mixture of shards and texts. */
function takeShards(sources: readonly DataSource[]): Pick<TokenizedData, "training" | "evaluation"> | undefined {
  const isShard = ({ name, rows }: DataSource) => rows === undefined && name.endsWith(".bin");
  if (!sources.some(isShard)) {
    return undefined;
  }
  const other = sources.find((source) => !isShard(source));
  if (other !== undefined) {
    throw new BitnetError("USAGE", `${other.name} is no shard, and ${at(sources, 0).name} is one`, {
      hint: "name shards (.bin) alone, or texts alone",
    });
  }
  return { training: sources.map(({ name, weight = 1 }) => ({ paths: [name], weight })), evaluation: [] };
}

async function describeRun(
  options: PretrainOptions,
  start: string,
  { training, evaluation }: OpenedData,
  settings: TrainSettings,
): Promise<RunParts> {
  const { documents } = training;
  const groups = training.paths.map(({ paths, weight }) => ({ documents: documents.documentsOf(paths), weight }));
  const rows = { length: settings.maxLength, packing: settings.packing };
  const everything = (shards: ShardDocuments) => Uint32Array.from({ length: shards.count }, (_, i) => i);
  const hash = (shards: ShardDocuments | undefined) =>
    shards === undefined ? "none" : fingerprint(shards, everything(shards));
  return {
    ...options,
    title: "a new model",
    source: { config: start },
    core: { mode: "full" },
    trained: { kind: "model", folder: start },
    documents,
    batches: new Batches(documents, groups, batchOptionsOf(settings)),
    ...(evaluation && { evaluation: planAll(evaluation.documents, everything(evaluation.documents), rows) }),
    settings,
    record: {
      options: recordOptions("new", settings),
      hashes: {
        config: await hashFiles([join(start, configName)], options.signal),
        tokenizer: await hashTokenizer(start, options.signal),
        data: hash(documents),
        evaluation: hash(evaluation?.documents),
      },
    },
  };
}
