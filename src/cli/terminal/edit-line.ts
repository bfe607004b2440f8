// Line editing on a terminal: keys change the text, the view draws it, Enter ends it. Job control, pastes, completion.

import type { EventEmitter } from "node:events";
import { emitKeypressEvents } from "node:readline";
import { setImmediate as nextTurn } from "node:timers/promises";
import { LineBuffer } from "./line-buffer.js";
import { LineView } from "./line-view.js";
import type { OutputStream } from "./output.js";

export type TerminalInput = NodeJS.ReadableStream & {
  isTTY?: boolean;
  setRawMode?(mode: boolean): unknown;
  unref?(): unknown;
};

export type EditEvent =
  /** `isPasted`: has line breaks that were pasted or come from the history, so that it is to be taken as it is. */
  | { kind: "text"; text: string; isPasted: boolean }
  /** Ctrl-C; `empty`: nothing had been typed. */
  | { kind: "interrupt"; empty: boolean }
  | { kind: "end" };

export interface Completion {
  /** Where in the text before the cursor begins what is completed. */
  start: number;
  /** What may stand there instead. */
  candidates: readonly string[];
}

export interface EditOptions {
  input: TerminalInput;
  output: OutputStream;
  /** Earlier texts, newest first. */
  history: readonly string[];
  /** Does Enter make a new line, as the text is not at its end? */
  isUnfinished(text: string): boolean;
  complete(before: string): Completion;
  /** Where SIGCONT and SIGTSTP come from. */
  signals: Pick<EventEmitter, "on" | "off" | "emit">;
  /** Stops the process until it is continued: what Ctrl-Z is for. */
  stop(): void;
}

interface Key {
  name?: string;
  sequence?: string;
  ctrl?: boolean;
  meta?: boolean;
}

// Terminals mark pasted text on request, so that its line breaks do not send it piece by piece.
const markPastes = "\u001b[?2004h";
const dontMarkPastes = "\u001b[?2004l";

/** Code units of one text; what is typed or pasted beyond them is dropped. */
export const maxTextLength = 1 << 24;
/** Keys that are kept while nobody reads. */
const maxKeysAhead = 1 << 16;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Names of keys as the table of actions has them: "ctrl-a", "meta-b", "left". */
function nameOf({ name, ctrl, meta, sequence }: Key): string {
  const key = sequence === "\u001f" ? "ctrl-_" : `${ctrl ? "ctrl-" : ""}${meta ? "meta-" : ""}${name}`;
  return sequence === "\u001b\r" || sequence === "\u001b\n" ? "meta-return" : key;
}

export class LineEditor {
  readonly #options: EditOptions;
  readonly #view: LineView;
  readonly #buffer = new LineBuffer();
  readonly #history: string[];
  #place = -1; // in the history; -1: what is being typed
  #draft = ""; // that, while an earlier text is shown
  #isPasted = false;
  #paste: string[] | undefined; // its pieces, while one comes in
  #keysAhead: Key[] = [];
  #resolve: ((event: EditEvent) => void) | undefined; // while somebody reads
  #isEnded = false;
  #prompts = { first: "", next: "" };
  #isEditing = false;
  #isDrawn = true;
  #lastKeyWasTab = false;
  readonly #actions: Readonly<Record<string, () => void>>;

