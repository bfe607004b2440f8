// The cache that Python's huggingface_hub shares: one folder per repository,
//
//   models--owner--name/
//     blobs/<id>                    contents; id is the SHA-256 of a large file, the git hash of a small one
//     blobs/<id>.incomplete         as much of it as has come
//     snapshots/<commit>/<path>     relative links to blobs
//     refs/<revision>               the commit that a branch or tag meant when it was last downloaded
//   .locks/models--owner--name/     ours: <id>.bitnet.lock while a process downloads a blob
//
// Those of data sets are called datasets--owner--name.

import { copyFile, link, lstat, readdir, readFile, realpath, rm, stat, symlink } from "node:fs/promises";
import { devNull } from "node:os";
import { dirname, join, relative, sep } from "node:path";
import { at } from "../system/at.js";
import { BitnetError, toBitnetError, withContext } from "../system/errors.js";
import { identityOf, makeFolder, replaceFile, retryIfBusy, writeThenRename } from "../system/files.js";

export interface RepositoryPaths {
  folder: string;
  blobs: string;
  locks: string;
}

export interface CachedFile {
  /** With slashes. */
  path: string;
  size: number;
  /** Where the link lies, inside snapshots/. */
  file: string;
}

/** What a repository holds. */
export type RepositoryType = "model" | "dataset";

/** Without a cache they lie below the null device, where nothing is and nothing can be made. */
export function repositoryPaths(
  cacheDir: string | undefined,
  repo: string,
  type: RepositoryType = "model",
): RepositoryPaths {
  const name = `${type}s--${repo.replaceAll("/", "--")}`;
  const top = cacheDir ?? devNull;
  const folder = join(top, name);
  return { folder, blobs: join(folder, "blobs"), locks: join(top, ".locks", name) };
}

export function snapshotPath(paths: RepositoryPaths, commit: string, path = ""): string {
  return join(paths.folder, "snapshots", commit, ...path.split("/"));
}

/** Refuses a path of a listing that would leave the folder it is joined to. */
export function checkRelativePath(path: string): string {
  const parts = path.split("/");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  const bad = /[\u0000-\u001f\\:]/.test(path) || parts.some((part) => part === "" || part === "." || part === "..");
  if (bad) {
    throw new BitnetError("BAD_FILE", `the repository lists a file with an unsafe name: ${JSON.stringify(path)}`);
  }
  return path;
}

/**
 * A failure of the file system in the cache, with the path, which operations on open files do not tell, and what to do.
 * Any other error as it is.
 */
export function cacheError(error: unknown, path: string): unknown {
  const isSystem = error instanceof Error && !(error instanceof BitnetError) && "syscall" in error;
  if (!isSystem) {
    return error;
  }
  const named = (error as NodeJS.ErrnoException).path ?? path;
  const elsewhere = "set HF_HOME to a folder on another disk";
  const hint =
    toBitnetError(error).code === "NO_SPACE"
      ? `make room, then run the same command again: it continues where it stopped; or ${elsewhere}`
      : `the cache must be writable, or ${elsewhere}`;
  const { code, message } = withContext(`cannot write to ${named}`, error);
  return new BitnetError(code, message, { hint, cause: error });
}

/** Size of a file, following links; undefined if there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}

/** Links snapshots/<commit>/<path> to its blob. Where links are not allowed (Windows), a second name or a copy. */
export async function linkSnapshot(
  paths: RepositoryPaths,
  commit: string,
  path: string,
  blob: string,
): Promise<string> {
  const place = snapshotPath(paths, commit, path);
  await makeFolder(dirname(place));
  const target = relative(dirname(place), blob);
  await writeThenRename(place, (made) =>
    symlink(target, made).catch(() => link(blob, made).catch(() => copyFile(blob, made))),
  );
  return place;
}

export async function readRef(paths: RepositoryPaths, revision: string): Promise<string | undefined> {
  const text = await readFile(join(paths.folder, "refs", ...revision.split("/")), "utf8").catch(() => "");
  return /^[0-9a-f]{40}$/.test(text.trim()) ? text.trim() : undefined;
}

export async function writeRef(paths: RepositoryPaths, revision: string, commit: string): Promise<void> {
  if (revision === commit || (await readRef(paths, revision)) === commit) {
    return;
  }
  const place = join(paths.folder, "refs", ...revision.split("/"));
  await makeFolder(dirname(place));
  await replaceFile(place, commit);
}

