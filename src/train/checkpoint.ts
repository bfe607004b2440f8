// Checkpoints: folders checkpoint-N that hold all a run needs to go on as if it had never stopped.
//
// Each appears whole: it is written beside its place, brought to the disk and renamed.

import { existsSync } from "node:fs";
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { readFloats } from "../checkpoint/floats.js";
import { type CheckpointTensor, readSafetensors } from "../checkpoint/safetensors.js";
import { bytesOf, type WrittenTensor, writeSafetensors } from "../checkpoint/write-safetensors.js";
import { BitnetError, toBitnetError } from "../system/errors.js";
import { flushDirectory, requireSpace, writeThenRename } from "../system/files.js";
import type { ParameterPart, Trainable } from "./core/trainable.js";
import { type RunRecord, readRecord, recordName } from "./run-record.js";
import { encodeState, readState, stateName, type TrainerState } from "./state.js";
import { type Trained, valuesOf, writeValues } from "./values.js";

const optimizerName = "optimizer.safetensors";
const stepsKey = "steps";

/** The moments of AdamW, as PyTorch calls them. */
const moments: readonly { part: ParameterPart; suffix: string }[] = [
  { part: "m", suffix: "exp_avg" },
  { part: "v", suffix: "exp_avg_sq" },
];

export const folderOfStep = (step: number) => `checkpoint-${step}`;

/** Writes checkpoint-N to `folder`; returns its path. An older one of the same step is replaced. */
export async function writeCheckpoint(
  folder: string,
  trainable: Trainable,
  trained: Trained,
  { state, record }: { state: TrainerState; record: RunRecord },
): Promise<string> {
  const path = join(folder, folderOfStep(state.global_step));
  await requireCheckpointSpace(folder, trainable);
  await writeThenRename(path, async (partial) => {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial);
    await writeValues(partial, trainable, trained);
    await writeSafetensors(join(partial, optimizerName), listMoments(trainable), {
      [stepsKey]: String(trainable.optimizerSteps),
    });
    await writeSynced(join(partial, stateName), encodeState(state));
    await writeSynced(join(partial, recordName), `${JSON.stringify(record, null, 2)}\n`);
    await flushDirectory(partial);
    await rm(path, { recursive: true, force: true });
  });
  return path;
}

/** Throws NO_SPACE if the disk of `folder` has no room for a checkpoint. */
export async function requireCheckpointSpace(folder: string, trainable: Trainable): Promise<void> {
  await requireSpace(folder, sizeOf(trainable));
}

/** Values and two moments, and some room for what is beside them. */
function sizeOf({ parameters }: Trainable): number {
  const elements = parameters.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
  return 12 * elements + 2 ** 20;
}

