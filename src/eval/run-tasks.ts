// Runs tasks: plans all of them, answers what no earlier run has answered, and tells what came out after every one.

import { basename } from "node:path";
import { modelFormat } from "../chat/format.js";
import type { SessionOptions } from "../engine/model.js";
import type { DownloadProgress } from "../hub/download.js";
import { throwIfAborted } from "../system/errors.js";
import { hashFiles } from "../system/hash-files.js";
import { packageVersion } from "../system/package.js";
import { RunCache, withCache } from "./cache.js";
import { checkDiffer } from "./choices.js";
import { chooseTasks } from "./choose-tasks.js";
import { type CodeRunner, openCodeRunner } from "./code/runner.js";
import { asScore, measureDoc } from "./measure.js";
import { checkOptions, type EvaluateTasksOptions, type EvaluationProgress } from "./options.js";
import { ResultFiles } from "./output.js";
import { type PlannedDoc, planTask, type TaskPlan } from "./plan.js";
import { RequestEncoder, tokensOf } from "./requests.js";
import type { EvaluationResults, FinishedTask } from "./results.js";
import { describeRun, type RunCounts, type RunSettings } from "./run-results.js";
import type { Sample } from "./samples.js";
import { splitLoader } from "./split.js";
import type { Task } from "./task.js";
import { answerAll } from "./work.js";

export interface Evaluation {
  results: EvaluationResults;
  /** By names of tasks, in the order of filters, then of documents. */
  samples: Record<string, readonly Sample[]>;
  /** Where the results were written. */
  path?: string;
}

const standardSeed = 1234;
const standardParallel = 4;

/** Evaluates a model on tasks. Metrics are always over all documents, whichever run has answered them. */
export async function evaluateTasks(options: EvaluateTasksOptions): Promise<Evaluation> {
  checkOptions(options);
  const tasks = chooseTasks(options);
  const settings = await readSettings(options);
  const plans = await planAll(tasks, settings);
  const { model, fresh, cacheDir, signal, onNote } = options;
  const run = async (cache: RunCache) => await new Run(settings, plans, cache).run();
  if (cacheDir === false) {
    return await run(new RunCache());
  }
  const { modelSha256, cacheType, maxLength } = settings;
  const { kernel } = model.info;
  const onWait = () => onNote?.("another process evaluates this model; waiting for it");
  return await withCache(
    { modelSha256, version: packageVersion(), kernel, cacheType, maxLength },
    { folder: cacheDir, fresh, signal, onWait },
    run,
  );
}

async function readSettings(options: EvaluateTasksOptions): Promise<RunSettings> {
  const { model, chat = false, signal } = options;
  const { info, gguf, tokenizer } = model;
  return {
    options,
    name: options.name ?? basename(gguf.path).replace(/\.gguf$/i, ""),
    model: info,
    modelSha256: await hashFiles(gguf.paths, signal),
    cacheType: options.cacheType ?? "f16",
    maxLength: options.contextSize ?? info.contextLength,
    seed: options.seed ?? standardSeed,
    format: chat === true ? modelFormat(info.chatTemplate, tokenizer) : chat || undefined,
    began: new Date(),
  };
}

async function planAll(tasks: readonly Task[], settings: RunSettings): Promise<TaskPlan[]> {
  const { options, maxLength, seed, format } = settings;
  const {
    model,
    data = {},
    system,
    multiturn,
    shots,
    limit,
    samples,
    writing = {},
    signal,
    onProgress,
    onNote,
  } = options;
  const loading = { step: "loading" as const, task: "", done: 0, total: tasks.length };
  const tell = (download?: EvaluationProgress["download"]) =>
    onProgress?.({ ...loading, tokensDone: 0, tokensTotal: 0, tokensCached: 0, download });
  const onDownload = ({ allDoneBytes, allTotalBytes }: DownloadProgress) =>
    tell({ doneBytes: allDoneBytes, totalBytes: allTotalBytes });
  const load = splitLoader({ data, signal, onNote, onDownload });
  if (options.writing !== undefined && tasks.every(({ kind }) => kind !== "generation")) {
    onNote?.("gen-kwargs: not used, no task of this run has answers that are written");
  }
  const encoder = new RequestEncoder(model.tokenizer, maxLength, format !== undefined);
  const llamaRules = options.rules === "llama.cpp" ? { tokenizer: model.tokenizer, maxLength } : undefined;
  const plans: TaskPlan[] = [];
  for (const [done, task] of tasks.entries()) {
    throwIfAborted(signal);
    Object.assign(loading, { task: task.name, done });
    tell();
    const ofTask = {
      llamaRules,
      shots,
      limit,
      samples: samples?.[task.name],
      seed,
      writing,
      format,
      system,
      multiturn,
    };
    plans.push(await planTask(task, load, encoder, ofTask));
  }
  return plans;
}

/** One run over all tasks. */
class Run {
  readonly #settings: RunSettings;
  readonly #plans: readonly TaskPlan[];
  readonly #cache: RunCache;
  readonly #finished: FinishedTask[] = [];
  readonly #counts: RunCounts = { cached: 0, requests: 0, evaluated: 0, reused: 0, codeRunner: null };
  readonly #progress: EvaluationProgress;

