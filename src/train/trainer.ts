// The loop of a training: steps, and what is due after them: figures, evaluations, checkpoints. What is due follows from the
// state alone, so that a run that goes on does what one that never stopped would have done.

import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { at } from "../system/at.js";
import { BitnetError, toBitnetError } from "../system/errors.js";
import { folderOfStep, listCheckpoints, pruneCheckpoints, restoreValues, writeCheckpoint } from "./checkpoint.js";
import type { StepResult, Trainable, TrainRow } from "./core/trainable.js";
import type { Batches } from "./data/batches.js";
import type { Documents } from "./data/documents.js";
import { placeOf } from "./data/example.js";
import type { EpochPlan, TrainingRow } from "./data/plan.js";
import { ignoredLabel } from "./data/render.js";
import type { Metrics } from "./metrics.js";
import type { RunRecord } from "./run-record.js";
import { ratesOf, type Schedule, type StepRates } from "./schedule.js";
import type { TrainSettings } from "./settings.js";
import { isEval, isStep, type TrainerState } from "./state.js";
import type { Trained } from "./values.js";

/** Figures of a logging step. */
export interface StepReport {
  step: number;
  steps: number;
  epoch: number;
  /** Mean since the last report. */
  loss: number;
  gradNorm: number;
  lr: number;
  /** Of the schedule "two-stage". */
  stage: 1 | 2;
  tokensPerSecond: number;
  /** Until the last step. */
  secondsLeft: number;
}

export type TrainerEvent =
  | ({ kind: "step" } & StepReport)
  /** After every step, for a bar. */
  | { kind: "progress"; step: number; steps: number }
  | { kind: "evaluating"; rows: number; totalRows: number }
  | { kind: "eval"; step: number; loss: number; isBest: boolean }
  | { kind: "checkpoint"; path: string; step: number }
  | { kind: "note"; text: string };

export interface TrainerParts {
  trainable: Trainable;
  trained: Trained;
  batches: Batches;
  documents: Documents;
  /** Rows that evaluate. */
  evaluation?: EpochPlan;
  settings: TrainSettings;
  schedule: Schedule;
  record: RunRecord;
  /** Where checkpoints go. */
  folder: string;
  metrics: Metrics;
  onEvent?: (event: TrainerEvent) => void;
  signal?: AbortSignal;
}

export interface TrainerResult {
  steps: number;
  /** Mean of the last report. */
  loss: number;
  /** Of the evaluation: before the first step, at the end, and of the values that are the result. */
  evalBefore?: number;
  evalAfter?: number;
  evalLoss?: number;
  /** The step whose values are the result. */
  resultStep: number;
  skipped: number;
  /** Of the whole run, and of this process, which may have gone on with it. */
  tokens: number;
  seconds: number;
  tokensPerSecond: number;
}

export function firstState({ epochs, ...settings }: TrainSettings, steps: number): TrainerState {
  return {
    best_metric: null,
    best_model_checkpoint: null,
    epoch: 0,
    eval_steps: settings.evalSteps,
    global_step: 0,
    log_history: [],
    logging_steps: settings.loggingSteps,
    max_steps: steps,
    num_input_tokens_seen: 0,
    num_train_epochs: epochs,
    save_steps: settings.saveSteps,
    train_batch_size: settings.batchSize,
    bitnet: { losses: [], skipped: 0, skippedInARow: 0, highInARow: 0 },
  };
}

/** In a row, of steps that are skipped and of losses above the limit. */
const mostInARow = 3;
const rowsPerEvaluation = 8; // of one call of the core; fixed, as it decides the order of the sum

export class Trainer {
  readonly #parts: TrainerParts;
  readonly #state: TrainerState;
  readonly #begun = performance.now();
  /** Of this process. */
  #steps = 0;
  #tokens = 0;
  #interval = { tokens: 0, begun: performance.now() };
  #savedStep: number;

