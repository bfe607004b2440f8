// Downloads files of a repository into the cache: several at a time, each resumed where it stopped, checked before it
// gets its name, and never twice at the same time by processes that share the cache.

import { createHash, type Hash } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { abortedError, BitnetError, throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { linkSnapshot, sizeOf, snapshotPath, writeRef } from "./cache.js";
import { requireCache } from "./environment.js";
import { describeFailure, type Hub, type HubRequest, requestOnce, retrying, TransientError } from "./http.js";
import { withLock } from "./lock.js";
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
const maxMismatches = 3; // whole downloads with wrong contents before giving up

/** Makes sure that the files are in the cache. Returns the folder of the snapshot, which holds them by their paths. */
export async function downloadFiles(hub: Hub, repository: Repository, options: DownloadOptions): Promise<string> {
  checkOptionNames("downloadFiles", options, downloadOptions);
  const files = options.files.map((path) => findFile(repository, path));
  const folder = snapshotPath(repository.paths, repository.commit);
  if (repository.fromCache) {
    return folder;
  }
  requireCache(hub.environment);
  await mkdir(repository.paths.blobs, { recursive: true });
  await checkDiskSpace(hub, repository, files);
  const stopped = new AbortController();
  const signal = options.signal === undefined ? stopped.signal : AbortSignal.any([options.signal, stopped.signal]);
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
  return folder;
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
  const { bavail, bsize } = await statfs(repository.paths.blobs);
  const free = bavail * bsize;
  if (needed > 0 && needed + diskReserve > free) {
    const inMb = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
    const message = `not enough disk space: ${inMb(needed)} to download, ${inMb(free)} free in ${repository.paths.folder}`;
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
        await downloadBlob(task, blob);
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

/** What is known of a partial file: the bytes in front of `position` are written and hashed. */
interface Partial {
  handle: FileHandle;
  path: string;
  position: number;
  hash: Hash;
  cachedBytes: number;
}

/** Fills <blob>.incomplete, checks it, renames it. The caller holds the blob's lock. */
async function downloadBlob(task: DownloadTask, blob: string): Promise<void> {
  const path = `${blob}.incomplete`;
  const handle = await open(path, "a+").then(async (created) => {
    await created.close();
    return open(path, "r+"); // "a+" makes the file but would ignore positions
  });
  const partial: Partial = { handle, path, position: 0, hash: startHash(task), cachedBytes: 0 };
  try {
    await takeUp(task, partial);
    for (let mismatches = 0; ; ) {
      await fillPartial(task, partial);
      if (partial.hash.copy().digest("hex") === task.hash.hex) {
        break;
      }
      // A partial file from before may have been damaged on disk; that is not the hub's fault.
      mismatches += partial.cachedBytes === 0 ? 1 : 0;
      await startOver(task, partial);
      if (mismatches >= maxMismatches) {
        throw new BitnetError("BAD_FILE", `${subjectOf(task)} arrives damaged: its ${task.hash.kind} is wrong`, {
          hint: "run the same command again later; if it stays so, something between here and the hub changes files",
        });
      }
      task.hub.onNote(`${task.file.path}: its checksum is wrong; downloading it again`);
    }
    await handle.sync();
    await nameBlob(task, partial, blob);
  } finally {
    await handle.close();
    if (partial.position === 0) {
      await rm(path, { force: true }); // nothing to continue
    }
  }
}

/** Renames the checked file, if the name still means the file that was checked and nothing was added to it. */
async function nameBlob(task: DownloadTask, partial: Partial, blob: string): Promise<void> {
  const ours = await partial.handle.stat();
  const named = await stat(partial.path).catch(() => undefined);
  await partial.handle.close(); // Windows renames no open file
  if (named?.ino === ours.ino && ours.size === task.file.size) {
    await rename(partial.path, blob);
  } else if ((await sizeOf(blob)) !== task.file.size) {
    throw new BitnetError("BAD_FILE", `${subjectOf(task)}: another program wrote to ${partial.path} meanwhile`, {
      hint: "wait until it has ended, then run the same command again",
    });
  }
}

function subjectOf({ repository, file }: DownloadTask): string {
  return `${repository.name}/${file.path}`;
}

// git hashes a header in front of the contents.
function startHash({ file, hash }: DownloadTask): Hash {
  return hash.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`);
}

async function startOver(task: DownloadTask, partial: Partial): Promise<void> {
  await partial.handle.truncate(0);
  partial.position = 0;
  partial.cachedBytes = 0;
  partial.hash = startHash(task);
}

/** Hashes what an earlier attempt has left. */
async function takeUp(task: DownloadTask, partial: Partial): Promise<void> {
  const { size } = await partial.handle.stat();
  if (size > task.file.size) {
    return startOver(task, partial);
  }
  const buffer = Buffer.allocUnsafe(2 ** 20);
  while (partial.position < size) {
    throwIfAborted(task.signal);
    const { bytesRead } = await partial.handle.read(buffer, 0, buffer.length, partial.position);
    if (bytesRead === 0) {
      break;
    }
    partial.hash.update(buffer.subarray(0, bytesRead));
    partial.position += bytesRead;
  }
  partial.cachedBytes = partial.position;
  task.report(task.file, partial.position, partial.cachedBytes);
}

async function fillPartial(task: DownloadTask, partial: Partial): Promise<void> {
  const request = { subject: subjectOf(task), signal: task.signal };
  let furthest = partial.position; // what starts over and over makes no progress
  await retrying(
    task.hub,
    request,
    async () => {
      if (partial.position < task.file.size) {
        await fetchRest(task, partial);
      }
    },
    () => {
      furthest = Math.max(furthest, partial.position);
      return furthest;
    },
  );
}

/** One request for the bytes from `position` on, written as they come. */
async function fetchRest(task: DownloadTask, partial: Partial): Promise<void> {
  const { hub, repository, file, signal } = task;
  const { endpoint } = hub.environment;
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  const url = `${endpoint}/${repository.name}/resolve/${repository.commit}/${path}`;
  const headers: Record<string, string> = partial.position === 0 ? {} : { range: `bytes=${partial.position}-` };
  const request: HubRequest = { repo: repository.name, subject: subjectOf(task), signal, headers };
  const response = await requestOnce(hub, url, request);
  const wrong = findMisfit(response, task, partial);
  if (response.body === null || wrong !== undefined) {
    await response.body?.cancel().catch(() => {});
    throw new TransientError(wrong ?? "the answer is empty");
  }
  if (response.status !== 206 && partial.position > 0) {
    await startOver(task, partial); // the server does not do ranges
  }
  await writeBody(task, partial, response.body);
}

/** What is wrong with the announced range or length; undefined if nothing. */
function findMisfit(response: Response, { file }: DownloadTask, partial: Partial): string | undefined {
  const start = response.status === 206 ? partial.position : 0;
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
    if (range === null || Number(range[1]) !== start || (range[2] !== "*" && Number(range[2]) !== file.size)) {
      return "the answer holds another part of the file than was asked for";
    }
  }
  const length = response.headers.get("content-length");
  if (length !== null && Number(length) !== file.size - start) {
    return `the answer has ${length} bytes where ${file.size - start} are missing`;
  }
  return undefined;
}

async function writeBody(task: DownloadTask, partial: Partial, body: ReadableStream<Uint8Array>): Promise<void> {
  const { hub, file, signal, report } = task;
  const reader = body.getReader();
  try {
    while (partial.position < file.size) {
      const chunk = await readChunk(reader, hub.retry.stallMs);
      if (chunk === undefined) {
        throw new TransientError(`the connection was cut at byte ${partial.position} of ${file.size}`);
      }
      if (partial.position + chunk.length > file.size) {
        throw new TransientError("the answer is longer than the file");
      }
      await writeAll(partial.handle, chunk, partial.position);
      partial.hash.update(chunk);
      partial.position += chunk.length;
      report(file, partial.position, partial.cachedBytes);
      throwIfAborted(signal);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
}

/** The next bytes; undefined at the end. A connection that fails or stays silent is a TransientError. */
async function readChunk(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  stallMs: number,
): Promise<Uint8Array | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TransientError(`no data for ${stallMs / 1000} s`)), stallMs);
  });
  try {
    const { value } = await Promise.race([reader.read(), stalled]);
    return value;
  } catch (cause) {
    throw cause instanceof TransientError
      ? cause
      : new TransientError(`cut off (${describeFailure(cause)})`, { cause });
  } finally {
    clearTimeout(timer);
  }
}
