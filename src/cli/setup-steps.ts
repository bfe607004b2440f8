// How the steps of getting a model are worded and shown, in every command that downloads or converts one.

import type { DownloadProgress } from "../hub/download.js";
import type { SetupStep } from "../models/setup-options.js";
import type { Step, Steps } from "./terminal/steps.js";

const verbs: Record<SetupStep["kind"], { doing: string; done: string }> = {
  "look-up": { doing: "Looking up", done: "Found" },
  download: { doing: "Downloading", done: "Downloaded" },
  convert: { doing: "Converting", done: "Converted" },
};

export function describeStep({ kind, what }: SetupStep): Step {
  const { doing, done } = verbs[kind];
  return { doing: `${doing} ${what}`, done: `${done} ${what}` };
}

/** A bar of each file and, if there are several, one of all. */
export function showDownload(steps: Steps, progress: DownloadProgress): void {
  const { file, doneBytes, totalBytes, allDoneBytes, allTotalBytes, cachedBytes } = progress;
  const bars = steps.progress("downloading");
  bars.update(doneBytes, totalBytes, { part: file, start: cachedBytes });
  bars.update(allDoneBytes, allTotalBytes, { start: allDoneBytes });
}

/** After Ctrl-C. */
export const stoppedNote = "stopped; the same command continues where it stopped";
