// Questions with a yes or no, asked in the terminal's own line mode: Ctrl-Z, Ctrl-C and editing are the terminal's.

import type { EventEmitter } from "node:events";
import { createInterface } from "node:readline";
import { abortedError } from "../../system/errors.js";
import type { OutputStream } from "./output.js";

export interface AskIo {
  stdin: NodeJS.ReadableStream;
  stderr: OutputStream;
  /** Where SIGCONT comes from. */
  signals: Pick<EventEmitter, "on" | "off">;
}

const processIo = (): AskIo => ({ stdin: process.stdin, stderr: process.stderr, signals: process });

/**
 * Asks on stderr; true for y or yes, false for anything else and the end of the input. `signal` makes it
 * throw ABORTED. The question is asked again when the process goes on after it was stopped.
 */
export async function confirm(question: string, signal?: AbortSignal, io: AskIo = processIo()): Promise<boolean> {
  const text = `${question} [y/N] `;
  const lines = createInterface({ input: io.stdin, terminal: false });
  const askAgain = () => io.stderr.write(text);
  io.signals.on("SIGCONT", askAgain);
  try {
    io.stderr.write(text);
    const answer = await firstLine(lines, signal);
    if (answer === undefined) {
      io.stderr.write("\n");
    }
    return /^\s*y(es)?\s*$/i.test(answer ?? "");
  } finally {
    io.signals.off("SIGCONT", askAgain);
    lines.close();
  }
}

function firstLine(lines: ReturnType<typeof createInterface>, signal?: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    lines.once("line", resolve);
    lines.once("close", () => resolve(undefined));
    const abort = () => reject(abortedError(signal));
    if (signal?.aborted) {
      abort();
    }
    signal?.addEventListener("abort", abort, { once: true });
  });
}
