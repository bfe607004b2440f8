// Files of results: samples as documents finish, in the order of the documents once a task is done, and results after
// every task.

import { join } from "node:path";
import { Appender } from "../batch/appender.js";
import { withContext } from "../system/errors.js";
import { makeFolder, replaceFile, writeThenRename } from "../system/files.js";
import type { CodeSample } from "./code/program.js";
import { type EvaluationResults, sanitizeName } from "./results.js";
import { type Sample, toLine } from "./samples.js";

export class ResultFiles {
  readonly #folder: string;
  readonly #time: string;
  readonly #keepsSamples: boolean;
  #open: Appender | undefined;

  private constructor(folder: string, time: string, keepsSamples: boolean) {
    this.#folder = folder;
    this.#time = time;
    this.#keepsSamples = keepsSamples;
  }

  /** In a folder of the model's name below `path`. */
  static async create(path: string, modelName: string, began: Date, keepsSamples: boolean): Promise<ResultFiles> {
    const folder = join(path, sanitizeName(modelName));
    try {
      await makeFolder(folder);
    } catch (error) {
      throw withContext(`results cannot be written to ${path}`, error);
    }
    return new ResultFiles(folder, began.toISOString().replace("Z", "").replaceAll(":", "-"), keepsSamples);
  }

  get resultsPath(): string {
    return join(this.#folder, `results_${this.#time}.json`);
  }

  samplesPath(task: string): string {
    return join(this.#folder, `samples_${task}_${this.#time}.jsonl`);
  }

  /** Programs that nobody has run, as EvalPlus reads them. */
  async writeCodeSamples(task: string, lines: readonly CodeSample[]): Promise<void> {
    const path = join(this.#folder, `evalplus_${task}_${this.#time}.jsonl`);
    await replaceFile(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }

  async beginTask(task: string): Promise<void> {
    if (this.#keepsSamples) {
      this.#open = await Appender.open(this.samplesPath(task), true);
    }
  }

  async addSamples(samples: readonly Sample[]): Promise<void> {
    for (const sample of samples) {
      await this.#open?.add(toLine(sample));
    }
  }

  async endTask(task: string, samples: readonly Sample[]): Promise<void> {
    await this.close();
    if (this.#keepsSamples) {
      await writeSamples(this.samplesPath(task), samples);
    }
  }

  async writeResults(results: EvaluationResults): Promise<void> {
    await replaceFile(this.resultsPath, `${JSON.stringify(results, undefined, 2)}\n`);
  }

  async close(): Promise<void> {
    const file = this.#open;
    this.#open = undefined;
    await file?.close();
  }
}

/** Line by line: those of long prompts are larger together than a text can be. */
async function writeSamples(path: string, samples: readonly Sample[]): Promise<void> {
  await writeThenRename(path, async (partial) => {
    const file = await Appender.open(partial, true);
    try {
      for (const sample of samples) {
        await file.add(toLine(sample));
      }
    } finally {
      await file.close();
    }
  });
}
