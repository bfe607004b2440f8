// What a repository has that a model can be made of: GGUF files that are published ready, or a checkpoint.

import { basename, join } from "node:path";
import { readJson } from "../checkpoint/checkpoint.js";
import { type ModelConfig, readModelConfig } from "../checkpoint/config.js";
import { chooseFamily, saysTernary } from "../checkpoint/names.js";
import { modulesFile, poolingFile, promptsFile } from "../checkpoint/sentence-transformers.js";
import { matrixTypes } from "../convert/types.js";
import type { TensorType } from "../gguf/tensor-types.js";
import type { Repository } from "../hub/repository.js";
import { BitnetError } from "../system/errors.js";

/** The GGUF files of a repository, whatever the case of their names. */
export function listGgufFiles({ files }: Repository): string[] {
  return files.map(({ path }) => path).filter((path) => /\.gguf$/i.test(path));
}

/** Files named after the type, like ggml-model-i2_s.gguf, the likeliest first. */
export function listPublished(repository: Repository, type: string): string[] {
  return listNamed(repository, type, "");
}

function listNamed(repository: Repository, type: string, end: string): string[] {
  const pattern = new RegExp(`(^|[-_.])${type}${end}\\.gguf$`, "i");
  const rank = (path: string) => (path === `ggml-model-${type}.gguf` ? 0 : path.length);
  return listGgufFiles(repository)
    .filter((path) => pattern.test(path))
    .sort((a, b) => rank(a) - rank(b));
}

/** The end of the name of the first part of a model in several files. */
const firstPart = "-00001-of-\\d{5}";

/** GGUF files to convert from, or their first parts, the best first: ternary ones, then the smaller float files. */
export function listConvertible(repository: Repository): string[] {
  const rank = ({ ternary, blockBytes }: TensorType) => (ternary ? 0 : blockBytes);
  const types = [...matrixTypes()].sort((a, b) => rank(a) - rank(b)).map(({ name }) => name.toLowerCase());
  return types.flatMap((type) => [...listPublished(repository, type), ...listNamed(repository, type, firstPart)]);
}

/** What a conversion reads besides the weights. */
const sidecars =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|modules|config_sentence_transformers)\.json$|^(merges\.txt|chat_template\.jinja|tokenizer\.model|1_Pooling\/config\.json)$/;

/** What tells which model a checkpoint is. */
const descriptions = ["config.json", modulesFile, poolingFile, promptsFile];

const weightIndexes = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

export interface CheckpointFiles {
  /** Small files that are read before the weights are downloaded. */
  first: string[];
  /** Names the weights, where there is one; one of `first`. */
  index?: string;
  /** The weights, where there is no index. */
  weights: string[];
  /** What else a conversion reads. */
  others: string[];
}

/** The files of the repository's checkpoint; undefined if it has none. */
export function findCheckpoint(repository: Repository): CheckpointFiles | undefined {
  const paths = repository.files.map(({ path }) => path);
  const index = weightIndexes.find((path) => paths.includes(path));
  const weights = selectWeights(paths);
  if (!paths.includes("config.json") || (index === undefined && weights.length === 0)) {
    return undefined;
  }
  const first = [...descriptions, ...(index === undefined ? [] : [index])].filter((path) => paths.includes(path));
  return { first, index, weights, others: paths.filter((path) => sidecars.test(path)) };
}

/** The weight files of a repository without an index, in the order in which a conversion looks for them. */
function selectWeights(paths: readonly string[]): string[] {
  const whole = ["model.safetensors", "pytorch_model.bin"].find((name) => paths.includes(name));
  if (whole !== undefined) {
    return [whole];
  }
  for (const pattern of [/^[^/]+-\d{5}-of-\d{5}\.safetensors$/, /^[^/]+-\d{5}-of-\d{5}\.bin$/]) {
    const shards = paths.filter((path) => pattern.test(path));
    if (shards.length > 0) {
      return shards;
    }
  }
  const others = paths.filter((path) => /^[^/]+\.(safetensors|pth|pt)$/.test(path));
  return others.length === 1 ? others : [];
}

/** The weights of a checkpoint whose first files are in `folder`. */
export async function listWeights({ index, weights }: CheckpointFiles, folder: string): Promise<string[]> {
  if (index === undefined) {
    return weights;
  }
  const { weight_map: map } = await readJson(join(folder, index));
  if (typeof map !== "object" || map === null) {
    throw new BitnetError("BAD_FILE", `${basename(index)} of the repository has no weight_map`);
  }
  return [...new Set(Object.values(map).map(String))];
}

/** What the checkpoint in `folder` is of; refuses a model that is not ternary before its weights are downloaded. */
export async function readDescription(folder: string, name: string, isTernary: boolean): Promise<ModelConfig> {
  const config = await readModelConfig(folder);
  if (!isTernary && !saysTernary(config)) {
    const family = config.architectures[0] ?? config.modelType;
    throw new BitnetError("UNSUPPORTED", `${name} is no ternary model: its config.json says ${family}, not BitNet`, {
      hint: "if its weights were trained to be ternary all the same, convert it with: bitnet convert --force",
    });
  }
  return config;
}

/** Why a model of this kind cannot be run here; undefined: it can. */
export function whyNotRunnable(config: ModelConfig): string | undefined {
  return chooseFamily(config).pooled && config.pooling !== undefined ? embeddingReason : undefined;
}

export const embeddingReason = "it makes embeddings of texts and writes none";

/** `name` is to write text and does not. */
export function notForTextError(name: string, reason: string): BitnetError {
  const hint = reason === embeddingReason ? "`bitnet embed` computes its vectors" : undefined;
  return new BitnetError("UNSUPPORTED", `${name} cannot be run: ${reason}`, { hint });
}

export function nothingUsableError(repository: Repository): BitnetError {
  const where = `${repository.name}@${repository.revision}`;
  if (repository.fromCache) {
    return new BitnetError("NOT_FOUND", `the cache holds no whole checkpoint of ${where}`, {
      hint: "unset HF_HUB_OFFLINE to download the rest",
    });
  }
  return new BitnetError("UNSUPPORTED", `${where} holds no weights of a model`, {
    hint: "a repository with config.json and safetensors or PyTorch files, or with a GGUF file, is needed",
  });
}
