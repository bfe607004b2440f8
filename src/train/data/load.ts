// The documents of a run: read from all sources, rendered, cut to what fits, and divided into those that are trained and
// those that evaluate.

import { BitnetError } from "../../system/errors.js";
import { checkOptionNames, type OptionNames } from "../../system/options.js";
import { DocumentStore } from "./documents.js";
import type { Example } from "./example.js";
import { hashIds } from "./keyed.js";
import { maxDocumentTokens } from "./limits.js";
import type { DocumentGroup } from "./plan.js";
import { ignoredLabel, type Rendering, renderExample, type TrainingDocument } from "./render.js";
import { checkReading, checkSplit, type DataSource, readExamples, type SourceTally, startTally } from "./sources.js";

export interface LoadDataOptions {
  /** Tokens of the longest document. What is longer is cut at its end, but for plain texts. */
  maxLength: number;
  /**
   * Plain texts that are too long: "windows" goes on in as many documents as it takes, "cut" leaves the rest out. Default:
   * "windows".
   */
  longTexts?: "windows" | "cut";
  /** Of each source, the first ones. Default: all. */
  maxSamples?: number;
  /** Count examples that are wrong instead of throwing the first one's error. Default: false. */
  skipBad?: boolean;
  /** What evaluates. Default: nothing. */
  evalData?: readonly DataSource[];
  /** Share of the examples that evaluate instead of being trained, above 0 and below 1. Not together with `evalData`. */
  evalSplit?: number;
  /** Of the choice which examples evaluate. Default: 0. */
  seed?: number;
  signal?: AbortSignal;
  /** Examples that have been read. */
  onProgress?: (examples: number) => void;
}

const loadDataOptions: OptionNames<LoadDataOptions> = {
  maxLength: true,
  longTexts: true,
  maxSamples: true,
  skipBad: true,
  evalData: true,
  evalSplit: true,
  seed: true,
  signal: true,
  onProgress: true,
};

/** What became of the examples of one source. */
export interface SourceReport extends SourceTally {
  /** What they are in the store, cut to windows. */
  documents: number;
  tokens: number;
  /** Of these, learned ones. */
  trainedTokens: number;
  /** Documents that lost their end. */
  cut: number;
  /** Documents of which nothing that is learned was left, and which are gone. */
  emptied: number;
}

export interface TrainingData {
  documents: DocumentStore;
  /** What is trained, a group for each source. */
  training: readonly DocumentGroup[];
  /** What evaluates. */
  evaluation: readonly number[];
  sources: readonly SourceReport[];
  evalSources: readonly SourceReport[];
  /** Examples that evaluate and are trained, too. A split has none: equal examples stay together. */
  duplicates: number;
}

/** The documents of one example. */
interface Kept {
  source: number;
  first: number;
  end: number;
  /** Of what it says; equal for equal examples. */
  hash: number;
}

/** Reads all data of a run. Only tokens are kept in memory, see DocumentStore. */
export async function loadTrainingData(
  sources: readonly DataSource[],
  rendering: Rendering,
  options: LoadDataOptions,
): Promise<TrainingData> {
  checkOptions(sources, options);
  const loader = new Loader(rendering, options);
  const training = await loader.readAll(sources);
  const evaluating = await loader.readAll(options.evalData ?? []);
  const { kept, documents } = loader;
  const own = kept.filter(({ source }) => source < sources.length);
  const evaluates = chooseEvaluation(own, options);
  const isEvaluation = ({ source, hash }: Kept) => source >= sources.length || evaluates.has(hash);
  const trained = new Set(own.map(({ hash }) => hash));
  return {
    documents,
    training: training.map(({ weight }, source) => ({
      weight,
      documents: numbersOf(own.filter((example) => example.source === source && !isEvaluation(example))),
    })),
    evaluation: numbersOf(kept.filter(isEvaluation)),
    sources: training,
    evalSources: evaluating,
    duplicates: kept.filter((example) => example.source >= sources.length && trained.has(example.hash)).length,
  };
}

function checkOptions(sources: readonly DataSource[], options: LoadDataOptions): void {
  checkOptionNames("loadTrainingData", options, loadDataOptions);
  const { maxLength, evalData, evalSplit } = options;
  checkReading(sources, options);
  if (!Number.isSafeInteger(maxLength) || maxLength < 2 || maxLength > maxDocumentTokens) {
    throw new BitnetError("USAGE", `maxLength: expected an integer from 2 to ${maxDocumentTokens}, got ${maxLength}`);
  }
  if (evalSplit !== undefined) {
    checkSplit(evalSplit);
  }
  if (evalSplit !== undefined && evalData !== undefined) {
    throw new BitnetError("USAGE", "evaluation data and a split of the training data exclude each other");
  }
}

