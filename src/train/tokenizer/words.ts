// The words of texts and how often each occurs: what a vocabulary is trained on. LLaMA 3's pattern tells words apart.

/** In JavaScript's notation; contractions are told in either case. White space is Unicode's, not JavaScript's. */
const word =
  /'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Longer ones are no words; merging in them would take time that grows with the square of their length. */
const maxWordLength = 1000; // characters
/** Distinct words that are kept; those that have been rarest so far go when there are more. */
const maxWords = 4_000_000;

export class WordCounts implements Iterable<[string, number]> {
  #counts = new Map<string, number>();
  /** Characters of words that were too long. */
  left = 0;

  /** Counts the words of a text, which has no control tokens. */
  add(text: string): void {
    for (const [found] of text.matchAll(word)) {
      if (found.length > maxWordLength) {
        this.left += found.length;
      } else {
        this.#counts.set(found, (this.#counts.get(found) ?? 0) + 1);
      }
    }
    if (this.#counts.size > maxWords) {
      this.#forgetRarest();
    }
  }

  get size(): number {
    return this.#counts.size;
  }

  [Symbol.iterator](): Iterator<[string, number]> {
    return this.#counts.entries();
  }

  #forgetRarest(): void {
    for (let least = 1; this.#counts.size > maxWords / 2; least++) {
      this.#counts = new Map([...this.#counts].filter(([, count]) => count > least));
    }
  }
}