function listMoments(trainable: Trainable): WrittenTensor[] {
  return trainable.parameters.flatMap(({ name, shape }) =>
    moments.map(({ part, suffix }) => {
      return {
        name: `${name}.${suffix}`,
        dtype: "F32" as const,
        shape,
        data: () => bytesOf(trainable.read(name, part)),
      };
    }),
  );
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A checkpoint whose files are there and hold what they should, as far as their heads and the state tell. */
export interface StoredCheckpoint {
  path: string;
  step: number;
  state: TrainerState;
  record: RunRecord;
}

/** Throws NOT_FOUND, BAD_FILE. */
export async function openCheckpointFolder(path: string, kind: Trained["kind"]): Promise<StoredCheckpoint> {
  for (const name of [recordName, stateName, optimizerName, basename(valuesOf(path, { kind }).path)]) {
    if (!existsSync(join(path, name))) {
      const [newest] = (await listCheckpoints(path)).slice(-1);
      throw new BitnetError("NOT_FOUND", `${path}: no checkpoint of this kind of training: there is no ${name}`, {
        hint: newest === undefined ? undefined : `it has checkpoints: name one, such as ${folderOfStep(newest)}`,
      });
    }
  }
  const state = await readState(join(path, stateName));
  const named = /^checkpoint-(\d{1,10})$/.exec(basename(resolve(path)))?.[1];
  if (named !== undefined && Number(named) !== state.global_step) {
    throw new BitnetError("BAD_FILE", `${join(path, stateName)}: it is of step ${state.global_step}`);
  }
  await readSafetensors(join(path, optimizerName));
  await readSafetensors(valuesOf(path, { kind }).path);
  return { path, step: state.global_step, state, record: await readRecord(join(path, recordName)) };
}

/** Steps of the checkpoints in `folder`, ascending. */
export async function listCheckpoints(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .flatMap((name) => /^checkpoint-(\d{1,10})$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** The newest checkpoint that can be read; `onDamaged` is told of newer ones that cannot. */
export async function findNewest(
  folder: string,
  kind: Trained["kind"],
  onDamaged: (error: BitnetError) => void,
): Promise<StoredCheckpoint> {
  for (const step of (await listCheckpoints(folder)).reverse()) {
    try {
      return await openCheckpointFolder(join(folder, folderOfStep(step)), kind);
    } catch (error) {
      onDamaged(toBitnetError(error));
    }
  }
  throw new BitnetError("NOT_FOUND", `${folder}: no checkpoint to go on from`, {
    hint: "without --resume the run begins anew",
  });
}

/** Deletes checkpoints but the last `limit` and the best one; 0: none. */
export async function pruneCheckpoints(folder: string, limit: number, best: string | null): Promise<void> {
  const steps = await listCheckpoints(folder);
  const old = limit === 0 ? [] : steps.slice(0, Math.max(0, steps.length - limit));
  for (const step of old.filter((candidate) => folderOfStep(candidate) !== best)) {
    await rm(join(folder, folderOfStep(step)), { recursive: true, force: true });
  }
}

export async function removeCheckpoints(folder: string): Promise<void> {
  for (const step of await listCheckpoints(folder)) {
    await rm(join(folder, folderOfStep(step)), { recursive: true, force: true });
  }
}

/** Sets the values of what is trained. Throws BAD_FILE where the file is of another shape or damaged. */
export async function restoreValues(folder: string, trainable: Trainable, kind: Trained["kind"]): Promise<void> {
  const { path, nameOf } = valuesOf(folder, { kind });
  const { tensors } = await readSafetensors(path);
  await restore(path, tensors, trainable, [{ part: "value", nameOf }]);
}

/** Sets values, moments and the number of steps. */
export async function restoreAll({ path: folder }: StoredCheckpoint, trainable: Trainable, kind: Trained["kind"]) {
  await restoreValues(folder, trainable, kind);
  const path = join(folder, optimizerName);
  const { tensors, metadata } = await readSafetensors(path);
  const parts = moments.map(({ part, suffix }) => ({ part, nameOf: (name: string) => `${name}.${suffix}` }));
  await restore(path, tensors, trainable, parts);
  const steps = Number(metadata.get(stepsKey));
  if (!Number.isSafeInteger(steps) || steps < 0) {
    throw new BitnetError("BAD_FILE", `${path}: it does not say after how many steps it was written`);
  }
  trainable.optimizerSteps = steps;
}

interface RestoredPart {
  part: ParameterPart;
  nameOf: (parameter: string) => string;
}

async function restore(
  path: string,
  tensors: readonly CheckpointTensor[],
  trainable: Trainable,
  parts: readonly RestoredPart[],
): Promise<void> {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  for (const { name, shape } of trainable.parameters) {
    for (const { part, nameOf } of parts) {
      const tensor = byName.get(nameOf(name));
      if (tensor === undefined || tensor.dtype !== "F32" || tensor.shape.join() !== shape.join()) {
        throw new BitnetError("BAD_FILE", `${path}: expected a tensor ${nameOf(name)} of F32 [${shape.join(", ")}]`);
      }
      const values = await readFloats(tensor);
      if (!values.every(Number.isFinite)) {
        throw new BitnetError("BAD_FILE", `${path}: tensor ${tensor.name} has a number that is NaN or infinite`);
      }
      trainable.write(name, values, part);
    }
  }
}
