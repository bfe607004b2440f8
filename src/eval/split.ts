// The documents of a task: of the user's own file or folder, else of the hub.

import type { DownloadProgress } from "../hub/download.js";
import { type Hub, openHub } from "../hub/http.js";
import { listLocalSplits } from "./data/files.js";
import { loadSplit } from "./data/load.js";
import type { DataSplit, Doc } from "./data/types.js";
import type { SplitLoader } from "./plan.js";
import type { Task } from "./task.js";
import { groups } from "./tasks/all.js";

export interface SplitOptions {
  /** Files and folders by names of tasks and groups. */
  data: Readonly<Record<string, string>>;
  signal?: AbortSignal;
  onDownload?: (progress: DownloadProgress) => void;
  onNote?: (text: string) => void;
}

/** Reads splits; each is read once for all tasks of a group. */
export function splitLoader({ data, signal, onDownload, onNote }: SplitOptions): SplitLoader {
  const known = new Map<string, Promise<DataSplit>>();
  let hub: Promise<Hub> | undefined;
  const loadOnce = (key: string, load: () => Promise<DataSplit>) => {
    const loaded = known.get(key) ?? load();
    known.set(key, loaded);
    return loaded;
  };
  return async (task, split) => {
    const local = [...namesOf(task.name)].map((name) => data[name]).find((path) => path !== undefined);
    if (local !== undefined) {
      const there = await chooseLocalSplit(local, split);
      const whole = await loadOnce(`${local}\n${there}`, () => loadSplit(task.source, there, { local, signal }));
      return { ...whole, documents: ownRows(task, whole.documents) };
    }
    hub ??= openHub({ onNote });
    const ofHub = await hub;
    const expected = split === task.split ? task.documents : undefined;
    return await loadOnce(JSON.stringify([task.source, split]), () =>
      loadSplit(task.source, split, { hub: ofHub, expected, signal, onProgress: onDownload }),
    );
  };
}

/** Of the task, and of the groups that it belongs to. */
function* namesOf(name: string): Iterable<string> {
  yield name;
  for (const group of groups.filter(({ members }) => members.includes(name))) {
    yield* namesOf(group.name);
  }
}

/** A folder without the split that shots come from has another one that they can come from. */
async function chooseLocalSplit(path: string, wanted: string): Promise<string> {
  const there = await listLocalSplits(path);
  const choices = [wanted, ...(wanted === "train" || wanted === "dev" ? ["train", "validation", "test"] : [])];
  return choices.find((split) => there?.includes(split)) ?? wanted;
}

/** A file may hold the rows of a whole group. */
function ownRows({ part }: Task, documents: readonly Doc[]): Doc[] {
  return documents.filter((doc) => part === undefined || (doc[part.column] ?? part.value) === part.value);
}
