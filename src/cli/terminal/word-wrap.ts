// Wraps text between words as it streams in, by what a terminal shows: wide characters, accents, code, lists.

import { displayWidth, graphemesOf } from "./width.js";

const tabStop = 8;
const space = /^[ \t]$/;
const fence = /^ {0,3}(?:```|~~~)/;
const listMarker = /^(?:[-*+•]|\d{1,3}[.)])$/;
/** What a list begins with, so that its indent does not make it code. */
const listStart = /^[-*+•\d]/;
/** What may not stand at the beginning of a row, of scripts without spaces. */
const closing = /^[\p{Close_Punctuation}\p{Final_Punctuation}\p{Other_Punctuation}ー々]/u;
const codeIndent = 4;

/** A whole text in rows of so many columns. */
export function wrapText(text: string, columns: number): string {
  const wrap = new WordWrap(() => columns);
  return wrap.push(text) + wrap.flush();
}

/** Only white space gives way to line breaks. A word longer than a row and lines of code are left to the terminal. */
export class WordWrap {
  readonly #columns: () => number;
  #column = 0; // of the terminal's cursor
  #indent = 0; // of the rows that a line goes on in
  #spaces = ""; // before the word
  #word = ""; // not written yet, as it may not fit
  #line = ""; // its beginning, up to where it tells what the line is
  #isVerbatim = false; // this line or word is written as it comes
  #isCodeLine = false;
  #isFenced = false;

  /** `columns`: of the terminal, now. */
  constructor(columns: () => number) {
    this.#columns = columns;
  }

  /** Whether the terminal's cursor is where a line begins. */
  get isAtStart(): boolean {
    return this.#column === 0 && this.#word === "" && this.#spaces === "";
  }

  /** What of the text so far can be written. */
  push(text: string): string {
    let out = "";
    for (const grapheme of graphemesOf(text)) {
      if (grapheme === "\n") {
        out += this.#endLine();
      } else if (space.test(grapheme)) {
        out += this.#pushSpace(grapheme);
      } else {
        out += this.#pushCharacter(grapheme);
      }
    }
    return out;
  }

  /** The rest, as nothing comes any more. */
  flush(): string {
    const out = this.#writeWord() + this.#spaces;
    this.#column += widthAt(this.#column, this.#spaces);
    this.#spaces = "";
    return out;
  }

  #endLine(): string {
    const out = `${this.flush()}\n`;
    if (fence.test(this.#line)) {
      this.#isFenced = !this.#isFenced;
    }
    this.#column = 0;
    this.#indent = 0;
    this.#line = "";
    this.#isVerbatim = false;
    this.#isCodeLine = false;
    return out;
  }

  #pushSpace(grapheme: string): string {
    this.#isVerbatim &&= this.#isCodeLine;
    const out = this.#writeWord();
    this.#remember(grapheme);
    if (this.#isCodeLine) {
      this.#column += widthAt(this.#column, grapheme);
      return out + grapheme;
    }
    this.#spaces += grapheme;
    return out;
  }

  #pushCharacter(grapheme: string): string {
    let out = "";
    if (this.#line.trim() === "") {
      out += this.#beginText(grapheme);
    }
    this.#remember(grapheme);
    if (this.#isVerbatim) {
      return out + this.#writeVerbatim(grapheme);
    }
    if (this.#word !== "" && mayBreak(this.#word, grapheme)) {
      out += this.#writeWord();
    }
    this.#word += grapheme;
    if (this.#word.length >= this.#columns() && displayWidth(this.#word) > this.#columns() - this.#indent) {
      this.#isVerbatim = true; // longer than a row
      out += this.#writeWord();
    }
    return out;
  }

  /** At the first character of a line: is it code? */
  #beginText(grapheme: string): string {
    const isIndented = this.#line.includes("\t") || this.#line.length >= codeIndent;
    this.#isCodeLine = this.#isFenced || (isIndented && !listStart.test(grapheme)) || grapheme === "|";
    this.#isVerbatim = this.#isCodeLine;
    this.#indent = displayWidth(this.#line);
    if (!this.#isCodeLine) {
      return "";
    }
    const out = this.#spaces;
    this.#column += widthAt(this.#column, out);
    this.#spaces = "";
    return out;
  }

  #remember(grapheme: string): void {
    if (this.#line.length < tabStop || this.#line.trim() === "") {
      this.#line += grapheme;
    }
  }

  #writeVerbatim(text: string): string {
    const columns = this.#columns();
    const width = displayWidth(text);
    this.#column = this.#column + width > columns ? width : this.#column + width;
    return text;
  }

  /** The word and the spaces before it, or on a new row without them. */
  #writeWord(): string {
    const word = this.#word;
    if (word === "") {
      return "";
    }
    this.#word = "";
    const columns = this.#columns();
    this.#column = this.#column > columns ? this.#column % columns : this.#column; // it was resized
    const spaces = this.#spaces;
    const isFirst = this.#line.trim() === word;
    const spacesWidth = widthAt(this.#column, spaces);
    const width = displayWidth(word);
    this.#spaces = "";
    if (isFirst && listMarker.test(word)) {
      this.#indent = Math.min(spacesWidth + width + 1, Math.floor(columns / 2));
    }
    if (this.#column + spacesWidth + width <= columns || this.#column + spacesWidth <= this.#indent) {
      this.#column += spacesWidth + width;
      this.#column = this.#column > columns ? this.#column % columns : this.#column;
      return spaces + word;
    }
    const indent = this.#indent + width <= columns ? this.#indent : 0;
    this.#column = (indent + width) % columns || columns;
    return `\n${" ".repeat(indent)}${word}`;
  }
}

/** Columns of white space that begins at this one. */
function widthAt(column: number, spaces: string): number {
  let end = column;
  for (const character of spaces) {
    end += character === "\t" ? tabStop - (end % tabStop) : 1;
  }
  return end - column;
}

/** May a row end between what was written so far and this character? Next to wide characters, but for punctuation. */
function mayBreak(word: string, grapheme: string): boolean {
  if (closing.test(grapheme)) {
    return false;
  }
  const last = graphemesOf(word.slice(-32)).at(-1) ?? "";
  const isWide = displayWidth(grapheme) > 1 || displayWidth(last) > 1;
  return isWide && graphemesOf(last + grapheme).length > 1;
}
