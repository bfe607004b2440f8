// The models on this machine: GGUF files in the model directory, and models in the cache of the hub.

import type { Stats } from "node:fs";
import { readdir, readFile, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { isWrittenKernelConfig, kernelConfigName, kernelConfigOf } from "../convert/kernel-config.js";
import { type CachedFile, type CachedSnapshot, removeCachedFiles, scanCache } from "../hub/cache.js";
import { readHubEnvironment } from "../hub/environment.js";
import { findRegistered } from "../hub/registry.js";
import { listParts } from "../hub/repository.js";
import { BitnetError } from "../system/errors.js";
import { identityOf } from "../system/files.js";
import { modelsFolders } from "../system/folders.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { weightTypeOf } from "./check.js";
import { readProvenance, removeNote, tryOpenGguf } from "./provenance.js";

export interface ModelFile {
  /** Folder in the model directory, or owner/name of the hub. */
  name: string;
  where: "models" | "cache";
  kind: "gguf" | "checkpoint";
  /** The GGUF file, of several parts the first, or the folder of a checkpoint. */
  path: string;
  /** Of the weights, like "I2_S"; "damaged" if the file cannot be opened. */
  type: string;
  bytes: number;
  /** Of the file, or of the newest one of a checkpoint; ISO 8601. */
  modified: string;
  /** Where it came from: owner/name as it was asked for. Undefined: unknown. */
  repository?: string;
  /** Branches and tags that meant it when it was downloaded. */
  revisions?: string[];
  /** Of the repository that its bytes came from. */
  commit?: string;
  /** Its path in that repository, if it is published so. */
  file?: string;
  /** What removing it deletes. */
  files: string[];
  /** Device and number of each file: the same for two names of one model. */
  identity: string;
}

export interface ListModelsOptions {
  /** Default: the user's folder of models and, in the current folder, models/. */
  modelDir?: string;
  /** Default: the cache of the hub that the environment names. */
  cacheDir?: string;
}

const listOptions: OptionNames<ListModelsOptions> = { modelDir: true, cacheDir: true };

export async function listModels(options: ListModelsOptions = {}): Promise<ModelFile[]> {
  checkOptionNames("listModels", options, listOptions);
  const { modelDirs, cacheDir } = await findFolders(options);
  const snapshots = cacheDir === undefined ? [] : await scanCache(cacheDir);
  const [made, cached] = await Promise.all([
    Promise.all(modelDirs.map(listModelDir)),
    Promise.all(snapshots.map(listSnapshotModels)),
  ]);
  return [...made.flat(), ...cached.flat()];
}

async function findFolders({ modelDir, cacheDir }: ListModelsOptions) {
  return {
    modelDirs: modelDir === undefined ? modelsFolders() : [modelDir],
    cacheDir: cacheDir ?? (await readHubEnvironment()).cacheDir,
  };
}

/** GGUF files in the directory and one level below it, where setup-env puts them. */
async function listModelDir(modelDir: string): Promise<ModelFile[]> {
  const files: string[] = [];
  for (const entry of await readdir(modelDir, { withFileTypes: true }).catch(() => [])) {
    const path = join(modelDir, entry.name);
    const inside = (await readdir(path).catch(() => [])).map((name) => join(path, name)); // follows a linked folder
    files.push(...[path, ...inside].filter(isGgufName));
  }
  const models: ModelFile[] = [];
  for (const parts of groupParts(files, (file) => file)) {
    const [first = ""] = parts;
    const folder = dirname(first);
    const name = folder === modelDir ? nameOfLoose(first) : basename(folder);
    const infos = await Promise.all(parts.map((file) => stat(file).catch(() => undefined)));
    const whole = infos.filter((info): info is Stats => info?.isFile() === true);
    models.push(...(whole.length === parts.length ? [await describeMade(name, parts, whole)] : []));
  }
  return models.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** What a GGUF file that lies in no folder of its own is called. */
function nameOfLoose(path: string): string {
  return basename(path)
    .replace(/\.gguf$/i, "")
    .replace(/-\d{5}-of-\d{5}$/, "");
}

/** The files of each model: a model in several GGUF files is one, in the order of its parts. */
function groupParts<T>(files: readonly T[], pathOf: (file: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const file of files) {
    const [first = ""] = listParts(pathOf(file));
    const group = groups.get(first);
    if (group === undefined) {
      groups.set(first, [file]);
    } else {
      group.push(file);
    }
  }
  return [...groups.values()].map((group) => group.sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1)));
}

