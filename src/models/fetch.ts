// Brings what a model is made of from the hub, after what would make it useless has been looked for.

import { constants, copyFile, link, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { forecastCheckpoint, forecastGguf } from "../convert/forecast.js";
import type { Gguf } from "../gguf/gguf.js";
import { downloadFiles, measureDownload } from "../hub/download.js";
import type { Hub } from "../hub/http.js";
import { openRemoteGguf } from "../hub/remote-gguf.js";
import { listParts, openRepository, type Repository, type RepositoryName } from "../hub/repository.js";
import { BitnetError, toBitnetError, withContext } from "../system/errors.js";
import { makeFolder, writeThenRename } from "../system/files.js";
import { describe, findMismatch, openChecked } from "./check.js";
import { isSameDisk, requireRoom } from "./place.js";
import { type Provenance, sourceOf } from "./provenance.js";
import type { HubTask, SetupOptions, SetupTask } from "./setup-options.js";
import {
  embeddingReason,
  findCheckpoint,
  listConvertible,
  listGgufFiles,
  listPublished,
  listWeights,
  notForTextError,
  nothingUsableError,
  readDescription,
  whyNotRunnable,
} from "./sources.js";

/** Takes a GGUF file of the wanted types from the repository or from where its makers publish such files. */
export async function usePublished(
  task: HubTask,
  repository: Repository,
  path: string,
): Promise<{ gguf: Gguf; source: Provenance["source"] } | undefined> {
  const { wanted, hub } = task;
  const found = await findPublished(task, repository);
  const twin = wanted.twin;
  const opened = found !== undefined || twin === undefined ? undefined : await openTwin(task, hub, twin);
  const { repository: from, file } = found ?? (opened && (await findPublished(task, opened))) ?? {};
  if (from === undefined || file === undefined) {
    return undefined;
  }
  const { totalBytes } = await announce(task, from, [file], path, false);
  const cache = hub.environment.cacheDir;
  if (cache !== undefined && !(await isSameDisk(path, join(cache, "file")))) {
    await requireRoom(path, totalBytes);
  }
  const folder = await downloadFiles(hub, from, { files: [file], signal: task.signal, onProgress: task.onDownload });
  await placeFile(join(folder, file), path);
  return { gguf: openChecked(path, task), source: sourceOf(from, [file]) };
}

/** The first file that is whole, as far as its head tells, and of the wanted types. */
async function findPublished(
  task: HubTask,
  repository: Repository,
): Promise<{ repository: Repository; file: string } | undefined> {
  const { hub, file, type, wanted, registered } = task;
  const files = file === undefined ? listPublished(repository, type) : [requireFile(repository, file)];
  if (file !== undefined && listParts(file).length > 1) {
    return undefined; // the parts are joined by a conversion
  }
  let failure: unknown;
  for (const candidate of files) {
    try {
      const head = await openRemoteGguf(hub, repository, candidate, task);
      const mismatch = findMismatch(head, task);
      if (mismatch === undefined) {
        checkUse(task, describe(head, task, registered).kind === "embedding" ? embeddingReason : undefined);
        return { repository, file: candidate };
      }
      task.onNote(`not using ${repository.name}/${candidate}: ${mismatch}`);
    } catch (error) {
      if (toBitnetError(error).code !== "BAD_FILE" || file !== undefined) {
        throw error;
      }
      task.onNote(`not using ${repository.name}/${candidate}: ${toBitnetError(error).message}`);
      failure ??= error;
    }
  }
  const hasMore = findCheckpoint(repository) !== undefined || wanted.twin !== undefined || files.length === 0;
  if (failure !== undefined && !hasMore && listConvertible(repository).every((other) => files.includes(other))) {
    throw failure; // it is all that there is
  }
  return undefined;
}

function requireFile(repository: Repository, file: string): string {
  if (!repository.files.some(({ path }) => path === file)) {
    const others = listGgufFiles(repository);
    throw new BitnetError("NOT_FOUND", `${repository.name}@${repository.revision} holds no ${file}`, {
      hint: others.length === 0 ? "it holds no GGUF file" : `its GGUF files: ${others.join(", ")}`,
    });
  }
  return file;
}

/** A model that writes no text is refused where it is to be run. */
function checkUse({ use, wanted: { name }, onNote }: HubTask, reason: string | undefined): void {
  if (reason !== undefined && use === "run") {
    throw notForTextError(name.name, reason);
  }
  if (reason !== undefined && reason !== embeddingReason) {
    onNote(`${name.name}: ${reason}; the file is for other programs`);
  }
}

// A repository with ready files is a convenience: without it the checkpoint is converted.
export async function openTwin(task: SetupTask, hub: Hub, name: string): Promise<Repository | undefined> {
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

/** Says what is going to be fetched. */
async function announce(
  task: HubTask,
  repository: Repository,
  files: string[],
  path: string | undefined,
  converts: boolean,
) {
  const sizes = await measureDownload(repository, files);
  const { name, commit } = repository;
  task.onPlan?.({ repository: name, commit, files, ...sizes, path, converts });
  const what = files.length === 1 ? `${name}/${files[0]}` : `the checkpoint of ${name} (${files.length} files)`;
  if (sizes.missingBytes > 0) {
    task.onStep({ kind: "download", what });
  } else {
    task.onNote(`${what} is in the cache`);
  }
  return sizes;
}

/** Gives a file of the cache a second name, or copies it to another disk. */
async function placeFile(cached: string, path: string): Promise<void> {
  try {
    await makeFolder(dirname(path));
    const blob = await realpath(cached);
    await writeThenRename(path, (partial) =>
      link(blob, partial).catch(() => copyFile(blob, partial, constants.COPYFILE_FICLONE)),
    );
  } catch (error) {
    throw withContext(`cannot write ${path}`, error);
  }
}

/**
 * Downloads what the model is converted from: a checkpoint's folder, or a GGUF file of another type, after
 * it was checked that the type fits the shapes and, with `path`, where the conversion will write, that there is room.
 */
export async function fetchSource(
  task: HubTask,
  repository: Repository,
  path: string | undefined,
  isTernary: boolean,
): Promise<{ path: string; files: string[] }> {
  const { hub, signal } = task;
  const get = (files: string[], onProgress?: SetupOptions["onDownload"]) =>
    downloadFiles(hub, repository, { files, signal, onProgress });
  const isSplit = task.file !== undefined && listParts(task.file).length > 1; // it is what was asked for
  const checkpoint = isSplit ? undefined : findCheckpoint(repository);
  if (checkpoint !== undefined) {
    const folder = await get(checkpoint.first);
    const config = await readDescription(folder, repository.name, isTernary);
    checkUse(task, whyNotRunnable(config));
    const files = [...new Set([...checkpoint.others, ...(await listWeights(checkpoint, folder))])];
    const bytes = forecastCheckpoint(config, typesOf(task));
    await checkRoom(task, path, bytes, await announce(task, repository, files, path, true));
    return { path: await get(files, task.onDownload), files };
  }
  const gguf = await findConvertible(task, repository);
  const files = listParts(gguf.file);
  let bytes = forecastGguf(gguf.head, typesOf(task));
  for (const part of files.filter((other) => other !== gguf.file)) {
    bytes += forecastGguf(await openRemoteGguf(hub, repository, part, task), typesOf(task));
  }
  await checkRoom(task, path, bytes, await announce(task, repository, files, path, true));
  return { path: join(await get(files, task.onDownload), gguf.file), files };
}

function typesOf({ type, embeddingType, kernelConfig }: SetupTask) {
  return { outtype: type, embeddingType, kernelConfig };
}

/** Room for the output, and for what is downloaded to the same disk. */
async function checkRoom(
  { hub }: HubTask,
  path: string | undefined,
  bytes: number,
  { missingBytes }: { missingBytes: number },
): Promise<void> {
  if (path === undefined) {
    return;
  }
  const cache = hub.environment.cacheDir;
  const shares = cache !== undefined && (await isSameDisk(path, join(cache, "file")));
  await requireRoom(path, bytes + (shares ? missingBytes : 0));
}

/** The best GGUF file to convert from that can be read. */
async function findConvertible(task: HubTask, repository: Repository): Promise<{ file: string; head: Gguf }> {
  const parts = task.file === undefined ? [] : listParts(task.file).slice(0, 1);
  let failure: unknown;
  for (const file of parts.length > 0 ? parts : listConvertible(repository)) {
    try {
      return { file, head: await openRemoteGguf(task.hub, repository, file, task) };
    } catch (error) {
      if (toBitnetError(error).code !== "BAD_FILE") {
        throw error;
      }
      failure ??= error;
    }
  }
  throw failure ?? nothingUsableError(repository);
}
