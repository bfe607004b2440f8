// Reads messages from a terminal or a pipe: line editing and history by node:readline, continued lines, text blocks.

import { createInterface, type Interface } from "node:readline";
import { maxHistory } from "./history.js";
import type { OutputStream } from "./output.js";

export type ReplInput = NodeJS.ReadableStream & {
  isTTY?: boolean;
  setRawMode?(mode: boolean): unknown;
  unref?(): unknown;
};

export type ReplEvent =
  | { kind: "message"; text: string }
  /** Ctrl-C while reading; `empty`: nothing had been typed. */
  | { kind: "interrupt"; empty: boolean }
  | { kind: "end" };

type LineEvent = { kind: "line"; text: string; pasted: boolean } | Exclude<ReplEvent, { kind: "message" }>;

export interface ReplOptions {
  input: ReplInput;
  /** Where prompts and the edited line go. */
  output: OutputStream;
  /** Earlier lines, newest first. */
  history?: string[];
  /** Called with every line read from a terminal that is not blank. */
  onLine?(line: string): void;
}

const blockMark = '"""';

// Terminals mark pasted text on request, so that its line breaks do not send it piece by piece.
const markPastes = "\u001b[?2004h";
const dontMarkPastes = "\u001b[?2004l";

/**
 * A message is a line; a backslash at its end joins the next line to it, and everything between """ and """ is one
 * message, as is a text pasted into a terminal. Prompts are written to terminals only.
 */
export class Repl {
  readonly #options: ReplOptions;
  readonly #lines: Interface;
  readonly #queue: LineEvent[] = []; // read ahead, as from a pasted text
  #waiting: ((event: LineEvent) => void) | undefined;
  #ended = false;
  #isReading = false; // line editing is on
  #isPasting = false;
  #pasted: string[] = []; // whole lines, to be sent with the line that ends them
  readonly isInteractive: boolean;

  constructor(options: ReplOptions) {
    this.#options = options;
    const { input, output } = options;
    this.isInteractive = input.isTTY === true && output.isTTY === true;
    this.#lines = createInterface({
      input,
      output: this.isInteractive ? output : undefined,
      terminal: this.isInteractive,
      history: options.history ?? [],
      historySize: maxHistory,
      removeHistoryDuplicates: true,
      crlfDelay: Number.POSITIVE_INFINITY,
    });
    this.#lines.on("line", (text) => this.#receiveLine(text));
    this.#lines.on("close", () => this.#receive({ kind: "end" }));
    this.#lines.on("SIGINT", () => this.interrupt());
    if (this.isInteractive) {
      input.on("keypress", (_, key?: { name?: string }) => {
        if (key?.name === "paste-start" || key?.name === "paste-end") {
          this.#isPasting = key.name === "paste-start";
        }
      });
    }
    this.#lines.pause();
    this.#setEditing(false);
  }

  /** What Ctrl-C does while a message is read; also for a signal from outside. */
  interrupt(): void {
    const empty = this.#lines.line === "" && this.#pasted.length === 0;
    this.#pasted = [];
    if (this.isInteractive) {
      this.#options.output.write("^C\n");
    }
    if (this.isInteractive && !empty) {
      // To the end of the line, then delete all before it.
      this.#lines.write(null, { ctrl: true, name: "e" });
      this.#lines.write(null, { ctrl: true, name: "u" });
    }
    this.#receive({ kind: "interrupt", empty });
  }

  /** The next message, interrupt or end of input. */
  async read(prompt: string, continuedPrompt: string): Promise<ReplEvent> {
    const first = await this.#readLine(prompt);
    if (first.kind !== "line") {
      return first;
    }
    if (first.pasted) {
      return { kind: "message", text: first.text };
    }
    if (first.text.trimStart().startsWith(blockMark)) {
      return this.#readBlock(first.text.trimStart().slice(blockMark.length), continuedPrompt);
    }
    let text = first.text;
    while (/(^|[^\\])(\\\\)*\\$/.test(text)) {
      const next = await this.#readLine(continuedPrompt);
      if (next.kind === "interrupt") {
        return { kind: "interrupt", empty: false };
      }
      if (next.kind === "end") {
        break;
      }
      text = `${text.slice(0, -1)}\n${next.text}`;
    }
    return { kind: "message", text };
  }

  close(): void {
    this.#ended = true;
    this.#lines.close();
    this.#setEditing(false);
    this.#options.input.unref?.(); // a pipe that stays open must not keep the process
  }

  async #readBlock(first: string, prompt: string): Promise<ReplEvent> {
    const lines: string[] = [];
    for (let line = first; ; ) {
      const end = line.trimEnd();
      if (end.endsWith(blockMark)) {
        lines.push(end.slice(0, -blockMark.length));
        break;
      }
      lines.push(line);
      const next = await this.#readLine(prompt);
      if (next.kind === "interrupt") {
        return { kind: "interrupt", empty: false };
      }
      if (next.kind === "end") {
        break;
      }
      line = next.text;
    }
    return { kind: "message", text: lines.join("\n").replace(/^\n|\n$/g, "") };
  }

  #readLine(prompt: string): Promise<LineEvent> {
    const queued = this.#queue.shift();
    if (queued !== undefined) {
      return Promise.resolve(queued);
    }
    if (this.#ended) {
      return Promise.resolve({ kind: "end" });
    }
    return new Promise((resolve) => {
      this.#waiting = (event) => {
        this.#waiting = undefined;
        if (!this.#ended) {
          this.#lines.pause();
        }
        this.#setEditing(false);
        resolve(event);
      };
      if (this.isInteractive) {
        this.#setEditing(true);
        this.#lines.setPrompt(prompt);
        this.#lines.prompt();
      } else {
        this.#lines.resume();
      }
    });
  }

  #receiveLine(text: string): void {
    if (this.isInteractive && text.trim() !== "") {
      this.#options.onLine?.(text);
    }
    if (this.#isPasting) {
      this.#pasted.push(text);
      return;
    }
    const pasted = this.#pasted.length > 0;
    const whole = [...this.#pasted, text].join("\n");
    this.#pasted = [];
    this.#receive({ kind: "line", text: pasted ? whole.replace(/\n$/, "") : whole, pasted });
  }

  #receive(event: LineEvent): void {
    if (event.kind === "end") {
      this.#ended = true;
    }
    if (this.#waiting !== undefined) {
      this.#waiting(event);
    } else if (event.kind === "line") {
      this.#queue.push(event);
    }
  }

  /** Without it the terminal is in its own line mode, in which Ctrl-C is a signal. */
  #setEditing(on: boolean): void {
    if (!this.isInteractive) {
      return;
    }
    this.#options.input.setRawMode?.(on);
    if (on !== this.#isReading && process.env.TERM !== "dumb") {
      this.#options.output.write(on ? markPastes : dontMarkPastes);
    }
    this.#isReading = on;
  }
}