function isGgufName(path: string): boolean {
  return /\.gguf$/i.test(path);
}

async function describeMade(name: string, parts: string[], infos: readonly Stats[]): Promise<ModelFile> {
  const [path = ""] = parts;
  const newest = Math.max(...infos.map(({ mtimeMs }) => mtimeMs));
  const provenance = await readProvenance(path);
  const model: ModelFile = {
    name,
    where: "models",
    kind: "gguf",
    path,
    type: typeOf(path),
    bytes: infos.reduce((sum, { size }) => sum + size, 0),
    modified: new Date(newest).toISOString(),
    files: parts,
    identity: await identityOfAll(parts),
  };
  if (provenance === undefined) {
    return model;
  }
  const { repository, revision, source, made } = provenance;
  const file = made === "published" ? source.files[0]?.path : undefined;
  return { ...model, repository, revisions: [revision], commit: source.commit, ...(file !== undefined && { file }) };
}

/** The GGUF files of a snapshot, and its checkpoint if that is of a ternary model. */
async function listSnapshotModels({ repo, commit, refs, files }: CachedSnapshot): Promise<ModelFile[]> {
  const common = { name: repo, where: "cache" as const, repository: repo, revisions: refs, commit };
  const models: ModelFile[] = await Promise.all(
    groupParts(
      files.filter(({ path }) => isGgufName(path)),
      ({ path }) => path,
    ).map(async (parts) => {
      const [first] = parts;
      const paths = parts.map(({ file }) => file);
      return {
        ...common,
        kind: "gguf" as const,
        path: first?.file ?? "",
        type: typeOf(first?.file ?? ""),
        bytes: parts.reduce((sum, { size }) => sum + size, 0),
        ...(await describeFiles(paths)),
        file: first?.path,
        files: paths,
      };
    }),
  );
  const rest = files.filter(({ path }) => !isGgufName(path));
  const type = await describeCheckpoint(repo, rest);
  const first = rest[0];
  if (type !== undefined && first !== undefined) {
    const folder = resolve(first.file, ...first.path.split("/").map(() => ".."));
    const bytes = rest.reduce((sum, { size }) => sum + size, 0);
    const paths = rest.map(({ file }) => file);
    const about = await describeFiles(paths);
    models.push({ ...common, kind: "checkpoint", path: folder, type, bytes, ...about, files: paths });
  }
  return models;
}

/** The time of the newest one, and which files they are. */
async function describeFiles(paths: readonly string[]): Promise<Pick<ModelFile, "modified" | "identity">> {
  const infos = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)));
  const newest = Math.max(...infos.map((info) => info?.mtimeMs ?? 0));
  return {
    modified: new Date(newest).toISOString(),
    identity: await identityOfAll(paths),
  };
}

async function identityOfAll(paths: readonly string[]): Promise<string> {
  return (await Promise.all(paths.map(identityOf))).join(" ");
}

/** "safetensors" if the files are a ternary model's checkpoint. Other models in the cache are none of our business. */
async function describeCheckpoint(repo: string, files: readonly CachedFile[]): Promise<string | undefined> {
  const config = files.find(({ path }) => path === "config.json");
  if (config === undefined || !files.some(({ path }) => path.endsWith(".safetensors"))) {
    return undefined;
  }
  const text = await readFile(config.file, "utf8").catch(() => "");
  return findRegistered(repo) !== undefined || /bitnet/i.test(text) ? "safetensors" : undefined;
}

