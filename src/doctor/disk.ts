// Where models and caches lie: room, kind of file system, whether it can be written to; and how much of the model's file
// is in memory already.

import { access, constants, realpath, stat, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import { openGguf } from "../gguf/gguf.js";
import { readHubEnvironment } from "../hub/environment.js";
import { bundledModel } from "../models/bundled.js";
import { reasonOf } from "../system/errors.js";
import { cacheFolder, configFolder, findModelsFolder, stateFolder } from "../system/folders.js";
import { type Advice, type Context, type Finding, findingOf, gigabytes } from "./check.js";
import { listMounts, type Mount, mountOf } from "./mounts.js";

export interface Place {
  what: "model" | "models" | "downloads" | "cache" | "state" | "config" | "temporary";
  /** null: this user has no such folder. */
  path: string | null;
  exists: boolean;
  writable: boolean;
  /** Why not. */
  problem: string | null;
  freeBytes: number | null;
  fileSystem: string | null;
  kind: "local" | "network" | "container" | "memory" | null;
}

export interface DiskFacts {
  places: Place[];
  /** Of the model's file; a share of 1 is all of it. null: the system does not tell. */
  cachedShare: number | null;
}

export async function checkDisk(context: Context): Promise<Finding<DiskFacts>> {
  const mounts = listMounts(context.files);
  const wanted = await listPlaces(context);
  const places = await Promise.all(wanted.map(([what, path]) => describePlace(what, path, mounts)));
  const facts = { places, cachedShare: await readCachedShare(context) };
  return findingOf(facts, places.flatMap(advisePlace));
}

async function listPlaces({ env, model, modelProblem }: Context): Promise<[Place["what"], string | undefined][]> {
  const downloads = await readHubEnvironment(env).catch(() => undefined);
  const isOwn = model !== bundledModel.path && modelProblem === undefined;
  return [
    ["model", isOwn ? dirname(resolve(model)) : undefined],
    ["models", tryFolder(() => findModelsFolder(env))],
    ["downloads", downloads?.cacheDir],
    ["cache", cacheFolder(env)],
    ["state", stateFolder(env)],
    ["config", configFolder(env)],
    ["temporary", tmpdir()],
  ];
}

function tryFolder(find: () => string | undefined): string | undefined {
  try {
    return find();
  } catch {
    return undefined; // a ~ of a user without a home
  }
}

async function describePlace(what: Place["what"], path: string | undefined, mounts: readonly Mount[]): Promise<Place> {
  const nothing = { exists: false, writable: false, problem: null, freeBytes: null, fileSystem: null, kind: null };
  if (path === undefined) {
    return { what, path: null, ...nothing };
  }
  const own = await stat(path).catch((error: Error) => error);
  const exists = !(own instanceof Error);
  const isMissing = own instanceof Error && (own as NodeJS.ErrnoException).code === "ENOENT";
  const nearest = await nearestFolder(resolve(path));
  const refusal = await access(nearest, constants.W_OK | constants.X_OK).then(
    () => undefined,
    (error: unknown) => reasonOf(error),
  );
  const isFolder = own instanceof Error || own.isDirectory();
  const denied = exists || isMissing ? refusal : reasonOf(own);
  const problem = !isFolder
    ? "it is not a directory"
    : what === "temporary" && !exists
      ? "no such directory" // nobody makes it
      : denied;
  const room = await statfs(nearest).catch(() => undefined);
  const mount = mountOf(mounts, await realpath(nearest).catch(() => nearest));
  return {
    ...{ what, path, exists, writable: problem === undefined, problem: problem ?? null },
    freeBytes: room === undefined ? null : room.bavail * room.bsize,
    fileSystem: mount?.type ?? null,
    kind: mount === undefined ? null : kindOf(mount.type),
  };
}

/** The folder itself or the nearest one above it that is there: where it would be made. */
async function nearestFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const isThere = await stat(folder).then(
      (info) => info.isDirectory(),
      () => false,
    );
    if (isThere || folder === dirname(folder)) {
      return folder;
    }
  }
}

function kindOf(type: string): Place["kind"] {
  if (
    /^(nfs\d?|cifs|smb\d?|9p|virtiofs|ceph|glusterfs|lustre|beegfs|afs|fuse\..*|fuse|drvfs|vboxsf|prl_fs)$/.test(type)
  ) {
    return "network";
  }
  if (/^(overlay|aufs)$/.test(type)) {
    return "container";
  }
  return /^(tmpfs|ramfs)$/.test(type) ? "memory" : "local";
}

const leastRoom = 2e9; // bytes; a model of 2 billion weights and its download

function advisePlace({ what, path, writable, problem, freeBytes, kind }: Place): Advice[] {
  if (path === null) {
    return what === "models"
      ? [
          {
            status: "warning",
            what: "this user has no home folder to keep models in",
            next: "set BITNET_MODELS and HF_HOME",
          },
        ]
      : [];
  }
  const isKept = what === "models" || what === "downloads";
  const advice: Advice[] = [];
  if (!writable && isKept) {
    const next =
      what === "models" ? "set BITNET_MODELS to a folder of this user" : "set HF_HOME to a folder of this user";
    advice.push({ status: "warning", what: `${what} cannot be kept in ${path}: ${problem}`, next });
  } else if (!writable && what === "temporary") {
    advice.push({ status: "warning", what: `${path} cannot be written to: ${problem}`, next: "set TMPDIR" });
  }
  if (isKept && freeBytes !== null && freeBytes < leastRoom && writable) {
    const next = "bitnet list shows what is there, bitnet rm removes it";
    advice.push({ status: "note", what: `${gigabytes(freeBytes)} are free for ${what} in ${path}`, next });
  }
  if (what === "model" && kind === "network") {
    advice.push({
      status: "note",
      what: `the model lies on a network file system (${path}): it loads as fast as that is`,
      next: "copy it to a local disk: bitnet cp",
    });
  }
  if (what === "models" && kind === "container") {
    advice.push({ status: "note", what: `${path} goes with the container`, next: "mount a volume there" });
  }
  return advice;
}

/** Linux tells it of files that this user owns or may write to, and of no others. */
async function readCachedShare({ native, model }: Context): Promise<number | null> {
  if (native instanceof Error) {
    return null;
  }
  try {
    const mayAsk = await access(model, constants.W_OK).then(
      () => true,
      () => false,
    );
    const gguf = openGguf(model);
    const resident = mayAsk ? gguf.residentBytes() : undefined;
    return resident === undefined ? null : resident / gguf.fileSize;
  } catch {
    return null;
  }
}
