// From the name of a model to a GGUF file that is ready to run: a published one if there is one of the wanted type, else
// the checkpoint, downloaded and converted. What setup_env.py does.

import { constants, copyFile, link, mkdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { readJson } from "../checkpoint/checkpoint.js";
import { readModelConfig } from "../checkpoint/config.js";
import { saysTernary } from "../checkpoint/names.js";
import { checkCheckpointShapes, checkTensorShapes } from "../convert/check-shapes.js";
import { convertCheckpoint } from "../convert/convert.js";
import type { ConvertProgress, ConvertReport } from "../convert/plan.js";
import { matrixTypes, parseTypes } from "../convert/types.js";
import { isLinearTensor } from "../gguf/families.js";
import { type Gguf, openGguf } from "../gguf/gguf.js";
import type { TensorType } from "../gguf/tensor-types.js";
import { sizeOf } from "../hub/cache.js";
import { type DownloadProgress, downloadFiles } from "../hub/download.js";
import { type Hub, type HubRetry, openHub } from "../hub/http.js";
import { findRegistered, type RegisteredModel } from "../hub/registry.js";
import { openRemoteGguf } from "../hub/remote-gguf.js";
import { openRepository, type Repository, type RepositoryName, readRepositoryName } from "../hub/repository.js";
import { BitnetError, toBitnetError } from "../system/errors.js";
import { modelsFolder } from "../system/folders.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";

export interface SetupOptions {
  /** "owner/name" or "owner/name@revision". Without it `modelDir` is a checkpoint's own folder. */
  repository?: string;
  /** Holds one folder per model. Default: the user's folder of models, which BITNET_MODELS names. */
  modelDir?: string;
  /** Of the ternary weights, in any case, as for a conversion. Default: i2_s. */
  type?: string;
  /** Of the token embedding, as for a conversion. Default: f16, or a published file's own. */
  embeddingType?: string;
  /** Path of a kernel_config.ini with tile sizes of TL1 and TL2. Default: bitnet.cpp's own, else by the shapes. */
  kernelConfig?: string;
  /** Default: the hub that the process's environment describes. */
  hub?: Hub;
  signal?: AbortSignal;
  /** Called with each step and each thing worth a line. */
  onNote?: (text: string) => void;
  /** Called with each request that will be repeated. Default: a note. */
  onRetry?: (retry: HubRetry) => void;
  onDownload?: (progress: DownloadProgress) => void;
  onConvert?: (progress: ConvertProgress) => void;
}

const setupOptions: OptionNames<SetupOptions> = {
  repository: true,
  modelDir: true,
  type: true,
  embeddingType: true,
  kernelConfig: true,
  hub: true,
  signal: true,
  onNote: true,
  onRetry: true,
  onDownload: true,
  onConvert: true,
};

export interface SetupResult {
  /** The GGUF file. */
  path: string;
  bytes: number;
  type: string; // "i2_s"
  /** Where it came from: it was there, it was published so, or it was converted here. */
  origin: "existing" | "published" | "converted";
  architecture: string;
  /** What it is for; "instruct" of a model that nobody registered means that it has a chat template. */
  kind: RegisteredModel["kind"];
  repository?: string;
  commit?: string;
  /** Of a conversion. */
  report?: ConvertReport;
}

/** Sets a model up; does nothing if that is done already. */
export async function setupModel(options: SetupOptions): Promise<SetupResult> {
  checkOptionNames("setupModel", options, setupOptions);
  const { repository, embeddingType } = options;
  const type = parseTypes({ outtype: options.type ?? "i2_s", embeddingType }).outtype.name.toLowerCase();
  const task: SetupTask = { ...options, type, onNote: options.onNote ?? (() => {}) };
  if (repository === undefined) {
    return setupLocal(task, options.modelDir);
  }
  const modelDir = options.modelDir ?? modelsFolder();
  const name = readRepositoryName(repository);
  const folder = join(modelDir, basename(name.name));
  const registered = findRegistered(name.name);
  const path = join(folder, `ggml-model-${type}.gguf`);
  const existing = await findExisting(task, path);
  if (existing !== undefined) {
    return { ...describe(existing, task, registered), origin: "existing", repository: name.name };
  }
  const hub = options.hub ?? (await openHub({ onNote: task.onNote, onRetry: task.onRetry }));
  task.onNote(`looking up ${name.name}@${name.revision} on ${hub.environment.endpoint}`);
  const opened = await openRepository(hub, name, options);
  const source = { repository: opened.name, commit: opened.commit };
  const published = await usePublished(task, hub, opened, registered, path);
  if (published !== undefined) {
    return { ...describe(published.gguf, task, registered), origin: "published", ...published.source };
  }
  const checkpoint = await fetchCheckpoint(task, hub, opened, registered !== undefined);
  const report = await convert(task, checkpoint, path, { name: basename(name.name), opened });
  return { ...describe(openChecked(path, task), task, registered), origin: "converted", ...source, report };
}

interface SetupTask extends SetupOptions {
  type: string; // in lower case
  onNote: (text: string) => void;
}

async function setupLocal(task: SetupTask, folder: string | undefined): Promise<SetupResult> {
  if (folder === undefined) {
    throw new BitnetError("USAGE", "no model is named", {
      hint: "expected a repository owner/name, or a model directory with a checkpoint",
    });
  }
  const info = await stat(folder).catch(() => undefined);
  if (!info?.isDirectory()) {
    throw new BitnetError("NOT_FOUND", `there is no model directory ${folder}`, {
      hint: "name a model of the hub with -hr OWNER/NAME, or the folder of a checkpoint with -md",
    });
  }
  const path = join(folder, `ggml-model-${task.type}.gguf`);
  const existing = await findExisting(task, path);
  if (existing !== undefined) {
    return { ...describe(existing, task, undefined), origin: "existing" };
  }
  const report = await convert(task, folder, path, { name: basename(resolve(folder)) });
  return { ...describe(openChecked(path, task), task, undefined), origin: "converted", report };
}

/** The file at `path` if it is whole and what is wanted. */
async function findExisting(task: SetupTask, path: string): Promise<Gguf | undefined> {
  if (!(await sizeOf(path))) {
    return undefined;
  }
  try {
    return openChecked(path, task);
  } catch (error) {
    task.onNote(`${toBitnetError(error).message}; making it again`);
    return undefined;
  }
}

/** Opens a GGUF file and checks that it is whole and of the wanted types. */
function openChecked(path: string, task: SetupTask): Gguf {
  const gguf = openGguf(path);
  const mismatch = findMismatch(gguf, task);
  if (mismatch !== undefined) {
    throw new BitnetError("BAD_FILE", `${path}: ${mismatch}`);
  }
  return gguf;
}

/** How the file differs from what is wanted; undefined if it does not. */
function findMismatch(gguf: Gguf, { type, embeddingType }: SetupTask): string | undefined {
  const tensors = gguf.tensors();
  const linear = tensors.filter(({ name }) => isLinearTensor(name));
  if (!linear.some((tensor) => tensor.type.toLowerCase() === type)) {
    return `its weights are ${linear[0]?.type.toLowerCase() ?? "missing"}, not ${type}`;
  }
  const embedding = tensors.find(({ name }) => name === "token_embd.weight")?.type.toLowerCase();
  return embeddingType === undefined || embedding === embeddingType.toLowerCase()
    ? undefined
    : `the embedding is ${embedding ?? "missing"}, not ${embeddingType.toLowerCase()}`;
}

function describe(gguf: Gguf, { type }: SetupTask, registered: RegisteredModel | undefined) {
  const metadata = gguf.metadata();
  const architecture = String(metadata["general.architecture"] ?? "unknown");
  const talks = metadata["tokenizer.chat_template"] !== undefined;
  const pooled = metadata[`${architecture}.pooling_type`] !== undefined;
  const kind = registered?.kind ?? (pooled ? "embedding" : talks ? "instruct" : "base");
  return { path: gguf.path, bytes: gguf.fileSize, type, architecture, kind };
}

/** Takes a GGUF file of the wanted types from the repository or from where its makers publish such files. */
async function usePublished(
  task: SetupTask,
  hub: Hub,
  repository: Repository,
  registered: RegisteredModel | undefined,
  path: string,
): Promise<{ gguf: Gguf; source: { repository: string; commit: string } } | undefined> {
  const twin = registered?.ggufRepo;
  const candidates = [
    async () => repository,
    async () => (twin === undefined || twin === repository.name ? undefined : openTwin(task, hub, twin)),
  ];
  for (const candidate of candidates) {
    const opened = await candidate();
    const file = opened === undefined ? undefined : findPublished(opened, task.type);
    if (opened === undefined || file === undefined) {
      continue;
    }
    const mismatch = findMismatch(await openRemoteGguf(hub, opened, file, task), task);
    if (mismatch !== undefined) {
      task.onNote(`not using ${opened.name}/${file}: ${mismatch}`);
      continue;
    }
    task.onNote(`downloading ${opened.name}/${file}`);
    const folder = await downloadFiles(hub, opened, {
      files: [file],
      signal: task.signal,
      onProgress: task.onDownload,
    });
    await placeFile(join(folder, file), path);
    return { gguf: openChecked(path, task), source: { repository: opened.name, commit: opened.commit } };
  }
  return undefined;
}

// A repository with ready files is a convenience: without it the checkpoint is converted.
async function openTwin(task: SetupTask, hub: Hub, name: string): Promise<Repository | undefined> {
  try {
    return await openRepository(hub, { name, revision: "main" } satisfies RepositoryName, task);
  } catch (error) {
    const { code, message } = toBitnetError(error);
    if (code !== "NOT_FOUND") {
      throw error;
    }
    task.onNote(`no ready file: ${message}`);
    return undefined;
  }
}

/** A file named after the type, like ggml-model-i2_s.gguf. */
function findPublished(repository: Repository, type: string): string | undefined {
  const pattern = new RegExp(`(^|[-_.])${type}\\.gguf$`, "i");
  const paths = repository.files.map(({ path }) => path).filter((path) => pattern.test(path));
  return paths.find((path) => path === `ggml-model-${type}.gguf`) ?? paths.sort((a, b) => a.length - b.length)[0];
}

/** Gives a file of the cache a second name, or copies it to another disk. */
async function placeFile(cached: string, path: string): Promise<void> {
  const made = `${path}.partial`;
  await mkdir(dirname(path), { recursive: true });
  await rm(made, { force: true });
  const blob = await realpath(cached);
  await link(blob, made).catch(() => copyFile(blob, made, constants.COPYFILE_FICLONE));
  await rename(made, path);
}

/** What a conversion reads besides the weights. */
const sidecars =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|modules)\.json$|^(merges\.txt|chat_template\.jinja|tokenizer\.model|1_Pooling\/config\.json)$/;

