// Reads messages: with line editing from a terminal, line by line from a pipe and from a terminal that cannot edit.

import type { EventEmitter } from "node:events";
import { type Completion, type EditEvent, LineEditor, maxTextLength, type TerminalInput } from "./edit-line.js";
import { LineReader } from "./line-reader.js";
import { goesOnAfter, isUnfinished, type Message, readMessage } from "./message-source.js";
import type { OutputStream } from "./output.js";

export type ReplInput = TerminalInput;

export type ReplEvent =
  | ({ kind: "message" } & Message)
  /** Dropped, as it has more code units than any message. */
  | { kind: "tooLong"; limit: number }
  /** Ctrl-C while reading; `empty`: nothing had been typed. */
  | { kind: "interrupt"; empty: boolean }
  | { kind: "end" };

export interface ReplOptions {
  input: ReplInput;
  /** Where prompts and the edited line go. */
  output: OutputStream;
  /** Earlier messages, newest first. */
  history?: readonly string[];
  /** Called with every message that was edited and is not blank, as the arrow keys shall bring it back. */
  onMessage?(text: string): void;
  /** What Tab completes of the text before the cursor. Default: nothing. */
  complete?(before: string): Completion;
  /** Where SIGCONT and SIGTSTP come from. */
  signals: Pick<EventEmitter, "on" | "off" | "emit">;
  /** Stops the process, as Ctrl-Z is to. */
  stop(): void;
}

/**
 * A message is a line; a backslash at its end joins the next line to it, and everything between """ and """ is one
 * message, as is a text pasted into a terminal. Prompts are written to terminals only.
 */
export class Repl {
  readonly #options: ReplOptions;
  readonly #editor: LineEditor | undefined;
  readonly #lines: LineReader | undefined;
  #interrupted: { empty: boolean } | undefined; // while lines are read
  #reading: MessageLines | undefined;
  readonly isInteractive: boolean;

  constructor(options: ReplOptions) {
    this.#options = options;
    const { input, output } = options;
    this.isInteractive = input.isTTY === true && output.isTTY === true;
    if (this.isInteractive && process.env.TERM !== "dumb") {
      this.#editor = new LineEditor({
        ...options,
        history: options.history ?? [],
        complete: options.complete ?? ((before) => ({ start: before.length, candidates: [] })),
        isUnfinished,
      });
    } else {
      this.#lines = new LineReader(input, maxTextLength);
    }
  }

  /** What Ctrl-C does while a message is read; also for a signal from outside. */
  interrupt(): void {
    this.#editor?.interrupt();
    if (this.#lines !== undefined && this.#reading !== undefined) {
      this.#interrupted = { empty: this.#reading.isEmpty && !this.#lines.hasPart };
      this.#lines.release();
    }
  }

  /** The next message, which begins with `begun`, an interrupt or the end of the input. */
  async read(prompt: string, continuedPrompt: string, begun = ""): Promise<ReplEvent> {
    if (this.#editor !== undefined) {
      return this.#toEvent(await this.#editor.read(prompt, continuedPrompt, begun));
    }
    const message = new MessageLines();
    for (const text of begun.split("\n").slice(0, -1)) {
      message.add({ text, isTooLong: false });
    }
    this.#reading = message;
    const event = await this.#readLines(message, prompt, continuedPrompt);
    this.#reading = undefined;
    if (this.isInteractive && (event.kind === "interrupt" || event.kind === "end")) {
      this.#options.output.write("\n");
    }
    return event;
  }

  close(): void {
    this.#editor?.close();
    this.#lines?.close();
    this.#options.input.unref?.(); // a pipe that stays open must not keep the process
  }

  #toEvent(event: EditEvent): ReplEvent {
    if (event.kind !== "text") {
      return event;
    }
    const { text, isPasted } = event;
    const message = isPasted ? { text: text.replace(/\n$/, ""), isBlock: false } : readMessage(text);
    if (text.trim() !== "") {
      // The arrow keys bring back the message itself, unless it would be another one then.
      const isSame = message.text.includes("\n") && !message.text.startsWith("/");
      const kept = isSame ? message.text : text;
      this.#editor?.remember(kept);
      this.#options.onMessage?.(kept);
    }
    return { kind: "message", ...message };
  }

  async #readLines(message: MessageLines, prompt: string, continuedPrompt: string): Promise<ReplEvent> {
    for (;;) {
      if (this.isInteractive) {
        this.#options.output.write(message.isEmpty ? prompt : continuedPrompt);
      }
      const event = await this.#lines?.read();
      if (this.#interrupted !== undefined || event === undefined) {
        const { empty = true } = this.#interrupted ?? {};
        this.#interrupted = undefined;
        return { kind: "interrupt", empty };
      }
      if (event.kind === "end") {
        return message.isEmpty ? event : message.finish();
      }
      message.add(event);
      if (!message.goesOn) {
        return message.finish();
      }
    }
  }
}

/** The lines of one message, as they come. */
class MessageLines {
  #lines: string[] = [];
  #first: string | undefined;
  #last: string | undefined; // another one than the first
  #length = 0;
  #isTooLong = false;

  get isEmpty(): boolean {
    return this.#first === undefined;
  }

  get goesOn(): boolean {
    const first = this.#first ?? "";
    return this.#last === undefined ? isUnfinished(first) : goesOnAfter(first, this.#last);
  }

  add({ text, isTooLong }: { text: string; isTooLong: boolean }): void {
    if (this.#first === undefined) {
      this.#first = text;
    } else {
      this.#last = text;
    }
    this.#length += text.length + 1;
    this.#isTooLong ||= isTooLong || this.#length > maxTextLength;
    if (this.#isTooLong) {
      this.#lines = [];
    } else {
      this.#lines.push(text);
    }
  }

  finish(): ReplEvent {
    return this.#isTooLong
      ? { kind: "tooLong", limit: maxTextLength }
      : { kind: "message", ...readMessage(this.#lines.join("\n")) };
  }
}