  constructor(options: EditOptions) {
    this.#options = options;
    this.#view = new LineView(options.output);
    this.#history = [...options.history];
    this.#actions = this.#listActions();
    const { input } = options;
    emitKeypressEvents(input);
    input.on("keypress", (_, key: Key) => this.#receive(key));
    input.on("end", () => this.#end());
    input.on("error", () => this.#end()); // the terminal is gone
    input.pause();
  }

  /** The next text, which begins with `begun`, an interrupt or the end of the input. */
  read(first: string, next: string, begun = ""): Promise<EditEvent> {
    if (this.#isEnded) {
      return Promise.resolve({ kind: "end" });
    }
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#prompts = { first, next };
      this.#buffer.insert(begun);
      this.#startEditing();
      this.#view.begin(this.#prompts, this.#buffer);
      const keys = this.#keysAhead;
      this.#keysAhead = [];
      for (const key of keys) {
        this.#receive(key);
      }
      if (this.#resolve !== undefined) {
        this.#options.input.resume();
      }
    });
  }

  /** What Ctrl-C does while somebody reads; also for a signal from outside. */
  interrupt(): void {
    if (this.#resolve === undefined) {
      return;
    }
    const empty = this.#buffer.text === "" && this.#paste === undefined;
    this.#paste = undefined;
    this.#finish({ kind: "interrupt", empty }, "^C");
  }

  /** For the arrow keys. The same text twice in a row is kept once. */
  remember(text: string): void {
    if (text.trim() !== "" && text !== this.#history[0]) {
      this.#history.unshift(text);
    }
  }

  /** The terminal is as it was before. */
  close(): void {
    this.#isEnded = true;
    this.#stopEditing();
    this.#options.input.pause();
  }

  #startEditing(): void {
    const { input, output, signals } = this.#options;
    this.#isEditing = true;
    input.setRawMode?.(true);
    output.write(markPastes);
    signals.on("SIGCONT", this.#continue);
    signals.on("SIGTSTP", this.#suspend);
    output.on("resize", this.#draw);
  }

  /** Without editing the terminal is in its own line mode, in which Ctrl-C and Ctrl-Z are signals. */
  #stopEditing(): void {
    if (!this.#isEditing) {
      return;
    }
    this.#isEditing = false;
    const { input, output, signals } = this.#options;
    signals.off("SIGCONT", this.#continue);
    signals.off("SIGTSTP", this.#suspend);
    output.off("resize", this.#draw);
    input.setRawMode?.(false);
    output.write(dontMarkPastes);
  }

  /** Ctrl-Z: the shell gets its terminal back, and the process stops. */
  readonly #suspend = async (): Promise<void> => {
    this.#view.end(this.#buffer);
    this.#stopEditing();
    this.#options.stop();
    // Where nobody can continue it, the system does not stop the process. Else it stands still here.
    await nextTurn();
    this.#startEditing();
    this.#continue();
  };

  /** After a stop: the shell has had the terminal, which may have another size. */
  readonly #continue = (): void => {
    const { input, output, signals } = this.#options;
    input.setRawMode?.(false); // the mode that Node knows of may be gone
    input.setRawMode?.(true);
    output.off("resize", this.#draw);
    signals.emit("SIGWINCH", "SIGWINCH"); // has Node ask for the size
    output.on("resize", this.#draw);
    this.#view.begin(this.#prompts, this.#buffer);
  };

  #receive(key: Key): void {
    if (this.#resolve === undefined) {
      if (this.#keysAhead.length < maxKeysAhead) {
        this.#keysAhead.push(key);
      }
    } else if (key.ctrl && key.name === "c") {
      this.interrupt();
    } else if (key.name === "paste-start") {
      this.#paste = [];
    } else if (this.#paste === undefined) {
      this.#press(key);
    } else if (key.name === "paste-end") {
      const text = this.#paste.join("");
      this.#paste = undefined;
      this.#insertPaste(text);
    } else {
      this.#paste.push(key.sequence?.startsWith("\u001b") ? "" : (key.sequence ?? ""));
    }
  }

  #press(key: Key): void {
    const name = nameOf(key);
    const action = this.#actions[name];
    const { sequence = "" } = key;
    if (action !== undefined) {
      action();
    } else if (!sequence.startsWith("\u001b")) {
      this.#insert(sequence);
    }
    this.#lastKeyWasTab = name === "tab";
    this.#drawSoon();
  }

  #listActions(): Record<string, () => void> {
    const buffer = this.#buffer;
    const left = () => buffer.moveLeft("character");
    const right = () => buffer.moveRight("character");
    const wordLeft = () => buffer.moveLeft("word");
    const wordRight = () => buffer.moveRight("word");
    const home = () => buffer.moveLeft("line");
    const end = () => buffer.moveRight("line");
    const up = () => buffer.moveLine(-1) || this.#recall(1);
    const down = () => buffer.moveLine(1) || this.#recall(-1);
    const backspace = () => buffer.deleteLeft("character");
    const deleteWord = () => buffer.deleteLeft("word");
    const send = () => this.#enter();
    return {
      ...{ return: send, enter: send, "meta-return": () => this.#insert("\n"), tab: () => this.#completeText() },
      ...{ left, right, up, down, home, end, "ctrl-b": left, "ctrl-f": right, "ctrl-p": up, "ctrl-n": down },
      ...{ "ctrl-a": home, "ctrl-e": end, "ctrl-left": wordLeft, "ctrl-right": wordRight },
      ...{ "meta-left": wordLeft, "meta-right": wordRight, "meta-b": wordLeft, "meta-f": wordRight },
      ...{ backspace, "ctrl-h": backspace, "ctrl-w": deleteWord, "meta-backspace": deleteWord },
      ...{ "ctrl-backspace": deleteWord, delete: () => buffer.deleteRight("character") },
      ...{ "ctrl-delete": () => buffer.deleteRight("word"), "meta-d": () => buffer.deleteRight("word") },
      ...{ "ctrl-u": () => buffer.deleteLeft("line"), "ctrl-k": () => buffer.deleteRight("line") },
      ...{ "ctrl-y": () => buffer.yank(), "ctrl-_": () => buffer.undo() },
      "ctrl-d": () => (buffer.text === "" ? this.#end() : buffer.deleteRight("character")),
      "ctrl-l": () => this.#view.clearScreen(buffer),
      "ctrl-z": () => void this.#suspend(),
    };
  }

  #insert(text: string): void {
    const room = maxTextLength - this.#buffer.text.length;
    this.#buffer.insert(text.replace(controls, "").slice(0, room));
  }

  /** Line breaks of a text that is begun as a block belong to the block. */
  #insertPaste(paste: string): void {
    const text = paste.replace(/\r\n?/g, "\n");
    this.#isPasted ||= text.includes("\n") && !this.#options.isUnfinished(this.#buffer.text);
    this.#insert(text);
    this.#drawSoon();
  }

  #enter(): void {
    const { text } = this.#buffer;
    if (!this.#isPasted && this.#options.isUnfinished(text)) {
      this.#buffer.moveToEnd();
      this.#insert("\n");
      return;
    }
    this.#finish({ kind: "text", text, isPasted: this.#isPasted });
  }

  /** To an earlier text that begins with what was typed, or back. */
  #recall(step: 1 | -1): void {
    if (this.#place < 0) {
      this.#draft = this.#buffer.text;
    }
    let place = this.#place + step;
    while (place >= 0 && this.#history[place]?.startsWith(this.#draft) === false) {
      place += step;
    }
    const text = place < 0 ? this.#draft : this.#history[place];
    if (text !== undefined && (place >= 0 || this.#place >= 0)) {
      this.#place = Math.max(-1, place);
      this.#buffer.set(text);
      this.#isPasted = text.includes("\n");
    }
  }

  /** What all candidates begin with; at a second Tab a list of them. */
  #completeText(): void {
    const { text, cursor } = this.#buffer;
    const { start, candidates } = this.#options.complete(text.slice(0, cursor));
    const common = commonStart(candidates);
    if (common.length > cursor - start) {
      this.#buffer.replace(start, cursor, common);
    } else if (candidates.length > 1 && this.#lastKeyWasTab) {
      this.#view.showList(candidates, this.#buffer);
    }
  }

  #end(): void {
    this.#isEnded = true;
    if (this.#resolve !== undefined) {
      this.#finish({ kind: "end" });
    }
  }

  /** Leaves what was typed on the screen, and gives the terminal back. */
  #finish(event: EditEvent, mark = ""): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    this.#options.input.pause();
    this.#view.end(this.#buffer, mark);
    this.#stopEditing();
    this.#buffer.reset();
    this.#place = -1;
    this.#isPasted = false;
    resolve?.(event);
  }

  /** Once for all keys that came together. */
  #drawSoon(): void {
    if (this.#isDrawn) {
      this.#isDrawn = false;
      queueMicrotask(this.#draw);
    }
  }

  readonly #draw = (): void => {
    this.#isDrawn = true;
    if (this.#isEditing) {
      this.#view.draw(this.#buffer);
    }
  };
}

function commonStart(texts: readonly string[]): string {
  const [first = "", ...rest] = texts;
  let length = first.length;
  while (!rest.every((text) => text.startsWith(first.slice(0, length)))) {
    length--;
  }
  return first.slice(0, length);
}
