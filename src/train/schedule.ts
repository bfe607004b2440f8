// Learning rate and weight decay as functions of the step alone, so that a run that goes on needs no state.

import { BitnetError } from "../system/errors.js";

/**
 * "two-stage" is that of ternary models from nothing: a line from the peak towards 0, and from the switch on a lower line of
 * another peak, without weight decay.
 */
export const schedulerNames = ["linear", "cosine", "constant", "two-stage"] as const;
export type SchedulerName = (typeof schedulerNames)[number];

export interface Schedule {
  scheduler: SchedulerName;
  /** Peak of the learning rate. */
  lr: number;
  /** Of the second stage. */
  lr2: number;
  /** Share of the steps after which the second stage begins. */
  split: number;
  /** Steps in which the rate rises to its peak. */
  warmupSteps: number;
  weightDecay: number;
  /** Of the whole run. */
  steps: number;
}

export interface StepRates {
  lr: number;
  weightDecay: number;
  /** Of "two-stage"; others have one. */
  stage: 1 | 2;
}

/** Of step `step`, counted from 0. */
export function ratesOf(schedule: Schedule, step: number): StepRates {
  const { scheduler, lr2, split, warmupSteps, weightDecay, steps } = schedule;
  const isSecond = scheduler === "two-stage" && step >= split * steps;
  const peak = isSecond ? lr2 : schedule.lr;
  const warm = step < warmupSteps ? (step + 1) / warmupSteps : 1;
  const done = step < warmupSteps ? 0 : (step - warmupSteps) / Math.max(1, steps - warmupSteps);
  return {
    lr: peak * warm * (step < warmupSteps ? 1 : declineOf(scheduler, done)),
    weightDecay: isSecond ? 0 : weightDecay,
    stage: isSecond ? 2 : 1,
  };
}

/** What is left of the peak after the share `done` of the steps behind the warm-up. */
function declineOf(scheduler: SchedulerName, done: number): number {
  switch (scheduler) {
    case "constant":
      return 1;
    case "cosine":
      return (1 + Math.cos(Math.PI * done)) / 2;
    default:
      return 1 - done;
  }
}

/** Throws USAGE. */
export function checkSchedule({ lr, lr2, split, warmupSteps, weightDecay, steps }: Schedule): void {
  const check = (isRight: boolean, what: string, value: number) => {
    if (!isRight) {
      throw new BitnetError("USAGE", `${what}, got ${value}`);
    }
  };
  check(lr >= 0 && lr <= 10, "lr: expected a number from 0 to 10", lr);
  check(lr2 >= 0 && lr2 <= 10, "lr2: expected a number from 0 to 10", lr2);
  check(split > 0 && split <= 1, "split: expected a share above 0 and at most 1", split);
  check(weightDecay >= 0 && weightDecay <= 10, "weightDecay: expected a number from 0 to 10", weightDecay);
  check(Number.isSafeInteger(steps) && steps >= 1, "steps: expected a positive integer", steps);
  const isCount = Number.isSafeInteger(warmupSteps) && warmupSteps >= 0 && warmupSteps <= steps;
  check(isCount, `warmupSteps: expected an integer from 0 to ${steps}, the steps of the run`, warmupSteps);
}
