// Where the model of a request lies in a folder of models, or will lie.
//
// The first model of a name lies as setup_env.py has it, in NAME/. A model of another owner or revision with the same
// name gets a folder of its own: OWNER--NAME/, or OWNER--NAME@REVISION/ for another revision than main.

import { mkdtemp, readdir, rmdir, stat, statfs } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { listSnapshot, readRef, repositoryPaths } from "../hub/cache.js";
import type { Repository, RepositoryName } from "../hub/repository.js";
import { BitnetError, withContext } from "../system/errors.js";
import { identityOf, makeFolder } from "../system/files.js";
import { hashFiles } from "../system/hash-files.js";
import { withLock } from "../system/lock.js";
import {
  claimedRepository,
  isSameModel,
  isSameRepository,
  type Provenance,
  readLocalDownload,
  readProvenance,
  sourceOf,
  tryOpenGguf,
} from "./provenance.js";

/** What is looked for. */
export interface Wanted {
  name: RepositoryName;
  /** Where the makers of the model publish GGUF files, if that is another repository. */
  twin?: string;
  /** Of the GGUF file in its folder: "ggml-model-i2_s.gguf". */
  fileName: string;
  /** The file of the repository, where a certain one is asked for. */
  file?: string;
  cacheDir: string | undefined;
}

export type Place =
  /** The file is what is asked for. Without `provenance` its own metadata, or the cache, tell so. */
  | { kind: "same"; path: string; provenance?: Provenance }
  /** There is a file, and nothing on this machine tells where it came from; `other` is the place for a new one. */
  | { kind: "unknown"; path: string; other: string }
  | { kind: "free"; path: string };

export async function findPlace(modelDir: string, wanted: Wanted): Promise<Place> {
  let unknown: string | undefined;
  for (const folder of folderNames(wanted.name)) {
    const path = join(modelDir, folder, wanted.fileName);
    const { origin, provenance } = await judge(path, wanted);
    if (origin === "same") {
      return { kind: "same", path, provenance };
    }
    if (origin === "unknown" && unknown === undefined) {
      unknown = path;
    } else if (origin === "none" && (await isOpenTo(join(modelDir, folder), wanted))) {
      return unknown === undefined ? { kind: "free", path } : { kind: "unknown", path: unknown, other: path };
    }
  }
  const folders = folderNames(wanted.name).join(" and ");
  throw new BitnetError("BAD_FILE", `${modelDir}: ${folders} hold ${wanted.fileName} of other models`, {
    hint: "move one away, or name another folder of models with -md DIR",
  });
}

/** What Windows takes for a device, in every folder and with every extension; a folder of models may move to it. */
const devices = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** Folders that a model may have, in the order in which they are tried. */
export function folderNames({ name, revision }: RepositoryName): string[] {
  const suffix = revision === "main" ? "" : `@${revision.replaceAll("/", "--")}`;
  const own = basename(name);
  return [...(devices.test(own) ? [] : [own]), `${name.replace("/", "--")}${suffix}`];
}

interface Judgement {
  origin: "same" | "other" | "unknown" | "none";
  provenance?: Provenance;
}

async function judge(path: string, wanted: Wanted): Promise<Judgement> {
  if (!(await stat(path).catch(() => undefined))?.isFile()) {
    return { origin: "none" };
  }
  const provenance = await readProvenance(path);
  if (provenance !== undefined) {
    return { origin: isSameModel(provenance, wanted.name, wanted.file) ? "same" : "other", provenance };
  }
  const isKnown = (await isClaimed(path, wanted)) || (await isInCache(path, wanted));
  return { origin: isKnown ? "same" : "unknown" };
}

/** Whether a file that was converted here before there were notes says in its metadata that it is the model. */
async function isClaimed(path: string, { name, cacheDir, file }: Wanted): Promise<boolean> {
  const gguf = file === undefined ? tryOpenGguf(path) : undefined;
  const claimed = gguf === undefined ? undefined : claimedRepository(gguf);
  const commit = await commitInCache(name, cacheDir);
  return claimed !== undefined && isSameRepository(claimed.name, name.name) && claimed.revision === commit;
}

