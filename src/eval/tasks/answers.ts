// Tasks whose answers the model writes: trivia and mathematics.

import { ColumnError, fieldsOf, textOf, textsOf } from "../columns.js";
import type { Doc } from "../data/types.js";
import { strip } from "../python-text.js";
import type { AnswerFilter, GenerationTask, Metric } from "../task.js";
import {
  exactMatch,
  extract,
  GSM8K_COT_STRICT,
  GSM8K_MATCH,
  GSM8K_STRICT,
  INVALID,
  LAST_NUMBER,
  type RegexFilter,
  TRIVIAQA_MATCH,
} from "./extraction.js";
import { gsm8kCotShots } from "./gsm8k-shots.js";
import { answerBetweenDollars, answerInBox, goldOfSolution, mathEqual } from "./math-answer.js";

const exactMatchOnly: readonly Metric[] = [{ name: "exact_match" }];

const asWritten: AnswerFilter = { name: "none", apply: (answer) => answer };

function regexFilter(name: string, filter: RegexFilter): AnswerFilter {
  return { name, apply: (answer) => extract(filter, answer) };
}

const aliases = (doc: Doc) => textsOf(fieldsOf(doc, "answer"), "aliases");

const triviaqa: GenerationTask = {
  kind: "generation",
  name: "triviaqa",
  version: 3,
  source: { id: "mandarjoshi/trivia_qa", config: "rc.nocontext" },
  licence: "unknown",
  split: "validation",
  documents: 17944,
  // As for all tasks of lm-eval without a test split: one is drawn in vain.
  shots: { from: "train", draw: "random", excludesQuestion: true },
  prompt: (doc) => `Question: ${textOf(doc, "question")}?\nAnswer:`,
  target: aliases,
  stops: ["\n", ".", ","],
  filters: [{ name: "remove_whitespace", apply: strip }],
  metrics: exactMatchOnly,
  measure: (doc, answer) => ({ exact_match: exactMatch(answer, aliases(doc), TRIVIAQA_MATCH) }),
};

const gsm8kBase = {
  kind: "generation",
  version: 3,
  source: { id: "openai/gsm8k", config: "main" },
  licence: "MIT",
  split: "test",
  documents: 1319,
  metrics: exactMatchOnly,
} as const;

const gsm8k: GenerationTask = {
  ...gsm8kBase,
  name: "gsm8k",
  shots: { from: "train", draw: "random" },
  shotCount: 5,
  prompt: (doc) => `Question: ${textOf(doc, "question")}\nAnswer:`,
  target: (doc) => textOf(doc, "answer"),
  stops: ["Question:", "</s>", "<|im_end|>"],
  filters: [regexFilter("strict-match", GSM8K_STRICT), regexFilter("flexible-extract", LAST_NUMBER)],
  measure: (doc, answer) => ({ exact_match: exactMatch(answer, [textOf(doc, "answer")], GSM8K_MATCH) }),
};

const numberOfAnswer = (doc: Doc) => strip(textOf(doc, "answer").split("####").at(-1) ?? "");

const gsm8kCot: GenerationTask = {
  ...gsm8kBase,
  name: "gsm8k_cot",
  shots: { from: gsm8kCotShots, draw: "first", target: (doc) => textOf(doc, "target") },
  shotCount: 8,
  prompt: (doc) => `Q: ${textOf(doc, "question")}\nA:`,
  target: numberOfAnswer,
  stops: ["Q:", "</s>", "<|im_end|>"],
  filters: [regexFilter("strict-match", GSM8K_COT_STRICT), regexFilter("flexible-extract", LAST_NUMBER)],
  measure: (doc, answer) => ({ exact_match: exactMatch(answer, [numberOfAnswer(doc)], GSM8K_MATCH) }),
};

const math500: GenerationTask = {
  kind: "generation",
  name: "hendrycks_math500",
  version: 1,
  source: { id: "HuggingFaceH4/MATH-500" },
  licence: "MIT",
  split: "test",
  documents: 500,
  shots: { from: "test", draw: "random" },
  prepare: (doc) => ({ ...doc, answer: goldOf(doc) }),
  prompt: (doc) => `Problem: ${textOf(doc, "problem")}\nAnswer:`,
  target: (doc) => textOf(doc, "answer"),
  stops: ["Problem:"],
  // lm-eval has the first only; models that were trained for chats write their answers into boxes.
  filters: [asWritten, { name: "boxed", apply: (answer) => answerInBox(answer) ?? INVALID }],
  metrics: exactMatchOnly,
  measure: (doc, answer, { filter }) => {
    const given = filter === "boxed" ? answer : answerBetweenDollars(answer);
    return { exact_match: Number(mathEqual(given, textOf(doc, "answer"))) };
  },
};

function goldOf(doc: Doc): string {
  const gold = goldOfSolution(textOf(doc, "solution"));
  if (gold === undefined) {
    throw new ColumnError("solution", "a text with the answer in \\boxed{}", doc.solution);
  }
  return gold;
}

export const answerTasks: readonly GenerationTask[] = [triviaqa, gsm8k, gsm8kCot, math500];
