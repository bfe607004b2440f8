// Somebody who talks: through a pipe, and at a terminal whose screen can be looked at.

import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import xterm from "@xterm/headless";
import { type ConversationModel, type ConversationOptions, runConversation } from "../../src/cli/conversation.js";
import type { Script } from "./fake-model.js";

/** Answers "re: " and the last user message. */
export const echo: Script = (prompt) =>
  `re: ${prompt.slice(prompt.lastIndexOf("User: ") + "User: ".length, -"<|eot_id|>Assistant: ".length)}<|eot_id|>`;

/** One conversation with somebody who types. */
export class Talk {
  readonly stdin = Object.assign(new PassThrough(), { isTTY: false });
  readonly stdout = Object.assign(new PassThrough(), { isTTY: false });
  readonly stderr = Object.assign(new PassThrough(), { isTTY: false });
  readonly signals = new EventEmitter();
  readonly raised: NodeJS.Signals[] = [];
  readonly raise = (signal: NodeJS.Signals): void => void this.raised.push(signal);
  out = "";
  err = "";
  readonly end: Promise<unknown>;

  constructor(model: ConversationModel, options: ConversationOptions = {}, isTTY = false) {
    for (const stream of [this.stdin, this.stdout, this.stderr]) {
      stream.isTTY = isTTY;
    }
    this.stdout.on("data", (chunk) => {
      this.out += chunk;
    });
    this.stderr.on("data", (chunk) => {
      this.err += chunk;
    });
    this.end = runConversation(model, { historyFile: false, ...options }, this).catch((error: unknown) => error);
  }

  type(text: string): void {
    this.stdin.write(text);
  }

  interrupt(): void {
    this.signals.emit("SIGINT");
  }

  async until(text: string, where: "out" | "err" = "out", from = 0): Promise<number> {
    for (let tries = 0; tries < 10_000; tries++) {
      const at = this[where].indexOf(text, from);
      if (at >= 0) {
        return at + text.length;
      }
      await sleep(5);
    }
    throw new Error(`"${text}" is not in ${where}: ${JSON.stringify(this[where])}`);
  }
}

/** A whole conversation through a pipe. */
export async function talk(model: ConversationModel, input: string, options: ConversationOptions = {}): Promise<Talk> {
  const conversation = new Talk(model, options);
  conversation.stdin.end(input);
  const error = await conversation.end;
  if (error !== undefined) {
    throw error;
  }
  return conversation;
}

/** A conversation at a terminal. What it shows is what a terminal emulator makes of it. */
export class TerminalTalk extends Talk {
  readonly #screen: InstanceType<typeof xterm.Terminal>;

  constructor(model: ConversationModel, options: ConversationOptions, size: { columns: number; rows: number }) {
    super(model, options, true);
    this.#screen = new xterm.Terminal({ cols: size.columns, rows: size.rows, allowProposedApi: true });
    Object.assign(this.stdout, size);
    Object.assign(this.stderr, size);
    for (const stream of [this.stdout, this.stderr]) {
      // A terminal turns a line feed into a new line.
      stream.on("data", (chunk) => this.#screen.write(String(chunk).replace(/\r?\n/g, "\r\n")));
    }
  }

  resize(columns: number, rows: number): void {
    this.#screen.resize(columns, rows);
    for (const stream of [this.stdout, this.stderr]) {
      Object.assign(stream, { columns, rows });
      stream.emit("resize");
    }
  }

  /** The rows of the screen down to the last that is not empty. */
  get rows(): string[] {
    const buffer = this.#screen.buffer.active;
    const rows = Array.from({ length: this.#screen.rows }, (_, i) =>
      (buffer.getLine(buffer.baseY + i)?.translateToString(true) ?? "").trimEnd(),
    );
    return rows.slice(0, rows.findLastIndex((row) => row !== "") + 1);
  }

  get cursor(): { column: number; row: number } {
    const { cursorX, cursorY } = this.#screen.buffer.active;
    return { column: cursorX, row: cursorY };
  }

  /** Whether the character at this place is dim. */
  isDim(column: number, row: number): boolean {
    const buffer = this.#screen.buffer.active;
    return (
      buffer
        .getLine(buffer.baseY + row)
        ?.getCell(column)
        ?.isDim() !== 0
    );
  }

  /** Waits until the screen shows just this, with the cursor where "|" stands; else its last state is the error. */
  async shows(...expected: string[]): Promise<void> {
    for (let tries = 0; tries < 10_000 && this.#shown(expected).join("\n") !== expected.join("\n"); tries++) {
      await sleep(5);
    }
    const shown = this.#shown(expected);
    if (shown.join("\n") !== expected.join("\n")) {
      throw new Error(`expected\n${expected.join("\n")}\nbut the screen shows\n${shown.join("\n")}`);
    }
  }

  /** The last rows, as many as are expected, with the cursor as "|" if it is expected. */
  #shown(expected: readonly string[]): string[] {
    const rows = this.rows;
    const { column, row } = this.cursor;
    if (expected.some((line) => line.includes("|"))) {
      const line = rows[row] ?? "";
      rows[row] = insertAt(line, column);
    }
    return rows.slice(-expected.length).map((line) => (line ?? "").trimEnd());
  }
}

/** The cursor at this column of a row; a wide character takes two. */
function insertAt(row: string, column: number): string {
  let width = 0;
  let start = "";
  for (const { segment } of new Intl.Segmenter().segment(row.padEnd(column))) {
    if (width >= column) {
      break;
    }
    start += segment;
    width += /[\u1100-\uffff]|\p{Emoji_Presentation}/u.test(segment) ? 2 : 1;
  }
  return `${start}|${row.slice(start.length)}`;
}
