// The tokens of one answer as pieces of text that are certain, each with the tokens that made it.

import { ThinkingSplitter, type ThinkingTags } from "../chat/thinking.js";
import type { Token } from "../engine/generate.js";
import { StopMatcher } from "../engine/stop-strings.js";
import type { Tokenizer } from "../engine/tokenizer.js";
import type { AnswerPiece, TokenLogprob } from "./request.js";

/** Turns the text of an answer, as it comes, into its pieces. */
export interface AnswerParser {
  push(text: string): AnswerPiece[];
  finish(): AnswerPiece[];
}

export interface AnswerShape {
  stop: readonly string[];
  /** Tags around what is thought, to be told apart from the text; undefined: all is text. */
  thinking?: ThinkingTags;
  /** The prompt has opened the thinking already. */
  beginsThinking: boolean;
  /** Of what follows the thinking; undefined: it is text as it is. */
  parser?: AnswerParser;
  /** Tokens that the text continues; none where it is a text of its own. */
  before: readonly number[];
  /** Tokens come with probabilities that are wanted. */
  logprobs: boolean;
  /** The values of tokens have that of the one that ends the answer, too: who reads those of a prompt counts on one more. */
  listsEnd?: boolean;
}

export interface AnswerDelta {
  pieces: AnswerPiece[];
  tokens: number[];
  logprobs: TokenLogprob[];
}

/** A token whose text, or a part of it, is not yet certain. */
interface HeldToken {
  token: Token;
  text: string;
  /** Length of the text before it. */
  start: number;
}

export class AnswerStream {
  readonly #tokenizer: Tokenizer;
  readonly #shape: AnswerShape;
  readonly #decoder: ReturnType<Tokenizer["createDecoder"]>;
  readonly #matcher: StopMatcher;
  readonly #splitter: ThinkingSplitter;
  #decoded = 0; // characters of text so far
  #certain = 0; // of these, said
  #held: HeldToken[] = [];
  #stopString: string | undefined;
  #thinkingTokens = 0;
  #hasCalls = false;

  constructor(tokenizer: Tokenizer, shape: AnswerShape) {
    this.#tokenizer = tokenizer;
    this.#shape = shape;
    this.#decoder = tokenizer.createDecoder();
    this.#matcher = new StopMatcher(shape.stop);
    this.#splitter = new ThinkingSplitter(shape.thinking, shape.beginsThinking);
    for (const id of shape.before) {
      this.#decoder.push(id);
    }
  }

  /** The stop string that ended the answer; nothing after it counts. */
  get stopString(): string | undefined {
    return this.#stopString;
  }

  /** Are there calls of tools in the answer? */
  get hasCalls(): boolean {
    return this.#hasCalls;
  }

  /** Tokens of what was thought. */
  get thinkingTokens(): number {
    return this.#thinkingTokens;
  }

  push(token: Token): AnswerDelta {
    if (this.#tokenizer.isEog(token.id)) {
      const { text } = describeToken(this.#tokenizer, token.id);
      return this.#shape.listsEnd ? { ...emptyDelta(), logprobs: [this.#describe({ token, text })] } : emptyDelta();
    }
    const text = this.#decoder.push(token.id) + this.#tagOf(token.id);
    return this.#advance(token, text);
  }

  /** The rest of an answer that has come to its end. */
  finish(): AnswerDelta {
    if (this.#stopString !== undefined) {
      return { ...emptyDelta(), pieces: this.#split("", true) };
    }
    const rest = this.#decoder.flush();
    const match = this.#matcher.push(rest);
    this.#stopString = match.stop;
    const text = match.text + (match.stop === undefined ? this.#matcher.flush() : "");
    this.#decoded += rest.length;
    this.#certain += text.length;
    return { pieces: this.#split(text, true), ...this.#release(true) };
  }

  /** A thinking tag that is a control token has no text, but counts. */
  #tagOf(id: number): string {
    const { open, close } = this.#shape.thinking ?? {};
    if (open === undefined || this.#tokenizer.piece(id) !== "") {
      return "";
    }
    const name = this.#tokenizer.piece(id, { special: true });
    return name === open || name === close ? name : "";
  }

  #advance(token: Token, text: string): AnswerDelta {
    this.#held.push({ token, text, start: this.#decoded });
    this.#decoded += text.length;
    const match = this.#matcher.push(text);
    this.#certain += match.text.length;
    this.#stopString = match.stop;
    const pieces = this.#split(match.text, false);
    if (pieces.length > 0 ? pieces[0]?.kind === "thinking" : this.#splitter.hasThought && this.#splitter.text === "") {
      this.#thinkingTokens++;
    }
    return { pieces, ...this.#release(match.stop !== undefined) };
  }

  #split(text: string, isEnd: boolean): AnswerPiece[] {
    const { parser } = this.#shape;
    const split = [...this.#splitter.push(text), ...(isEnd ? this.#splitter.finish() : [])];
    const pieces = split.flatMap((piece): AnswerPiece[] =>
      piece.kind === "text" && parser !== undefined ? parser.push(piece.text) : [piece],
    );
    this.#hasCalls ||= pieces.some((piece) => piece.kind === "call");
    return isEnd && parser !== undefined ? [...pieces, ...parser.finish()] : pieces;
  }

  /** The tokens whose whole text is certain; at the end those, too, of which a part is. */
  #release(isEnd: boolean): Pick<AnswerDelta, "tokens" | "logprobs"> {
    const isCertain = ({ text, start }: HeldToken) =>
      start + text.length <= this.#certain || (isEnd && (start < this.#certain || this.#stopString === undefined));
    let n = 0;
    while (n < this.#held.length && isCertain(this.#held[n] as HeldToken)) {
      n++;
    }
    const released = this.#held.splice(0, n);
    return {
      tokens: released.map(({ token }) => token.id),
      logprobs: this.#shape.logprobs ? released.map((held) => this.#describe(held)) : [],
    };
  }

  #describe({ token, text }: Pick<HeldToken, "token" | "text">): TokenLogprob {
    const { id, logprob = Number.NEGATIVE_INFINITY, top = [], prob, topProbs = [] } = token;
    const describe = <T extends { id: number }>(likely: T) => ({
      ...likely,
      ...describeToken(this.#tokenizer, likely.id),
    });
    return {
      ...{ id, logprob, text },
      bytes: [...this.#tokenizer.bytes(id)],
      top: top.map(describe),
      ...(prob === undefined ? {} : { prob, topProbs: topProbs.map(describe) }),
    };
  }
}

/** A token by itself: part of a character has no text. */
export function describeToken(tokenizer: Tokenizer, id: number): { text: string; bytes: readonly number[] } {
  const text = tokenizer.piece(id, { special: true });
  return { text: text.includes("\ufffd") ? "" : text, bytes: [...tokenizer.bytes(id)] };
}

function emptyDelta(): AnswerDelta {
  return { pieces: [], tokens: [], logprobs: [] };
}
