// The text of tokens as they come: whole characters only, up to a stop string.

import { StopMatcher } from "./stop-strings.js";
import type { Tokenizer } from "./tokenizer.js";

export type StreamTokenizer = Pick<Tokenizer, "createDecoder" | "isEog">;

/** Holds back unfinished characters and what may be the beginning of a stop string. */
export class TextStream {
  readonly #tokenizer: StreamTokenizer;
  readonly #decoder: ReturnType<Tokenizer["createDecoder"]>;
  readonly #matcher: StopMatcher;
  #text = "";
  #stopString: string | undefined;

  /**
   * `before` are the tokens that the text continues: without them it is the beginning of a text, where vocabularies
   * whose tokens carry their leading space (SPM) lose that space.
   */
  constructor(tokenizer: StreamTokenizer, stop: readonly string[], before: Iterable<number> = []) {
    this.#tokenizer = tokenizer;
    this.#decoder = tokenizer.createDecoder();
    this.#matcher = new StopMatcher(stop);
    for (const id of before) {
      this.#decoder.push(id);
    }
  }

  /** Everything that was handed out. */
  get text(): string {
    return this.#text;
  }

  /** The stop string that ended the text; nothing after it counts. */
  get stopString(): string | undefined {
    return this.#stopString;
  }

  /** The text that is certain with the next token. An end-of-generation token has none. */
  push(id: number): string {
    return this.#tokenizer.isEog(id) ? "" : this.#match(this.#decoder.push(id));
  }

  /** The rest of a text that has come to its end; bytes that are no character become U+FFFD. */
  finish(): string {
    return this.#match(this.#decoder.flush()) + this.release();
  }

  /** The rest of a text that was cut off: what might have become a stop string. Half a character stays unsaid. */
  release(): string {
    return this.#stopString === undefined ? this.#handOut(this.#matcher.flush()) : "";
  }

  #match(decoded: string): string {
    if (this.#stopString !== undefined) {
      return "";
    }
    const match = this.#matcher.push(decoded);
    this.#stopString = match.stop;
    return this.#handOut(match.text);
  }

  #handOut(text: string): string {
    this.#text += text;
    return text;
  }
}