/** Downloads what a conversion reads. Returns a checkpoint's folder, or a GGUF file of another type. */
async function fetchCheckpoint(task: SetupTask, hub: Hub, repository: Repository, isTernary: boolean): Promise<string> {
  const paths = repository.files.map(({ path }) => path);
  const get = (files: string[], onProgress?: SetupOptions["onDownload"]) =>
    downloadFiles(hub, repository, { files, signal: task.signal, onProgress });
  const index = weightIndexes.find((path) => paths.includes(path));
  const named = selectWeights(paths);
  if (paths.includes("config.json") && (index !== undefined || named.length > 0)) {
    const folder = await get(["config.json", ...(index === undefined ? [] : [index])]);
    if (!isTernary) {
      await checkTernary(folder, repository);
    }
    await checkCheckpointShapes(folder, { outtype: task.type, kernelConfig: task.kernelConfig });
    const weights = index === undefined ? named : await listIndexedWeights(join(folder, index));
    task.onNote(`downloading the checkpoint of ${repository.name} (${weights.length} files of weights)`);
    return get([...paths.filter((path) => sidecars.test(path)), ...weights], task.onDownload);
  }
  const gguf = sourceTypes()
    .map((type) => findPublished(repository, type))
    .find((path) => path !== undefined);
  if (gguf !== undefined) {
    const remote = await openRemoteGguf(hub, repository, gguf, task);
    checkTensorShapes(remote.tensors(), { outtype: task.type, kernelConfig: task.kernelConfig });
    task.onNote(`downloading ${repository.name}/${gguf}`);
    return join(await get([gguf], task.onDownload), gguf);
  }
  throw nothingUsableError(repository);
}

