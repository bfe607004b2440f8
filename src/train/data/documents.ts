// The documents of a run, by number: kept in memory here, or in shards on the disk.

import { at } from "../../system/at.js";
import { BitnetError } from "../../system/errors.js";
import type { Origin } from "./example.js";
import { maxDocumentTokens, maxKeptTokens } from "./limits.js";
import { ignoredLabel, type TrainingDocument } from "./render.js";

/** What rows are made of. */
export interface Documents {
  readonly count: number;
  /** In tokens. */
  lengthOf(document: number): number;
  /** Tokens `from` up to but not including `to`; default: all of them. */
  read(document: number, from?: number, to?: number): TrainingDocument;
  originOf(document: number): Origin;
}

const chunkTokens = maxDocumentTokens; // no document lies in two chunks
const trainedBit = 2 ** 31;

/**
 * Documents in memory: 4 bytes a token, whose top bit says whether it is learned, and some 40 bytes a document. The texts
 * they were made of are not kept.
 */
export class DocumentStore implements Documents {
  readonly #chunks: Uint32Array[] = [];
  #used = chunkTokens; // of the last chunk
  readonly #starts: number[] = []; // over all chunks
  readonly #lengths: number[] = [];
  readonly #files: string[] = [];
  readonly #fileOf: number[] = [];
  readonly #numbers: number[] = [];
  readonly #units: Origin["unit"][] = [];

  get count(): number {
    return this.#lengths.length;
  }

  lengthOf(document: number): number {
    return at(this.#lengths, document);
  }

  add({ ids, labels }: TrainingDocument, { file, number, unit }: Origin): void {
    if (this.#used + ids.length > chunkTokens) {
      if ((this.#chunks.length + 1) * chunkTokens > maxKeptTokens) {
        throw new BitnetError("NO_MEMORY", `the data has more than ${maxKeptTokens} tokens, which are kept in memory`, {
          hint: "use a part of it: --max-samples N",
        });
      }
      this.#chunks.push(new Uint32Array(chunkTokens));
      this.#used = 0;
    }
    const chunk = at(this.#chunks, this.#chunks.length - 1);
    for (const [i, id] of ids.entries()) {
      chunk[this.#used + i] = labels[i] === ignoredLabel ? id : id + trainedBit;
    }
    this.#starts.push((this.#chunks.length - 1) * chunkTokens + this.#used);
    this.#lengths.push(ids.length);
    this.#used += ids.length;
    if (this.#files.at(-1) !== file) {
      this.#files.push(file);
      this.#units.push(unit);
    }
    this.#fileOf.push(this.#files.length - 1);
    this.#numbers.push(number);
  }

  read(document: number, from = 0, to = this.lengthOf(document)): TrainingDocument {
    const start = at(this.#starts, document);
    const chunk = at(this.#chunks, Math.floor(start / chunkTokens));
    const kept = chunk.subarray((start % chunkTokens) + from, (start % chunkTokens) + to);
    const ids = Int32Array.from(kept, (value) => value & (trainedBit - 1));
    const labels = Int32Array.from(kept, (value) => (value >= trainedBit ? value & (trainedBit - 1) : ignoredLabel));
    return { ids, labels };
  }

  originOf(document: number): Origin {
    const file = at(this.#fileOf, document);
    return { file: at(this.#files, file), unit: at(this.#units, file), number: at(this.#numbers, document) };
  }
}