/** Whether the file is a second name of one that the cache has of the repository. */
async function isInCache(path: string, { name, twin, cacheDir, file }: Wanted): Promise<boolean> {
  const identity = await identityOf(path);
  const names = [name, ...(twin === undefined ? [] : [{ name: twin, revision: "main" }])];
  for (const candidate of names) {
    const commit = await commitInCache(candidate, cacheDir);
    const paths = repositoryPaths(cacheDir, candidate.name);
    for (const cached of commit === undefined ? [] : await listSnapshot(paths, commit)) {
      const isFile = identity !== undefined && (await identityOf(cached.file)) === identity;
      if (isFile && (file === undefined || cached.path === file)) {
        return true;
      }
    }
  }
  return false;
}

/** What the revision meant when it was last downloaded. */
async function commitInCache({ name, revision }: RepositoryName, cacheDir: string | undefined) {
  return /^[0-9a-f]{40}$/.test(revision) ? revision : readRef(repositoryPaths(cacheDir, name), revision);
}

/** Whether nothing in the folder is known to be another model. */
async function isOpenTo(folder: string, { name }: Wanted): Promise<boolean> {
  for (const entry of await readdir(folder).catch(() => [])) {
    const provenance = /\.gguf$/i.test(entry) ? await readProvenance(join(folder, entry)) : undefined;
    if (provenance !== undefined && !isSameModel(provenance, name)) {
      return false;
    }
  }
  return true;
}

/** Which file of these repositories has the contents of the file at `path`; undefined: none, by size or by hash. */
export async function findPublisher(
  path: string,
  repositories: readonly Repository[],
  file: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Provenance["source"] | undefined> {
  const { size } = await stat(path);
  let sha256: string | undefined;
  for (const repository of repositories) {
    for (const { path: name, size: bytes, hash } of repository.files) {
      if (bytes === size && hash?.kind === "sha256" && (file === undefined || name === file)) {
        sha256 ??= (await readLocalDownload(path))?.sha256 ?? (await hashFiles([path], signal));
        if (sha256 === hash.hex) {
          return sourceOf(repository, [name]);
        }
      }
    }
  }
  return undefined;
}

export interface SetupLock {
  signal?: AbortSignal;
  onNote: (text: string) => void;
}

/** Keeps other processes from setting a model of this name up meanwhile; what was made for the lock alone is gone then. */
export async function withSetupLock<T>(
  modelDir: string,
  name: string,
  { signal, onNote }: SetupLock,
  body: () => Promise<T>,
): Promise<T> {
  const made = await makeWritable(modelDir);
  const onWait = () => onNote(`${name}: another process is setting it up; waiting`);
  try {
    return await withLock(join(modelDir, `.${name}.lock`), { signal, onWait }, body);
  } finally {
    if (made !== undefined) {
      await removeEmptyFolders(modelDir, made);
    }
  }
}

/** Makes the folder if there is none. Returns the first one that had to be made. */
async function makeWritable(modelDir: string): Promise<string | undefined> {
  try {
    const made = await makeFolder(modelDir);
    await rmdir(await mkdtemp(join(modelDir, ".bitnet-"))); // what access() says is not what holds on every file system
    return made;
  } catch (error) {
    const { code, message } = withContext(`${modelDir} cannot hold models`, error);
    const hint = "name another folder of models with -md DIR or BITNET_MODELS";
    throw new BitnetError(code, message, { hint, cause: error });
  }
}

/** Removes `folder` and its parents up to `top`, as far as nothing is in them. */
async function removeEmptyFolders(folder: string, top: string): Promise<void> {
  for (let path = resolve(folder); path.length >= resolve(top).length; path = dirname(path)) {
    try {
      await rmdir(path);
    } catch {
      return;
    }
  }
}

/** Throws NO_SPACE, naming the file, if the disk that it is to lie on has no room for it. */
export async function requireRoom(path: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(await existingParent(path));
  const free = bavail * bsize;
  if (bytes > free) {
    const inMb = (n: number) => `${Math.ceil(n / 1e6)} MB`;
    throw new BitnetError(
      "NO_SPACE",
      `no room for ${path}: it takes ${inMb(bytes)}, and ${Math.floor(free / 1e6)} MB are free`,
      {
        hint: "make room, or name a folder of models on another disk with -md DIR or BITNET_MODELS",
      },
    );
  }
}

/** Whether both will lie on one disk, so that a file can have two names. */
export async function isSameDisk(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map(async (path) => (await stat(await existingParent(path))).dev));
  return first === second;
}

async function existingParent(path: string): Promise<string> {
  const parent = dirname(resolve(path));
  const info = await stat(parent).catch(() => undefined);
  return info?.isDirectory() || parent === dirname(parent) ? parent : existingParent(parent);
}
