// What a run will take, from its plan and from one step that is measured and thrown away.

import { openTrainable, type TrainableInfo } from "./core/trainable.js";
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
    let [tokens, seconds] = [0, 0];
    for (const [i, row] of rows.entries()) {
      const labels = row.labels.filter((label) => label !== ignoredLabel).length;
      const begun = performance.now();
      await trainable.backward([row], { labels, step: 0, signal: parts.signal });
      if (i > 0 || rows.length === 1) {
        // The first one also touches memory for the first time.
        tokens += row.ids.length;
        seconds += (performance.now() - begun) / 1000;
      }
      if (tokens >= leastTokens) {
        break;
      }
    }
    const tokensPerSecond = tokens / seconds;
    const perStep = parts.batches.planOf(0).tokenCount / parts.batches.stepsOf(0);
    const all = Math.round(perStep * steps);
    return { ...fitting, steps, tokens: all, tokensPerSecond, seconds: all / tokensPerSecond, info: trainable.info };
  } finally {
    trainable.close();
  }
}
