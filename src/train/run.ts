// One run of training in a folder: the plan of its memory, what it goes on from, its loop, and what is done with the result.

import { dirname, join, resolve } from "node:path";
import { availableMemory } from "../native/machine.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { makeFolder, replaceFile } from "../system/files.js";
import { withLock } from "../system/lock.js";
import { checkChoice, checkPath, type OptionNames } from "../system/options.js";
import { packageVersion } from "../system/package.js";
import {
  findNewest,
  listCheckpoints,
  openCheckpointFolder,
  removeCheckpoints,
  requireCheckpointSpace,
  restoreAll,
  type StoredCheckpoint,
} from "./checkpoint.js";
import {
  openTrainable,
  type Trainable,
  type TrainableInfo,
  type TrainableOptions,
  type TrainableSource,
} from "./core/trainable.js";
import type { Batches } from "./data/batches.js";
import type { Documents } from "./data/documents.js";
import type { EpochPlan } from "./data/plan.js";
import { type Checkpointing, checkpointingNames, type FittingPlan, fitTraining } from "./memory.js";
import { Metrics, type ReportTo, reportNames } from "./metrics.js";
import { type RunRecord, requireSameRun } from "./run-record.js";
import { checkSchedule } from "./schedule.js";
import { scheduleOf, type TrainSettings } from "./settings.js";
import { encodeState, stateName } from "./state.js";
import { firstState, Trainer, type TrainerEvent, type TrainerResult } from "./trainer.js";
import type { Trained } from "./values.js";

export type RunEvent =
  | TrainerEvent
  /** Before anything is allocated. */
  | ({ kind: "plan"; steps: number } & FittingPlan)
  | { kind: "opened"; info: TrainableInfo }
  | { kind: "resumed"; path: string; step: number };

/** How a run is made, whatever is trained. */
export interface RunControl {
  /** The folder of the run. */
  out: string;
  /** Go on from the newest checkpoint of `out` that can be read, or from this one. */
  resume?: boolean | string;
  /** Begin anew over the checkpoints of an earlier run, go on with other settings, train weights that look damaged. */
  force?: boolean;
  /** Default: "auto". */
  gradientCheckpointing?: Checkpointing;
  threads?: number;
  kernel?: string;
  reportTo?: ReportTo;
  signal?: AbortSignal;
}

export const runControl: OptionNames<RunControl> = {
  out: true,
  resume: true,
  force: true,
  gradientCheckpointing: true,
  threads: true,
  kernel: true,
  reportTo: true,
  signal: true,
};

export interface RunParts extends RunControl {
  title: string;
  source: TrainableSource;
  core: Pick<TrainableOptions, "mode" | "adapter">;
  trained: Trained;
  documents: Documents;
  batches: Batches;
  evaluation?: EpochPlan;
  settings: TrainSettings;
  record: Pick<RunRecord, "options" | "hashes">;
  onEvent?: (event: RunEvent) => void;
}

/** Steps of the whole run. Throws USAGE for a schedule that does not go with them. */
export function countRunSteps(settings: TrainSettings, batches: Batches): number {
  const steps = settings.maxSteps > 0 ? settings.maxSteps : batches.countSteps(settings.epochs);
  checkSchedule(scheduleOf(settings, steps));
  return steps;
}

export function coreOptionsOf(parts: RunParts): Omit<TrainableOptions, "checkpointing"> {
  const { core, settings, threads, kernel } = parts;
  return { ...core, seed: settings.seed, maxLength: settings.maxLength, threads, kernel };
}

/** The plan of the memory. Throws NO_MEMORY where it does not fit, naming what would. */
export function planRun(parts: RunParts): Promise<FittingPlan> {
  const { source, gradientCheckpointing = "auto" } = parts;
  return fitTraining(source, coreOptionsOf(parts), gradientCheckpointing, availableMemory());
}

/**
 * Trains, and hands what came out of it to `use`, while it is in memory. Throws NO_MEMORY; USAGE where the folder is that of
 * another run; BAD_FILE for weights that cannot be right; what Trainer.run() throws.
 */
