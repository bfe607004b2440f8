// One file into the cache: its bytes go to <blob>.incomplete, from wherever an earlier attempt stopped, and get the
// name of the blob when they have been checked.

import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { retryIfBusy } from "../system/files.js";
import { locateBody, MisfitError, readChunk, type Span } from "./answers.js";
import { cacheError, sizeOf } from "./cache.js";
import { contentsUrl, type Hub, requestOnce } from "./http.js";
import { hubPathOf, type Repository, type RepositoryFile } from "./repository.js";
import { retrying, TransientError } from "./retry.js";

export interface BlobTask {
  hub: Hub;
  repository: Repository;
  file: RepositoryFile;
  hash: NonNullable<RepositoryFile["hash"]>;
  signal: AbortSignal;
  report: (doneBytes: number, cachedBytes: number) => void;
}

const maxMismatches = 3; // whole downloads with wrong contents before giving up
const maxMisfits = 2; // useless answers about a part before the whole file is asked for

/** What is known of a partial file: the bytes in front of `position` are written and hashed. */
interface Partial {
  handle: FileHandle;
  path: string;
  position: number;
  hash: Hash;
  cachedBytes: number;
}

/** Fills <blob>.incomplete, checks it, renames it. The caller holds the blob's lock. */
export async function downloadBlob(task: BlobTask, blob: string): Promise<void> {
  const path = `${blob}.incomplete`;
  const handle = await open(path, "a+").then(async (created) => {
    await created.close();
    return open(path, "r+"); // "a+" makes the file but would ignore positions
  });
  const partial: Partial = { handle, path, position: 0, hash: startHash(task), cachedBytes: 0 };
  try {
    await takeUp(task, partial);
    await fillWithRightContents(task, partial);
    await handle.sync();
    await nameBlob(task, partial, blob);
  } catch (error) {
    throw cacheError(error, path);
  } finally {
    await handle.close().catch(() => {}); // some systems tell only now that the disk is full; the hash is checked
    if (partial.position === 0) {
      await rm(path, { force: true }); // nothing to continue
    }
  }
}

async function fillWithRightContents(task: BlobTask, partial: Partial): Promise<void> {
  for (let mismatches = 0; ; ) {
    await fillPartial(task, partial);
    if (partial.hash.copy().digest("hex") === task.hash.hex) {
      return;
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
}

/** Renames the checked file, if the name still means the file that was checked and nothing was added to it. */
async function nameBlob(task: BlobTask, partial: Partial, blob: string): Promise<void> {
  const ours = await partial.handle.stat({ bigint: true }); // see identityOf()
  const named = await stat(partial.path, { bigint: true }).catch(() => undefined);
  await partial.handle.close(); // Windows renames no open file
  if (named?.ino === ours.ino && Number(ours.size) === task.file.size) {
    await retryIfBusy(() => rename(partial.path, blob));
  } else if ((await sizeOf(blob)) !== task.file.size) {
    throw new BitnetError("BAD_FILE", `${subjectOf(task)}: another program wrote to ${partial.path} meanwhile`, {
      hint: "wait until it has ended, then run the same command again",
    });
  }
}

function subjectOf({ repository, file }: BlobTask): string {
  return `${repository.name}/${file.path}`;
}

// git hashes a header in front of the contents.
function startHash({ file, hash }: BlobTask): Hash {
  return hash.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`);
}

async function startOver(task: BlobTask, partial: Partial): Promise<void> {
  await partial.handle.truncate(0);
  partial.position = 0;
  partial.cachedBytes = 0;
  partial.hash = startHash(task);
}

/** Hashes what an earlier attempt has left. */
async function takeUp(task: BlobTask, partial: Partial): Promise<void> {
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
  task.report(partial.position, partial.cachedBytes);
}

async function fillPartial(task: BlobTask, partial: Partial): Promise<void> {
  const request = { subject: subjectOf(task), signal: task.signal };
  let furthest = partial.position; // what starts over and over makes no progress
  let misfits = 0;
  const attempt = async () => {
    while (partial.position < task.file.size) {
      await fetchPart(task, partial, misfits < maxMisfits).catch((error) => {
        misfits += error instanceof MisfitError ? 1 : 0;
        throw error;
      });
    }
  };
  await retrying(task.hub, request, attempt, () => {
    furthest = Math.max(furthest, partial.position);
    return furthest;
  });
}

/**
 * One request: for the bytes from `position` on or for the whole file. Each begins at the hub, whose redirect is to a
 * new address if the last one is too old. What is there already stays until an answer fits.
 */
async function fetchPart(task: BlobTask, partial: Partial, askForRest: boolean): Promise<void> {
  const { hub, repository, file, signal } = task;
  const isPart = partial.position > 0 && askForRest;
  const headers: Record<string, string> = isPart ? { range: `bytes=${partial.position}-` } : {};
  const repo = hubPathOf(repository);
  const request = { repo, subject: subjectOf(task), signal, headers, expectedStatus: 416 };
  const response = await requestOnce(hub, contentsUrl(hub, repo, repository.commit, file.path), request);
  try {
    const span = locateBody(response, partial.position, file);
    if (response.body === null) {
      throw new MisfitError("the answer is empty");
    }
    if (response.status !== 206 && partial.position > 0) {
      await startOver(task, partial); // the server does not do ranges
    }
    await writeBody(task, partial, response.body, span);
  } finally {
    if (response.body?.locked === false) {
      await response.body.cancel().catch(() => {});
    }
  }
}

async function writeBody(
  task: BlobTask,
  partial: Partial,
  body: ReadableStream<Uint8Array>,
  { start, end }: Span,
): Promise<void> {
  const { hub, file, signal, report } = task;
  const reader = body.getReader();
  try {
    for (let at = start; partial.position < end; ) {
      const chunk = await readChunk(reader, hub.retry.stallMs);
      if (chunk === undefined) {
        throw new TransientError(`the connection was cut at byte ${partial.position} of ${file.size}`);
      }
      if (at + chunk.length > end) {
        throw new TransientError("the answer is longer than the file");
      }
      const fresh = chunk.subarray(Math.max(0, partial.position - at)); // it may begin in front of what is missing
      at += chunk.length;
      await writeAll(partial.handle, fresh, partial.position);
      partial.hash.update(fresh);
      partial.position += fresh.length;
      report(partial.position, partial.cachedBytes);
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
