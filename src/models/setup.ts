// From the name of a model to a GGUF file that is ready to run: a published one if there is one of the wanted type, else
// the checkpoint, downloaded and converted. What setup_env.py does.

import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { convertCheckpoint } from "../convert/convert.js";
import { defaultFileName } from "../convert/options.js";
import type { ConvertReport } from "../convert/plan.js";
import { parseTypes } from "../convert/types.js";
import type { Gguf } from "../gguf/gguf.js";
import { readHubEnvironment } from "../hub/environment.js";
import { openHub } from "../hub/http.js";
import { findRegistered, type RegisteredModel, registeredModels } from "../hub/registry.js";
import { openRepository, type Repository, readRepositoryName } from "../hub/repository.js";
import { BitnetError, reasonOf, toBitnetError } from "../system/errors.js";
import { makeFolder } from "../system/files.js";
import { modelsFolder, modelsFolders } from "../system/folders.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { describe, openChecked, openWhole } from "./check.js";
import { fetchSource, openTwin, usePublished } from "./fetch.js";
import { findPlace, findPublisher, type Place, type Wanted, withSetupLock } from "./place.js";
import { type Provenance, sourceOf, writeProvenance } from "./provenance.js";
import {
  type HubTask,
  type SetupOptions,
  type SetupResult,
  type SetupTask,
  setupOptions,
  startTask,
} from "./setup-options.js";
import { embeddingReason, notForTextError } from "./sources.js";

/** Sets a model up; does nothing if that is done already. */
export async function setupModel(options: SetupOptions): Promise<SetupResult> {
  checkOptionNames("setupModel", options, setupOptions);
  const { repository, embeddingType, file } = options;
  const type = parseTypes({ outtype: options.type ?? "i2_s", embeddingType }).outtype.name.toLowerCase();
  const task = startTask(options, type);
  if (repository === undefined) {
    return setupLocal(task, options.modelDir);
  }
  const name = readRepositoryName(repository);
  const registered = findRegistered(name.name);
  if (options.use === "run" && registered?.kind === "embedding") {
    throw notForTextError(name.name, embeddingReason);
  }
  const { cacheDir } = options.hub?.environment ?? (await readHubEnvironment());
  const fileName = file === undefined ? defaultFileName(type) : checkFile(file).replaceAll("/", "--");
  const twin = registered?.ggufRepo === name.name ? undefined : registered?.ggufRepo;
  const wanted: Wanted = { name, twin, fileName, file, cacheDir };
  const existing = await findExisting(task, wanted);
  if (existing !== undefined) {
    return describeExisting(existing, task, wanted, registered);
  }
  const modelDir = options.modelDir ?? modelsFolder();
  return withSetupLock(modelDir, basename(name.name), task, async () => {
    const hub = options.hub ?? (await openHub({ onNote: task.onNote, onRetry: task.onRetry }));
    return setupFromHub({ ...task, wanted, registered, hub }, modelDir);
  });
}

function checkFile(file: string): string {
  if (!/\.gguf$/i.test(file)) {
    throw new BitnetError("USAGE", `${file} is no GGUF file`, {
      hint: "expected the name of a file that ends in .gguf",
    });
  }
  return file;
}

interface Existing {
  gguf: Gguf;
  provenance?: Provenance;
}

/** A whole file that is known to be what is wanted, in any of the folders. */
async function findExisting(task: SetupTask, wanted: Wanted): Promise<Existing | undefined> {
  for (const folder of task.modelDir === undefined ? modelsFolders() : [task.modelDir]) {
    const place = await findPlace(folder, wanted);
    const gguf = place.kind === "same" ? openWhole({ ...task, onNote: () => {} }, place.path) : undefined;
    if (place.kind === "same" && gguf !== undefined) {
      return { gguf, provenance: place.provenance };
    }
  }
  return undefined;
}