export async function runTraining<T>(
  parts: RunParts,
  use: (trainable: Trainable, result: TrainerResult) => Promise<T>,
): Promise<T> {
  const { signal, onEvent } = parts;
  return await withRunFolder(parts, async () => {
    const stored = await findStored(parts);
    const fitting = await planRun(parts);
    const steps = countRunSteps(parts.settings, parts.batches);
    onEvent?.({ kind: "plan", steps, ...fitting });
    const options = { ...coreOptionsOf(parts), checkpointing: fitting.checkpointing, signal };
    const trainable = await openTrainable(parts.source, options);
    try {
      onEvent?.({ kind: "opened", info: trainable.info });
      const result = await trainSteps(parts, trainable, steps, stored);
      return await use(trainable, result);
    } finally {
      trainable.close();
    }
  });
}

/** Runs `body` while no other process of this program changes the folder of the run, which is made. */
export async function withRunFolder<T>(
  { out, signal, onEvent }: Pick<RunParts, "out" | "signal" | "onEvent">,
  body: () => Promise<T>,
): Promise<T> {
  await convertingAsync(() => makeFolder(out));
  const onWait = () =>
    onEvent?.({ kind: "note", text: `${out}: waiting for another process that trains in this folder` });
  return await withLock(join(out, ".lock"), { signal, onWait }, body);
}

/** Throws USAGE for what RunControl does not allow. */
export function checkRunControl({ gradientCheckpointing, reportTo }: Partial<RunControl>): void {
  checkChoice("gradientCheckpointing", gradientCheckpointing, checkpointingNames);
  checkChoice("reportTo", reportTo, reportNames);
}

/** Throws USAGE for a folder with checkpoints of an earlier run, which is not begun over in silence. */
export async function requireFreeFolder({ out, resume = false, force = false }: RunControl): Promise<void> {
  checkPath("out", out);
  if (resume === false && !force && (await listCheckpoints(out)).length > 0) {
    throw new BitnetError("USAGE", `${out}: it has checkpoints of an earlier run`, {
      hint: "--resume goes on with it, --force begins anew",
    });
  }
}

/** What to go on from. */
async function findStored(parts: RunParts): Promise<StoredCheckpoint | undefined> {
  const { out, resume = false, trained, onEvent } = parts;
  await requireFreeFolder(parts);
  if (resume === false) {
    return undefined;
  }
  const onDamaged = ({ message }: BitnetError) => onEvent?.({ kind: "note", text: `left aside: ${message}` });
  return typeof resume === "string"
    ? await openCheckpointFolder(resume, trained.kind)
    : await findNewest(out, trained.kind, onDamaged);
}

async function trainSteps(
  parts: RunParts,
  trainable: Trainable,
  steps: number,
  stored: StoredCheckpoint | undefined,
): Promise<TrainerResult> {
  const { out, settings, title, reportTo = "none", force = false, onEvent } = parts;
  const record: RunRecord = { version: packageVersion(), kernel: trainable.info.kernel, ...parts.record };
  if (stored !== undefined) {
    if (!force) {
      requireSameRun(stored.path, stored.record, record);
    }
    await restoreAll(stored, trainable, parts.trained.kind);
    onEvent?.({ kind: "resumed", path: stored.path, step: stored.step });
  } else if (force) {
    await removeCheckpoints(out); // not before all else has succeeded that could be refused
  } else {
    requireLiveMatrices(trainable);
  }
  await requireCheckpointSpace(out, trainable); // not after hours
  const metrics = await Metrics.open(out, stored?.step ?? 0, { title, reportTo });
  try {
    const state = stored?.state ?? firstState(settings, steps);
    const schedule = scheduleOf(settings, steps);
    const all = { ...parts, folder: resolve(out), trainable, schedule, record, metrics };
    const trainer = new Trainer(all, state, stored && isIn(stored, out) ? stored.step : undefined);
    const result = await trainer.run();
    await replaceFile(join(out, stateName), encodeState(trainer.state));
    return result;
  } finally {
    metrics.close();
  }
}

function isIn({ path }: StoredCheckpoint, folder: string): boolean {
  return dirname(resolve(path)) === resolve(folder);
}

const mostOfOneCode = 0.95;

/** A matrix of zeros, or nearly all of whose weights are one value, is that of a damaged file. */
function requireLiveMatrices(trainable: Trainable): void {
  for (const { name, minus, zero, plus } of trainable.matrices()) {
    const share = Math.max(minus, zero, plus) / (minus + zero + plus);
    if (share > mostOfOneCode) {
      const what = zero === minus + zero + plus ? "is all zeros" : `is ${(100 * share).toFixed(1)} % one value`;
      throw new BitnetError("BAD_FILE", `${name} of the base ${what}: its file is damaged or of a broken training`, {
        hint: "--force trains it all the same",
      });
    }
  }
}
