// What the makers of models have published, beside what came out here. A number without its setting says little: shots,
// template and metric are told where the makers tell them, and otherwise said to be unknown.

import { BitnetError } from "../system/errors.js";

export interface PublishedSetting {
  /** undefined: the makers do not tell. */
  shots?: number;
  /** Program and version. */
  program?: string;
  /** The metric as lm-eval calls it, with its filter; where the makers do not tell it, the one that is compared. */
  metric: string;
  metricIsTold: boolean;
  /** Whether prompts were chats. */
  chat?: boolean;
}

export interface PublishedFigure extends PublishedSetting {
  task: string;
  /** Per cent. */
  value: number;
  /** Whether the number was compared with the makers' own table. */
  isChecked: boolean;
}

export interface PublishedModel {
  /** owner/name on the hub. */
  repo: string;
  /** Texts in the names of its files, small letters without marks. */
  names: readonly string[];
  source: string;
  figures: readonly PublishedFigure[];
}

/** Tasks of choices whose choices differ in length are usually told with normalized scores. */
const METRICS: Readonly<Record<string, string>> = {
  arc_challenge: "acc_norm,none",
  arc_easy: "acc_norm,none",
  openbookqa: "acc_norm,none",
  hellaswag: "acc_norm,none",
  piqa: "acc_norm,none",
  gsm8k: "exact_match,strict-match",
  hendrycks_math500: "exact_match,boxed",
  humaneval_plus: "pass@1,create_test",
  triviaqa: "exact_match,remove_whitespace",
  ifeval: "inst_level_strict_acc,none",
};

function untold(task: string, value: number, isChecked: boolean): PublishedFigure {
  return { task, value, isChecked, metric: METRICS[task] ?? "acc,none", metricIsTold: false };
}

const TWO_B: readonly [task: string, value: number, isChecked: boolean][] = [
  ["arc_challenge", 49.91, true],
  ["arc_easy", 74.79, false],
  ["openbookqa", 41.6, false],
  ["boolq", 80.18, true],
  ["hellaswag", 68.44, false],
  ["piqa", 77.09, false],
  ["winogrande", 71.9, true],
  ["commonsense_qa", 71.58, false],
  ["truthfulqa_mc2", 45.31, false],
  ["triviaqa", 33.57, false],
  ["mmlu", 53.17, false],
  ["humaneval_plus", 38.4, true],
  ["gsm8k", 58.38, true],
  ["hendrycks_math500", 43.4, true],
  ["ifeval", 53.48, false],
];

/** Figures of the reproductions of BitNet b1.58: the models' cards name program, shots and context (2048). */
const REPRODUCED: readonly [task: string, large: number, threeB: number][] = [
  ["arc_easy", 51.4, 60.9],
  ["arc_challenge", 21.8, 28.0],
  ["hellaswag", 35.0, 42.3],
  ["boolq", 59.6, 58.3],
  ["openbookqa", 20.6, 26.0],
  ["piqa", 67.5, 71.4],
  ["winogrande", 55.4, 60.3],
];

function reproduced(task: string, value: number): PublishedFigure {
  const setting = { shots: 0, program: "lm-eval 0.3.0", chat: false, metric: "acc,none", metricIsTold: false };
  return { task, value, isChecked: true, ...setting };
}

export const publishedModels: readonly PublishedModel[] = [
  {
    repo: "microsoft/BitNet-b1.58-2B-4T",
    names: ["bitnetb1582b4t"],
    source: "BitNet b1.58 2B4T Technical Report, arXiv 2504.12285",
    figures: TWO_B.map((row) => untold(...row)),
  },
  {
    repo: "1bitLLM/bitnet_b1_58-large",
    names: ["bitnetb158large"],
    source: "the model's card",
    figures: REPRODUCED.map(([task, large]) => reproduced(task, large)),
  },
  {
    repo: "1bitLLM/bitnet_b1_58-3B",
    names: ["bitnetb1583b"],
    source: "the model's card",
    figures: REPRODUCED.map(([task, , threeB]) => reproduced(task, threeB)),
  },
];

/** The model that a path or a name means; USAGE if nothing was published about it that is known here. */
export function findPublished(name: string): PublishedModel {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const found = publishedModels.find(({ names }) => names.some((one) => plain.includes(one)));
  if (found === undefined) {
    throw new BitnetError("USAGE", `no published results are known of ${name}`, {
      hint: `they are of ${publishedModels.map(({ repo }) => repo).join(", ")}, as a part of the file's path or name`,
    });
  }
  return found;
}

/** What of a results file is compared. */
export interface ComparedResults {
  results: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  "n-shot": Readonly<Record<string, number>>;
  "n-samples"?: Readonly<Record<string, { original: number; effective: number }>>;
  chat_template: string | null;
  group_subtasks?: Readonly<Record<string, readonly string[]>>;
}

export interface PublishedComparison {
  task: string;
  metric: string;
  /** Per cent, as the rest. */
  value: number;
  /** One standard error; undefined where there is none. */
  error?: number;
  published: number;
  difference: number;
  /** How each number came to be, in a few words. */
  setting: string;
  publishedSetting: string;
}

/** Every published figure whose task was evaluated. */
export function comparePublished(ours: ComparedResults, { figures }: PublishedModel): PublishedComparison[] {
  return figures.flatMap((figure) => {
    const { task, metric, value: published } = figure;
    const share = ours.results[task]?.[metric];
    if (typeof share !== "number") {
      return [];
    }
    const [name, filter] = metric.split(",");
    const error = ours.results[task]?.[`${name}_stderr,${filter}`];
    const value = 100 * share;
    return {
      ...{ task, metric, value, published, difference: value - published },
      ...(typeof error === "number" ? { error: 100 * error } : {}),
      setting: describeOurs(ours, task),
      publishedSetting: describePublished(figure),
    };
  });
}

function describeOurs(ours: ComparedResults, task: string): string {
  const first = ours.group_subtasks?.[task]?.[0] ?? task;
  const shots = ours["n-shot"][task] ?? ours["n-shot"][first] ?? 0;
  const { original = 0, effective = 0 } = ours["n-samples"]?.[task] ?? ours["n-samples"]?.[first] ?? {};
  const part = effective < original ? `, ${effective} of ${original} questions` : "";
  return `${shots}-shot, ${ours.chat_template === null ? "plain" : "chat"}${part}`;
}

function describePublished({ shots, program, chat, metricIsTold, isChecked }: PublishedFigure): string {
  const parts = [
    shots === undefined ? "shots unknown" : `${shots}-shot`,
    chat === undefined ? "template unknown" : chat ? "chat" : "plain",
    ...(metricIsTold ? [] : ["metric not told"]),
    ...(program === undefined ? [] : [program]),
    ...(isChecked ? [] : ["number unchecked"]),
  ];
  return parts.join(", ");
}
