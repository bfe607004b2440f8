// What a run will take, from its plan and from one step that is measured and thrown away.

import { openTrainable, type Trainable, type TrainableInfo, type TrainRow } from "./core/trainable.js";
import { ignoredLabel } from "./data/render.js";
import type { FittingPlan } from "./memory.js";
import { coreOptionsOf, countRunSteps, planRun, type RunParts } from "./run.js";

export interface RunEstimate extends FittingPlan {
  steps: number;
  /** Of all steps, as far as those of the first epoch tell. */
  tokens: number;
  tokensPerSecond: number;
  seconds: number;
  info: TrainableInfo;
}

const leastTokens = 2048; // that a measurement takes, if the step has so many

/** Opens the model, computes the first rows and changes nothing. Throws NO_MEMORY as the run would. */
export async function estimateRun(parts: RunParts): Promise<RunEstimate> {
  const fitting = await planRun(parts);
  const steps = countRunSteps(parts.settings, parts.batches);
  const options = { ...coreOptionsOf(parts), checkpointing: fitting.checkpointing, signal: parts.signal };
  const trainable = await openTrainable(parts.source, options);
  try {
    const rows = parts.batches.rowsOf(0);
    const measured = firstRows(rows);
    await compute(trainable, measured.slice(0, 1), parts.signal); // touches memory for the first time
    const seconds = await compute(trainable, measured, parts.signal);
    const tokens = countTokens(measured);
    const tokensPerSecond = tokens / seconds;
    const perStep = parts.batches.planOf(0).tokenCount / parts.batches.stepsOf(0);
    const all = Math.round(perStep * steps);
    return { ...fitting, steps, tokens: all, tokensPerSecond, seconds: all / tokensPerSecond, info: trainable.info };
  } finally {
    trainable.close();
  }
}

function countTokens(rows: readonly TrainRow[]): number {
  return rows.reduce((sum, { ids }) => sum + ids.length, 0);
}

/** As many as a measurement needs, or all of the step. */
function firstRows<Row extends TrainRow>(rows: readonly Row[]): Row[] {
  const count = rows.findIndex((_, i) => countTokens(rows.slice(0, i + 1)) >= leastTokens);
  return rows.slice(0, count < 0 ? rows.length : count + 1);
}

/** Seconds of a forward and a backward pass. */
async function compute(trainable: Trainable, rows: readonly TrainRow[], signal?: AbortSignal): Promise<number> {
  const labels = rows.flatMap((row) => [...row.labels]).filter((label) => label !== ignoredLabel).length;
  const begun = performance.now();
  await trainable.backward(rows, { labels, step: 0, signal });
  return (performance.now() - begun) / 1000;
}
