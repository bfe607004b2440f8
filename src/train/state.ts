// Where a run stands, as Hugging Face's trainer writes it (trainer_state.json), and what else of it a run needs that goes on.

import { BitnetError } from "../system/errors.js";
import { readJsonFile } from "../system/json.js";

export interface StepEntry {
  epoch: number;
  grad_norm: number;
  learning_rate: number;
  /** Mean over the steps since the last entry. */
  loss: number;
  step: number;
}

export interface EvalEntry {
  epoch: number;
  eval_loss: number;
  step: number;
}

export type LogEntry = StepEntry | EvalEntry;

export interface TrainerState {
  best_metric: number | null;
  /** A folder of the run: "checkpoint-500". */
  best_model_checkpoint: string | null;
  epoch: number;
  eval_steps: number;
  global_step: number;
  log_history: LogEntry[];
  logging_steps: number;
  max_steps: number;
  num_input_tokens_seen: number;
  num_train_epochs: number;
  save_steps: number;
  train_batch_size: number;
  /** Ours: losses since the last entry, steps that were skipped, and how many of them, and losses above the limit, are in a row. */
  bitnet: { losses: number[]; skipped: number; skippedInARow: number; highInARow: number };
}

export const stateName = "trainer_state.json";

const maxStateBytes = 2 ** 28;

/** Throws BAD_FILE for what is none. */
export async function readState(path: string): Promise<TrainerState> {
  const value = Object(await readJsonFile(path, maxStateBytes)) as TrainerState;
  const { global_step: step, log_history: log, best_metric: loss, best_model_checkpoint: best } = value;
  const isState =
    isCount(step) &&
    [value.num_input_tokens_seen, value.epoch].every(Number.isFinite) &&
    Array.isArray(log) &&
    log.every(isEntry) &&
    (loss === null || Number.isFinite(loss)) &&
    (best === null || (typeof best === "string" && /^checkpoint-\d{1,10}$/.test(best))) &&
    isOurs(value.bitnet);
  if (!isState) {
    throw new BitnetError("BAD_FILE", `${path}: not the state of a run of this program`);
  }
  return value;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** JSON has null for a figure that is no number: that of a step that was skipped. */
function isEntry(value: unknown): boolean {
  const { step, epoch, loss, eval_loss: evalLoss = loss } = Object(value) as Partial<StepEntry & EvalEntry>;
  return isCount(step) && Number.isFinite(epoch) && (evalLoss === null || Number.isFinite(evalLoss));
}

function isOurs(value: unknown): boolean {
  const { losses, skipped, skippedInARow, highInARow } = Object(value) as TrainerState["bitnet"];
  return Array.isArray(losses) && [...losses, skipped, skippedInARow, highInARow].every(Number.isFinite);
}

export function encodeState(state: TrainerState): string {
  return `${JSON.stringify(state, null, 2)}\n`;
}

export function isEval(entry: LogEntry): entry is EvalEntry {
  return "eval_loss" in entry;
}

export function isStep(entry: LogEntry): entry is StepEntry {
  return !isEval(entry);
}
