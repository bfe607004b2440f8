// What the log-likelihoods of choices say about a question.

import { BitnetError } from "../system/errors.js";
import type { Doc } from "./data/types.js";
import { lengthOf } from "./python-text.js";
import type { ChoiceTask, MetricValues, SentenceTask } from "./task.js";

/** Whose rules there are: lm-evaluation-harness's, and those of llama.cpp's perplexity tool. */
export const choiceRules = ["lm-eval", "llama.cpp"] as const;
export type ChoiceRules = (typeof choiceRules)[number];

/** The metrics of one question. Choices count without the delimiter before them. */
export function measureChoices(
  task: ChoiceTask | SentenceTask,
  doc: Doc,
  logLikelihoods: readonly number[],
): MetricValues {
  if (task.kind === "choices" && task.measure !== undefined) {
    return task.measure(doc, logLikelihoods);
  }
  const choices = task.kind === "choices" ? task.choices(doc) : task.contexts(doc);
  const gold = task.gold(doc);
  const isRight = (lengths: readonly number[]) => {
    const scores = logLikelihoods.map((sum, place) => sum / (lengths[place] ?? 1));
    return placeOfLargest(scores) === gold ? 1 : 0;
  };
  const rules: Readonly<Record<string, () => number>> = {
    acc: () => isRight(choices.map(() => 1)),
    acc_norm: () => isRight(choices.map(lengthOf)),
    acc_bytes: () => isRight(choices.map((choice) => Buffer.byteLength(choice))),
  };
  return Object.fromEntries(task.metrics.map(({ name }) => [name, applyRule(task.name, name, rules[name])]));
}

/** The only metric of llama.cpp's rules: whether the right choice has the largest mean over its tokens. */
export function measureMeans(
  task: ChoiceTask | SentenceTask,
  doc: Doc,
  logLikelihoods: readonly number[],
  tokens: readonly number[],
): MetricValues {
  const means = logLikelihoods.map((sum, place) => sum / (tokens[place] ?? 1));
  return { acc: placeOfLargest(means) === task.gold(doc) ? 1 : 0 };
}

function applyRule(task: string, metric: string, rule: (() => number) | undefined): number {
  if (rule === undefined) {
    throw new BitnetError("INTERNAL", `task ${task}: choices have no metric ${metric}`);
  }
  return rule();
}

/** The first of the largest. */
export function placeOfLargest(values: readonly number[]): number {
  return values.reduce((best, value, place) => (value > (values[best] ?? Number.NaN) ? place : best), 0);
}

/**
 * BAD_FILE where a model finds all choices of every question equally likely: then its numbers say nothing, and the
 * accuracy would be that of chance.
 */
export function checkDiffer(task: string, questions: readonly (readonly number[])[]): void {
  const several = questions.filter((scores) => scores.length > 1);
  const isSame = (scores: readonly number[]) => scores.every((score) => score === scores[0]);
  const isNothing = several.some((scores) => scores.some(Number.isNaN));
  if (isNothing || (several.length > 0 && several.every(isSame))) {
    const what = isNothing
      ? "there are scores that are no numbers"
      : "all choices of every question have the same score";
    throw new BitnetError("BAD_FILE", `${task}: ${what}, so the accuracy would be that of chance`, {
      hint: "the weights of this model are not what they should be; bitnet doctor checks the machine",
    });
  }
}
