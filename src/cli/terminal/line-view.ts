// The rows of a terminal on which text is typed: drawn anew after every change, wherever the cursor was.

import { oneLine } from "./format.js";
import { type Layout, type LineCache, layOut, type Prompts, type Row, writeRows } from "./line-layout.js";
import type { OutputStream } from "./output.js";
import { displayWidth, padToWidth } from "./width.js";

const eraseDown = "\u001b[0J";
const clearScreen = "\u001b[H\u001b[2J\u001b[3J";

const leastColumns = 4;
const maxListed = 200;

/** The text and the place of the cursor in it. */
export interface Typed {
  text: string;
  cursor: number;
}

export class LineView {
  readonly #output: OutputStream;
  #prompts: Prompts = { first: "", next: "" };
  #drawn: { typed: Typed; columns: number; row: number } | undefined;
  readonly #cache: LineCache = new Map();
  #firstRow = 0; // of those that are shown, where there are more than the screen has

  constructor(output: OutputStream) {
    this.#output = output;
  }

  /** Draws from the beginning of the current row of the screen on. */
  begin(prompts: Prompts, typed: Typed): void {
    this.#prompts = prompts;
    this.#drawn = undefined;
    this.#firstRow = 0;
    this.draw(typed);
  }

  draw(typed: Typed): void {
    const columns = Math.max(leastColumns, this.#output.columns || 80);
    const up = this.#rowsAbove(columns);
    if (columns !== this.#drawn?.columns) {
      this.#cache.clear();
    }
    const layout = layOut(typed.text, typed.cursor, columns, this.#prompts, this.#cache);
    const { rows, row } = this.#visible(layout);
    const back = rows.length - 1 - row;
    this.#output.write(
      `${moveUp(up)}\r${eraseDown}${writeRows(rows)}${moveUp(back)}\r${layout.column > 0 ? `\u001b[${layout.column}C` : ""}`,
    );
    this.#drawn = { typed: { text: typed.text, cursor: typed.cursor }, columns, row: layout.row };
  }

  /** Draws it with `after` at its end, and goes to a new row. */
  end(typed: Typed, after = ""): void {
    this.draw({ text: typed.text, cursor: typed.text.length });
    this.#output.write(`${after}\r\n`);
    this.#drawn = undefined;
    this.#firstRow = 0;
  }

  clearScreen(typed: Typed): void {
    this.#output.write(clearScreen);
    this.#drawn = undefined;
    this.draw(typed);
  }

  /** Words in columns, and the typed text anew below them. */
  showList(words: readonly string[], typed: Typed): void {
    this.end(typed);
    const shown = words.slice(0, maxListed).map((word) => oneLine(word).trimEnd());
    const width = Math.max(...shown.map((word) => displayWidth(word))) + 2;
    const perRow = Math.max(1, Math.floor((this.#output.columns || 80) / width));
    for (let i = 0; i < shown.length; i += perRow) {
      const row = shown.slice(i, i + perRow).map((word) => padToWidth(word, width));
      this.#output.write(`${row.join("").trimEnd()}\r\n`);
    }
    if (words.length > shown.length) {
      this.#output.write(`and ${words.length - shown.length} more\r\n`);
    }
    this.draw(typed);
  }

  /**
   * Rows between the first that was drawn and the cursor. A terminal that has another width since then has wrapped the
   * text anew itself.
   */
  #rowsAbove(columns: number): number {
    if (this.#drawn === undefined) {
      return 0;
    }
    const { typed, columns: before } = this.#drawn;
    const row = columns === before ? this.#drawn.row : layOut(typed.text, typed.cursor, columns, this.#prompts).row;
    return Math.min(Math.max(0, row - this.#firstRow), this.#height - 1);
  }

  get #height(): number {
    return Math.max(1, this.#output.rows || 24);
  }

  /** As many rows as the screen has, the cursor's among them; its place in them. */
  #visible({ rows, row }: Layout): { rows: Row[]; row: number } {
    const last = Math.max(0, rows.length - this.#height);
    this.#firstRow = Math.min(last, Math.min(row, Math.max(this.#firstRow, row - this.#height + 1)));
    return { rows: rows.slice(this.#firstRow, this.#firstRow + this.#height), row: row - this.#firstRow };
  }
}

function moveUp(rows: number): string {
  return rows > 0 ? `\u001b[${rows}A` : "";
}
