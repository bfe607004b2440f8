// A lock that processes share: a file made with O_EXCL, kept fresh while it is held. A lock whose holder is gone
// (killed, power cut) is taken over.

import { randomUUID } from "node:crypto";
import { link, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { throwIfAborted, withContext } from "./errors.js";
import { isAlive, isBusy, makeFolder, processSpace, retryIfBusy } from "./files.js";

const refreshMs = 10_000;
const staleMs = 120_000; // far more than a busy machine or a network file system delays a refresh
const pollMs = 250;

/** Ids of the locks that this process holds or waits for. */
const own = new Set<string>();

interface Holder {
  id: string;
  pid: number;
  /** Where the pid means something. */
  host: string;
}

export interface LockOptions {
  signal?: AbortSignal;
  /** Called once if another process holds the lock. */
  onWait?: () => void;
}

/** Waits for the lock at `path`, runs `body`, lets go of it. */
export async function withLock<T>(path: string, options: LockOptions, body: () => Promise<T>): Promise<T> {
  const holder: Holder = { id: randomUUID(), pid: process.pid, host: processSpace() };
  own.add(holder.id);
  try {
    return await runLocked(path, holder, options, body);
  } finally {
    own.delete(holder.id);
  }
}

async function runLocked<T>(path: string, holder: Holder, options: LockOptions, body: () => Promise<T>): Promise<T> {
  for (let waits = 0; !(await tryOrExplain(path, holder)); waits++) {
    throwIfAborted(options.signal);
    if (waits === 0) {
      options.onWait?.();
    }
    await delay(pollMs, undefined, { signal: options.signal }).catch(() => throwIfAborted(options.signal));
  }
  await removeForgotten(path);
  const refresh = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {}); // if it was taken over, the next holder's checks find out
  }, refreshMs);
  refresh.unref();
  try {
    return await body();
  } finally {
    clearInterval(refresh);
    if ((await readHolder(path))?.id === holder.id) {
      await retryIfBusy(() => rm(path, { force: true }));
    }
  }
}

/** Deletes what processes have left beside the lock that were killed while they asked for it. */
async function removeForgotten(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)).catch(() => [])) {
    const place = join(dirname(path), name);
    const age = Date.now() - ((await stat(place).catch(() => undefined))?.mtimeMs ?? Date.now());
    if (name.startsWith(`${basename(path)}.`) && age > staleMs) {
      await rm(place, { force: true }).catch(() => {});
    }
  }
}

/** What goes wrong is told of the folder: nobody asked for a lock. */
async function tryOrExplain(path: string, holder: Holder): Promise<boolean> {
  try {
    await makeFolder(dirname(path));
    return await tryLock(path, holder);
  } catch (error) {
    throw withContext(`${dirname(path)} cannot be written to`, error);
  }
}

/** Makes the lock file, complete with its holder, unless there is one that is alive. */
async function tryLock(path: string, holder: Holder): Promise<boolean> {
  const made = `${path}.${holder.id}`;
  await writeFile(made, JSON.stringify(holder));
  try {
    await link(made, path); // fails if there is one; never shows a half-written file
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      return await tryLockWithoutLinks(path, holder);
    }
    await removeIfStale(path, holder);
    return false;
  } finally {
    await retryIfBusy(() => rm(made, { force: true }));
  }
}

// Some file systems have no hard links.
async function tryLockWithoutLinks(path: string, holder: Holder): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify(holder), { flag: "wx" });
    return true;
  } catch (error) {
    if (isBusy(error)) {
      return false; // the folder can be written to: the lock of another is just going
    }
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw error;
    }
    await removeIfStale(path, holder);
    return false;
  }
}

/**
 * Moves a stale lock away. Another process may have done so and made its own between our look and our move; then what
 * we moved is put back.
 */
async function removeIfStale(path: string, self: Holder): Promise<void> {
  const judged = await readHolder(path);
  const info = await stat(path).catch(() => undefined);
  if (info === undefined || !isStale(judged, info.mtimeMs, self)) {
    return;
  }
  const moved = `${path}.stale.${self.id}`;
  try {
    await rename(path, moved);
  } catch {
    return; // another was faster
  }
  if ((await readHolder(moved))?.id !== judged?.id) {
    await link(moved, path).catch(() => {});
  }
  await rm(moved, { force: true });
}

function isStale(holder: Holder | undefined, mtimeMs: number, self: Holder): boolean {
  return Date.now() - mtimeMs > staleMs || (holder?.host === self.host && isGone(holder, self));
}

/** The pid may be ours now: in a container that was started again it often is. */
function isGone({ id, pid }: Holder, self: Holder): boolean {
  return pid === self.pid ? !own.has(id) : !isAlive(pid);
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Holder;
  } catch {
    return undefined; // gone, or cut off by a full disk: its age decides
  }
}
