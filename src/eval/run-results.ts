// The results of a run, as far as it has come.

import type { ChatFormat } from "../chat/format.js";
import type { Model } from "../engine/model.js";
import { packageVersion } from "../system/package.js";
import type { SandboxName } from "./code/runner.js";
import type { EvaluateTasksOptions } from "./options.js";
import {
  describeTask,
  type EvaluationResults,
  type FinishedTask,
  hashTask,
  type OwnResults,
  sanitizeName,
  summarizeGroup,
  summarizeTask,
  type TaskResults,
} from "./results.js";
import { hashText, type Sample } from "./samples.js";
import type { TaskGroup } from "./task.js";
import { groups, tasksOf } from "./tasks/all.js";
import { INVALID } from "./tasks/extraction.js";

/** What is the same for all tasks of a run. */
export interface RunSettings {
  options: EvaluateTasksOptions;
  name: string;
  model: Pick<Model["info"], "kernel" | "chatTemplate">;
  modelSha256: string;
  cacheType: string;
  maxLength: number;
  seed: number;
  format?: ChatFormat;
  began: Date;
}

/** What a run counts. */
export interface RunCounts {
  cached: number;
  requests: number;
  evaluated: number;
  reused: number;
  /** What ran programs that the model wrote, if they were run. */
  codeRunner: SandboxName | null;
}

export function describeRun(
  settings: RunSettings,
  finished: readonly FinishedTask[],
  counts: RunCounts,
): EvaluationResults {
  const { options, name, format, model, began } = settings;
  const results: Record<string, TaskResults> = Object.fromEntries(
    finished.map((one) => [one.plan.task.name, summarizeTask(one)]),
  );
  const whole = groups.filter((group) => tasksOf(group.name).every((task) => task.name in results));
  const summaries = Object.fromEntries(
    whole.map((group) => [
      group.name,
      summarizeGroup(
        group,
        tasksOf(group.name).map((task) => results[task.name] ?? {}),
      ),
    ]),
  );
  const template = format === undefined ? null : format.name === "model" ? model.chatTemplate : format.name;
  const system = options.system ?? null;
  return {
    results: { ...results, ...summaries },
    ...(whole.length > 0 && { groups: summaries }),
    group_subtasks: Object.fromEntries(whole.map((group) => [group.name, [...group.members]])),
    configs: byName(finished, ({ plan }) => describeTask(plan)),
    versions: { ...byName(finished, ({ plan }) => plan.task.version), ...versionsOf(whole) },
    "n-shot": { ...byName(finished, ({ plan }) => plan.shots), ...shotsOf(whole, finished) },
    higher_is_better: { ...byName(finished, ({ plan }) => directionsOf(plan.task)), ...ofGroups(whole, directionsOf) },
    "n-samples": byName(finished, ({ plan }) => ({ original: plan.original, effective: plan.documents.length })),
    config: describeConfig(settings),
    date: began.getTime() / 1000,
    model_source: "bitnet",
    model_name: name,
    model_name_sanitized: sanitizeName(name),
    system_instruction: system,
    system_instruction_sha: system === null ? null : hashText(system),
    fewshot_as_multiturn: options.multiturn ?? false,
    chat_template: template,
    chat_template_sha: template === null ? null : hashText(template),
    task_hashes: byName(finished, ({ samples }) => hashTask(samples)),
    total_evaluation_time_seconds: String((Date.now() - began.getTime()) / 1000),
    bitnet: describeOwn(settings, finished, counts),
  };
}

function byName<T>(finished: readonly FinishedTask[], tell: (task: FinishedTask) => T): Record<string, T> {
  return Object.fromEntries(finished.map((one) => [one.plan.task.name, tell(one)]));
}

function ofGroups<T>(whole: readonly TaskGroup[], tell: (group: TaskGroup) => T): Record<string, T> {
  return Object.fromEntries(whole.map((group) => [group.name, tell(group)]));
}

function versionsOf(whole: readonly TaskGroup[]): Record<string, number> {
  return ofGroups(whole, ({ version }) => version);
}

/** Where all members have the same number. */
function shotsOf(whole: readonly TaskGroup[], finished: readonly FinishedTask[]): Record<string, number> {
  const shots = new Map(finished.map(({ plan }) => [plan.task.name, plan.shots]));
  return Object.fromEntries(
    whole.flatMap(({ name }) => {
      const [first, ...others] = new Set(tasksOf(name).map((task) => shots.get(task.name) ?? 0));
      return first === undefined || others.length > 0 ? [] : [[name, first]];
    }),
  );
}

function directionsOf({ metrics }: Pick<TaskGroup, "metrics">): Record<string, boolean> {
  return Object.fromEntries(metrics.map(({ name, higherIsBetter = true }) => [name, higherIsBetter]));
}

/** lm-eval's keys; what has no counterpart here is what it writes where nothing was given. */
function describeConfig({ options, name, seed }: RunSettings): Record<string, unknown> {
  return {
    model: "bitnet",
    model_args: { pretrained: name },
    batch_size: null,
    batch_sizes: [],
    device: "cpu",
    use_cache: null,
    limit: options.limit ?? null,
    samples: options.samples ?? null,
    bootstrap_iters: 100_000,
    gen_kwargs: options.writing ?? null,
    random_seed: 0,
    numpy_seed: 1234,
    torch_seed: 1234,
    fewshot_seed: seed,
  };
}

function describeOwn(
  { options, model, modelSha256, cacheType, maxLength }: RunSettings,
  finished: readonly FinishedTask[],
  { cached, requests, evaluated, reused, codeRunner }: RunCounts,
): OwnResults {
  const some = <T>(entries: (one: FinishedTask) => T | undefined): Record<string, T> =>
    Object.fromEntries(
      finished.flatMap((one) => {
        const value = entries(one);
        return value === undefined ? [] : [[one.plan.task.name, value]];
      }),
    );
  return {
    version: packageVersion(),
    kernel: model.kernel,
    cacheType,
    maxLength,
    modelSha256,
    rules: options.rules ?? "lm-eval",
    truncated: some((one) => countCut(one) || undefined),
    approximate: some(({ plan }) => plan.task.approximate),
    answers: some(describeAnswers),
    codeRunner,
    revisions: some(({ plan }) => plan.revision),
    cached,
    requests,
    tokens: { evaluated, reused },
  };
}

function countCut({ plan }: FinishedTask): number {
  return plan.documents.flatMap(({ asked }) => asked).filter(({ request }) => request.cut > 0).length;
}

/** Of texts that were written. */
function describeAnswers({ plan, samples, cutAnswers }: FinishedTask): OwnResults["answers"][string] | undefined {
  if (plan.task.kind !== "generation" || plan.documents.length === 0) {
    return undefined;
  }
  const share = (count: number) => count / plan.documents.length;
  const isInvalid = (sample: Sample) => sample.filtered_resps[0] === INVALID;
  const invalid = plan.task.filters.map(({ name }) => [
    name,
    share(samples.filter((sample) => sample.filter === name && isInvalid(sample)).length),
  ]);
  return { cut: share(cutAnswers), invalid: Object.fromEntries(invalid) };
}
