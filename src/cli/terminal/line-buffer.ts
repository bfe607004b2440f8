// The text that is being typed and the place of the cursor in it; the keys and the screen are edit-line.ts.

import { graphemesOf } from "./width.js";

/** Code units around the cursor in which its neighbours are looked for; more than any character takes. */
const neighbourhood = 128;
const maxUndo = 200;
const wordCharacter = /[\p{Letter}\p{Mark}\p{Number}_]/u;

interface Snapshot {
  text: string;
  cursor: number;
}

export type Target = "character" | "word" | "line";

/** Places are code units; the cursor is never inside of a character. Lines are separated by \n. */
export class LineBuffer {
  #text = "";
  #cursor = 0;
  #killed = "";
  #undo: Snapshot[] = [];

  get text(): string {
    return this.#text;
  }

  get cursor(): number {
    return this.#cursor;
  }

  /** Replaces everything, the cursor goes to the end. */
  set(text: string): void {
    this.#change(text, text.length);
  }

  /** An empty text that does not know of the one before. */
  reset(): void {
    this.#text = "";
    this.#cursor = 0;
    this.#undo = [];
  }

  insert(text: string): void {
    this.replace(this.#cursor, this.#cursor, text);
  }

  /** The cursor goes behind `text`. */
  replace(start: number, end: number, text: string): void {
    this.#change(this.#text.slice(0, start) + text + this.#text.slice(end), start + text.length);
  }

  moveLeft(target: Target): void {
    this.#cursor = this.#before(target);
  }

  moveRight(target: Target): void {
    this.#cursor = this.#after(target);
  }

  moveToEnd(): void {
    this.#cursor = this.#text.length;
  }

  /** To the line above or below, if there is one; the column stays, counted in characters. */
  moveLine(step: -1 | 1): boolean {
    const start = this.#lineStart(this.#cursor);
    const end = this.#lineEnd(this.#cursor);
    if (step < 0 ? start === 0 : end === this.#text.length) {
      return false;
    }
    const column = graphemesOf(this.#text.slice(start, this.#cursor)).length;
    const to = step < 0 ? this.#lineStart(start - 1) : end + 1;
    const line = graphemesOf(this.#text.slice(to, this.#lineEnd(to)));
    this.#cursor = to + line.slice(0, column).join("").length;
    return true;
  }

  deleteLeft(target: Target): void {
    this.#delete(this.#before(target), this.#cursor, target);
  }

  deleteRight(target: Target): void {
    const isAtLineEnd = target === "line" && this.#text[this.#cursor] === "\n";
    this.#delete(this.#cursor, this.#after(isAtLineEnd ? "character" : target), target);
  }

  /** What the last deletion of more than a character took. */
  yank(): void {
    this.insert(this.#killed);
  }

  undo(): void {
    const last = this.#undo.pop();
    if (last !== undefined) {
      this.#text = last.text;
      this.#cursor = last.cursor;
    }
  }

  #delete(start: number, end: number, target: Target): void {
    if (start === end) {
      return;
    }
    if (target !== "character") {
      this.#killed = this.#text.slice(start, end);
    }
    this.replace(start, end, "");
  }

  #change(text: string, cursor: number): void {
    if (text !== this.#text) {
      this.#undo.push({ text: this.#text, cursor: this.#cursor });
      this.#undo.splice(0, this.#undo.length - maxUndo);
    }
    this.#text = text;
    this.#cursor = cursor;
  }

  #lineStart(place: number): number {
    return place === 0 ? 0 : this.#text.lastIndexOf("\n", place - 1) + 1;
  }

  #lineEnd(place: number): number {
    const end = this.#text.indexOf("\n", place);
    return end < 0 ? this.#text.length : end;
  }

  #before(target: Target): number {
    if (target === "line") {
      return this.#lineStart(this.#cursor);
    }
    const near = this.#text.slice(Math.max(0, this.#cursor - neighbourhood), this.#cursor);
    return this.#cursor - lengthOf(target, graphemesOf(near).reverse());
  }

  #after(target: Target): number {
    if (target === "line") {
      return this.#lineEnd(this.#cursor);
    }
    const near = this.#text.slice(this.#cursor, this.#cursor + neighbourhood);
    return this.#cursor + lengthOf(target, graphemesOf(near));
  }
}

/** Code units of the next character, or of what is between words and the next word. */
function lengthOf(target: Target, characters: readonly string[]): number {
  let count = Math.min(1, characters.length);
  if (target === "word") {
    const isWord = characters.map((character) => wordCharacter.test(character));
    const begin = isWord.indexOf(true);
    const end = begin < 0 ? -1 : isWord.indexOf(false, begin);
    count = end < 0 ? characters.length : end;
  }
  return characters.slice(0, count).join("").length;
}
