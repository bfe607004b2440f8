// What of a run its result follows from, as run.json has it.

import type { AdapterShape } from "./core/trainable.js";
import { fingerprint } from "./data/fingerprint.js";
import type { TrainingData } from "./data/load.js";
import type { TrainOn } from "./data/render.js";
import type { RecordedValue, RunRecord } from "./run-record.js";
import type { TrainingKind, TrainSettings } from "./settings.js";

/** Settings that change what is told and kept of a run, not what comes of it; of batch and accumulation only the product counts. */
const passive = new Set<keyof TrainSettings>([
  "batchSize",
  "accumulation",
  "loggingSteps",
  "evalSteps",
  "saveSteps",
  "saveTotalLimit",
  "loadBestAtEnd",
  "lossWatchdog",
]);

export function recordOptions(
  kind: TrainingKind,
  settings: TrainSettings,
  { trainOn, adapter }: { trainOn?: TrainOn; adapter?: AdapterShape } = {},
): RunRecord["options"] {
  const { batchSize, accumulation } = settings;
  const active = Object.entries(settings).filter(([name]) => !passive.has(name as keyof TrainSettings));
  const shape = Object.entries(adapter ?? {}).map(([name, value]): [string, RecordedValue] => [
    `adapter.${name}`,
    value,
  ]);
  return {
    kind,
    rowsPerStep: batchSize * accumulation,
    ...Object.fromEntries(active.filter(([, value]) => value !== undefined)),
    ...(trainOn && { trainOn }),
    ...Object.fromEntries(shape.filter(([, value]) => value !== undefined)),
  };
}

export function hashesOfData({ documents, training, evaluation }: TrainingData): { data: string; evaluation: string } {
  const trained = training.flatMap((group) => Array.from(group.documents));
  return { data: fingerprint(documents, trained), evaluation: fingerprint(documents, evaluation) };
}
