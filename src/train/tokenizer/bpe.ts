// Byte-level BPE: which merges a vocabulary gets from texts.
//
// The most frequent pair of neighbours within a word is merged first; among equals the pair that is last in the order of
// its texts (in GPT-2's characters for bytes), as Python's max of (count, pair) has it.

import { byteAlphabet } from "../../checkpoint/vocabulary.js";
import { at } from "../../system/at.js";
import { BitnetError, throwIfAborted } from "../../system/errors.js";
import type { WordCounts } from "./words.js";

export interface MergeOptions {
  /** Entries without control tokens: the 256 bytes, and what is merged. */
  entries: number;
  signal?: AbortSignal;
  onProgress?: (entries: number) => void;
}

/** A vocabulary in the order of its ids: bytes first, then what was merged; and the merges in their order. */
export interface Merges {
  entries: readonly string[];
  merges: readonly (readonly [string, string])[];
}

/** The first 256 entries of a vocabulary in GPT-2's order: printable bytes, then the others, whose characters come later. */
export const byteCharacters: readonly string[] = [...byteAlphabet].sort();

/** The entry of each byte. */
const entryOfByte: readonly number[] = byteAlphabet.map((character) => byteCharacters.indexOf(character));

const betweenPauses = 64; // merges; the later ones take a fraction of a millisecond each

/** The merges that `counts` give. USAGE if the texts have not enough different pairs. */
export async function trainMerges(counts: WordCounts, options: MergeOptions): Promise<Merges> {
  const { entries, signal, onProgress } = options;
  const trainer = new MergeTrainer(counts);
  while (trainer.entries.length < entries) {
    if (!trainer.mergeNext()) {
      const had = trainer.entries.length;
      throw new BitnetError("USAGE", `the texts give a vocabulary of ${had} entries, not of ${entries}`, {
        hint: "train the tokenizer on more text, or ask for a smaller vocabulary",
      });
    }
    if (trainer.merges.length % betweenPauses === 0) {
      throwIfAborted(signal);
      onProgress?.(trainer.entries.length);
      await new Promise(setImmediate);
    }
  }
  return trainer;
}

const pairBase = 2 ** 26; // above any id

class MergeTrainer implements Merges {
  readonly entries: string[] = [...byteCharacters];
  readonly merges: [string, string][] = [];
  readonly #ids = new Map(byteCharacters.map((character, id) => [character, id]));
  readonly #words: Uint32Array[] = [];
  readonly #counts: number[] = [];
  /** How often each pair occurs, by left * pairBase + right. */
  readonly #pairs = new Map<number, number>();
  /** Words that may have a pair: every one that has it, and some that had it. */
  readonly #places = new Map<number, number[]>();
  readonly #queue = new PairQueue((a, b) => this.#comesFirst(a, b));

  constructor(counts: WordCounts) {
    for (const [word, count] of counts) {
      const ids = Uint32Array.from(Buffer.from(word), (byte) => at(entryOfByte, byte));
      this.#words.push(ids);
      this.#counts.push(count);
      this.#countPairs(this.#words.length - 1, ids, count);
    }
    for (const [pair, count] of this.#pairs) {
      this.#queue.push({ pair, count });
    }
  }

  /** False if there is no pair left. */
  mergeNext(): boolean {
    const best = this.#takeBest();
    if (best === undefined) {
      return false;
    }
    const [left, right] = [Math.floor(best / pairBase), best % pairBase];
    const text = at(this.entries, left) + at(this.entries, right);
    this.merges.push([at(this.entries, left), at(this.entries, right)]);
    const known = this.#ids.get(text); // two ways to the same text share an entry
    const merged = known ?? this.entries.length;
    if (known === undefined) {
      this.#ids.set(text, merged);
      this.entries.push(text);
    }
    const grown = new Set<number>();
    for (const word of this.#places.get(best) ?? []) {
      this.#mergeIn(word, left, right, merged, grown);
    }
    this.#places.delete(best);
    this.#pairs.delete(best);
    for (const pair of grown) {
      this.#queue.push({ pair, count: this.#pairs.get(pair) ?? 0 });
    }
    return true;
  }

  /** The queue has counts from when a pair was added; they have only fallen since. */
  #takeBest(): number | undefined {
    for (let top = this.#queue.pop(); top !== undefined; top = this.#queue.pop()) {
      const count = this.#pairs.get(top.pair) ?? 0;
      if (count === top.count && count > 0) {
        return top.pair;
      }
      if (count > 0 && count < top.count) {
        this.#queue.push({ pair: top.pair, count });
      }
    }
    return undefined;
  }

  #mergeIn(word: number, left: number, right: number, merged: number, grown: Set<number>): void {
    const ids = at(this.#words, word);
    const joined: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const isPair = ids[i] === left && ids[i + 1] === right;
      joined.push(isPair ? merged : at(ids, i));
      i += isPair ? 1 : 0;
    }
    if (joined.length === ids.length) {
      return; // another merge has taken the pair apart
    }
    const count = at(this.#counts, word);
    this.#countPairs(word, ids, -count);
    const after = Uint32Array.from(joined);
    this.#words[word] = after;
    this.#countPairs(word, after, count, grown);
  }

  #countPairs(word: number, ids: Uint32Array, count: number, grown?: Set<number>): void {
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = at(ids, i) * pairBase + at(ids, i + 1);
      this.#pairs.set(pair, (this.#pairs.get(pair) ?? 0) + count);
      if (count > 0) {
        const places = this.#places.get(pair);
        if (places === undefined) {
          this.#places.set(pair, [word]);
        } else if (places.at(-1) !== word) {
          places.push(word);
        }
        grown?.add(pair);
      }
    }
  }

  #comesFirst(a: QueuedPair, b: QueuedPair): boolean {
    if (a.count !== b.count) {
      return a.count > b.count;
    }
    const [leftA, leftB] = [this.#left(a.pair), this.#left(b.pair)];
    return leftA === leftB ? this.#right(a.pair) > this.#right(b.pair) : leftA > leftB;
  }

  #left(pair: number): string {
    return at(this.entries, Math.floor(pair / pairBase));
  }

  #right(pair: number): string {
    return at(this.entries, pair % pairBase);
  }
}

interface QueuedPair {
  pair: number;
  count: number;
}

/** A binary heap. */
class PairQueue {
  readonly #heap: QueuedPair[] = [];
  readonly #comesFirst: (a: QueuedPair, b: QueuedPair) => boolean;

  constructor(comesFirst: (a: QueuedPair, b: QueuedPair) => boolean) {
    this.#comesFirst = comesFirst;
  }

  push(item: QueuedPair): void {
    let place = this.#heap.push(item) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#comesFirst(item, at(this.#heap, parent))) {
        break;
      }
      this.#heap[place] = at(this.#heap, parent);
      place = parent;
    }
    this.#heap[place] = item;
  }

  pop(): QueuedPair | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (last !== undefined && this.#heap.length > 0) {
      this.#sink(last);
    }
    return first;
  }

  #sink(item: QueuedPair): void {
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.#heap.length) {
        break;
      }
      const other = child + 1;
      child =
        other < this.#heap.length && this.#comesFirst(at(this.#heap, other), at(this.#heap, child)) ? other : child;
      if (!this.#comesFirst(at(this.#heap, child), item)) {
        break;
      }
      this.#heap[place] = at(this.#heap, child);
      place = child;
    }
    this.#heap[place] = item;
  }
}