function describeExisting(
  { gguf, provenance }: Existing,
  task: SetupTask,
  { name }: Wanted,
  registered: RegisteredModel | undefined,
): SetupResult {
  const source = provenance?.source;
  const about = { ...describe(gguf, task, registered), origin: "existing" as const, repository: name.name };
  return { ...about, ...(source !== undefined && { commit: source.commit, source }) };
}

/** The model in `modelDir`; the caller holds the lock. */
async function setupFromHub(task: HubTask, modelDir: string): Promise<SetupResult> {
  const { wanted, hub, registered } = task;
  const { name } = wanted;
  const place = await findPlace(modelDir, wanted); // another process may have made it while this one waited
  const gguf = place.kind === "free" ? undefined : openWhole(task, place.path);
  if (place.kind === "same" && gguf !== undefined) {
    return describeExisting({ gguf, provenance: place.provenance }, task, wanted, registered);
  }
  task.onStep({ kind: "look-up", what: `${name.name}@${name.revision} on ${hub.environment.endpoint}` });
  let opened: Repository;
  try {
    opened = await openRepository(hub, name, task);
  } catch (error) {
    const isOutOfReach = hub.environment.offline || toBitnetError(error).code === "NETWORK";
    if (place.kind !== "unknown" || gguf === undefined || !isOutOfReach) {
      throw error;
    }
    task.onNote(`${toBitnetError(error).message}`);
    return useUnknown(task, gguf);
  }
  if (place.kind === "unknown" && gguf !== undefined) {
    const known = await identify(task, place.path, opened);
    if (known !== undefined || opened.fromCache) {
      return known === undefined ? useUnknown(task, gguf) : adopt(task, gguf, known);
    }
    task.onNote(`${place.path} is of unknown origin, and not what ${name.name} publishes: it is left as it is`);
  }
  return makeModel(task, opened, pathIn(place, gguf));
}

/** A file of unknown origin keeps its place if it is whole. */
function pathIn(place: Place, whole: Gguf | undefined): string {
  return place.kind === "unknown" && whole !== undefined ? place.other : place.path;
}

async function identify(task: HubTask, path: string, opened: Repository): Promise<Provenance["source"] | undefined> {
  const { wanted, hub } = task;
  const repositories = [opened];
  if (wanted.twin !== undefined && wanted.file === undefined && !opened.fromCache) {
    repositories.push(...[await openTwin(task, hub, wanted.twin)].flatMap((twin) => twin ?? []));
  }
  return findPublisher(path, repositories, wanted.file, task.signal);
}

/** A file that turned out to be what is asked for gets its note. */
async function adopt(task: HubTask, gguf: Gguf, source: Provenance["source"]): Promise<SetupResult> {
  const provenance = provenanceOf(task, source, "published");
  await remember(task, gguf.path, provenance);
  return describeExisting({ gguf, provenance }, task, task.wanted, task.registered);
}

/** Without a note the model is as good, but of unknown origin to the next request. */
async function remember({ onNote }: HubTask, path: string, provenance: Provenance): Promise<void> {
  await writeProvenance(path, provenance).catch((error: unknown) => {
    onNote(`cannot note down where ${path} came from: ${reasonOf(error)}`);
  });
}

function useUnknown(task: HubTask, gguf: Gguf): SetupResult {
  const { name } = task.wanted.name;
  task.onNote(`${gguf.path} is of unknown origin: the hub cannot be asked whether it is ${name}; using it`);
  return describeExisting({ gguf }, task, task.wanted, task.registered);
}

function provenanceOf(
  { wanted: { name }, type }: HubTask,
  source: Provenance["source"],
  made: Provenance["made"],
): Provenance {
  return { repository: name.name, revision: name.revision, source, made, type };
}

