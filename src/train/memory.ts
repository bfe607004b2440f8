// Whether a training fits into memory, before anything is allocated.

import { BitnetError } from "../system/errors.js";
import { type MemoryPlan, planTraining, type TrainableOptions, type TrainableSource } from "./core/trainable.js";

/** "auto": only where it would not fit without. */
export const checkpointingNames = ["auto", "on", "off"] as const;
export type Checkpointing = (typeof checkpointingNames)[number];

export interface FittingPlan {
  plan: MemoryPlan;
  checkpointing: boolean;
}

const shortestLength = 16;

/**
 * The plan of a training that fits into `available` bytes. Throws NO_MEMORY, which names the longest rows that do. How many
 * rows a batch has changes nothing: the core computes them in groups of a bounded size.
 */
export async function fitTraining(
  source: TrainableSource,
  options: Omit<TrainableOptions, "checkpointing">,
  checkpointing: Checkpointing,
  available: number,
): Promise<FittingPlan> {
  const planOf = (isOn: boolean, maxLength = options.maxLength) =>
    planTraining(source, { ...options, maxLength, checkpointing: isOn });
  const tried = checkpointing === "auto" ? [false, true] : [checkpointing === "on"];
  let plan = await planOf(tried[0] === true);
  for (const isOn of tried) {
    plan = await planOf(isOn);
    if (plan.total <= available) {
      return { plan, checkpointing: isOn };
    }
  }
  const longest = await findLongest(
    async (length) => (await planOf(true, length)).total <= available,
    options.maxLength,
  );
  throw new BitnetError(
    "NO_MEMORY",
    `this training needs ${gigabytes(plan.total)} of memory, and ${gigabytes(available)} are free`,
    { hint: hintOf(longest, checkpointing, options) },
  );
}

/** The largest length below `limit` that fits, 0 if not even a short one does. */
async function findLongest(fits: (length: number) => Promise<boolean>, limit: number): Promise<number> {
  if (!(await fits(shortestLength))) {
    return 0;
  }
  let [low, high] = [shortestLength, limit + 1];
  while (high - low > Math.max(1, low / 64)) {
    const middle = (low + high) >> 1;
    [low, high] = (await fits(middle)) ? [middle, high] : [low, middle];
  }
  return low;
}

function hintOf(longest: number, checkpointing: Checkpointing, { mode }: Pick<TrainableOptions, "mode">): string {
  if (longest > 0) {
    const on = checkpointing === "off" ? "--gradient-checkpointing on and " : "";
    return `${on}--max-seq-length ${longest} fits, with any --batch-size`;
  }
  return mode === "full"
    ? "an adapter needs far less: leave --full out"
    : "fewer parameters need less: a smaller --lora-r, --target-modules q,v, or --layers of the upper part alone";
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 10e9 ? 2 : 0)} GB`;
}
