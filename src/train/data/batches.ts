// The rows of each optimizer step, as a function of the step: a run that goes on asks for the step where it stopped.

import { at } from "../../system/at.js";
import { BitnetError } from "../../system/errors.js";
import type { Documents } from "./documents.js";
import { type DocumentGroup, type EpochPlan, planEpoch, type RowOptions, type TrainingRow } from "./plan.js";

export interface BatchOptions extends RowOptions {
  seed: number;
  /** Of one optimizer step: the batch size times the steps of accumulation. */
  rowsPerStep: number;
}

/** A step from 0 on as an epoch and a step of it. */
export interface StepPlace {
  epoch: number;
  step: number;
}

export class Batches {
  readonly #documents: Documents;
  readonly #groups: readonly DocumentGroup[];
  readonly #options: BatchOptions;
  readonly #rowCounts: number[] = [];
  #plan: { epoch: number; plan: EpochPlan } | undefined;

  constructor(documents: Documents, groups: readonly DocumentGroup[], options: BatchOptions) {
    if (groups.every((group) => countOf(group) === 0)) {
      throw new BitnetError("USAGE", "no documents to train on", {
        hint: "the data is empty, or its weight leaves nothing of it",
      });
    }
    const empty = groups.findIndex((group) => group.documents.length > 0 && countOf(group) === 0);
    if (empty >= 0) {
      const { documents: all, weight } = at(groups, empty);
      const what = `source ${empty + 1}: a weight of ${weight} leaves none of its ${all.length} documents in an epoch`;
      throw new BitnetError("USAGE", what, { hint: "give it a larger weight, or leave it out" });
    }
    this.#documents = documents;
    this.#groups = groups;
    this.#options = options;
  }

  planOf(epoch: number): EpochPlan {
    const { seed } = this.#options;
    if (this.#plan?.epoch !== epoch) {
      this.#plan = { epoch, plan: planEpoch(this.#documents, this.#groups, this.#options, seed, epoch) };
    }
    return this.#plan.plan;
  }

  /** Packing gives each epoch about, but not exactly, as many rows. */
  stepsOf(epoch: number): number {
    this.#rowCounts[epoch] ??= this.planOf(epoch).rowCount;
    return Math.ceil(at(this.#rowCounts, epoch) / this.#options.rowsPerStep);
  }

  /** Steps of the epochs from 0 up to but not including `epochs`; a part of the last one counts as far as it goes. */
  countSteps(epochs: number): number {
    const whole = Math.floor(epochs);
    let steps = 0;
    for (let epoch = 0; epoch < whole; epoch++) {
      steps += this.stepsOf(epoch);
    }
    return epochs > whole ? steps + Math.ceil((epochs - whole) * this.stepsOf(whole)) : steps;
  }

  placeOf(step: number): StepPlace {
    let left = step;
    for (let epoch = 0; ; epoch++) {
      const steps = this.stepsOf(epoch);
      if (left < steps) {
        return { epoch, step: left };
      }
      left -= steps;
    }
  }

  /** The rows of a step, counted from 0 over all epochs. The last step of an epoch may have fewer. */
  rowsOf(step: number): TrainingRow[] {
    const { rowsPerStep } = this.#options;
    const place = this.placeOf(step);
    const plan = this.planOf(place.epoch);
    const first = place.step * rowsPerStep;
    const count = Math.min(rowsPerStep, plan.rowCount - first);
    return Array.from({ length: count }, (_, i) => plan.row(first + i));
  }
}

/** Documents of an epoch, as planEpoch() takes them. */
function countOf({ documents, weight }: DocumentGroup): number {
  return Math.round(documents.length * weight);
}
