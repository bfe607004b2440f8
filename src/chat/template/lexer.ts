// A template as tokens, with the white space rules that transformers sets: trim_blocks and lstrip_blocks.

import { TemplateError, unsupported } from "./limits.js";
import { escapePoint, isSpace, strip } from "./text.js";

export type TokenKind =
  | "data" // text that is written as it is
  | "variable" // {{
  | "block" // {%
  | "end" // }} or %}
  | "name"
  | "string"
  | "integer"
  | "float"
  | "operator";

export interface Token {
  kind: TokenKind;
  /** The text, of strings without quotes and escapes. */
  text: string;
  line: number;
}

const operators = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}<>=.:|,;]/y;
const floats = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const integers = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const names = /[\p{L}\p{N}\p{M}_]+/uy;
const spaces = /\s+/y;
const strings = /'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)"/sy;
const tagBegin = /\{[{%#]/g;
const rawBegin = /\{%[-+]?\s*raw\s*(-?)%\}/y;
const rawEnd = /\{%([-+]?)\s*endraw\s*([-+]?)%\}/g;

export function tokenize(source: string): Token[] {
  return new Lexer(prepareSource(source)).run();
}

/** Line ends of all systems are "\n", and the last one does not count. */
function prepareSource(source: string): string {
  return source.replace(/\r\n?/g, "\n").replace(/\n$/, "");
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #place = 0;
  #line = 1;
  #counted = 0;
  #isLineStart = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    while (this.#place < this.#source.length) {
      this.#readData();
    }
    return this.#tokens;
  }

  /** Text up to the next tag, and the tag. */
  #readData(): void {
    tagBegin.lastIndex = this.#place;
    const begin = tagBegin.exec(this.#source)?.index ?? this.#source.length;
    const kind = this.#source[begin + 1];
    const sign = this.#source[begin + 2] ?? "";
    const isTag = begin < this.#source.length;
    const text = this.#source.slice(this.#place, begin);
    this.#add("data", isTag ? this.#trimBefore(text, sign, kind === "{") : text);
    this.#place = begin;
    if (!isTag) {
      return;
    }
    const raw = this.#match(rawBegin);
    if (raw !== null) {
      this.#readRaw(raw);
    } else if (kind === "#") {
      this.#readComment();
    } else {
      this.#readTag(kind === "{" ? "variable" : "block");
    }
  }

  #trimBefore(text: string, sign: string, isVariable: boolean): string {
    if (sign === "-") {
      return strip(text, isSpace, false, true);
    }
    const lineStart = text.lastIndexOf("\n") + 1;
    const isIndent = strip(text.slice(lineStart), isSpace, true, false) === "";
    const strips = sign !== "+" && !isVariable && isIndent && (lineStart > 0 || this.#isLineStart);
    return strips ? text.slice(0, lineStart) : text;
  }

  #readRaw(begin: RegExpExecArray): void {
    this.#place += begin[0].length;
    this.#skipAfter(begin[1] === "-" ? "-" : "+");
    rawEnd.lastIndex = this.#place;
    const end = rawEnd.exec(this.#source);
    if (end === null && this.#place === this.#source.length) {
      return; // Jinja does not miss the end of an empty one
    }
    if (end === null) {
      throw this.#error("a raw block has no end");
    }
    this.#isLineStart = this.#source[this.#place - 1] === "\n";
    this.#add("data", this.#trimBefore(this.#source.slice(this.#place, end.index), end[1] ?? "", false));
    this.#place = end.index + end[0].length;
    this.#skipAfter(end[2] ?? "");
  }

  #readComment(): void {
    const end = this.#source.indexOf("#}", this.#place + 2);
    if (end < 0) {
      throw this.#error("a comment has no end");
    }
    this.#place = end + 2;
    this.#skipAfter(/[-+]/.test(this.#source[end - 1] ?? "") ? (this.#source[end - 1] ?? "") : "");
  }

  /** After a block or a comment: "-" drops all white space, "+" nothing, otherwise a line end goes. */
  #skipAfter(sign: string): void {
    if (sign === "-") {
      this.#match(spaces, true);
    } else if (sign === "" && this.#source[this.#place] === "\n") {
      this.#place++;
    }
    this.#isLineStart = this.#source[this.#place - 1] === "\n";
  }

  #readTag(kind: "variable" | "block"): void {
    this.#add(kind, "");
    this.#place += 2;
    this.#place += /[-+]/.test(this.#source[this.#place] ?? "") ? 1 : 0;
    const open: string[] = []; // brackets: "}}" may close two of them
    const end = kind === "variable" ? /-?\}\}/y : /[-+]?%\}/y;
    for (;;) {
      const found = open.length === 0 ? this.#match(end) : null;
      if (found !== null) {
        this.#add("end", "");
        this.#place += found[0].length;
        const sign = found[0].length > 2 ? (found[0][0] ?? "") : "";
        this.#skipAfter(kind === "variable" && sign === "" ? "+" : sign);
        return;
      }
      this.#readToken(open);
    }
  }

  #readToken(open: string[]): void {
    if (this.#match(spaces, true) !== null) {
      return;
    }
    if (this.#place >= this.#source.length) {
      throw this.#error("unexpected end of the template");
    }
    const isPart = this.#source[this.#place - 1] === "."; // of "a.0.1", which has no float
    const number = isPart ? null : this.#match(floats, true);
    if (number !== null) {
      this.#add("float", number[0]);
      return;
    }
    for (const [kind, pattern] of [
      ["integer", integers],
      ["name", names],
    ] as const) {
      const found = this.#match(pattern, true);
      if (found !== null) {
        this.#add(kind, found[0]);
        return;
      }
    }
    const string = this.#match(strings, true);
    if (string !== null) {
      this.#add("string", resolveEscapes(string[1] ?? string[2] ?? ""));
      return;
    }
    this.#readOperator(open);
  }

  #readOperator(open: string[]): void {
    const operator = this.#match(operators, true)?.[0];
    if (operator === undefined) {
      const character = String.fromCodePoint(this.#source.codePointAt(this.#place) ?? 0);
      throw this.#error(`unexpected character ${JSON.stringify(character)}`);
    }
    const closing = { "(": ")", "[": "]", "{": "}" }[operator];
    if (closing !== undefined) {
      open.push(closing);
    } else if (")]}".includes(operator) && open.pop() !== operator) {
      throw this.#error(`unexpected '${operator}'`);
    }
    this.#add("operator", operator);
  }

  /** What stands at this place, if the pattern does; `take` goes on behind it. */
  #match(pattern: RegExp, take = false): RegExpExecArray | null {
    pattern.lastIndex = this.#place;
    const found = pattern.exec(this.#source);
    if (found !== null && take) {
      this.#place += found[0].length;
    }
    return found;
  }

  #add(kind: TokenKind, text: string): void {
    if (kind !== "data" || text !== "") {
      this.#tokens.push({ kind, text, line: this.#lineHere() });
    }
  }

  #lineHere(): number {
    for (; this.#counted < this.#place; this.#counted++) {
      this.#line += this.#source[this.#counted] === "\n" ? 1 : 0;
    }
    return this.#line;
  }

  #error(message: string): TemplateError {
    return new TemplateError(`line ${this.#lineHere()}: ${message}`);
  }
}

const simpleEscapes: Record<string, string> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** The escapes of Python's string literals; an unknown one stays as it is. */
function resolveEscapes(text: string): string {
  const escapes = /\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{1,3}|.)/gs;
  return text.replace(escapes, (whole, code: string) => {
    const simple = simpleEscapes[code];
    if (simple !== undefined) {
      return simple;
    }
    if (/^[0-7]/.test(code)) {
      return String.fromCharCode(Number.parseInt(code, 8));
    }
    if (/^[xuU]./.test(code)) {
      return characterOf(Number.parseInt(code.slice(1), 16));
    }
    if (/^[xuUN]$/.test(code)) {
      throw code === "N" ? unsupported("the escape \\N{...}") : new TemplateError(`a bad escape \\${code}`);
    }
    return whole;
  });
}

function characterOf(point: number): string {
  if (point > 0x10ffff) {
    throw new TemplateError(`${escapePoint(point)} is no character`);
  }
  return String.fromCodePoint(point);
}
