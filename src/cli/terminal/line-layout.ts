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

const printableAscii = /^[\x20-\x7e]*$/;
const tab = "    ";
const widths = new Map<string, number>();
const maxWidths = 10_000;

/** A long text is measured again at every key. */
function widthOf(grapheme: string): number {
  if (printableAscii.test(grapheme)) {
    return grapheme.length;
  }
  const known = widths.get(grapheme);
  if (known !== undefined) {
    return known;
  }
  const width = displayWidth(grapheme);
  if (widths.size < maxWidths) {
    widths.set(grapheme, width);
  }
  return width;
}

/** The rows of lines that the cursor is not in, from one layout to the next. */
export type LineCache = Map<string, readonly Row[]>;

/** `cursor`: the place in `text`, in code units. `cache`: of the same columns. Wide characters that do not fit into a row go to the next. */
export function layOut(
  text: string,
  cursor: number,
  columns: number,
  prompts: Prompts,
  cache: LineCache = new Map(),
): Layout {
  const layout: Layout = { rows: [], row: 0, column: 0 };
  let start = 0;
  for (const [i, line] of text.split("\n").entries()) {
    const prompt = i === 0 ? prompts.first : prompts.next;
    if (cursor >= start && cursor <= start + line.length) {
      addLine(layout, prompt, line, columns, cursor - start);
    } else {
      layout.rows.push(...rowsOf(prompt, line, columns, cache));
    }
    start += line.length + 1;
  }
  return layout;
}

function rowsOf(prompt: string, line: string, columns: number, cache: LineCache): readonly Row[] {
  const key = prompt + line;
  let rows = cache.get(key);
  if (rows === undefined) {
    const layout = { rows: [], row: 0, column: 0 };
    addLine(layout, prompt, line, columns, -1);
    rows = layout.rows;
    cache.set(key, rows);
  }
  return rows;
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
    const added = widthOf(shown);
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
