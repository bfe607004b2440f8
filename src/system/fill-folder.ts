// Several files that appear together: made in a folder beside them, moved into place when all are there.

import { lstat, readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { convertingAsync } from "./errors.js";
import { flushDirectory, isAlive, makeFolder, partialPath, retryIfBusy } from "./files.js";

const partialName = /^\.([0-9a-f]{8})-(\d+)-\d+\.partial$/; // as partialPath() makes it
const forgottenMs = 7 * 24 * 3600_000; // a folder of another host that nobody has written to for so long
let turn = 0; // of this process: calls at the same time have a folder each

/**
 * Has `write` make files and folders in an empty folder within `folder`, which is made if it is not there, and moves them
 * up: each takes the place of what has its name. If anything fails before, all is as it was.
 */
export async function fillFolder<T>(folder: string, write: (partial: string) => Promise<T>): Promise<T> {
  return await convertingAsync(async () => {
    const made = await makeFolder(folder);
    await removeForgotten(folder);
    const partial = join(folder, partialPath("", process.pid, turn++));
    try {
      await makeFolder(partial);
      const result = await write(partial);
      for (const name of (await readdir(partial)).sort()) {
        await moveOver(join(partial, name), join(folder, name), join(partial, `${name}.old`));
      }
      await flushDirectory(folder);
      return result;
    } finally {
      await retryIfBusy(() => rm(partial, { recursive: true, force: true })).catch(() => {});
      await removeEmpty(folder, made);
    }
  });
}

/** Deletes `folder` and those above it up to the first that was made, as far as nothing is in them. */
async function removeEmpty(folder: string, made: string | undefined): Promise<void> {
  for (let at = resolve(folder); made !== undefined && at.length >= made.length; at = dirname(at)) {
    try {
      await rmdir(at);
    } catch {
      return;
    }
  }
}

/** A folder cannot be renamed over one that has files: the old one steps aside. */
async function moveOver(from: string, to: string, aside: string): Promise<void> {
  const old = await lstat(to).catch(() => undefined);
  if (old?.isDirectory()) {
    await retryIfBusy(() => rename(to, aside));
  }
  await retryIfBusy(() => rename(from, to));
}

/** Deletes what processes have left that were killed. */
async function removeForgotten(folder: string): Promise<void> {
  const ownSpace = partialName.exec(partialPath(""))?.[1];
  for (const name of await readdir(folder)) {
    const match = partialName.exec(name);
    if (match !== null) {
      const path = join(folder, name);
      const age = Date.now() - ((await lstat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
      if ((match[1] === ownSpace && !isAlive(Number(match[2]))) || age > forgottenMs) {
        await rm(path, { recursive: true, force: true }).catch(() => {});
      }
    }
  }
}