  constructor(settings: RunSettings, plans: readonly TaskPlan[], cache: RunCache) {
    this.#settings = settings;
    this.#plans = plans;
    this.#cache = cache;
    this.#progress = {
      step: "answering",
      task: "",
      done: 0,
      total: plans.reduce((sum, { documents }) => sum + documents.length, 0),
      ...{ tokensDone: 0, tokensTotal: 0, tokensCached: 0 },
    };
    for (const { documents } of plans) {
      for (const planned of documents) {
        this.#count(planned);
      }
    }
  }

  #count({ asked, keys }: PlannedDoc): void {
    for (const [place, { request }] of asked.entries()) {
      const tokens = tokensOf(request);
      const isCached = this.#cache.get(keys[place] ?? "") !== undefined;
      this.#counts.requests++;
      this.#counts.cached += isCached ? 1 : 0;
      this.#progress.tokensTotal += tokens;
      this.#progress.tokensCached += isCached ? tokens : 0;
    }
  }

  async run(): Promise<Evaluation> {
    const { options, name, began } = this.#settings;
    const { output, keepSamples = false, predictOnly = false } = options;
    // Before anything is answered: where nothing can hold programs, that is known at once.
    await using codeRunner = await this.#openCodeRunner();
    this.#counts.codeRunner = codeRunner?.sandbox ?? null;
    const files =
      output === undefined ? undefined : await ResultFiles.create(output, name, began, keepSamples || predictOnly);
    let results = this.#describe();
    try {
      for (const plan of this.#plans) {
        await this.#runTask(plan, files, codeRunner);
        results = this.#describe();
        await files?.writeResults(results);
        options.onResults?.(results);
      }
    } finally {
      await this.#cache.flush();
      await files?.close();
    }
    const samples = Object.fromEntries(this.#finished.map((one) => [one.plan.task.name, one.samples]));
    return { results, samples, path: files?.resultsPath };
  }

  #describe(): EvaluationResults {
    return describeRun(this.#settings, this.#finished, this.#counts);
  }

  async #openCodeRunner(): Promise<CodeRunner | undefined> {
    const { runsUnsafeCode = false, predictOnly = false, signal, onNote } = this.#settings.options;
    const programs = this.#plans.filter(({ task }) => writesPrograms(task)).map(({ task }) => task.name);
    if (programs.length === 0 || predictOnly) {
      return undefined;
    }
    if (runsUnsafeCode) {
      return await openCodeRunner({ signal });
    }
    onNote?.(
      `${programs.join(", ")}: programs are not run unless that is confirmed; a folder for results gets them for EvalPlus`,
    );
    return undefined;
  }

  async #runTask(plan: TaskPlan, files: ResultFiles | undefined, codeRunner: CodeRunner | undefined): Promise<void> {
    const { options, maxLength, cacheType, format } = this.#settings;
    const { model, parallel = standardParallel, signal, predictOnly = false, rules = "lm-eval" } = options;
    const context = { codeRunner, predictOnly, rules, isChat: format !== undefined, signal };
    const { task } = plan;
    const samples = new Map<PlannedDoc, readonly Sample[]>();
    let cutAnswers = 0;
    this.#tell(task);
    await files?.beginTask(task.name);
    // The last token of a request is scored and never read.
    const session: SessionOptions = { contextSize: maxLength + 1, cacheType: cacheType === "q8" ? "q8" : "f16" };
    await answerAll(model, plan.documents, {
      ...{ session, parallel, signal, cache: this.#cache },
      onAnswer: (evaluated, reused) => {
        this.#counts.evaluated += evaluated;
        this.#counts.reused += reused;
      },
      onDocument: async (planned, outcomes) => {
        const measured = await measureDoc(task, planned, outcomes, context);
        samples.set(planned, measured);
        cutAnswers += outcomes.some((outcome) => "isCut" in outcome && outcome.isCut) ? 1 : 0;
        await files?.addSamples(measured);
        this.#tell(task, planned);
      },
    });
    const sorted = sortSamples(plan, samples);
    if (task.kind === "choices" || task.kind === "sentences") {
      checkDiffer(task.name, scoresOf(plan, this.#cache));
    }
    await files?.endTask(task.name, sorted);
    if (task.kind === "generation" && task.codeSample !== undefined && codeRunner === undefined) {
      const { codeSample } = task;
      await files?.writeCodeSamples(
        task.name,
        sorted.map(({ doc, filtered_resps: [solution = ""] }) => codeSample(doc, String(solution))),
      );
    }
    this.#finished.push({ plan, samples: sorted, cutAnswers });
  }

  #tell(task: Task, planned?: PlannedDoc): void {
    this.#progress.task = task.name;
    if (planned !== undefined) {
      this.#progress.done++;
      this.#progress.tokensDone += planned.asked.reduce((sum, { request }) => sum + tokensOf(request), 0);
    }
    this.#settings.options.onProgress?.({ ...this.#progress });
  }
}

function writesPrograms(task: Task): boolean {
  return task.kind === "generation" && task.codeSample !== undefined;
}

/** All of the first filter, then all of the next, each in the order of the documents. */
function sortSamples({ documents }: TaskPlan, samples: ReadonlyMap<PlannedDoc, readonly Sample[]>): Sample[] {
  const inOrder = documents.flatMap((planned) => samples.get(planned) ?? []);
  const filters = [...new Set(inOrder.map(({ filter }) => filter))];
  return filters.flatMap((name) => inOrder.filter(({ filter }) => filter === name));
}

function scoresOf({ documents }: TaskPlan, cache: RunCache): number[][] {
  return documents.map(({ keys }) => keys.map((key) => asScore(cache.get(key)).logLikelihood));
}
