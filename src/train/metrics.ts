// What a run tells about itself while it goes on: metrics.jsonl, files of TensorBoard, a picture of the losses.

import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../system/files.js";
import { readFileLines } from "../system/line-file.js";
import { drawLosses } from "./loss-plot.js";
import { isEval, type LogEntry } from "./state.js";
import { EventFile } from "./tensorboard.js";

/** Where figures go beside metrics.jsonl. */
export const reportNames = ["none", "tensorboard"] as const;
export type ReportTo = (typeof reportNames)[number];

/** What of an entry follows from the machine, and is no part of the state. */
export interface Timing {
  tokens?: number;
  tokens_per_second?: number;
  seconds: number; // since the run began or went on
}

export const metricsName = "metrics.jsonl";
export const plotName = "loss.svg";
const maxLineBytes = 2 ** 16;

export class Metrics {
  readonly #folder: string;
  readonly #title: string;
  readonly #events: EventFile | undefined;

  private constructor(folder: string, title: string, events: EventFile | undefined) {
    this.#folder = folder;
    this.#title = title;
    this.#events = events;
  }

  /** Of a run that begins, or goes on after `step`: what the files say of later steps is forgotten. */
  static async open(folder: string, step: number, { title, reportTo }: { title: string; reportTo: ReportTo }) {
    await keepLines(join(folder, metricsName), step);
    return new Metrics(
      folder,
      title,
      reportTo === "tensorboard" ? new EventFile(join(folder, "runs"), step) : undefined,
    );
  }

  add(entry: LogEntry, timing: Timing): void {
    appendFileSync(join(this.#folder, metricsName), `${JSON.stringify({ ...entry, ...timing })}\n`);
    this.#events?.scalars(entry.step, scalarsOf(entry));
  }

  async draw(log: readonly LogEntry[]): Promise<void> {
    if (log.length > 0) {
      await replaceFile(join(this.#folder, plotName), drawLosses(log, this.#title));
    }
  }

  close(): void {
    this.#events?.close();
  }
}

/** Under the names of Hugging Face's trainer. */
function scalarsOf(entry: LogEntry): Record<string, number> {
  return isEval(entry)
    ? { "eval/loss": entry.eval_loss, "train/epoch": entry.epoch }
    : {
        "train/loss": entry.loss,
        "train/grad_norm": entry.grad_norm,
        "train/learning_rate": entry.learning_rate,
        "train/epoch": entry.epoch,
      };
}

/** Lines of steps up to `step` stay; a torn last line does not. */
async function keepLines(path: string, step: number): Promise<void> {
  const kept: string[] = [];
  if (existsSync(path)) {
    for await (const { bytes, isTooLong, isTorn } of readFileLines(path, maxLineBytes)) {
      const text = bytes.toString();
      if (!isTooLong && !isTorn && stepOf(text) <= step && step > 0) {
        kept.push(`${text}\n`);
      }
    }
  }
  await replaceFile(path, kept.join(""));
}

function stepOf(line: string): number {
  try {
    const { step } = Object(JSON.parse(line)) as { step?: unknown };
    return typeof step === "number" ? step : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY; // not one of ours
  }
}
