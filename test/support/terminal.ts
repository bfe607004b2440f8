// Streams that keep what was written, and a terminal small enough to read: it knows what progress bars and tables use.

import { PassThrough } from "node:stream";
import displayWidth from "string-width";

export class FakeStream extends PassThrough {
  readonly isTTY: boolean;
  columns?: number;
  written = "";

  constructor(isTTY: boolean, columns?: number) {
    super();
    this.isTTY = isTTY;
    this.columns = columns;
    this.on("data", (chunk) => {
      this.written += chunk;
    });
  }

  /** Another width, as the terminal tells it. */
  resize(columns: number): void {
    this.columns = columns;
    this.emit("resize");
  }
}

/**
 * The rows that a terminal of this width shows after `text`. Rows that are too long are wrapped. Unknown sequences throw:
 * what a test cannot read it should not accept.
 */
export function renderRows(text: string, columns: number): string[] {
  const screen = new Rows(columns);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is read
  for (const [token, sequence] of text.matchAll(/\u001b\[([?\d;]*[A-Za-z])|\n|\r|[^\u001b\n\r]+/g)) {
    if (sequence !== undefined) {
      screen.control(sequence);
    } else if (token === "\n") {
      screen.move(1);
      screen.column = 0;
    } else if (token === "\r") {
      screen.column = 0;
    } else {
      screen.print(token);
    }
  }
  return screen.rows.map((row) => row.join("").trimEnd());
}

class Rows {
  rows: string[][] = [[]];
  row = 0;
  column = 0;
  #wraps = true;

  readonly columns: number;

  constructor(columns: number) {
    this.columns = columns;
  }

  move(by: number): void {
    this.row = Math.max(0, this.row + by);
    while (this.rows.length <= this.row) {
      this.rows.push([]);
    }
  }

  print(text: string): void {
    for (const { segment } of new Intl.Segmenter().segment(text)) {
      const width = displayWidth(segment);
      if (this.column + width > this.columns) {
        if (!this.#wraps) {
          this.column = this.columns - width;
        } else {
          this.move(1);
          this.column = 0;
        }
      }
      const cells = this.rows[this.row] ?? [];
      while (cells.length < this.column) {
        cells.push(" ");
      }
      cells.splice(this.column, width, segment, ...Array(Math.max(0, width - 1)).fill(""));
      this.column += width;
    }
  }

  control(sequence: string): void {
    const count = Number.parseInt(sequence, 10) || 1;
    const cells = this.rows[this.row] ?? [];
    if (sequence.endsWith("A")) {
      this.move(-count);
    } else if (sequence.endsWith("G")) {
      this.column = count - 1;
    } else if (sequence === "0K") {
      cells.length = Math.min(cells.length, this.column);
    } else if (sequence === "2K") {
      cells.length = 0;
    } else if (sequence === "0J") {
      cells.length = Math.min(cells.length, this.column);
      this.rows.length = this.row + 1;
    } else if (sequence === "?7l" || sequence === "?7h") {
      this.#wraps = sequence === "?7h";
    } else if (!/^(\?25[lh]|[\d;]*m)$/.test(sequence)) {
      throw new Error(`what does ${JSON.stringify(sequence)} do?`);
    }
  }
}
