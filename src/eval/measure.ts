// From what the model has answered about a document to its metrics.

import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { type ChoiceRules, measureChoices, measureMeans } from "./choices.js";
import type { PlannedDoc } from "./plan.js";
import type { Outcome, Score, Writing } from "./requests.js";
import { type Asked, type Sample, toSample } from "./samples.js";
import type { MeasureContext, MetricValues, Task } from "./task.js";

/** One sample for each filter of the task. Without metrics where answers are only kept. */
export async function measureDoc(
  task: Task,
  planned: PlannedDoc,
  outcomes: readonly Outcome[],
  context: MeasureContext & { predictOnly: boolean; isChat: boolean; rules: ChoiceRules },
): Promise<Sample[]> {
  const { id, doc, target, asked } = planned;
  const parts = { id, doc, target, asked, outcomes };
  if (task.kind !== "generation") {
    const metrics = context.predictOnly ? bypass : measureScores(task, planned, outcomes, context.rules);
    return [toSample({ ...parts, filter: "none", metrics })];
  }
  const { text } = asWriting(outcomes[0]);
  const samples: Sample[] = [];
  for (const filter of task.filters) {
    const answer = filter.apply(text, doc, context);
    const metrics = context.predictOnly ? bypass : await task.measure(doc, answer, { ...context, filter: filter.name });
    samples.push(toSample({ ...parts, filter: filter.name, answer, metrics }));
  }
  return samples;
}

/** lm-eval's metric of answers that nobody judges. */
export const bypassMetric = { name: "bypass", value: 999 } as const;
const bypass: MetricValues = { [bypassMetric.name]: bypassMetric.value };

function measureScores(
  task: Exclude<Task, { kind: "generation" }>,
  { doc, asked }: PlannedDoc,
  outcomes: readonly Outcome[],
  rules: ChoiceRules,
): MetricValues {
  const scores = outcomes.map(asScore);
  switch (task.kind) {
    case "choices":
    case "sentences": {
      const sums = scores.map(({ logLikelihood }) => logLikelihood);
      return rules === "llama.cpp"
        ? measureMeans(task, doc, sums, asked.map(countScored))
        : measureChoices(task, doc, sums);
    }
    case "continuation": {
      const { logLikelihood, isGreedy } = at(scores, 0);
      return task.measure(doc, logLikelihood, isGreedy);
    }
    case "rolling":
      return task.measure(doc, at(scores, 0).logLikelihood);
  }
}

/** Tokens of a continuation. */
function countScored({ request }: Asked): number {
  return request.kind === "score" ? request.continuation.length : 0;
}

export function asScore(outcome: Outcome | undefined): Score {
  if (outcome === undefined || !("logLikelihood" in outcome)) {
    throw new BitnetError("INTERNAL", "expected the score of a text, got something else");
  }
  return outcome;
}

function asWriting(outcome: Outcome | undefined): Writing {
  if (outcome === undefined || !("text" in outcome)) {
    throw new BitnetError("INTERNAL", "expected a text that was written, got something else");
  }
  return outcome;
}
