// The terminal: results on stdout, everything else on stderr. Only the command line may use it.

import { Chalk, type ChalkInstance } from "chalk";
import type { BitnetError } from "../../system/errors.js";
import { stringifyJson } from "../../system/write-json.js";
import { oneLine, withoutControls, wrapWords } from "./format.js";

export type OutputStream = NodeJS.WritableStream & { isTTY?: boolean; columns?: number; rows?: number };

const plain = new Chalk({ level: 0 });
const coloured = new Chalk({ level: 1 });

/** Whether a stream takes colours: NO_COLOR (https://no-color.org) says no, FORCE_COLOR yes, else it is a terminal. */
export function hasColors(stream: OutputStream): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (NO_COLOR) {
    return false;
  }
  return FORCE_COLOR ? !["0", "false"].includes(FORCE_COLOR) : stream.isTTY === true && TERM !== "dumb";
}

/** Answers `hasColors` for this process and the libraries that it loads. */
export function setColors(when: "always" | "never"): void {
  process.env.NO_COLOR = when === "never" ? "1" : "";
  process.env.FORCE_COLOR = when === "never" ? "0" : "1";
}

export function colorsOf(stream: OutputStream): ChalkInstance {
  return hasColors(stream) ? coloured : plain;
}

/** Whether lines can be drawn anew. */
export function isScreen(stream: OutputStream): boolean {
  return Boolean(stream.isTTY) && process.env.TERM !== "dumb";
}

/** Columns of a terminal; undefined where the output goes elsewhere, which takes lines of any length. */
export function columnsOf(stream: OutputStream = process.stdout): number | undefined {
  return stream.isTTY ? stream.columns || 80 : undefined; // some terminals say 0
}

/** Text of this program's own, which may have colours. What comes from elsewhere goes through writeText or oneLine. */
export function write(text: string): void {
  process.stdout.write(text);
}

/** What a model wrote, or a file or a user: a terminal gets it without control characters, a pipe as it is. */
export function writeText(text: string, stdout: OutputStream = process.stdout): void {
  stdout.write(stdout.isTTY ? withoutControls(text) : text);
}

/** One result as JSON on one line. */
export function writeJson(value: unknown, stdout: OutputStream = process.stdout): void {
  stdout.write(`${stringifyJson(value)}\n`);
}

export function note(text: string, stderr: OutputStream = process.stderr): void {
  stderr.write(`${colorsOf(stderr).cyan("note:")} ${fitMessage(oneLine(text), "note: ", stderr)}\n`);
}

/** Text for the background of a terminal; without control characters. */
export function dimmed(text: string, stream: OutputStream): string {
  return colorsOf(stream).dim(withoutControls(text));
}

/** Lines for the background; on a terminal those that are too long are wrapped between words. */
export function log(text: string, stderr: OutputStream = process.stderr): void {
  const columns = columnsOf(stderr) ?? Number.POSITIVE_INFINITY;
  const fit = (line: string) => (line.length > columns ? wrapWords(line, columns).join("\n") : line);
  stderr.write(`${dimmed(text.split("\n").map(fit).join("\n"), stderr)}\n`);
}

/** Text of this program's own, which may have colours, and commands to copy: only the terminal itself wraps it. */
export function announce(text: string, stderr: OutputStream = process.stderr): void {
  stderr.write(`${text}\n`);
}

/** A line that may quote a name. */
export function logLine(text: string, stderr: OutputStream = process.stderr): void {
  log(oneLine(text), stderr);
}

/** A message behind its label: on a terminal wrapped between words, elsewhere as long as it is. */
export function fitMessage(text: string, label: string, stream: OutputStream): string {
  const columns = columnsOf(stream);
  return columns === undefined ? text : wrapWords(text, columns - label.length).join(`\n${" ".repeat(label.length)}`);
}

/** The error in one line, as it may quote a file's own text, its hint, and with `verbose` the stacks. */
export function reportError(error: BitnetError, verbose: boolean, stderr: OutputStream = process.stderr): void {
  const colors = colorsOf(stderr);
  stderr.write(`${colors.red("error:")} ${fitMessage(oneLine(error.message), "error: ", stderr)}\n`);
  if (error.hint !== undefined) {
    stderr.write(`${colors.yellow("hint:")} ${fitMessage(oneLine(error.hint), "hint: ", stderr)}\n`);
  }
  for (let cause: unknown = verbose ? error : undefined; cause instanceof Error; cause = cause.cause) {
    stderr.write(`${colors.dim(withoutControls(cause.stack ?? String(cause)))}\n`);
  }
}

let interrupt: AbortController | undefined;
let onInterrupt: () => void = () => {};

/** Fires at the first Ctrl-C; a second one kills. Until this is called, the first one kills. */
export function interruptSignal(): AbortSignal {
  if (interrupt === undefined) {
    const controller = new AbortController();
    interrupt = controller;
    // It stays after the first one: what restores a terminal at the end (signal-exit of ora) would else find that nobody
    // minds the signal, and end the process at once.
    onInterrupt = () => {
      if (controller.signal.aborted) {
        process.removeListener("SIGINT", onInterrupt);
        process.kill(process.pid, "SIGINT");
      }
      controller.abort();
    };
    process.on("SIGINT", onInterrupt);
  }
  return interrupt.signal;
}

let termination: AbortSignal | undefined;
let isTerminated = false;

/** Fires at the first Ctrl-C or SIGTERM: for work that saves what it has before it ends. */
export function terminationSignal(): AbortSignal {
  if (termination === undefined) {
    const controller = new AbortController();
    termination = AbortSignal.any([interruptSignal(), controller.signal]);
    process.once("SIGTERM", () => {
      isTerminated = true;
      controller.abort();
    });
  }
  return termination;
}

/** Whether SIGTERM has ended the work, which the exit status then tells. */
export function wasTerminated(): boolean {
  return isTerminated;
}

/** From here on somebody else minds Ctrl-C, every time: a chat. */
export function handOverInterrupts(): void {
  process.removeListener("SIGINT", onInterrupt);
}