async function makeModel(task: HubTask, opened: Repository, path: string): Promise<SetupResult> {
  const { wanted, registered } = task;
  const published = await usePublished(task, opened, path);
  if (published !== undefined) {
    await remember(task, path, provenanceOf(task, published.source, "published"));
    const { repository, commit } = published.source;
    const about = { ...describe(published.gguf, task, registered), origin: "published" as const };
    return { ...about, repository, commit, source: published.source };
  }
  const checkpoint = await fetchSource(task, opened, path, registered !== undefined);
  const report = await convert(task, checkpoint.path, path, { name: basename(wanted.name.name), opened });
  const source = sourceOf(opened, checkpoint.files);
  await remember(task, path, provenanceOf(task, source, "converted"));
  const about = { ...describe(openChecked(path, task), task, registered), origin: "converted" as const };
  return { ...about, repository: opened.name, commit: opened.commit, source, report };
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
  const registered = findRegisteredFolder(folder);
  const path = join(folder, defaultFileName(task.type));
  const existing = (await stat(path).catch(() => undefined)) && openWhole(task, path);
  if (existing !== undefined) {
    return { ...describe(existing, task, registered), origin: "existing" };
  }
  const report = await convert(task, folder, path, { name: basename(resolve(folder)) });
  return { ...describe(openChecked(path, task), task, registered), origin: "converted", report };
}

/** The model that a folder is named after, as the folders of downloads are. */
function findRegisteredFolder(folder: string): RegisteredModel | undefined {
  const name = basename(resolve(folder)).toLowerCase();
  return registeredModels.find(({ repo }) => basename(repo).toLowerCase() === name);
}

/** A model of the hub as a source for a conversion: a checkpoint's folder, or a GGUF file if it has nothing else. */
export interface DownloadedCheckpoint {
  source: string;
  repository: string;
  commit: string;
  /** What the note beside the converted file is to say. */
  made: Omit<Provenance, "type">;
}

export interface DownloadCheckpointOptions
  extends Pick<SetupOptions, "hub" | "signal" | "onStep" | "onNote" | "onRetry" | "onDownload"> {
  /** Also weights that nothing says are ternary. Default: false. */
  force?: boolean;
  /** Of the conversion that follows: what no matrix of the model can be is refused before the download. Default: i2_s. */
  outtype?: string;
  kernelConfig?: string;
}

const downloadCheckpointOptions: OptionNames<DownloadCheckpointOptions> = {
  hub: true,
  signal: true,
  onStep: true,
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
  const { force, outtype, ...rest } = options;
  const type = parseTypes({ outtype: outtype ?? "i2_s" }).outtype.name.toLowerCase();
  const started = startTask(rest, type);
  const hub = options.hub ?? (await openHub({ onNote: started.onNote, onRetry: options.onRetry }));
  const registered = findRegistered(name.name);
  const wanted: Wanted = { name, fileName: defaultFileName(type), cacheDir: hub.environment.cacheDir };
  const task: HubTask = { ...started, hub, registered, wanted };
  const opened = await openRepository(hub, name, options);
  const fetched = await fetchSource(task, opened, undefined, force === true || registered !== undefined);
  const source = sourceOf(opened, fetched.files);
  const made = { repository: name.name, revision: name.revision, source, made: "converted" as const };
  return { source: fetched.path, repository: opened.name, commit: opened.commit, made };
}

/** Where the conversion of a model of the hub is kept if nothing else is said: a place that no other model has. */
export async function placeConversion(repository: string, outtype: string): Promise<string> {
  const name = readRepositoryName(repository);
  const { cacheDir } = await readHubEnvironment();
  const place = await findPlace(modelsFolder(), { name, fileName: defaultFileName(outtype), cacheDir });
  const path = place.kind === "unknown" ? place.other : place.path;
  await makeFolder(dirname(path));
  return path;
}

interface ConvertSource {
  name: string;
  opened?: Repository;
}

async function convert(task: SetupTask, source: string, outfile: string, from: ConvertSource): Promise<ConvertReport> {
  task.onStep({ kind: "convert", what: `${from.opened?.name ?? source} to ${task.type}` });
  await makeFolder(dirname(outfile));
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
