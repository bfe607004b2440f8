// Writing files so that a failure costs nothing that was there before.

import { open, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { BitnetError, convertingAsync } from "./errors.js";

/** The file behind links. Throws USAGE if there is anything but a file: renaming over a device would destroy it. */
export async function findTarget(path: string): Promise<string> {
  const target = await realpath(path).catch(() => path);
  const info = await stat(target).catch(() => undefined);
  if (info !== undefined && !info.isFile()) {
    throw new BitnetError("USAGE", info.isDirectory() ? "it is a directory" : "it is not a regular file");
  }
  return target;
}

/** Has `write` make a file beside `path` and renames it; if anything fails, what was at `path` stays, and only that. */
export async function writeThenRename<T>(path: string, write: (partial: string) => Promise<T>): Promise<T> {
  const partial = `${path}.partial`;
  try {
    const result = await write(partial);
    await rename(partial, path);
    await flushDirectory(dirname(resolve(path)));
    return result;
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {});
    throw error;
  }
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
    const { bavail, bsize } = await statfs(directory);
    return { isDirectory: (await stat(directory)).isDirectory(), free: bavail * bsize };
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
async function flushDirectory(path: string): Promise<void> {
  const directory = await open(path, "r").catch(() => undefined);
  await directory?.sync().catch(() => {});
  await directory?.close();
}
