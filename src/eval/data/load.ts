// The rows of one split of a data set: from files of the user, else from the hub.

import { join } from "node:path";
import { downloadSplit, findCachedSplit } from "../../hub/dataset.js";
import type { DownloadProgress } from "../../hub/download.js";
import { type HubEnvironment, readHubEnvironment } from "../../hub/environment.js";
import { type Hub, openHub } from "../../hub/http.js";
import { BitnetError } from "../../system/errors.js";
import { checkOptionNames, type OptionNames } from "../../system/options.js";
import { findLocalFiles, readRows } from "./files.js";
import type { DataSplit, DatasetSource, Doc } from "./types.js";

export interface LoadSplitOptions {
  /** A file, which is the split that a task is evaluated on, or a folder with a file for each split. Default: the hub. */
  local?: string;
  /** The hub; its listings are asked for once. Default: one with the settings of the environment. */
  hub?: Hub;
  /** Of the hub; default: what the environment says. */
  cacheDir?: string;
  /** Use nothing but the cache; default: what the environment says. */
  offline?: boolean;
  /** How many documents the split is known to have; if it has others, the hub's `onNote` is told. */
  expected?: number;
  signal?: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
}

const loadSplitOptions: OptionNames<LoadSplitOptions> = {
  local: true,
  hub: true,
  cacheDir: true,
  offline: true,
  expected: true,
  signal: true,
  onProgress: true,
};

/** All rows of a split. They are held in memory: a split is refused that has more than 2 million rows or 1 GiB of text. */
export async function loadSplit(
  source: DatasetSource,
  split: string,
  options: LoadSplitOptions = {},
): Promise<DataSplit> {
  checkOptionNames("loadSplit", options, loadSplitOptions);
  const { local, expected, signal } = options;
  if (local !== undefined) {
    const files = await findLocalFiles(local, split);
    return { documents: await readAll(files, local, signal), path: files.length === 1 ? (files[0] ?? local) : local };
  }
  const hub = options.hub ?? (await openOwnHub(options));
  const { revision, folder, files } = await downloadSplit(hub, source, split, {
    signal,
    onProgress: options.onProgress,
  });
  const paths = files.map((file) => join(folder, ...file.split("/")));
  const documents = await readAll(paths, folder, signal);
  if (expected !== undefined && expected !== documents.length) {
    hub.onNote(`${source.id}: ${documents.length} documents of "${split}", where ${expected} are known`);
  }
  return { documents, revision, path: paths.length === 1 ? (paths[0] ?? folder) : folder };
}

/** Whether the files of a split are in the cache of the hub; asks nobody. */
export async function isSplitCached(
  environment: Pick<HubEnvironment, "cacheDir">,
  source: DatasetSource,
  split: string,
): Promise<boolean> {
  return (await findCachedSplit(environment, source, split)) !== undefined;
}

async function openOwnHub({ cacheDir, offline }: LoadSplitOptions): Promise<Hub> {
  const environment = await readHubEnvironment();
  return openHub({
    environment: {
      ...environment,
      ...(cacheDir !== undefined && { cacheDir }),
      ...(offline !== undefined && { offline }),
    },
  });
}

async function readAll(paths: readonly string[], what: string, signal: AbortSignal | undefined): Promise<Doc[]> {
  const documents = await readRows(paths, signal);
  if (documents.length === 0) {
    throw new BitnetError("BAD_FILE", `${paths.length === 1 ? paths[0] : what} has no rows`, {
      hint: "expected one document a row",
    });
  }
  return documents;
}
