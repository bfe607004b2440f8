// A tokenizer from texts: `bitnet train --tokenizer new`.

import { BitnetError } from "../../system/errors.js";
import type { Example } from "../data/example.js";
import { checkReading, type DataSource, type ReadOptions, readExamples, startTally } from "../data/sources.js";
import { byteCharacters, trainMerges } from "./bpe.js";
import { controlTokens, writeTokenizerFiles } from "./files.js";
import { WordCounts } from "./words.js";

export interface TrainTokenizerOptions extends ReadOptions {
  /** Entries, the three control tokens included. */
  vocabSize: number;
  /** Of the model; goes into tokenizer_config.json. */
  contextLength: number;
  onProgress?: (progress: TokenizerProgress) => void;
}

export type TokenizerProgress =
  | { phase: "counting"; texts: number }
  | { phase: "merging"; entries: number; vocabSize: number };

export interface TrainedTokenizer {
  texts: number;
  /** Distinct words of the texts. */
  words: number;
}

const leastVocabSize = byteCharacters.length + controlTokens.length + 1;
const mostVocabSize = 2 ** 20;
const betweenReports = 1000; // texts

/** Throws USAGE. */
export function checkVocabSize(vocabSize: number): void {
  if (!Number.isSafeInteger(vocabSize) || vocabSize < leastVocabSize || vocabSize > mostVocabSize) {
    const expected = `an integer from ${leastVocabSize} to ${mostVocabSize}`;
    throw new BitnetError("USAGE", `the size of the vocabulary: expected ${expected}, got ${vocabSize}`);
  }
}

/** Trains a byte-level BPE on the texts of examples and writes it to `folder` as Hugging Face's files. */
export async function trainTokenizer(
  folder: string,
  sources: readonly DataSource[],
  options: TrainTokenizerOptions,
): Promise<TrainedTokenizer> {
  const { vocabSize, contextLength, signal, onProgress } = options;
  checkVocabSize(vocabSize);
  checkReading(sources, options);
  const counts = new WordCounts();
  let texts = 0;
  for (const source of sources) {
    for await (const _ of readExamples(source, startTally(source), (example) => addTexts(counts, example), options)) {
      texts++;
      if (texts % betweenReports === 0) {
        onProgress?.({ phase: "counting", texts });
      }
    }
  }
  const merges = await trainMerges(counts, {
    entries: vocabSize - controlTokens.length,
    signal,
    onProgress: (entries) => onProgress?.({ phase: "merging", entries: entries + controlTokens.length, vocabSize }),
  });
  await writeTokenizerFiles(folder, merges, contextLength);
  return { texts, words: counts.size };
}

/** What the chat template writes around contents: roles before, the generation prompt, nothing across control tokens. */
function addTexts(counts: WordCounts, example: Example): void {
  if (example.kind === "text") {
    addText(counts, example.prompt + example.text);
    return;
  }
  for (const { role, content } of example.messages) {
    addText(counts, `${role.charAt(0).toUpperCase()}${role.slice(1)}: ${content.trim()}`);
  }
}

/** Names of control tokens are cut out: texts of other tools have them as text. */
function addText(counts: WordCounts, text: string): void {
  for (const part of text.split(/<\|(?:begin_of_text|end_of_text|eot_id)\|>/)) {
    counts.add(part);
  }
}