/** The files of one snapshot whose contents are there. */
export async function listSnapshot(paths: RepositoryPaths, commit: string): Promise<CachedFile[]> {
  const top = snapshotPath(paths, commit);
  const entries = await readdir(top, { recursive: true, withFileTypes: true }).catch(() => []);
  const files: CachedFile[] = [];
  for (const entry of entries) {
    const file = join(entry.parentPath, entry.name);
    const info = await stat(file).catch(() => undefined);
    if (info?.isFile()) {
      files.push({ path: relative(top, file).split(sep).join("/"), size: info.size, file });
    }
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

export interface CachedSnapshot {
  repo: string;
  commit: string;
  /** Branches and tags that mean this commit. */
  refs: string[];
  files: CachedFile[];
}

/** Every snapshot of every model in the cache. */
export async function scanCache(cacheDir: string): Promise<CachedSnapshot[]> {
  const snapshots: CachedSnapshot[] = [];
  for (const folder of (await readdir(cacheDir).catch(() => [])).sort()) {
    const match = /^models--(.+)$/.exec(folder);
    if (match === null) {
      continue;
    }
    const repo = at(match, 1).replaceAll("--", "/");
    const paths = repositoryPaths(cacheDir, repo);
    const refs = await listRefs(paths);
    for (const commit of (await readdir(join(paths.folder, "snapshots")).catch(() => [])).sort()) {
      const names = refs.filter((ref) => ref.commit === commit).map((ref) => ref.name);
      snapshots.push({ repo, commit, refs: names, files: await listSnapshot(paths, commit) });
    }
  }
  return snapshots;
}

async function listRefs(paths: RepositoryPaths): Promise<{ name: string; commit: string }[]> {
  const top = join(paths.folder, "refs");
  const entries = await readdir(top, { recursive: true, withFileTypes: true }).catch(() => []);
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(top, join(entry.parentPath, entry.name)).split(sep).join("/"));
  const refs = await Promise.all(names.map(async (name) => ({ name, commit: await readRef(paths, name) })));
  return refs.flatMap(({ name, commit }) => (commit === undefined ? [] : { name, commit }));
}

/**
 * Takes files of one snapshot out of the cache: their links, the blobs that no other link uses, and what is empty then.
 * Returns the bytes that became free.
 */
export async function removeCachedFiles(cacheDir: string, repo: string, files: readonly string[]): Promise<number> {
  const paths = repositoryPaths(cacheDir, repo);
  let freed = 0;
  for (const file of files) {
    const blob = await findBlob(paths, file);
    freed += await removeFile(file);
    if (blob !== undefined && !(await isLinked(paths, blob))) {
      freed += await removeFile(blob);
    }
  }
  await removeIfWithoutFiles(paths);
  return freed;
}

/** The blob that a name in a snapshot means: what it links to or, where links are not allowed, the same file. */
async function findBlob(paths: RepositoryPaths, file: string): Promise<string | undefined> {
  const target = await realpath(file).catch(() => "");
  if (dirname(target) === (await realpath(paths.blobs).catch(() => ""))) {
    return target;
  }
  const identity = await identityOf(file);
  for (const name of identity === undefined ? [] : await readdir(paths.blobs).catch(() => [])) {
    if ((await identityOf(join(paths.blobs, name))) === identity) {
      return join(paths.blobs, name);
    }
  }
  return undefined;
}

/** Returns the bytes that became free: none where another name is left, such as one in a folder of models. */
async function removeFile(path: string): Promise<number> {
  const info = await lstat(path).catch(() => undefined);
  await retryIfBusy(() => rm(path, { force: true }));
  return info?.isFile() && info.nlink === 1 ? info.size : 0;
}

async function isLinked(paths: RepositoryPaths, blob: string): Promise<boolean> {
  const top = join(paths.folder, "snapshots");
  const identity = await identityOf(blob);
  for (const entry of await readdir(top, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isDirectory() && (await identityOf(join(entry.parentPath, entry.name))) === identity) {
      return true;
    }
  }
  return false;
}

/** Removes the folder of a repository whose last file is gone; partial downloads keep it. */
async function removeIfWithoutFiles(paths: RepositoryPaths): Promise<void> {
  for (const part of ["snapshots", "blobs"]) {
    const entries = await readdir(join(paths.folder, part), { recursive: true, withFileTypes: true }).catch(() => []);
    if (entries.some((entry) => !entry.isDirectory())) {
      return;
    }
  }
  const info = await lstat(paths.folder).catch(() => undefined);
  if (info?.isDirectory()) {
    await rm(paths.folder, { recursive: true });
  }
}
