// What a task is: one row that says where its documents come from, how each becomes a prompt, and how what the model
// makes of it is measured. Names, versions, prompts and rules are those of lm-evaluation-harness 0.4.13.

import type { CodeSample } from "./code/program.js";
import type { CodeRunner } from "./code/runner.js";
import type { DatasetSource, Doc } from "./data/types.js";

/** How the values of all documents become one. */
export type Aggregation =
  | "mean"
  /** Of lists of booleans: every item of every list counts once; without an error. */
  | "mean of items"
  /** exp(-mean) of log-likelihoods; its error is that of a bootstrap. */
  | "perplexity"
  /** exp(-sum/sum of weights) of pairs [log-likelihood, weight]; without an error. */
  | "weighted perplexity"
  /** -sum/sum of weights/ln 2 of the same pairs. */
  | "bits";

export interface Metric {
  /** lm-eval's name, such as "acc". */
  name: string;
  /** Default: "mean". */
  aggregation?: Aggregation;
  /** Default: true. */
  higherIsBetter?: boolean;
}

/** What a metric has for one document: a number, or what its aggregation asks for. */
export type MetricValue = number | readonly number[] | readonly boolean[];
export type MetricValues = Readonly<Record<string, MetricValue>>;

/** Where solved questions before the question come from, and how they are drawn. */
export interface Shots {
  /** A split of the data set, or questions that are the same for every document. */
  from: string | readonly Doc[];
  /** "random": Python's random.sample; "first": in their order. */
  draw: "random" | "first";
  /** One more is drawn and the question itself is dropped, as where it may be among them. */
  excludesQuestion?: boolean;
  /** How a shot is written, where it differs from the question. */
  prompt?: (doc: Doc) => string;
  target?: (doc: Doc) => string;
}

interface TaskRow {
  name: string;
  /** How it is called below the name of its group. */
  alias?: string;
  /** lm-eval's version of the task; "Yaml" where it has none. */
  version: number | "Yaml";
  source: DatasetSource;
  /** As the data set's makers name it. */
  licence: string;
  /** The split that is evaluated. */
  split: string;
  /** How many documents that split has. */
  documents: number;
  shots: Shots;
  /** Rows of this task in a file that holds those of its whole group: the column and what stands there. */
  part?: { column: string; value: string };
  /** How many shots are given unless the user says otherwise; none by default. 0: none, whatever the user says. */
  shotCount?: number;
  /** A sentence before the shots. */
  description?: string;
  /** What the documents are before anything else reads them; default: themselves. */
  prepare?: (doc: Doc) => Doc;
  /** Default: one space. */
  delimiter?: string;
  /** Parts of it that do not follow lm-eval to the letter, in words. */
  approximate?: string;
  metrics: readonly Metric[];
}

/** A question with answers to choose from: the likeliest is the model's. */
export interface ChoiceTask extends TaskRow {
  kind: "choices";
  prompt: (doc: Doc) => string;
  choices: (doc: Doc) => readonly string[];
  /** The place of the right choice. */
  gold: (doc: Doc) => number;
  /** What a sample says as its target, where it is not `gold`. */
  target?: (doc: Doc) => string | number;
  /** Replaces the metrics that choices have by themselves: acc, acc_norm, acc_bytes. */
  measure?: (doc: Doc, logLikelihoods: readonly number[]) => MetricValues;
}

/** The choice stands within the sentence: contexts differ, and what follows them is the same. */
export interface SentenceTask extends TaskRow {
  kind: "sentences";
  /** The beginning of the sentence with each of the options. */
  contexts: (doc: Doc) => readonly string[];
  /** How the sentence goes on, without white space at both ends. */
  rest: (doc: Doc) => string;
  /** The same as it stands. */
  tail: (doc: Doc) => string;
  gold: (doc: Doc) => number;
}

/** One continuation, whose likelihood is measured. */
export interface ContinuationTask extends TaskRow {
  kind: "continuation";
  prompt: (doc: Doc) => string;
  /** With the space before it, where there is one. */
  target: (doc: Doc) => string;
  measure: (doc: Doc, logLikelihood: number, isGreedy: boolean) => MetricValues;
}

/** A text whose tokens are all scored, window after window. */
export interface RollingTask extends TaskRow {
  kind: "rolling";
  text: (doc: Doc) => string;
  measure: (doc: Doc, logLikelihood: number) => MetricValues;
}

/** A way from a generated text to what is compared. */
export interface AnswerFilter {
  /** lm-eval's name, such as "strict-match"; "none" for the text as it is. */
  name: string;
  apply: (answer: string, doc: Doc, context: { isChat: boolean }) => string;
}

export interface MeasureContext {
  /** What runs code that the model writes, where the user has confirmed that it is run. */
  codeRunner?: CodeRunner;
  signal?: AbortSignal;
}

/** A text that the model writes. */
export interface GenerationTask extends TaskRow {
  kind: "generation";
  prompt: (doc: Doc) => string;
  /** The right answer, the first of them after a shot. */
  target: (doc: Doc) => string | readonly string[];
  /** Texts that end the answer. */
  stops: readonly string[];
  /** Default: 256. */
  maxTokens?: number;
  filters: readonly AnswerFilter[];
  /** Metrics of one document for the answer that one filter made. */
  measure: (
    doc: Doc,
    answer: string,
    context: MeasureContext & { filter: string },
  ) => MetricValues | Promise<MetricValues>;
  /** Answers are programs, which are run only where the user has confirmed it: the line of one for EvalPlus. */
  codeSample?: (doc: Doc, solution: string) => CodeSample;
}

export type Task = ChoiceTask | SentenceTask | ContinuationTask | RollingTask | GenerationTask;

/** Tasks that are also told as one, each counting with its number of documents. */
export interface TaskGroup {
  name: string;
  alias?: string;
  version: number;
  /** Names of tasks and of other groups. */
  members: readonly string[];
  metrics: readonly Metric[];
}

/** Answers of tasks of generated texts, unless the task or the user says otherwise. */
export const defaultMaxTokens = 256;
