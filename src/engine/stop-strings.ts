// Finds stop strings in text that arrives in pieces, and holds back what could be the beginning of one.

export interface StopMatch {
  /** Text that is safe to show. */
  text: string;
  /** The stop string that was found; nothing after it counts. */
  stop?: string;
}

export class StopMatcher {
  readonly #stops: readonly string[];
  #held = ""; // the end of the text so far: a proper prefix of a stop string

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Takes the next piece. The stop string that ends first wins, and of those the longest. */
  push(piece: string): StopMatch {
    const text = this.#held + piece;
    const match = this.#find(text);
    if (match !== undefined) {
      this.#held = "";
      return { text: text.slice(0, match.start), stop: match.stop };
    }
    const keep = this.#longestPartial(text);
    this.#held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep) };
  }

  /** What is held back, at the end of the text. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }

  #find(text: string): { start: number; stop: string } | undefined {
    let best: { start: number; end: number; stop: string } | undefined;
    for (const stop of this.#stops) {
      const start = text.indexOf(stop);
      if (start < 0) {
        continue;
      }
      const end = start + stop.length;
      if (best === undefined || end < best.end || (end === best.end && start < best.start)) {
        best = { start, end, stop };
      }
    }
    return best;
  }

  #longestPartial(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (stop.startsWith(text.slice(text.length - length))) {
          longest = length;
        }
      }
    }
    return longest;
  }
}
