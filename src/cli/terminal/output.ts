// The terminal: results on stdout, everything else on stderr. Only cli.ts and the commands may use it.

import { Chalk, chalkStderr } from "chalk";
import type { BitnetError } from "../../system/errors.js";

// chalk looks at the terminal and FORCE_COLOR; NO_COLOR (https://no-color.org) is ours to respect.
const color = process.env.NO_COLOR ? new Chalk({ level: 0 }) : chalkStderr;

export function write(text: string): void {
  process.stdout.write(text);
}

/** What a model wrote: on a terminal it cannot move the cursor or change colours. */
export function writeText(text: string): void {
  write(process.stdout.isTTY ? withoutControls(text) : text);
}

function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

/** One result as JSON on one line. */
export function writeJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function note(text: string): void {
  process.stderr.write(`${color.cyan("note:")} ${text}\n`);
}

export function log(text: string): void {
  process.stderr.write(`${color.dim(text)}\n`);
}

export function reportError(error: BitnetError, verbose: boolean): void {
  process.stderr.write(`${color.red("error:")} ${oneLine(error.message)}\n`);
  if (error.hint !== undefined) {
    process.stderr.write(`${color.yellow("hint:")} ${error.hint}\n`);
  }
  for (let cause: unknown = verbose ? error : undefined; cause instanceof Error; cause = cause.cause) {
    process.stderr.write(`${color.dim(cause.stack ?? String(cause))}\n`);
  }
}

// Messages may quote a file's own strings: no line breaks and no control codes reach the terminal.
function oneLine(text: string): string {
  return withoutControls(text.replace(/\s*\n\s*/g, " "));
}

let interrupt: AbortController | undefined;

/** Fires at the first Ctrl-C; a second one kills. Until this is called, the first one kills. */
export function interruptSignal(): AbortSignal {
  if (interrupt === undefined) {
    const controller = new AbortController();
    interrupt = controller;
    process.once("SIGINT", () => controller.abort());
  }
  return interrupt.signal;
}
