// Results in the form in which lm-evaluation-harness writes them, so that what reads its files reads ours.

import { bypassMetric } from "./measure.js";
import { aggregate, type Estimate, poolEstimates, type SizedEstimate } from "./metrics.js";
import type { TaskPlan } from "./plan.js";
import { hashText, type Sample } from "./samples.js";
import { defaultMaxTokens, type Metric, type MetricValue, type Task, type TaskGroup } from "./task.js";

/** A metric by "name,filter", its error by "name_stderr,filter"; beside them name, alias and sample_len. */
export type TaskResults = Record<string, number | string | Record<string, number>>;

export interface EvaluationResults {
  results: Record<string, TaskResults>;
  groups?: Record<string, TaskResults>;
  group_subtasks: Record<string, string[]>;
  configs: Record<string, Record<string, unknown>>;
  versions: Record<string, number | string>;
  "n-shot": Record<string, number>;
  higher_is_better: Record<string, Record<string, boolean>>;
  "n-samples": Record<string, { original: number; effective: number }>;
  config: Record<string, unknown>;
  /** Seconds since 1970. */
  date: number;
  model_source: string;
  model_name: string;
  model_name_sanitized: string;
  system_instruction: string | null;
  system_instruction_sha: string | null;
  fewshot_as_multiturn: boolean;
  chat_template: string | null;
  chat_template_sha: string | null;
  task_hashes: Record<string, string>;
  total_evaluation_time_seconds: string;
  bitnet: OwnResults;
}

/** What only this program tells. */
export interface OwnResults {
  version: string;
  kernel: string;
  cacheType: string;
  maxLength: number;
  modelSha256: string;
  /** Whose rules of choices. */
  rules: string;
  /** Requests by task whose beginning did not fit into the context. */
  truncated: Record<string, number>;
  /** What of a task does not follow its original to the letter. */
  approximate: Record<string, string>;
  /** Shares by task of answers that were cut by length, and by filter of those in which nothing was found. */
  answers: Record<string, { cut: number; invalid: Record<string, number> }>;
  /** What held programs that the model wrote while they ran; null if none were run. */
  codeRunner: string | null;
  /** Commits by task of data from the hub. */
  revisions: Record<string, string>;
  /** Requests that an earlier run has answered, and all. */
  cached: number;
  requests: number;
  /** Tokens that this run has evaluated, and that it found in a prompt before. */
  tokens: { evaluated: number; reused: number };
}

/** A task that is done. */
export interface FinishedTask {
  plan: TaskPlan;
  /** In the order of filters, then of documents. */
  samples: readonly Sample[];
  /** How many texts were cut by their limit of tokens or by the context. */
  cutAnswers: number;
}

/** What one task comes to. */
export function summarizeTask({ plan: { task }, samples }: FinishedTask): TaskResults {
  const results: TaskResults = { name: task.name, alias: task.alias ?? task.name };
  const filters = [...new Set(samples.map(({ filter }) => filter))];
  const first = samples.filter(({ filter }) => filter === filters[0]);
  results.sample_len = first.length;
  for (const filter of filters) {
    const ofFilter = samples.filter((sample) => sample.filter === filter);
    for (const metric of metricsOf(task, ofFilter)) {
      const values = ofFilter.map((sample) => sample[metric.name] as MetricValue);
      writeEstimate(results, metric.name, filter, aggregate(metric, values));
    }
  }
  return results;
}

/** Those that samples have: where nothing is judged that is one of lm-eval's own. */
function metricsOf(task: Task, [sample]: readonly Sample[]): Metric[] {
  const names = sample?.metrics ?? [];
  return names.map((name) => task.metrics.find((metric) => metric.name === name) ?? { name });
}

const none = "N/A";

function writeEstimate(results: TaskResults, name: string, filter: string, { value, error }: Estimate): void {
  results[`${name},${filter}`] = value;
  results[`${name}_stderr,${filter}`] = name === bypassMetric.name ? none : (error ?? none);
}

/** What the finished tasks of a group come to. */
export function summarizeGroup(group: TaskGroup, tasks: readonly TaskResults[]): TaskResults {
  const results: TaskResults = { name: group.name, alias: group.alias ?? group.name };
  results.sample_len = tasks.reduce((sum, task) => sum + Number(task.sample_len), 0);
  const counts: Record<string, number> = {};
  for (const { name } of group.metrics) {
    const filters = new Set(tasks.flatMap((task) => filtersOf(task, name)));
    for (const filter of [...filters].sort()) {
      const parts = tasks.flatMap((task) => readEstimate(task, name, filter));
      writeEstimate(results, name, filter, poolEstimates(parts));
      counts[`${name},${filter}`] = parts.reduce((sum, { documents }) => sum + documents, 0);
    }
  }
  return { ...results, sample_count: counts };
}

function filtersOf(task: TaskResults, name: string): string[] {
  const start = `${name},`;
  return Object.keys(task).flatMap((key) => (key.startsWith(start) ? key.slice(start.length) : []));
}

function readEstimate(task: TaskResults, name: string, filter: string): SizedEstimate[] {
  const [value, error] = [task[`${name},${filter}`], task[`${name}_stderr,${filter}`]];
  if (typeof value !== "number") {
    return [];
  }
  return [{ value, error: typeof error === "number" ? error : undefined, documents: Number(task.sample_len) }];
}

/** As lm-eval's files tell how a task was set. */
export function describeTask({ task, shots, path }: TaskPlan): Record<string, unknown> {
  const { source, split, description = "", metrics, version } = task;
  return {
    task: task.name,
    ...(task.alias === undefined ? {} : { task_alias: task.alias }),
    dataset_path: source.id,
    dataset_name: source.config ?? null,
    dataset_file: path,
    [split === "validation" ? "validation_split" : "test_split"]: split,
    fewshot_split: typeof task.shots.from === "string" ? task.shots.from : null,
    num_fewshot: shots,
    description,
    target_delimiter: task.delimiter ?? " ",
    fewshot_delimiter: "\n\n",
    output_type: outputTypes[task.kind],
    ...(task.kind === "generation"
      ? { generation_kwargs: { until: task.stops, do_sample: false, max_gen_toks: task.maxTokens ?? defaultMaxTokens } }
      : {}),
    repeats: 1,
    metric_list: metrics.map(({ name, aggregation = "mean", higherIsBetter = true }) => ({
      metric: name,
      aggregation,
      higher_is_better: higherIsBetter,
    })),
    metadata: { version },
  };
}

const outputTypes: Readonly<Record<Task["kind"], string>> = {
  choices: "multiple_choice",
  sentences: "multiple_choice",
  continuation: "loglikelihood",
  rolling: "loglikelihood_rolling",
  generation: "generate_until",
};

/** Says by one number what was asked and what would have been right. */
export function hashTask(samples: readonly Sample[]): string {
  return hashText(samples.map((sample) => sample.doc_hash + sample.prompt_hash + sample.target_hash).join(""));
}

/** A name as a folder of results has it. */
export function sanitizeName(name: string): string {
  return name.replace(/["<>:/\\|?*[\]]+/g, "__");
}
