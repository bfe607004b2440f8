// What a conversation writes, and where: answers on stdout, all else on stderr, hints only on a terminal.

import type { GenerateTimings } from "../../engine/generate.js";
import type { BitnetError } from "../../system/errors.js";
import { withoutControls } from "./format.js";
import { dimmed, hasColors, isScreen, log, type OutputStream, reportError, writeJson, writeText } from "./output.js";
import { StatusLine } from "./status-line.js";
import { readerReady } from "./streams.js";
import { describeTimings } from "./timings.js";
import { displayWidth, padToWidth } from "./width.js";
import { WordWrap, wrapText } from "./word-wrap.js";

export interface ScreenOptions {
  /** Results are JSON. */
  json?: boolean;
  /** Nothing on stderr but errors and what was asked for. */
  quiet?: boolean;
  /** What the model thinks is not shown. */
  hideThinking?: boolean;
}

/** What a second column needs to stand beside the first. */
const leastColumn = 20;

type PieceKind = "thinking" | "text";

export class Screen {
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #options: ScreenOptions;
  readonly #status: StatusLine;
  #wrap: WordWrap | undefined; // of the answer that is being written
  #kind: PieceKind | undefined; // of its last piece
  #endsLine = true; // what was written
  #thought = 0; // pieces that are hidden
  /** Whether answers are wrapped between words on a terminal. */
  wrapsWords = true;
  readonly json: boolean;
  /** The terminal on which lines are edited. */
  readonly promptOutput: OutputStream;

  constructor(stdout: OutputStream, stderr: OutputStream, options: ScreenOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#options = options;
    this.json = options.json ?? false;
    this.promptOutput = stdout.isTTY && !this.json ? stdout : stderr;
    this.#status = new StatusLine(stderr, !options.quiet);
  }

  /** A piece of an answer. What the model thinks is for who sits there: it is not part of the answer. */
  answer(kind: PieceKind, text: string): void {
    if (kind === "thinking" && (this.#options.hideThinking || !this.#stdout.isTTY)) {
      this.status(`thinking, ${++this.#thought} tokens`);
      return;
    }
    this.#status.clear();
    if (kind !== this.#kind) {
      this.#beginPart(kind);
    }
    this.#write(text);
  }

  /** Ends an answer, at the beginning of a new line. */
  finishAnswer(): void {
    this.#status.clear();
    if (this.#kind !== undefined) {
      this.#endPart();
    } else if (!this.json) {
      this.#stdout.write("\n"); // an answer without text is one, too
    }
    this.#kind = undefined;
    this.#wrap = undefined;
    this.#thought = 0;
  }

  /** Tells what is going on until there is something to write; not in the middle of a line. */
  status(text: string): void {
    if (this.#kind === undefined) {
      this.#status.show(text);
    }
  }

  /** Waits for a slow reader of the answers. */
  ready(signal: AbortSignal): Promise<void> {
    return readerReady(this.#stdout, signal);
  }

  result(value: unknown): void {
    this.#status.clear();
    writeJson(value, this.#stdout);
  }

  /** What somebody sitting there wants to know. */
  hint(text: string): void {
    if (this.#stderr.isTTY) {
      this.note(text);
    }
  }

  /** What should be known wherever stderr goes. */
  note(text: string): void {
    if (!this.#options.quiet) {
      this.say(text);
    }
  }

  /** What was asked for. */
  say(text: string): void {
    this.#status.clear();
    log(isScreen(this.#stderr) ? wrapText(text, this.#stderr.columns || 80) : text, this.#stderr);
  }

  /** The same in two columns. */
  sayRows(rows: readonly (readonly [string, string])[]): void {
    const columns = isScreen(this.#stderr) ? this.#stderr.columns || 80 : Number.POSITIVE_INFINITY;
    const width = Math.max(0, ...rows.map(([first]) => displayWidth(first))) + 2;
    const indent = columns - width < leastColumn ? 2 : width;
    const lines = rows.map(([first, second]) => {
      const text = wrapText(second, columns - indent).replaceAll("\n", `\n${" ".repeat(indent)}`);
      return `${padToWidth(first, width)}${indent < width ? `\n${" ".repeat(indent)}` : ""}${text}`.trimEnd();
    });
    log(lines.join("\n"), this.#stderr);
  }

  error(error: BitnetError): void {
    this.#status.clear();
    reportError(error, false, this.#stderr);
  }

  reportTotals(totals: GenerateTimings): void {
    if (totals.promptTokens > 0) {
      this.note(describeTimings(totals).join("\n"));
    }
  }

  #beginPart(kind: PieceKind): void {
    const isPlain = kind === "thinking" && !hasColors(this.#stdout);
    if (this.#kind !== undefined) {
      this.#endPart();
      this.#stdout.write("\n");
    }
    if (isPlain) {
      this.#stdout.write("Thinking:\n");
    }
    this.#kind = kind;
    const wraps = this.wrapsWords && isScreen(this.#stdout);
    this.#wrap = wraps ? new WordWrap(() => this.#stdout.columns || 80) : undefined;
    this.#endsLine = true;
  }

  #endPart(): void {
    const rest = this.#wrap?.flush() ?? "";
    this.#paint(rest);
    if (!this.#endsLine) {
      this.#stdout.write("\n");
    }
  }

  #write(text: string): void {
    this.#paint(this.#wrap === undefined ? text : this.#wrap.push(withoutControls(text)));
  }

  #paint(text: string): void {
    if (text === "") {
      return;
    }
    this.#endsLine = text.endsWith("\n");
    if (this.#kind === "thinking") {
      this.#stdout.write(dimmed(text, this.#stdout));
    } else {
      writeText(text, this.#stdout);
    }
  }
}
