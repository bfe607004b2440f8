// Writing files so that a failure costs nothing that was there before.

import { open, realpath, rename, rm, stat } from "node:fs/promises";

/** The file behind links. Throws if there is anything but a file: renaming over a device would destroy it. */
export async function findTarget(path: string): Promise<string> {
  const target = await realpath(path).catch(() => path);
  const info = await stat(target).catch(() => undefined);
  if (info !== undefined && !info.isFile()) {
    throw new Error(info.isDirectory() ? "it is a directory" : "it is not a regular file");
  }
  return target;
}

/** Writes beside `path` and renames, so that a full disk does not cost the old file. */
export async function replaceFile(path: string, data: string | Uint8Array, mode = 0o666): Promise<void> {
  const target = await findTarget(path);
  const partial = `${target}.partial`;
  try {
    await writeDurably(partial, data, mode);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {});
    throw error;
  }
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

async function writeDurably(path: string, data: string | Uint8Array, mode: number): Promise<void> {
  const file = await open(path, "w", mode);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}