  /** `savedStep`: of the checkpoint that has this state, if there is one. */
  constructor(parts: TrainerParts, state: TrainerState, savedStep = -1) {
    this.#parts = parts;
    this.#state = state;
    this.#savedStep = savedStep;
  }

  get state(): TrainerState {
    return this.#state;
  }

  /**
   * Trains to the last step; then the values are those of the best checkpoint, if that is wanted. Aborted, it saves what
   * it has and throws ABORTED. Throws USAGE after three steps in a row without finite gradients, or with too high a loss.
   */
  async run(): Promise<TrainerResult> {
    try {
      for (;;) {
        await this.#evaluateIfDue();
        await this.#saveIfDue();
        if (this.#state.global_step >= this.#parts.schedule.steps) {
          break;
        }
        await this.#step();
      }
      await this.#loadBest();
      return this.#result();
    } catch (error) {
      await this.#saveStopped(toBitnetError(error));
      throw error;
    } finally {
      await this.#parts.metrics.draw(this.#state.log_history).catch(() => {}); // a picture is worth no failure
    }
  }

  async #step(): Promise<void> {
    const { trainable, batches, settings, schedule, signal } = this.#parts;
    const step = this.#state.global_step;
    const rows = batches.rowsOf(step);
    const labels = rows.reduce((sum, row) => sum + countLabels(row), 0);
    await trainable.backward(rows, { labels, step, signal }); // which divides them as its memory allows
    const rates = ratesOf(schedule, step);
    const { beta1, beta2, epsilon, clip } = settings;
    const { lr, weightDecay } = rates;
    const result = await trainable.step({ lr, weightDecay, beta1, beta2, epsilon, clip });
    this.#count(step, rows);
    this.#judge(result, result.lossSum / labels, rows);
    this.#logIfDue(result, rates);
    this.#parts.onEvent?.({ kind: "progress", step: this.#state.global_step, steps: schedule.steps });
  }

  #count(step: number, rows: readonly TrainingRow[]): void {
    const { batches } = this.#parts;
    const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
    const place = batches.placeOf(step);
    this.#state.global_step = step + 1;
    this.#state.num_input_tokens_seen += tokens;
    this.#state.epoch = place.epoch + (place.step + 1) / batches.stepsOf(place.epoch);
    this.#steps++;
    this.#tokens += tokens;
    this.#interval.tokens += tokens;
  }

  /** Three steps in a row that were skipped, or whose loss is too high, end the run. */
  #judge({ skipped }: StepResult, loss: number, rows: readonly TrainingRow[]): void {
    const { bitnet, global_step: step } = this.#state;
    const { lossWatchdog } = this.#parts.settings;
    if (skipped !== undefined) {
      bitnet.skipped++;
      bitnet.skippedInARow++;
      const what = `step ${step} was skipped: ${skipped.reason}${skipped.tensor === undefined ? "" : ` (${skipped.tensor})`}`;
      const where = `trained there: ${this.#placesOf(rows)}`;
      if (bitnet.skippedInARow >= mostInARow) {
        throw new BitnetError("USAGE", `${what}, the ${mostInARow}rd in a row; ${where}`, {
          hint: "try a smaller --lr; the values are those before these steps",
        });
      }
      this.#note(`${what}; ${where}`);
      return;
    }
    bitnet.skippedInARow = 0;
    bitnet.losses.push(loss);
    bitnet.highInARow = lossWatchdog > 0 && loss > lossWatchdog ? bitnet.highInARow + 1 : 0;
    if (bitnet.highInARow >= mostInARow) {
      const what = `step ${step}: the loss is ${loss.toFixed(2)}, above ${lossWatchdog} in ${mostInARow} steps in a row`;
      throw new BitnetError("USAGE", what, { hint: "try a smaller --lr; --loss-watchdog 0 goes on all the same" });
    }
  }

  #placesOf(rows: readonly TrainingRow[]): string {
    const { documents } = this.#parts;
    const places = [...new Set(rows.flatMap(({ sources }) => sources.map((n) => placeOf(documents.originOf(n)))))];
    return places.slice(0, 4).join("; ") + (places.length > 4 ? ` and ${places.length - 4} more` : "");
  }

  #logIfDue({ gradNorm }: StepResult, { lr, stage }: StepRates): void {
    const { schedule, settings, onEvent } = this.#parts;
    const { global_step: step, epoch, bitnet } = this.#state;
    const isDue = step % settings.loggingSteps === 0 || step === schedule.steps;
    if (!isDue || bitnet.losses.length === 0) {
      return;
    }
    const loss = bitnet.losses.reduce((sum, value) => sum + value, 0) / bitnet.losses.length;
    bitnet.losses = [];
    const entry = { epoch, grad_norm: gradNorm, learning_rate: lr, loss, step };
    this.#state.log_history.push(entry);
    const tokensPerSecond = this.#interval.tokens / secondsSince(this.#interval.begun);
    const secondsLeft = ((schedule.steps - step) * this.#seconds()) / this.#steps;
    this.#parts.metrics.add(entry, {
      tokens: this.#state.num_input_tokens_seen,
      tokens_per_second: Math.round(tokensPerSecond),
      seconds: round(this.#seconds()),
    });
    const report = { step, steps: schedule.steps, epoch, loss, gradNorm, lr, stage };
    onEvent?.({ kind: "step", ...report, tokensPerSecond, secondsLeft });
    this.#startInterval();
  }

  #startInterval(): void {
    this.#interval = { tokens: 0, begun: performance.now() };
  }

  #seconds(): number {
    return secondsSince(this.#begun);
  }

  async #evaluateIfDue(): Promise<void> {
    const { settings, schedule, evaluation, onEvent } = this.#parts;
    const { global_step: step, log_history: log, epoch } = this.#state;
    const isDone = log.some((entry) => isEval(entry) && entry.step === step);
    if (evaluation === undefined || isDone || (step % settings.evalSteps !== 0 && step !== schedule.steps)) {
      return;
    }
    const loss = await evaluateRows(this.#parts.trainable, evaluation, this.#parts);
    const entry = { epoch, eval_loss: loss, step };
    log.push(entry);
    this.#savedStep = -1; // a checkpoint of this step has not this entry
    const isBest = step > 0 && loss < (this.#state.best_metric ?? Number.POSITIVE_INFINITY);
    if (isBest) {
      this.#state.best_metric = loss;
      this.#state.best_model_checkpoint = settings.loadBestAtEnd || this.#isSaveStep() ? folderOfStep(step) : null;
    }
    this.#parts.metrics.add(entry, { seconds: round(this.#seconds()) });
    onEvent?.({ kind: "eval", step, loss, isBest });
    this.#noteOverfitting();
    await this.#parts.metrics.draw(log);
    this.#startInterval();
  }

  #noteOverfitting(): void {
    const losses = this.#state.log_history.filter(isEval).map(({ eval_loss: loss }) => loss);
    const last = losses.slice(-mostInARow - 1);
    if (last.length > mostInARow && last.every((loss, i) => i === 0 || loss > at(last, i - 1))) {
      this.#note(
        `the loss of the evaluation has risen ${mostInARow} times in a row: the model learns its examples by heart`,
      );
    }
  }

  #isSaveStep(): boolean {
    const { settings, schedule } = this.#parts;
    const { global_step: step } = this.#state;
    const isRegular = settings.saveSteps > 0 && step % settings.saveSteps === 0;
    return step > 0 && (isRegular || step === schedule.steps);
  }

  async #saveIfDue(): Promise<void> {
    const { global_step: step, best_model_checkpoint: best } = this.#state;
    if (this.#savedStep !== step && (this.#isSaveStep() || best === folderOfStep(step))) {
      await this.#save();
      await this.#removeExtra();
      await pruneCheckpoints(this.#parts.folder, this.#parts.settings.saveTotalLimit, best);
    }
  }

  async #save(): Promise<void> {
    const { folder, trainable, trained, record, onEvent } = this.#parts;
    const path = await writeCheckpoint(folder, trainable, trained, { state: this.#state, record });
    this.#savedStep = this.#state.global_step;
    onEvent?.({ kind: "checkpoint", path, step: this.#savedStep });
    this.#startInterval();
  }

  /** Deletes checkpoints of steps where a run that never stops has none. */
  async #removeExtra(): Promise<void> {
    const { folder, settings } = this.#parts;
    const { global_step: now, best_model_checkpoint: best } = this.#state;
    for (const step of await listCheckpoints(folder)) {
      const isRegular = settings.saveSteps > 0 && step % settings.saveSteps === 0;
      const wasBest = this.#wasBest(step);
      if (step < now && !isRegular && !wasBest && folderOfStep(step) !== best) {
        await rm(join(folder, folderOfStep(step)), { recursive: true, force: true });
      }
    }
  }

  /** Whether an evaluation was the best one when it was made. */
  #wasBest(step: number): boolean {
    const evals = this.#state.log_history.filter(isEval).filter((entry) => entry.step > 0 && entry.step <= step);
    const last = evals.at(-1);
    return last?.step === step && evals.every(({ eval_loss: loss }) => loss >= last.eval_loss);
  }

  /** What was done so far is not lost by a stop, nor by steps that were skipped: these have changed nothing. */
  async #saveStopped({ code }: BitnetError): Promise<void> {
    const { global_step: step, bitnet } = this.#state;
    const isWhole = code === "ABORTED" || bitnet.skippedInARow >= mostInARow;
    if (isWhole && step > 0 && this.#savedStep !== step) {
      await this.#save();
    }
  }

  async #loadBest(): Promise<void> {
    const { settings, folder, trainable, trained } = this.#parts;
    const { best_model_checkpoint: best, global_step: step } = this.#state;
    if (settings.loadBestAtEnd && best !== null && best !== folderOfStep(step)) {
      await restoreValues(join(folder, basename(best)), trainable, trained.kind);
      this.#note(`the result is ${best}, which has the lowest loss of the evaluation`);
    }
  }

  #result(): TrainerResult {
    const { settings } = this.#parts;
    const { log_history: log, global_step: steps, best_model_checkpoint: best, best_metric: bestLoss } = this.#state;
    const evals = log.filter(isEval);
    const isBest = settings.loadBestAtEnd && best !== null;
    const after = evals.at(-1)?.eval_loss;
    return {
      steps,
      loss: log.filter(isStep).at(-1)?.loss ?? Number.NaN,
      evalBefore: evals.find(({ step }) => step === 0)?.eval_loss,
      evalAfter: after,
      evalLoss: isBest && bestLoss !== null ? bestLoss : after,
      resultStep: isBest ? Number(/\d+$/.exec(best)?.[0]) : steps,
      skipped: this.#state.bitnet.skipped,
      tokens: this.#state.num_input_tokens_seen,
      seconds: this.#seconds(),
      tokensPerSecond: this.#tokens / this.#seconds(),
    };
  }

  #note(text: string): void {
    this.#parts.onEvent?.({ kind: "note", text });
  }
}

/** Mean loss over all labels of some rows. */
export async function evaluateRows(
  trainable: Trainable,
  plan: EpochPlan,
  { onEvent, signal }: Pick<TrainerParts, "onEvent" | "signal"> = {},
): Promise<number> {
  let [lossSum, labels] = [0, 0];
  for (let first = 0; first < plan.rowCount; first += rowsPerEvaluation) {
    const count = Math.min(rowsPerEvaluation, plan.rowCount - first);
    const rows = Array.from({ length: count }, (_, i) => plan.row(first + i));
    const part = await trainable.evaluate(rows, { signal });
    lossSum += part.lossSum;
    labels += part.labels;
    onEvent?.({ kind: "evaluating", rows: first + count, totalRows: plan.rowCount });
  }
  return lossSum / labels;
}

function countLabels({ labels }: TrainRow): number {
  return labels.reduce((count, label) => (label === ignoredLabel ? count : count + 1), 0);
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1000;
}

function round(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
