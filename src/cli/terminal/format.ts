// Values as text for people: names from outside, bytes, speeds, columns.

import { countOf } from "../../system/counts.js";

/**
 * Text as a terminal may have it: control characters are gone but for tabs and line breaks, and so are the marks that turn
 * the direction of text around (U+202A to U+202E, U+2066 to U+2069). So whoever wrote it (a model, a file, a server) cannot
 * move the cursor, change colours, overwrite a line, or show a name as another one.
 */
export function withoutControls(text: string): string {
  return text.replace(/(?![\t\n])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "");
}

/** The same on one line: for messages and tables, whose lines must be this program's own. */
export function oneLine(text: string): string {
  return withoutControls(text.replace(/\s*[\n\u2028\u2029]\s*/g, " ").replaceAll("\t", " "));
}

/** Lines of at most `width` characters, broken at spaces and line breaks; a longer word has a line of its own. */
export function wrapWords(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/[ \n]+/)) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > width) {
      lines.push(word);
    } else {
      lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
    }
  }
  return lines;
}

/** "1.2 GB"; powers of ten, as hubs and disks count. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toPrecision(3)} ${units[unit]}`;
}

/** "23 tokens in 51 ms (451.0 tokens/s)"; no more digits than mean something, and no time that is said to be 0. */
export function formatSpeed(tokens: number, ms: number): string {
  const perSecond = (tokens * 1000) / ms;
  const speed = ms > 0 ? ` (${perSecond.toFixed(perSecond < 999.5 ? 1 : 0)} tokens/s)` : "";
  const time = ms > 0 && ms < 9.95 ? Math.max(ms, 0.1).toFixed(1) : ms.toFixed(0);
  return `${countOf(tokens, "token")} in ${time} ms${speed}`;
}

/** Lines of cells in columns; those of `numeric` are aligned to the right. */
export function formatColumns(
  rows: readonly (readonly string[])[],
  { indent = "", numeric = [] }: { indent?: string; numeric?: readonly number[] } = {},
): string[] {
  const cells = rows.map((row) => row.map(oneLine));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, text] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, text.length);
    }
  }
  const pad = (text: string, column: number) =>
    numeric.includes(column) ? text.padStart(widths[column] ?? 0) : text.padEnd(widths[column] ?? 0);
  return cells.map((row) => `${indent}${row.map(pad).join("  ")}`.trimEnd());
}

/** An argument as a shell takes it. */
export function quoteArgument(text: string): string {
  return /^[\w./@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