/** Types of files to convert from, best first: ternary, then the smaller float files. */
function sourceTypes(): string[] {
  const rank = ({ ternary, blockBytes }: TensorType) => (ternary ? 0 : blockBytes);
  return [...matrixTypes()].sort((a, b) => rank(a) - rank(b)).map(({ name }) => name.toLowerCase());
}

const weightIndexes = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

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

async function listIndexedWeights(index: string): Promise<string[]> {
  const { weight_map: map } = await readJson(index);
  if (typeof map !== "object" || map === null) {
    throw new BitnetError("BAD_FILE", `${basename(index)} of the repository has no weight_map`);
  }
  return [...new Set(Object.values(map).map(String))];
}

function nothingUsableError(repository: Repository): BitnetError {
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

/** Refuses a model that is not ternary before its weights are downloaded. */
async function checkTernary(folder: string, { name }: Repository): Promise<void> {
  const config = await readModelConfig(folder);
  if (!saysTernary(config)) {
    const family = config.architectures[0] ?? config.modelType;
    throw new BitnetError("UNSUPPORTED", `${name} is no ternary model: its config.json says ${family}, not BitNet`, {
      hint: "if its weights were trained to be ternary all the same, convert it with: bitnet convert --force",
    });
  }
}

/** A model of the hub as a source for a conversion: a checkpoint's folder, or a GGUF file if it has nothing else. */
export interface DownloadedCheckpoint {
  source: string;
  repository: string;
  commit: string;
}

export interface DownloadCheckpointOptions
  extends Pick<SetupOptions, "hub" | "signal" | "onNote" | "onRetry" | "onDownload"> {
  /** Also weights that nothing says are ternary. Default: false. */
  force?: boolean;
  /** Of the conversion that follows: what no matrix of the model can be is refused before the download. Default: i2_s. */
  outtype?: string;
  kernelConfig?: string;
}

const downloadCheckpointOptions: OptionNames<DownloadCheckpointOptions> = {
  hub: true,
  signal: true,
  onNote: true,
  onRetry: true,
  onDownload: true,
  force: true,
  outtype: true,
  kernelConfig: true,
};

/** Downloads what a conversion of "owner/name" or "owner/name@revision" reads. */
export async function downloadCheckpoint(
  repository: string,
  options: DownloadCheckpointOptions = {},
): Promise<DownloadedCheckpoint> {
  checkOptionNames("downloadCheckpoint", options, downloadCheckpointOptions);
  const name = readRepositoryName(repository);
  const type = parseTypes({ outtype: options.outtype ?? "i2_s" }).outtype.name.toLowerCase();
  const task: SetupTask = { ...options, type, onNote: options.onNote ?? (() => {}) };
  const hub = options.hub ?? (await openHub({ onNote: task.onNote, onRetry: task.onRetry }));
  const opened = await openRepository(hub, name, options);
  const declared = options.force === true || findRegistered(name.name) !== undefined;
  return { source: await fetchCheckpoint(task, hub, opened, declared), repository: opened.name, commit: opened.commit };
}

interface ConvertSource {
  name: string;
  opened?: Repository;
}

async function convert(task: SetupTask, source: string, outfile: string, from: ConvertSource): Promise<ConvertReport> {
  task.onNote(`converting ${source} to ${task.type}`);
  await mkdir(dirname(outfile), { recursive: true });
  const report = await convertCheckpoint({
    source,
    outfile,
    outtype: task.type,
    embeddingType: task.embeddingType,
    kernelConfig: task.kernelConfig,
    modelName: from.name,
    ...(from.opened && { sourceRepository: from.opened.name, sourceRevision: from.opened.commit }),
    signal: task.signal,
    onProgress: task.onConvert,
  });
  for (const warning of report.warnings) {
    task.onNote(warning);
  }
  return report;
}
