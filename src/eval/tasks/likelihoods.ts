// Tasks that measure how likely a text is.

import { textOf } from "../columns.js";
import type { Doc } from "../data/types.js";
import { splitAtSpace } from "../python-text.js";
import type { ContinuationTask, RollingTask } from "../task.js";
import { detokenizeWikitext } from "./clean-text.js";

const page = (doc: Doc) => textOf(doc, "page");

const wikitext: RollingTask = {
  kind: "rolling",
  name: "wikitext",
  version: 2,
  source: { id: "EleutherAI/wikitext_document_level", config: "wikitext-2-raw-v1" },
  licence: "CC BY-SA 3.0",
  split: "test",
  documents: 62,
  shots: { from: "train", draw: "random" },
  shotCount: 0,
  text: (doc) => detokenizeWikitext(page(doc)),
  metrics: [
    { name: "word_perplexity", aggregation: "weighted perplexity", higherIsBetter: false },
    { name: "byte_perplexity", aggregation: "weighted perplexity", higherIsBetter: false },
    { name: "bits_per_byte", aggregation: "bits", higherIsBetter: false },
  ],
  // Words and bytes are those of the page before it was made readable, so that other detokenizers give the same numbers.
  measure: (doc, logLikelihood) => {
    const words = splitAtSpace(page(doc)).length;
    const bytes = Buffer.byteLength(page(doc));
    return {
      word_perplexity: [logLikelihood, words],
      byte_perplexity: [logLikelihood, bytes],
      bits_per_byte: [logLikelihood, bytes],
    };
  },
};

/** All words but the last, and the last. */
function cutAtLastWord(doc: Doc): [string, string] {
  const text = textOf(doc, "text");
  const end = text.lastIndexOf(" ");
  return end < 0 ? ["", text] : [text.slice(0, end), text.slice(end + 1)];
}

const lambada: ContinuationTask = {
  kind: "continuation",
  name: "lambada_openai",
  version: 1,
  source: { id: "EleutherAI/lambada_openai", config: "default" },
  licence: "MIT",
  split: "test",
  documents: 5153,
  shots: { from: "test", draw: "random" },
  prompt: (doc) => cutAtLastWord(doc)[0],
  target: (doc) => ` ${cutAtLastWord(doc)[1]}`,
  metrics: [{ name: "perplexity", aggregation: "perplexity", higherIsBetter: false }, { name: "acc" }],
  measure: (_doc, logLikelihood, isGreedy) => ({ perplexity: logLikelihood, acc: Number(isGreedy) }),
};

export const likelihoodTasks: readonly (RollingTask | ContinuationTask)[] = [wikitext, lambada];
