// Reads tokens one after the other, for the parsers of statements and of expressions.

import { type Token, type TokenKind, tokenize } from "./lexer.js";
import { TemplateError } from "./limits.js";

// Of brackets and blocks inside each other. Real templates stay below 30.
const maxDepth = 200;

export class TokenReader {
  readonly #tokens: readonly Token[];
  #place = 0;
  #depth = 0;

  constructor(source: string) {
    this.#tokens = tokenize(source);
  }

  get isAtEnd(): boolean {
    return this.#place >= this.#tokens.length;
  }

  /** Of the next token. */
  get line(): number {
    return (this.#tokens[this.#place] ?? this.#tokens.at(-1))?.line ?? 1;
  }

  /** Of the next token; undefined at the end. */
  get kind(): TokenKind | undefined {
    return this.#tokens[this.#place]?.kind;
  }

  /** Whether the next token is of this kind and one of these texts, or has any text if none is given. */
  is(kind: TokenKind, ...texts: string[]): boolean {
    return isToken(this.#tokens[this.#place], kind, texts);
  }

  /** The same of the token after the next one. */
  isFollowedBy(kind: TokenKind, ...texts: string[]): boolean {
    return isToken(this.#tokens[this.#place + 1], kind, texts);
  }

  /** Takes the next token if it is this one; tells whether it was. */
  skip(kind: TokenKind, ...texts: string[]): boolean {
    const found = this.is(kind, ...texts);
    this.#place += found ? 1 : 0;
    return found;
  }

  takeAny(): Token {
    const token = this.#tokens[this.#place];
    if (token === undefined) {
      throw this.unexpected();
    }
    this.#place++;
    return token;
  }

  take(kind: TokenKind, ...texts: string[]): Token {
    if (!this.is(kind, ...texts)) {
      throw this.unexpected(texts.join(" or ") || kind);
    }
    return this.takeAny();
  }

  unexpected(expected?: string): TemplateError {
    const token = this.#tokens[this.#place];
    const found = token === undefined ? "end of the template" : `${token.kind} ${JSON.stringify(token.text)}`;
    return this.error(`unexpected ${found}${expected === undefined ? "" : `, expected ${expected}`}`);
  }

  error(message: string): TemplateError {
    return new TemplateError(`line ${this.line}: ${message}`);
  }

  /** What `body` reads, one level deeper. */
  nested<T>(body: () => T): T {
    this.#depth++;
    if (this.#depth > maxDepth) {
      throw this.error(`nested more than ${maxDepth} levels deep`);
    }
    const result = body();
    this.#depth--;
    return result;
  }
}

function isToken(token: Token | undefined, kind: TokenKind, texts: readonly string[]): boolean {
  return token?.kind === kind && (texts.length === 0 || texts.includes(token.text));
}
