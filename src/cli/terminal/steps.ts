// Work in steps, on stderr: on a terminal a spinner that becomes a tick or a cross, elsewhere a line each.

import type { Ora } from "ora";
import { formatDuration } from "./bar.js";
import { oneLine } from "./format.js";
import { colorsOf, columnsOf, fitMessage, isScreen, logLine, note, type OutputStream } from "./output.js";
import { createProgress, type Progress, type ProgressUnit, type Retry } from "./progress.js";
import { cutLine } from "./width.js";

export interface Step {
  /** While it runs: "Downloading owner/name". */
  doing: string;
  /** When it is done: "Downloaded owner/name". */
  done: string;
  /** What was asked for, and no line of its own where there is no terminal. */
  isObvious?: boolean;
}

export interface Steps {
  /** The step that runs is done, and another one begins. */
  begin(step: Step): void;
  /** How far the running step is: bars instead of the spinner. `what`: the name of the bars. */
  progress(what: string, unit?: ProgressUnit): Progress;
  retry(retry: Retry): void;
  /** A line of the running step. */
  line(text: string): void;
  /** Something to know. */
  note(text: string): void;
  /** Ends the running step; `text`: what came of it, default: that it is done. */
  succeed(text?: string): void;
  /** Ends the running step: it failed, or was stopped. */
  fail(): void;
}

export interface StepsOptions {
  stream?: OutputStream;
  /** Only progress and notes, for results that are data. */
  json?: boolean;
  /** Nothing at all. */
  quiet?: boolean;
}

const silentProgress: Progress = { update() {}, line() {}, note() {}, retry() {}, stop() {} };
const silentSteps: Steps = {
  begin() {},
  progress: () => silentProgress,
  retry() {},
  line() {},
  note() {},
  succeed() {},
  fail() {},
};

/** Packages for a terminal are loaded only where there is one. */
export async function createSteps(options: StepsOptions = {}): Promise<Steps> {
  const { stream = process.stderr, json = false, quiet = false } = options;
  if (quiet) {
    return silentSteps;
  }
  // A terminal may say that it has 0 columns; ora would divide by them.
  if (json || !isScreen(stream) || stream.columns === 0) {
    return new PlainSteps(stream, json);
  }
  const { default: ora } = await import("ora");
  return new ScreenSteps(stream, (text) =>
    ora({ text, stream, discardStdin: false, isEnabled: true, color: colorsOf(stream).level > 0 ? "cyan" : false }),
  );
}

/** One display of progress at a time. */
class ShownProgress {
  readonly #stream: OutputStream;
  #shown: { what: string; progress: Progress } | undefined;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  get current(): Progress | undefined {
    return this.#shown?.progress;
  }

  get(what: string, unit: ProgressUnit): Progress {
    if (this.#shown?.what !== what) {
      this.stop();
      this.#shown = { what, progress: createProgress(what, unit, this.#stream) };
    }
    return this.#shown?.progress ?? silentProgress;
  }

  stop(): void {
    this.#shown?.progress.stop();
    this.#shown = undefined;
  }
}

class PlainSteps implements Steps {
  readonly #stream: OutputStream;
  readonly #isData: boolean;
  readonly #progress: ShownProgress;

  constructor(stream: OutputStream, isData: boolean) {
    this.#stream = stream;
    this.#isData = isData;
    this.#progress = new ShownProgress(stream);
  }

  begin({ doing, isObvious = false }: Step): void {
    this.#progress.stop();
    if (!this.#isData && !isObvious) {
      this.line(doing);
    }
  }

  progress(what: string, unit: ProgressUnit = "bytes"): Progress {
    return this.#progress.get(what, unit);
  }

  retry(retry: Retry): void {
    this.#progress.get("waiting", "steps").retry(retry);
  }

  line(text: string): void {
    if (this.#progress.current === undefined) {
      logLine(text, this.#stream);
    } else {
      this.#progress.current.line(text);
    }
  }

  note(text: string): void {
    this.#progress.stop();
    note(text, this.#stream);
  }

  succeed(text?: string): void {
    this.#progress.stop();
    if (text !== undefined && !this.#isData) {
      this.line(text);
    }
  }

  fail(): void {
    this.#progress.stop();
  }
}

/** From so many seconds on it is said how long a step took. */
const longStep = 2;

class ScreenSteps implements Steps {
  readonly #stream: OutputStream;
  readonly #createSpinner: (text: string) => Ora;
  readonly #progress: ShownProgress;
  #running: { step: Step; spinner: Ora; begun: number } | undefined;

  constructor(stream: OutputStream, createSpinner: (text: string) => Ora) {
    this.#stream = stream;
    this.#createSpinner = createSpinner;
    this.#progress = new ShownProgress(stream);
  }

  begin(step: Step): void {
    this.succeed();
    const room = (columnsOf(this.#stream) ?? 80) - 3; // beside the spinner
    const spinner = this.#createSpinner(cutLine(`${step.doing} ...`, room)).start();
    this.#running = { step, spinner, begun: performance.now() };
  }

  progress(what: string, unit: ProgressUnit = "bytes"): Progress {
    this.#running?.spinner.stop();
    return this.#progress.get(what, unit);
  }

  retry(retry: Retry): void {
    (this.#progress.current ?? this.progress("waiting", "steps")).retry(retry);
  }

  line(text: string): void {
    this.#above(text, logLine);
  }

  note(text: string): void {
    this.#above(text, note);
  }

  succeed(text?: string): void {
    this.#end(colorsOf(this.#stream).green(process.env.TERM === "linux" ? "√" : "✔"), text);
  }

  fail(): void {
    this.#end(colorsOf(this.#stream).red(process.env.TERM === "linux" ? "×" : "✖"), this.#running?.step.doing);
  }

  /** Writes while nothing is drawn. */
  #above(text: string, write: typeof logLine): void {
    const { current } = this.#progress;
    if (current !== undefined) {
      current.line(text);
      return;
    }
    this.#running?.spinner.stop();
    write(text, this.#stream);
    this.#running?.spinner.start();
  }

  #end(symbol: string, text?: string): void {
    this.#progress.stop();
    const running = this.#running;
    this.#running = undefined;
    running?.spinner.stop();
    const what = text ?? running?.step.done;
    if (what !== undefined) {
      const seconds = running === undefined ? 0 : (performance.now() - running.begun) / 1000;
      const took = seconds >= longStep ? `(${formatDuration(seconds)})` : "";
      const text = fitMessage(`${oneLine(what)} ${took}`.trimEnd(), "✔ ", this.#stream);
      const dimTook = took === "" ? "" : colorsOf(this.#stream).dim(took);
      this.#stream.write(`${symbol} ${text.slice(0, text.length - took.length)}${dimTook}\n`);
    }
  }
}
