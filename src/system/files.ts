// Writing files so that a failure costs nothing that was there before, and that several writers of one file, in this
// process or in others, never mix: each writes a file of its own beside it, the last one that ends wins.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readlinkSync, statSync } from "node:fs";
import { lstat, open, readdir, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BitnetError, convertingAsync, toBitnetError } from "./errors.js";

/** The file behind links. Throws USAGE if there is anything but a file: renaming over a device would destroy it. */
export async function findTarget(path: string): Promise<string> {
  const target = await realpath(path).catch(() => path);
  const info = await stat(target).catch(() => undefined);
  if (info !== undefined && !info.isFile()) {
    throw new BitnetError("USAGE", info.isDirectory() ? "it is a directory" : "it is not a regular file");
  }
  return target;
}

/** What to type instead, for a folder and for a pipe or a device. */
export interface FileHints {
  folder?: string;
  other?: string;
}

/** Throws BAD_FILE if there is anything but a file: opening a pipe or reading a device may never end. */
export async function requireFile(path: string, hints: FileHints = {}): Promise<void> {
  const info = await convertingAsync(() => stat(path));
  if (info.isDirectory()) {
    throw new BitnetError("BAD_FILE", `${path}: it is a directory`, { hint: hints.folder });
  }
  if (!info.isFile()) {
    throw new BitnetError("BAD_FILE", `${path}: it is not a regular file`, { hint: hints.other });
  }
}

/**
 * Makes a folder and those above it, if they are not there; returns the first that was made. Node's own recursive calls never end
 * where the system says of every folder that the one above it is missing, as below /proc (tried with Node 20).
 */
export function makeFolderSync(path: string, mode?: number): string | undefined {
  const whole = resolve(path);
  const missing: string[] = [];
  for (let folder = whole; !existsSync(folder) && dirname(folder) !== folder; folder = dirname(folder)) {
    missing.unshift(folder);
  }
  for (const folder of missing) {
    try {
      mkdirSync(folder, { mode });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
        throw error; // else another process was quicker
      }
    }
  }
  if (!statSync(whole).isDirectory()) {
    throw Object.assign(new Error(`EEXIST: file already exists, mkdir '${path}'`), { code: "EEXIST", path });
  }
  return missing[0];
}

/** The same, as a promise: a few calls of the system that take no time worth a thread. */
export async function makeFolder(path: string, mode?: number): Promise<string | undefined> {
  return makeFolderSync(path, mode);
}

/** Where process ids mean the same processes: the host and, on Linux, the namespace of processes. */
export function processSpace(): string {
  let namespace = "";
  try {
    namespace = readlinkSync("/proc/self/ns/pid");
  } catch {} // not Linux
  return `${hostname()} ${namespace}`;
}

/** False if no process of this space has the id. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** What a process writes before it is called `path`; `turn` counts its writers of that file at the same time. */
export function partialPath(path: string, pid = process.pid, turn = 0): string {
  const space = createHash("sha256").update(processSpace()).digest("hex").slice(0, 8);
  return `${path}.${space}-${pid}-${turn}.partial`;
}

const forgottenMs = 7 * 24 * 3600_000; // a partial file of another host that nobody has written to for so long

/** Deletes what writers of `path` have left that were killed. */
async function removeForgotten(path: string): Promise<void> {
  const prefix = `${basename(path)}.`;
  const ownSpace = /^\.?([0-9a-f]{8})-/.exec(partialPath(""))?.[1];
  for (const name of await readdir(dirname(path)).catch(() => [])) {
    const match = name.startsWith(prefix) ? /^([0-9a-f]{8})-(\d+)-\d+\.partial$/.exec(name.slice(prefix.length)) : null;
    if (match !== null) {
      const place = join(dirname(path), name);
      const age = Date.now() - ((await lstat(place).catch(() => undefined))?.mtimeMs ?? Date.now());
      if ((match[1] === ownSpace && !isAlive(Number(match[2]))) || age > forgottenMs) {
        await rm(place, { recursive: true, force: true }).catch(() => {});
      }
    }
  }
}

/** What names of one file have in common; undefined: there is no file. */
export async function identityOf(path: string): Promise<string | undefined> {
  const info = await stat(path, { bigint: true }).catch(() => undefined); // the numbers of Windows have 64 bits
  return info && `${info.dev}:${info.ino}`;
}