function typeOf(path: string): string {
  const gguf = tryOpenGguf(path);
  return gguf === undefined ? "damaged" : weightTypeOf(gguf);
}

/** A name with the file, which tells models of one name and type apart: "tiny/other-i2_s.gguf". */
export function longNameOf({ name, path, file, where }: ModelFile): string {
  return `${name}/${where === "cache" && file !== undefined ? file : basename(path)}`;
}

/** The entries that `text` means: a path, a name, the last part of a name, each of them with ":type", a long name. */
export function findModels(models: readonly ModelFile[], text: string): ModelFile[] {
  const found = findByText(models, text);
  const [, name = "", type = ""] = /^(.+):([^:/\\]+)$/.exec(text) ?? [];
  return found.length > 0 || name === ""
    ? found
    : findByText(models, name).filter((model) => model.type.toLowerCase() === type.toLowerCase());
}

function findByText(models: readonly ModelFile[], text: string): ModelFile[] {
  const path = resolve(text);
  const isFolderOf = (model: ModelFile) => model.where === "models" && resolve(dirname(model.path)) === path;
  const byPath = models.filter(
    (model) => resolve(model.path) === path || (isFolderOf(model) && basename(path) === model.name),
  );
  if (byPath.length > 0) {
    return byPath;
  }
  const name = text.toLowerCase();
  const isNamed = (model: ModelFile) => [model.name, longNameOf(model)].some((one) => one.toLowerCase() === name);
  const byName = models.filter(isNamed);
  return byName.length > 0 ? byName : models.filter((model) => model.name.toLowerCase().endsWith(`/${name}`));
}

/** Deletes the files of entries that `listModels` returned, and the folders that are empty then. Returns bytes freed. */
export async function removeModels(models: readonly ModelFile[], options: ListModelsOptions = {}): Promise<number> {
  checkOptionNames("removeModels", options, listOptions);
  const { modelDirs, cacheDir } = await findFolders(options);
  let freed = 0;
  for (const model of models) {
    if (model.where === "cache" && cacheDir !== undefined) {
      freed += await removeCachedFiles(cacheDir, model.name, model.files);
    } else {
      freed += await removeFromModelDirs(model, modelDirs);
    }
  }
  return freed;
}

async function removeFromModelDirs({ files }: ModelFile, modelDirs: readonly string[]): Promise<number> {
  let freed = 0;
  for (const file of files) {
    const modelDir = modelDirs.find((folder) => isInside(folder, file));
    if (modelDir === undefined) {
      throw new BitnetError("INTERNAL", `${file} is not in ${modelDirs.join(" nor in ")}`);
    }
    const info = await stat(file).catch(() => undefined);
    await removeNote(file);
    await rm(file, { force: true });
    freed += info !== undefined && info.nlink === 1 ? info.size : 0; // the cache may hold the same file
    if (dirname(resolve(file)) !== resolve(modelDir)) {
      await removeTiles(file);
      await rmdir(dirname(file)).catch(() => {}); // unless something else is in it
    }
  }
  return freed;
}

/** Removes the tile sizes that were written beside a file that is gone, unless another model of its folder has tiles. */
async function removeTiles(file: string): Promise<void> {
  const folder = dirname(file);
  const others = (await readdir(folder).catch(() => [])).filter(isGgufName).map((name) => join(folder, name));
  const own = kernelConfigOf(file);
  const common = others.some((other) => /^TL\d/.test(typeOf(other))) ? [] : [join(folder, kernelConfigName)];
  for (const path of [own, ...common]) {
    if (isWrittenKernelConfig(await readFile(path, "utf8").catch(() => ""))) {
      await rm(path, { force: true });
    }
  }
}

/** In the folder of models, or in one of its folders. */
function isInside(modelDir: string, file: string): boolean {
  const path = relative(resolve(modelDir), resolve(file));
  const parts = path.split(sep);
  return !isAbsolute(path) && parts[0] !== ".." && parts.length <= 2; // absolute: on another drive
}
