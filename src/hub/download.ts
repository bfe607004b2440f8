// Downloads files of a repository into the cache: several at a time, each resumed where it stopped, checked before it
// gets its name, and never twice at the same time by processes that share the cache.

import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { abortedError, BitnetError } from "../system/errors.js";
import { makeFolder } from "../system/files.js";
import { withLock } from "../system/lock.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { JoinedSignal } from "../system/signals.js";
import { downloadBlob } from "./blob.js";
import { cacheError, linkSnapshot, sizeOf, snapshotPath, writeRef } from "./cache.js";
import { requireCache } from "./environment.js";
import type { Hub } from "./http.js";
import type { Repository, RepositoryFile } from "./repository.js";

export interface DownloadProgress {
  /** Path in the repository. */
  file: string;
  doneBytes: number;
  totalBytes: number;
  /** Over all files. */
  allDoneBytes: number;
  allTotalBytes: number;
  /** Of `doneBytes`, what did not have to come over the network in this call. */
  cachedBytes: number;
}

export interface DownloadOptions {
  /** Paths in the repository. */
  files: readonly string[];
  /** Files at a time. Default: 4. */
  parallel?: number;
  signal?: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
}

const downloadOptions: OptionNames<DownloadOptions> = { files: true, parallel: true, signal: true, onProgress: true };

const diskReserve = 64 * 2 ** 20; // bytes to leave free

/** Makes sure that the files are in the cache. Returns the folder of the snapshot, which holds them by their paths. */
export async function downloadFiles(hub: Hub, repository: Repository, options: DownloadOptions): Promise<string> {
  checkOptionNames("downloadFiles", options, downloadOptions);
  const files = options.files.map((path) => findFile(repository, path));
  if (!repository.fromCache) {
    requireCache(hub.environment);
    try {
      await fetchAll(hub, repository, files, options);
    } catch (error) {
      throw cacheError(error, repository.paths.folder);
    }
  }
  return snapshotPath(repository.paths, repository.commit);
}

async function fetchAll(
  hub: Hub,
  repository: Repository,
  files: readonly RepositoryFile[],
  options: DownloadOptions,
): Promise<void> {
  await makeFolder(repository.paths.blobs);
  await checkDiskSpace(hub, repository, files);
  const stopped = new AbortController();
  using joined = new JoinedSignal(options.signal, stopped.signal);
  const { signal } = joined;
  const report = createReporter(files, options.onProgress);
  const queue = [...files].sort((a, b) => b.size - a.size);
  const work = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      await fetchToCache({ hub, repository, file, hash: hashOf(file), signal, report });
    }
  };
  // The first failure stops the other files too; all have come to rest before it is thrown.
  let failure: { error: unknown } | undefined;
  const guarded = () =>
    work().catch((error) => {
      failure ??= { error };
      stopped.abort();
    });
  await Promise.all(Array.from({ length: Math.min(options.parallel ?? 4, files.length) }, guarded));
  if (failure !== undefined) {
    throw options.signal?.aborted ? abortedError(options.signal) : failure.error;
  }
  await writeRef(repository.paths, repository.revision, repository.commit);
}

function findFile(repository: Repository, path: string): RepositoryFile {
  const file = repository.files.find((candidate) => candidate.path === path);
  if (file === undefined) {
    const where = repository.fromCache ? `the cache of ${repository.name}` : repository.name;
    throw new BitnetError("NOT_FOUND", `${where} holds no ${path}`);
  }
  return file;
}

function hashOf(file: RepositoryFile): NonNullable<RepositoryFile["hash"]> {
  if (file.hash === undefined) {
    throw new BitnetError("INTERNAL", `${file.path} has no checksum`);
  }
  return file.hash;
}

/** How much of these files a download would have to fetch, in bytes. */
export async function measureDownload(
  repository: Repository,
  paths: readonly string[],
): Promise<{ totalBytes: number; missingBytes: number }> {
  const files = paths.map((path) => findFile(repository, path));
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  return { totalBytes, missingBytes: repository.fromCache ? 0 : await measureMissing(repository, files) };
}

async function measureMissing(repository: Repository, files: readonly RepositoryFile[]): Promise<number> {
  let missing = 0;
  for (const file of files) {
    const blob = join(repository.paths.blobs, hashOf(file).hex);
    if ((await sizeOf(blob)) !== file.size) {
      missing += Math.max(0, file.size - ((await sizeOf(`${blob}.incomplete`)) ?? 0));
    }
  }
  return missing;
}

async function checkDiskSpace(hub: Hub, repository: Repository, files: readonly RepositoryFile[]): Promise<void> {
  const needed = await measureMissing(repository, files);
  const { blocks, bavail, bsize } = await statfs(repository.paths.blobs);
  const free = bavail * bsize;
  const isKnown = blocks > 0; // some file systems do not tell
  if (isKnown && needed > 0 && needed + diskReserve > free) {
    const inMb = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
    const message = `not enough disk space: ${inMb(needed)} to download, ${Math.floor(free / 1e6)} MB free in ${repository.paths.folder}`;
    throw new BitnetError("NO_SPACE", message, {
      hint: `make room, or set HF_HOME to a folder on another disk (now ${hub.environment.cacheDir})`,
    });
  }
}

type Report = (file: RepositoryFile, doneBytes: number, cachedBytes: number) => void;

function createReporter(files: readonly RepositoryFile[], onProgress: DownloadOptions["onProgress"]): Report {
  const done = new Map<RepositoryFile, number>();
  const allTotalBytes = files.reduce((sum, file) => sum + file.size, 0);
  let allDoneBytes = 0;
  return (file, doneBytes, cachedBytes) => {
    allDoneBytes += doneBytes - (done.get(file) ?? 0);
    done.set(file, doneBytes);
    onProgress?.({ file: file.path, doneBytes, totalBytes: file.size, allDoneBytes, allTotalBytes, cachedBytes });
  };
}

interface DownloadTask {
  hub: Hub;
  repository: Repository;
  file: RepositoryFile;
  hash: NonNullable<RepositoryFile["hash"]>;
  signal: AbortSignal;
  report: Report;
}

async function fetchToCache(task: DownloadTask): Promise<void> {
  const { hub, repository, file, hash, signal, report } = task;
  const { paths, commit } = repository;
  const blob = join(paths.blobs, hash.hex);
  let fetched = false;
  if ((await sizeOf(blob)) !== file.size) {
    const onWait = () => hub.onNote(`${file.path}: another process is downloading it; waiting`);
    await withLock(join(paths.locks, `${hash.hex}.bitnet.lock`), { signal, onWait }, async () => {
      if ((await sizeOf(blob)) !== file.size) {
        await downloadBlob({ ...task, report: (done, cached) => report(file, done, cached) }, blob);
        fetched = true;
      }
    });
  }
  if ((await sizeOf(snapshotPath(paths, commit, file.path))) !== file.size) {
    await linkSnapshot(paths, commit, file.path, blob);
  }
  if (!fetched) {
    report(file, file.size, file.size);
  }
}
