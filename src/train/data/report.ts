// What is looked at before anything is trained: which tokens are learned, how long documents are, what an epoch has.

import type { Tokenizer } from "../../engine/tokenizer.js";
import { at } from "../../system/at.js";
import type { Batches } from "./batches.js";
import { placeOf } from "./example.js";
import type { SourceReport, TrainingData } from "./load.js";
import { ignoredLabel, type TrainingDocument } from "./render.js";

/** A stretch of a document whose tokens are learned, or are not. */
export interface PreviewPiece {
  text: string;
  isTrained: boolean;
}

export interface Preview {
  /** data.jsonl, line 3 */
  place: string;
  pieces: PreviewPiece[];
  tokens: number;
  trainedTokens: number;
  /** Tokens behind those that are shown. */
  hidden: number;
}

/** In tokens: the shortest document, the longest, and how many have at most so many. */
export interface LengthQuantiles {
  least: number;
  half: number;
  ninety: number;
  ninetyNine: number;
  most: number;
}

export interface DataReport {
  sources: readonly SourceReport[];
  evalSources: readonly SourceReport[];
  /** What is trained. */
  documents: number;
  tokens: number;
  trainedTokens: number;
  lengths: LengthQuantiles;
  /** Of the first epoch: others differ by a few rows. */
  epoch: { tokens: number; rows: number; steps: number };
  rowLength: number;
  /** Share of what the rows could hold. */
  fill: number;
  /** Tokens that are computed for nothing: none, as rows are as long as what they hold. */
  padding: 0;
  evaluation: { documents: number; tokens: number };
  /** Examples that evaluate and are trained, too. */
  duplicates: number;
  previews: Preview[];
}

export interface DescribeOptions {
  rowLength: number;
  /** How many documents are shown. Default: 3. */
  previews?: number;
  /** Tokens of each that are shown. Default: 400. */
  previewTokens?: number;
}

export function describeData(
  data: TrainingData,
  batches: Batches,
  tokenizer: Pick<Tokenizer, "decode">,
  options: DescribeOptions,
): DataReport {
  const { documents, training, evaluation } = data;
  const { rowLength, previews = 3, previewTokens = 400 } = options;
  const numbers = training.flatMap((group) => Array.from(group.documents));
  const lengths = Uint32Array.from(numbers, (number) => documents.lengthOf(number)).sort();
  const plan = batches.planOf(0);
  const show = (number: number) =>
    previewOf(documents.read(number), placeOf(documents.originOf(number)), tokenizer, previewTokens);
  return {
    sources: data.sources,
    evalSources: data.evalSources,
    documents: numbers.length,
    tokens: sum(lengths),
    trainedTokens: sum(numbers.map((number) => countLabels(documents.read(number)))),
    lengths: quantilesOf(lengths),
    epoch: { tokens: plan.tokenCount, rows: plan.rowCount, steps: batches.stepsOf(0) },
    rowLength,
    fill: plan.tokenCount / (plan.rowCount * rowLength),
    padding: 0,
    evaluation: { documents: evaluation.length, tokens: sum(evaluation.map((number) => documents.lengthOf(number))) },
    duplicates: data.duplicates,
    previews: numbers.slice(0, previews).map(show),
  };
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    total += at(values, i);
  }
  return total;
}

function countLabels({ labels }: TrainingDocument): number {
  return sum(labels.map((label) => (label === ignoredLabel ? 0 : 1)));
}

function quantilesOf(sorted: ArrayLike<number>): LengthQuantiles {
  const quantile = (share: number) => at(sorted, Math.max(0, Math.ceil(share * sorted.length) - 1));
  return {
    least: quantile(0),
    half: quantile(0.5),
    ninety: quantile(0.9),
    ninetyNine: quantile(0.99),
    most: quantile(1),
  };
}

function previewOf(
  document: TrainingDocument,
  place: string,
  tokenizer: Pick<Tokenizer, "decode">,
  mostTokens: number,
): Preview {
  const { ids, labels } = document;
  const shown = Math.min(ids.length, mostTokens);
  const isTrained = (i: number) => labels[i] !== ignoredLabel;
  const pieces: PreviewPiece[] = [];
  for (let from = 0; from < shown; ) {
    let to = from + 1;
    while (to < shown && isTrained(to) === isTrained(from)) {
      to++;
    }
    pieces.push({ text: tokenizer.decode(ids.slice(from, to), { special: true }), isTrained: isTrained(from) });
    from = to;
  }
  return { place, pieces, tokens: ids.length, trainedTokens: countLabels(document), hidden: ids.length - shown };
}