const busyCodes = new Set<unknown>(["EPERM", "EACCES", "EBUSY"]);
const waitsMs = [10, 20, 50, 100, 200, 500, 1000];

/** Whether Windows refuses to change a file that others have open, or are just deleting; it also says so of what is forbidden. */
export function isBusy(error: unknown, platform = process.platform): boolean {
  return platform === "win32" && busyCodes.has((error as NodeJS.ErrnoException).code);
}

/** Renames or deletes, on Windows again for two seconds: virus scanners and indexers open every new file for a moment. */
export async function retryIfBusy<T>(change: () => Promise<T>, platform = process.platform): Promise<T> {
  for (const ms of waitsMs) {
    try {
      return await change();
    } catch (error) {
      if (!isBusy(error, platform)) {
        throw error;
      }
      await delay(ms);
    }
  }
  return await change();
}

const inUse = new Set<string>();

function choosePartial(path: string): string {
  for (let turn = 0; ; turn++) {
    const partial = partialPath(path, process.pid, turn);
    if (!inUse.has(partial)) {
      return partial;
    }
  }
}

/**
 * Has `write` make a file or a folder beside `path` and renames it; if anything fails, what was at `path` stays, and only that.
 * Errors name `path`.
 */
export async function writeThenRename<T>(path: string, write: (partial: string) => Promise<T>): Promise<T> {
  const target = resolve(path);
  const partial = choosePartial(target);
  inUse.add(partial);
  try {
    await removeForgotten(target);
    const result = await write(partial);
    await retryIfBusy(() => rename(partial, target));
    await flushDirectory(dirname(target));
    return result;
  } catch (error) {
    throw renamed(error, partial, path);
  } finally {
    // Also after success: renaming one of two names of the same file to the other leaves both.
    await retryIfBusy(() => rm(partial, { recursive: true, force: true })).catch(() => {});
    inUse.delete(partial);
  }
}

/** The same failure about the file that was asked for. */
function renamed(error: unknown, partial: string, path: string): unknown {
  if (!(error instanceof Error)) {
    return error;
  }
  if ("syscall" in error) {
    const { path: failed = partial } = error as NodeJS.ErrnoException; // operations on open files tell none
    return failed === partial ? Object.assign(error, { path }) : error;
  }
  if (!error.message.includes(partial)) {
    return error;
  }
  const { code, message, hint, cause } = toBitnetError(error);
  return new BitnetError(code, message.replaceAll(partial, path), { hint, cause: cause ?? error });
}

/** Writes beside `path` and renames, so that a full disk does not cost the old file. */
export async function replaceFile(path: string, data: string | Uint8Array, mode = 0o666): Promise<void> {
  await writeThenRename(await findTarget(path), (partial) => writeDurably(partial, data, mode));
}

/** The same; a device or a pipe, such as /dev/stdout, is written to. */
export async function writeOutput(path: string, data: Uint8Array): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined || info.isFile() || info.isDirectory()) {
    return replaceFile(path, data);
  }
  const file = await open(path, "w");
  try {
    await file.writeFile(data);
  } finally {
    await file.close();
  }
}

/** Throws NO_SPACE if the disk of `directory` has no room for `bytes` more, NOT_FOUND if it is no directory. */
export async function requireSpace(directory: string, bytes: number): Promise<void> {
  const { isDirectory, free } = await convertingAsync(async () => {
    const { blocks, bavail, bsize } = await statfs(directory);
    const isTold = blocks > 0; // not by every file system
    return { isDirectory: (await stat(directory)).isDirectory(), free: isTold ? bavail * bsize : bytes };
  });
  if (!isDirectory) {
    throw new BitnetError("NOT_FOUND", `${directory} is not a directory`);
  }
  if (free < bytes) {
    throw new BitnetError(
      "NO_SPACE",
      `${directory}: the file needs ${formatMB(bytes)}, but only ${formatMB(free)} are free`,
    );
  }
}

function formatMB(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

async function writeDurably(path: string, data: string | Uint8Array, mode: number): Promise<void> {
  const file = await open(path, "w", mode);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The new name is on the disk only when the directory is; some systems cannot do that. */
export async function flushDirectory(path: string): Promise<void> {
  const directory = await open(path, "r").catch(() => undefined);
  await directory?.sync().catch(() => {});
  await directory?.close();
}
