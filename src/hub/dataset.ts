// Which files of the hub hold one split of a data set: JSON lines of its makers, else the Parquet files that the hub has
// made of every data set, on a branch of their own.

import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { listSnapshot, readRef, repositoryPaths, snapshotPath } from "./cache.js";
import { type DownloadOptions, downloadFiles } from "./download.js";
import type { HubEnvironment } from "./environment.js";
import type { Hub } from "./http.js";
import { openRepository, type Repository, type RepositoryName } from "./repository.js";

export interface DatasetSource {
  /** owner/name on the hub. */
  id: string;
  /** Which of its configurations; default: its only one. */
  config?: string;
}

export interface SplitFiles {
  /** The commit of the branch that has them. */
  revision: string;
  /** The folder of that snapshot in the cache. */
  folder: string;
  /** Paths below it, in the order of the rows. */
  files: string[];
}

/** The branch of the Parquet files: {config}/{split}/0000.parquet, 0001.parquet ... */
const convertedBranch = "refs/convert/parquet";

/** Where a split may lie, the best first, and which files of a listing it is there. */
const places: readonly { revision: string; find: typeof findJsonl }[] = [
  { revision: "main", find: findJsonl },
  { revision: convertedBranch, find: findConverted },
  { revision: "main", find: findSharded },
];

/** Makes sure that the files of a split are in the cache. */
export async function downloadSplit(
  hub: Hub,
  source: DatasetSource,
  split: string,
  options: Pick<DownloadOptions, "signal" | "onProgress"> = {},
): Promise<SplitFiles> {
  if (hub.environment.offline) {
    const cached = await findCachedSplit(hub.environment, source, split);
    if (cached === undefined) {
      throw new BitnetError("NOT_FOUND", `${nameOf(source, split)} is not in the cache, and HF_HUB_OFFLINE is set`, {
        hint: `unset HF_HUB_OFFLINE to download it (cache: ${hub.environment.cacheDir ?? "none"}), or name a local file`,
      });
    }
    return cached;
  }
  try {
    return await fetchSplit(hub, source, split, options);
  } catch (error) {
    // Out of reach is not refused: what has been downloaded before is still good.
    const isUnreachable = error instanceof BitnetError && error.cause !== undefined && error.code === "NETWORK";
    const cached = isUnreachable ? await findCachedSplit(hub.environment, source, split) : undefined;
    if (cached === undefined) {
      throw error;
    }
    hub.onNote(`${error instanceof Error ? error.message : error}; using the files in the cache`);
    return cached;
  }
}

async function fetchSplit(
  hub: Hub,
  source: DatasetSource,
  split: string,
  options: Pick<DownloadOptions, "signal" | "onProgress">,
): Promise<SplitFiles> {
  const seen: Repository[] = [];
  for (const { revision, find } of places) {
    const repository = await openBranch(hub, { type: "dataset", name: source.id, revision }, options.signal);
    const files = repository === undefined ? [] : find(pathsOf(repository), source, split);
    if (repository !== undefined && files.length > 0) {
      const folder = await downloadFiles(hub, repository, { ...options, files });
      return { revision: repository.commit, folder, files };
    }
    seen.push(...(repository === undefined ? [] : [repository]));
  }
  throw missingSplitError(source, split, seen);
}

/** The files of a split in the cache, without asking the hub; undefined if they are not there. */
export async function findCachedSplit(
  { cacheDir }: Pick<HubEnvironment, "cacheDir">,
  source: DatasetSource,
  split: string,
): Promise<SplitFiles | undefined> {
  const paths = repositoryPaths(cacheDir, source.id, "dataset");
  for (const { revision, find } of places) {
    const commit = await readRef(paths, revision);
    const listed = commit === undefined ? [] : await listSnapshot(paths, commit);
    const files = find(
      listed.map(({ path }) => path),
      source,
      split,
    );
    if (commit !== undefined && files.length > 0) {
      return { revision: commit, folder: snapshotPath(paths, commit), files };
    }
  }
  return undefined;
}

/** What has been opened with a hub: the many subjects of one data set ask for the same listing. */
const opened = new WeakMap<Hub, Map<string, Promise<Repository | undefined>>>();

