// Tables: columns that line up whatever characters they hold, and fit into a terminal.

import { oneLine } from "./format.js";
import { displayWidth, padToWidth, shorten } from "./width.js";

export interface Column {
  /** Above the column; where no column has one, the table has no header. */
  header?: string;
  /** Aligned to the right, and never shortened. */
  numeric?: boolean;
  /** A text that is never shortened, as people type or copy it. */
  whole?: boolean;
  /** A text that is shortened only after the others. */
  firm?: boolean;
  /** Left out where the width does not suffice otherwise, the last such column first. */
  optional?: boolean;
  /** Colours a cell of the body, after its width is known. */
  style?: (cell: string) => string;
}

export interface Table {
  columns: readonly Column[];
  rows: readonly (readonly string[])[];
  /** Columns of the terminal; undefined: as wide as the cells are. */
  width?: number;
  indent?: string;
  /** Colours the header. */
  headerStyle?: (line: string) => string;
}

const gap = "  ";
/** Columns of a text that still tell something of it. */
const leastText = 12;

/**
 * Lines, the header first. What is wider than `width` is narrowed: the widest texts lose their middle, then optional
 * columns go. Control characters and line breaks of cells go, too.
 */
export function formatTable({ columns, rows, width, indent = "", headerStyle = (line) => line }: Table): string[] {
  const headers = columns.map(({ header = "" }) => header);
  const body = rows.map((row) => columns.map((_, index) => oneLine(row[index] ?? "")));
  const cells = headers.some((header) => header !== "") ? [headers, ...body] : body;
  const { shown, widths } = chooseWidths(
    columns,
    cells,
    width === undefined ? Number.POSITIVE_INFINITY : width - indent.length,
  );
  const toLine = (row: readonly string[], isHeader: boolean) => {
    const parts = shown.map((index) => {
      const { numeric, style } = columns[index] ?? {};
      const cell = padToWidth(shorten(row[index] ?? "", widths[index] ?? 0), widths[index] ?? 0, numeric);
      const isLast = index === shown.at(-1);
      const text = isLast ? cell.trimEnd() : cell;
      return isHeader || style === undefined || text.trim() === "" ? text : style(text);
    });
    return (indent + parts.join(gap)).trimEnd();
  };
  return cells.map((row, index) => {
    const isHeader = cells !== body && index === 0;
    return isHeader ? headerStyle(toLine(row, true)) : toLine(row, false);
  });
}

/** The same as a table of Markdown, for files and pipes. */
export function formatMarkdownTable({ columns, rows }: Pick<Table, "columns" | "rows">): string[] {
  const toCell = (text: string) => oneLine(text).replaceAll("|", "\\|");
  const cells = [columns.map(({ header = "" }) => header), ...rows].map((row) =>
    columns.map((_, index) => toCell(row[index] ?? "")),
  );
  const widths = widestCells(columns, cells, 3);
  const toLine = (parts: readonly string[]) => `| ${parts.join(" | ")} |`;
  const [header = "", ...body] = cells.map((row) =>
    toLine(row.map((cell, index) => padToWidth(cell, widths[index] ?? 0, columns[index]?.numeric))),
  );
  const rule = widths.map((width, index) =>
    columns[index]?.numeric ? `${"-".repeat(width - 1)}:` : "-".repeat(width),
  );
  return [header, toLine(rule), ...body];
}

/** Columns of the terminal per column of the table, at least `least`. */
function widestCells(columns: readonly Column[], cells: readonly (readonly string[])[], least: number): number[] {
  return columns.map((_, index) => cells.reduce((most, row) => Math.max(most, displayWidth(row[index] ?? "")), least));
}

/** Which columns are shown, and how wide each is. */
function chooseWidths(
  columns: readonly Column[],
  cells: readonly (readonly string[])[],
  width: number,
): { shown: number[]; widths: number[] } {
  const natural = widestCells(columns, cells, 0);
  const least = columns.map(({ numeric, whole, header = "" }, index) => {
    const wide = natural[index] ?? 0;
    return numeric || whole ? wide : Math.min(wide, Math.max(leastText, displayWidth(header)));
  });
  let shown = columns.map((_, index) => index);
  const sum = (widths: readonly number[]) =>
    shown.reduce((total, index) => total + (widths[index] ?? 0), gap.length * (shown.length - 1));
  while (sum(least) > width) {
    const dropped = shown.findLast((index) => columns[index]?.optional);
    if (dropped === undefined) {
      break;
    }
    shown = shown.filter((index) => index !== dropped);
  }
  const isFirm = (index: number) => columns[index]?.firm === true;
  const yielding = shown.filter((index) => !isFirm(index));
  const widths = narrow(natural, least, yielding, sum(natural) - width);
  return { shown, widths: narrow(widths, least, shown, sum(widths) - width) };
}

/** Takes `excess` columns from the widest texts, so that those that stay wide are about equally wide. */
function narrow(natural: number[], least: number[], shown: readonly number[], excess: number): number[] {
  const widths = [...natural];
  const slack = (index: number) => (widths[index] ?? 0) - (least[index] ?? 0);
  for (let left = excess; left > 0; left--) {
    const candidates = shown.filter((index) => slack(index) > 0);
    const widest = candidates.reduce<number | undefined>(
      (best, index) => (best === undefined || (widths[index] ?? 0) > (widths[best] ?? 0) ? index : best),
      undefined,
    );
    if (widest === undefined) {
      break;
    }
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}