const betweenReports = 1000; // examples

class Loader {
  readonly documents = new DocumentStore();
  readonly kept: Kept[] = [];
  readonly #rendering: Rendering;
  readonly #options: LoadDataOptions;
  #sources = 0;

  constructor(rendering: Rendering, options: LoadDataOptions) {
    this.#rendering = rendering;
    this.#options = options;
  }

  async readAll(sources: readonly DataSource[]): Promise<SourceReport[]> {
    const reports: SourceReport[] = [];
    for (const source of sources) {
      reports.push(await this.#read(source));
    }
    return reports;
  }

  async #read(source: DataSource): Promise<SourceReport> {
    const { onProgress, maxSamples, skipBad, signal } = this.#options;
    const report = { ...startTally(source), documents: 0, tokens: 0, trainedTokens: 0, cut: 0, emptied: 0 };
    const use = (example: Example) => this.#keep(example, report);
    for await (const _ of readExamples(source, report, use, { maxSamples, skipBad, signal })) {
      if (report.examples % betweenReports === 0) {
        onProgress?.(this.kept.length);
      }
    }
    this.#sources++;
    if (report.documents === 0) {
      throw nothingError(report);
    }
    return report;
  }

  #keep(example: Example, report: SourceReport): void {
    const first = this.documents.count;
    let hash = 0;
    for (const whole of renderExample(example, this.#rendering)) {
      hash = hashIds(whole.ids, hash);
      for (const document of this.#fit(whole, example, report)) {
        this.documents.add(document, example.origin);
        report.documents++;
        report.tokens += document.ids.length;
        report.trainedTokens += countLabels(document);
      }
    }
    if (this.documents.count > first) {
      this.kept.push({ source: this.#sources, first, end: this.documents.count, hash });
    }
  }

  /** The document as far as it fits; none if nothing that is learned is left. */
  #fit(document: TrainingDocument, example: Example, report: SourceReport): TrainingDocument[] {
    const { maxLength, longTexts = "windows" } = this.#options;
    const length = document.ids.length;
    if (length <= maxLength) {
      return [document];
    }
    if (longTexts === "windows" && example.kind === "text" && example.prompt === "") {
      const count = Math.ceil((length - 1) / (maxLength - 1));
      return Array.from({ length: count }, (_, i) => windowOf(document, i * (maxLength - 1), maxLength));
    }
    report.cut++;
    const beginning = windowOf(document, 0, maxLength);
    if (countLabels(beginning) === 0) {
      report.emptied++;
      return [];
    }
    return [beginning];
  }
}

/** The first token of a window is the last one of the window before, where it is learned. */
function windowOf({ ids, labels }: TrainingDocument, from: number, length: number): TrainingDocument {
  const window = { ids: ids.slice(from, from + length), labels: labels.slice(from, from + length) };
  window.labels[0] = ignoredLabel;
  return window;
}

function countLabels({ labels }: TrainingDocument): number {
  return labels.reduce((count, label) => (label === ignoredLabel ? count : count + 1), 0);
}

function nothingError({ name, examples, skipped, emptied, firstSkipped }: SourceReport): BitnetError {
  if (emptied > 0) {
    return new BitnetError("BAD_FILE", `${name}: in every example the answer lies behind the longest length`, {
      hint: "raise --max-seq-length",
    });
  }
  const what = skipped > 0 ? `all ${skipped} examples are wrong; the first one: ${firstSkipped}` : "no examples";
  return new BitnetError("BAD_FILE", examples === 0 ? `${name}: ${what}` : `${name}: nothing to train on`);
}

/**
 * What the split takes: the examples that come first in an order that the seed and what they say decide, so that equal
 * ones stay together and other data moves none of them. At least one is taken, and one left.
 */
function chooseEvaluation(examples: readonly Kept[], { evalSplit, seed = 0 }: LoadDataOptions): ReadonlySet<number> {
  if (evalSplit === undefined) {
    return new Set();
  }
  const rank = (hash: number) => hashIds([hash >>> 0, Math.floor(hash / 2 ** 32)], seed);
  const ranked = [...new Set(examples.map(({ hash }) => hash))].sort((a, b) => rank(a) - rank(b) || a - b);
  if (ranked.length < 2) {
    throw new BitnetError("USAGE", "a split for evaluation needs two different examples or more", {
      hint: "name other data: --eval-data FILE",
    });
  }
  const count = Math.min(ranked.length - 1, Math.max(1, Math.round(evalSplit * ranked.length)));
  return new Set(ranked.slice(0, count));
}

function numbersOf(examples: readonly Kept[]): number[] {
  return examples.flatMap(({ first, end }) => Array.from({ length: end - first }, (_, i) => first + i));
}
