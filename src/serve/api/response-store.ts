// Responses that later ones go on from: in memory, each for its own client, for an hour.

import type { FormatMessage } from "../../chat/format.js";

const lifetime = 3_600_000; // ms
const maxCharacters = 64 * 2 ** 20; // of all that is kept

interface Kept {
  client: string;
  messages: readonly FormatMessage[];
  characters: number;
  until: number;
}

export class ResponseStore {
  readonly #most: number;
  readonly #kept = new Map<string, Kept>(); // the oldest first
  readonly #now: () => number;
  #characters = 0;

  /** `most`: how many are kept; 0: none. */
  constructor(most: number, now: () => number = Date.now) {
    this.#most = most;
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#most > 0;
  }

  keep(client: string, id: string, messages: readonly FormatMessage[]): void {
    const characters = JSON.stringify(messages).length;
    this.#kept.set(id, { client, messages, characters, until: this.#now() + lifetime });
    this.#characters += characters;
    for (const [oldest, { until }] of this.#kept) {
      if (until > this.#now() && this.#kept.size <= this.#most && this.#characters <= maxCharacters) {
        break;
      }
      this.#drop(oldest);
    }
  }

  /** undefined for what is not there, not any more, or another client's. */
  find(client: string, id: string): readonly FormatMessage[] | undefined {
    const kept = this.#kept.get(id);
    if (kept === undefined || kept.client !== client) {
      return undefined;
    }
    if (kept.until <= this.#now()) {
      this.#drop(id);
      return undefined;
    }
    return kept.messages;
  }

  #drop(id: string): void {
    this.#characters -= this.#kept.get(id)?.characters ?? 0;
    this.#kept.delete(id);
  }
}
