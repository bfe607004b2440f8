// What a run of tasks can be told.

import type { ChatFormat } from "../chat/format.js";
import type { Model } from "../engine/model.js";
import { checkNumber } from "../engine/request.js";
import type { CacheType } from "../native/addon.js";
import { BitnetError } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type ChoiceRules, choiceRules } from "./choices.js";
import type { WritingOptions } from "./requests.js";
import type { EvaluationResults } from "./results.js";
import type { Task } from "./task.js";

export interface EvaluateTasksOptions {
  model: Model;
  /** Names of tasks and groups, as `bitnet eval list` has them, or tasks of one's own. */
  tasks: readonly (string | Task)[];
  /** Files or folders instead of the hub, by names of tasks or groups. */
  data?: Readonly<Record<string, string>>;
  /** Solved questions before each question. Default: what the task says. */
  shots?: number;
  /** The first so many documents of each task, or below 1 their share. Default: all. */
  limit?: number;
  /** Places of documents by names of tasks, instead of `limit`; the other tasks are left out. */
  samples?: Readonly<Record<string, readonly number[]>>;
  /** Of the shots. Default: 1234. */
  seed?: number;
  /** Whether prompts are chats: of the model's own template, or of another one. Default: false, plain text. */
  chat?: boolean | ChatFormat;
  /** A system message, before the description of the task. */
  system?: string;
  /** With `chat`: every shot is a turn of its own. Default: all in one message. */
  multiturn?: boolean;
  /** How texts are written. Default: greedily, as the task says. */
  writing?: Partial<WritingOptions>;
  /** Answers are kept, and not judged. Default: false. */
  predictOnly?: boolean;
  /** Whose rules of choices: see docs/evaluation.md. Default: "lm-eval". */
  rules?: ChoiceRules;
  /** Whether code that the model writes is run, in a sandbox. Default: false. */
  runsUnsafeCode?: boolean;
  /** In tokens. Default: what the model was trained for. */
  contextSize?: number;
  cacheType?: CacheType;
  /** Sessions that work side by side. Default: 4. */
  parallel?: number;
  /** What the model is called in the results. Default: the name of its file. */
  name?: string;
  /** A folder for results. Default: none are written. */
  output?: string;
  /** With `output`: also what was asked and answered about each document. Default: false. */
  keepSamples?: boolean;
  /** Where answers are kept between runs; false: nowhere. Default: the user's folder of caches. */
  cacheDir?: string | false;
  /** Take nothing from earlier runs. Default: false. */
  fresh?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: EvaluationProgress) => void;
  /** What is worth knowing and stops nothing, in a sentence. */
  onNote?: (text: string) => void;
  /** The results of all tasks that are done, whenever one is. */
  onResults?: (results: EvaluationResults) => void;
}

export interface EvaluationProgress {
  /** What is done now: reading data, answering requests of a task. */
  step: "loading" | "answering";
  task: string;
  /** Documents of all tasks: done, and in all; while loading, tasks. */
  done: number;
  total: number;
  /** Tokens of all requests: of those that are answered, and in all. Where contexts are shared, fewer are evaluated. */
  tokensDone: number;
  tokensTotal: number;
  /** Of them, of requests that an earlier run has answered. */
  tokensCached: number;
  /** While data of the hub are downloaded. */
  download?: { doneBytes: number; totalBytes: number };
}

const optionNames: OptionNames<EvaluateTasksOptions> = {
  model: true,
  tasks: true,
  data: true,
  shots: true,
  limit: true,
  samples: true,
  seed: true,
  chat: true,
  system: true,
  multiturn: true,
  writing: true,
  predictOnly: true,
  rules: true,
  runsUnsafeCode: true,
  contextSize: true,
  cacheType: true,
  parallel: true,
  name: true,
  output: true,
  keepSamples: true,
  cacheDir: true,
  fresh: true,
  signal: true,
  onProgress: true,
  onNote: true,
  onResults: true,
};

/** USAGE for what is wrong, before anything is read. */
export function checkOptions(options: EvaluateTasksOptions): void {
  checkOptionNames("evaluateTasks", options, optionNames);
  const { shots = 0, limit = 1, seed = 0, parallel = 1, contextSize = 2, rules = "lm-eval" } = options;
  checkNumber("shots", shots, { min: 0, max: 10_000, integer: true });
  checkNumber("limit", limit, { min: Number.MIN_VALUE, max: Number.MAX_SAFE_INTEGER });
  checkNumber("seed", seed, { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER, integer: true });
  checkNumber("parallel", parallel, { min: 1, max: 256, integer: true });
  checkNumber("contextSize", contextSize, { min: 2, max: 2 ** 24, integer: true });
  if (!choiceRules.includes(rules)) {
    throw new BitnetError("USAGE", `rules: expected one of ${choiceRules.join(", ")}, got ${String(rules)}`);
  }
  if (options.limit !== undefined && options.samples !== undefined) {
    throw new BitnetError("USAGE", "limit, samples: expected one of them, not both");
  }
  if (options.multiturn && !options.chat) {
    throw new BitnetError("USAGE", "multiturn: shots are turns of a chat only with the option chat");
  }
  if (options.tasks.length === 0) {
    throw new BitnetError("USAGE", "tasks: expected at least one", { hint: "bitnet eval list names them" });
  }
}