/** undefined: the data set has no such branch beside its main one. */
function openBranch(hub: Hub, wanted: RepositoryName, signal?: AbortSignal): Promise<Repository | undefined> {
  const known = opened.get(hub) ?? new Map<string, Promise<Repository | undefined>>();
  opened.set(hub, known);
  const key = `${wanted.name}@${wanted.revision}`;
  const before = known.get(key);
  if (before !== undefined) {
    return before;
  }
  const repository = openRepository(hub, wanted, { signal }).catch((error) => {
    known.delete(key);
    if (error instanceof BitnetError && error.code === "NOT_FOUND" && wanted.revision !== "main") {
      return undefined;
    }
    throw error;
  });
  known.set(key, repository);
  return repository;
}

const pathsOf = ({ files }: Repository) => files.map(({ path }) => path);

/** What a message calls a split. */
function nameOf({ id, config }: DatasetSource, split: string): string {
  return `the split "${split}" of ${id}${config === undefined ? "" : ` (${config})`}`;
}

function missingSplitError(source: DatasetSource, split: string, seen: readonly Repository[]): BitnetError {
  const converted = seen.filter(({ revision }) => revision === convertedBranch).flatMap(pathsOf);
  const folder = configFolder(converted, source);
  const splits = new Set(converted.flatMap((path) => (path.startsWith(`${folder}/`) ? at(path.split("/"), 1) : [])));
  const configs = new Set(converted.filter((path) => path.endsWith(".parquet")).map((path) => at(path.split("/"), 0)));
  const known = splits.size > 0 ? `its splits are ${listed(splits)}` : `its configurations are ${listed(configs)}`;
  const hint =
    configs.size > 0 ? known : "the hub has no Parquet files of it; download it by hand and name the local file";
  return new BitnetError("NOT_FOUND", `the hub has no files of ${nameOf(source, split)} that can be read`, { hint });
}

function listed(names: ReadonlySet<string>): string {
  const shown = [...names].slice(0, 8);
  return shown.join(", ") + (names.size > shown.length ? ", ..." : "");
}

/** Names that makers give to the split that is called validation. */
const otherNames: Readonly<Record<string, readonly string[]>> = { validation: ["valid", "val", "dev"] };

/**
 * The one file of JSON lines that is the split, by its name; or, as the hub has it, a file without a split in its name
 * that is the only one: it is called "train". Where several might be it, none: a wrong guess would be another test.
 */
export function findJsonl(paths: readonly string[], { config }: DatasetSource, split: string): string[] {
  const all = paths.filter((path) => /\.jsonl$/i.test(path));
  const folders = config === undefined ? ["", "data"] : [config, `data/${config}`];
  const named = (name: string) =>
    all.filter((path) => folders.some((folder) => isNamed(path, folder, `${name}.jsonl`)));
  const exact = named(split);
  const fits = exact.length > 0 ? exact : (otherNames[split] ?? []).flatMap(named);
  const isOnly = all.length === 1 && config === undefined && split === "train" && !/test|val|dev/i.test(at(all, 0));
  return isOnly ? all : fits.length === 1 ? fits : [];
}

function isNamed(path: string, folder: string, name: string): boolean {
  return path === (folder === "" ? name : `${folder}/${name}`);
}

/** The hub's own Parquet files, all of them; of huge splits it has only the beginning, as "partial-train". */
export function findConverted(paths: readonly string[], source: DatasetSource, split: string): string[] {
  const folder = configFolder(paths, source);
  const files = paths.filter((path) => path.startsWith(`${folder}/${split}/`) && /\/\d{4}\.parquet$/.test(path)).sort();
  return files.every((path, i) => path.endsWith(`/${String(i).padStart(4, "0")}.parquet`)) ? files : [];
}

/** The folder of the configuration; where none is asked for, that of the only one. */
function configFolder(paths: readonly string[], { config }: DatasetSource): string {
  const folders = new Set(paths.filter((path) => path.includes("/")).map((path) => at(path.split("/"), 0)));
  return config ?? (folders.size === 1 ? at([...folders], 0) : "default");
}

/** Parquet files of the makers, with the names that the hub's library gives them: {config}/test-00000-of-00001.parquet. */
export function findSharded(paths: readonly string[], { config }: DatasetSource, split: string): string[] {
  const folders = config === undefined ? ["data"] : [config, `data/${config}`];
  const ends = paths.filter((path) => /-\d{5}-of-\d{5}\.parquet$/.test(path)).sort();
  for (const folder of folders) {
    const files = ends.filter((path) => path.slice(0, -"-00000-of-00001.parquet".length) === `${folder}/${split}`);
    const count = Number(/-of-(\d{5})\.parquet$/.exec(files[0] ?? "")?.[1]);
    if (files.length > 0 && files.length === count) {
      return files;
    }
  }
  return [];
}
