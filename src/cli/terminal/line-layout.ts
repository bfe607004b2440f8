// Where the text that is being typed stands on the screen: rows of a terminal of so many columns.

import { displayWidth, graphemesOf } from "./width.js";

export interface Row {
  text: string;
  /** Whether the line goes on in the next row, so that the terminal wraps it itself, also after a resize. */
  wraps: boolean;
}

export interface Layout {
  rows: Row[];
  /** Of the cursor, from 0. */
  row: number;
  column: number;
}

export interface Prompts {
  /** Before the first line, and before all others. */
  first: string;
  next: string;
}

const tab = "    ";
const printableAscii = /^[\x20-\x7e]*$/;

/** `cursor`: the place in `text`, in code units. Wide characters that do not fit into a row go to the next. */
export function layOut(text: string, cursor: number, columns: number, prompts: Prompts): Layout {
  const layout: Layout = { rows: [], row: 0, column: 0 };
  let start = 0;
  for (const [i, line] of text.split("\n").entries()) {
    const isHere = cursor >= start && cursor <= start + line.length;
    addLine(layout, i === 0 ? prompts.first : prompts.next, line, columns, isHere ? cursor - start : -1);
    start += line.length + 1;
  }
  return layout;
}

/** `cursor`: its place in the line, -1 if it is elsewhere. */
function addLine(layout: Layout, prompt: string, line: string, columns: number, cursor: number): void {
  if (cursor < 0 && printableAscii.test(line)) {
    addAscii(layout.rows, prompt + line, columns);
    return;
  }
  let row = "";
  let width = 0;
  let place = -prompt.length;
  const setCursor = () => {
    layout.row = layout.rows.length;
    layout.column = width;
  };
  for (const grapheme of graphemesOf(prompt + line)) {
    const shown = grapheme === "\t" ? tab : grapheme;
    const added = displayWidth(shown);
    if (width + added > columns) {
      layout.rows.push({ text: row, wraps: true });
      row = "";
      width = 0;
    }
    if (place === cursor) {
      setCursor();
    }
    row += shown;
    width += added;
    place += grapheme.length;
  }
  if (place === cursor) {
    if (width >= columns) {
      layout.rows.push({ text: row, wraps: true });
      row = "";
      width = 0;
    }
    setCursor();
  }
  layout.rows.push({ text: row, wraps: false });
}

/** The same for what has a column per code unit. */
function addAscii(rows: Row[], text: string, columns: number): void {
  let start = 0;
  for (; text.length - start > columns; start += columns) {
    rows.push({ text: text.slice(start, start + columns), wraps: true });
  }
  rows.push({ text: text.slice(start), wraps: false });
}

/** What writes these rows from the first column on. */
export function writeRows(rows: readonly Row[]): string {
  return rows
    .map(({ text, wraps }, i) => {
      const next = rows[i + 1];
      // A full row with nothing after it yet is not wrapped by the terminal.
      return next === undefined || (wraps && next.text !== "") ? text : `${text}\r\n`;
    })
    .join("");
}
