// What a run may be told, and what it does when it is not told.

import { BitnetError } from "../system/errors.js";
import { checkChoice, type OptionNames } from "../system/options.js";
import type { BatchOptions } from "./data/batches.js";
import { type Schedule, type SchedulerName, schedulerNames } from "./schedule.js";

/** How a model is trained. Names are those of Hugging Face's trainer where it has them. */
export interface TrainSettings {
  /** Passes over the data; a fraction ends within one. */
  epochs: number;
  /** Optimizer steps, whatever the epochs; 0: as many as the epochs have. */
  maxSteps: number;
  /** With accumulation: a step has as many rows as their product says. How they are divided is the core's. */
  batchSize: number;
  accumulation: number;
  lr: number;
  /** Peak of the second stage of "two-stage". Default: two thirds of lr. */
  lr2?: number;
  /** Share of the steps after which the second stage begins. */
  split: number;
  scheduler: SchedulerName;
  /** Default: 100, or a tenth of the steps where that is less. */
  warmupSteps?: number;
  weightDecay: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Largest norm of the gradient; 0: no limit. */
  clip: number;
  seed: number;
  /** Tokens that a row may have. */
  maxLength: number;
  packing: boolean;
  /** Share of the rows that join several documents to one. */
  joinShare: number;
  /** Steps from one line of progress to the next. */
  loggingSteps: number;
  /** Steps from one evaluation to the next. */
  evalSteps: number;
  /** Steps from one checkpoint to the next; 0: at the end alone. */
  saveSteps: number;
  /** Checkpoints that are kept, beside the best one; 0: all. */
  saveTotalLimit: number;
  /** The result is the checkpoint of the lowest loss of the evaluation. */
  loadBestAtEnd: boolean;
  /** A loss that, three times in a row, ends the run; 0: none does. */
  lossWatchdog: number;
}

export const trainSettings: OptionNames<TrainSettings> = {
  epochs: true,
  maxSteps: true,
  batchSize: true,
  accumulation: true,
  lr: true,
  lr2: true,
  split: true,
  scheduler: true,
  warmupSteps: true,
  weightDecay: true,
  beta1: true,
  beta2: true,
  epsilon: true,
  clip: true,
  seed: true,
  maxLength: true,
  packing: true,
  joinShare: true,
  loggingSteps: true,
  evalSteps: true,
  saveSteps: true,
  saveTotalLimit: true,
  loadBestAtEnd: true,
  lossWatchdog: true,
};

/** What is trained: adapters, all weights of a model, or a model from nothing. */
export type TrainingKind = "lora" | "full" | "new";

const common = {
  epochs: 3,
  maxSteps: 0,
  batchSize: 2,
  accumulation: 8,
  lr: 2e-4,
  split: 0.5,
  scheduler: "linear",
  weightDecay: 0,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  clip: 1,
  seed: 42,
  maxLength: 2048,
  packing: true,
  joinShare: 0,
  loggingSteps: 10,
  evalSteps: 500,
  saveSteps: 500,
  saveTotalLimit: 3,
  loadBestAtEnd: true,
  lossWatchdog: 15,
} as const satisfies TrainSettings;

/**
 * Ternary models take about ten times the learning rates of others. From nothing: the two stages of the makers of BitNet; no
 * best checkpoint, as most of the fall of the loss comes after the switch.
 */
export const defaultSettings: Readonly<Record<TrainingKind, TrainSettings>> = {
  lora: common,
  full: { ...common, beta2: 0.95 },
  new: {
    ...common,
    epochs: 1,
    batchSize: 8,
    accumulation: 1,
    lr: 3e-3,
    scheduler: "two-stage",
    weightDecay: 0.1,
    beta2: 0.95,
    joinShare: 0.1,
    evalSteps: 250,
    saveSteps: 250,
    loadBestAtEnd: false,
  },
};

/** What was given over the defaults. Throws USAGE for what is out of range. */
export function resolveSettings(kind: TrainingKind, given: Partial<TrainSettings>): TrainSettings {
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  const settings: TrainSettings = { ...defaultSettings[kind], ...Object.fromEntries(entries) };
  for (const { name, least, most, isInteger } of ranges) {
    const value: unknown = settings[name];
    const isWithin = typeof value === "number" && value >= least && value <= most;
    if (!isWithin || (isInteger && !Number.isSafeInteger(value))) {
      const what = isInteger ? "an integer" : "a number";
      throw new BitnetError("USAGE", `${name}: expected ${what} from ${least} to ${most}, got ${String(value)}`);
    }
  }
  for (const name of ["lr", "lr2", "split", "warmupSteps", "weightDecay"] as const) {
    if (settings[name] !== undefined && typeof settings[name] !== "number") {
      throw new BitnetError("USAGE", `${name}: expected a number, got ${String(settings[name])}`);
    }
  }
  checkChoice("scheduler", settings.scheduler, schedulerNames);
  checkChoice("packing", settings.packing, [true, false]);
  checkChoice("loadBestAtEnd", settings.loadBestAtEnd, [true, false]);
  return settings;
}

const manySteps = 2 ** 31 - 1;
type NumberName = { [K in keyof TrainSettings]-?: number extends TrainSettings[K] ? K : never }[keyof TrainSettings];

/** Ranges of numbers; those of the schedule, which follow from the steps, are its own. */
const ranges: readonly { name: NumberName; least: number; most: number; isInteger?: boolean }[] = [
  { name: "epochs", least: Number.MIN_VALUE, most: 1e6 },
  { name: "maxSteps", least: 0, most: manySteps, isInteger: true },
  { name: "batchSize", least: 1, most: 2 ** 16, isInteger: true },
  { name: "accumulation", least: 1, most: 2 ** 16, isInteger: true },
  { name: "beta1", least: 0, most: 1 - Number.EPSILON },
  { name: "beta2", least: 0, most: 1 - Number.EPSILON },
  { name: "epsilon", least: 0, most: 1 },
  { name: "clip", least: 0, most: Number.MAX_VALUE },
  { name: "seed", least: 0, most: 2 ** 32 - 1, isInteger: true },
  { name: "maxLength", least: 2, most: 2 ** 20, isInteger: true },
  { name: "joinShare", least: 0, most: 1 },
  { name: "loggingSteps", least: 1, most: manySteps, isInteger: true },
  { name: "evalSteps", least: 1, most: manySteps, isInteger: true },
  { name: "saveSteps", least: 0, most: manySteps, isInteger: true },
  { name: "saveTotalLimit", least: 0, most: manySteps, isInteger: true },
  { name: "lossWatchdog", least: 0, most: Number.MAX_VALUE },
];

export function batchOptionsOf(settings: TrainSettings): BatchOptions {
  const { maxLength, packing, joinShare, seed, batchSize, accumulation } = settings;
  return { length: maxLength, packing, joinShare, seed, rowsPerStep: batchSize * accumulation };
}

const mostWarmup = 100;

export function scheduleOf(settings: TrainSettings, steps: number): Schedule {
  const { scheduler, lr, lr2 = (lr * 2) / 3, split, weightDecay } = settings;
  const warmupSteps = settings.warmupSteps ?? Math.min(mostWarmup, Math.floor(steps / 10));
  return { scheduler, lr, lr2, split, warmupSteps: Math.min(warmupSteps, steps), weightDecay, steps };
}

/** The settings among other options. */
export function settingsAmong(options: Partial<TrainSettings>): Partial<TrainSettings> {
  const names = Object.keys(trainSettings) as (keyof TrainSettings)[];
  return Object.fromEntries(names.map((name) => [name, options[name]]));
}
