// What a conversation writes, and where: answers on stdout, all else on stderr, hints only on a terminal.

import type { GenerateTimings } from "../../engine/generate.js";
import type { BitnetError } from "../../system/errors.js";
import { log, type OutputStream, reportError, writeJson, writeText } from "./output.js";
import { readerReady } from "./streams.js";
import { describeTimings } from "./timings.js";

export class Screen {
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #quiet: boolean;
  readonly json: boolean;
  /** The terminal on which lines are edited. */
  readonly promptOutput: OutputStream;

  constructor(stdout: OutputStream, stderr: OutputStream, options: { json?: boolean; quiet?: boolean }) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#quiet = options.quiet ?? false;
    this.json = options.json ?? false;
    this.promptOutput = stdout.isTTY && !this.json ? stdout : stderr;
  }

  answer(text: string): void {
    writeText(text, this.#stdout);
  }

  /** Waits for a slow reader of the answers. */
  ready(signal: AbortSignal): Promise<void> {
    return readerReady(this.#stdout, signal);
  }

  result(value: unknown): void {
    writeJson(value, this.#stdout);
  }

  /** What somebody sitting there wants to know. */
  hint(text: string): void {
    if (this.#stderr.isTTY && !this.#quiet) {
      this.say(text);
    }
  }

  /** What was asked for. */
  say(text: string): void {
    log(text, this.#stderr);
  }

  error(error: BitnetError): void {
    reportError(error, false, this.#stderr);
  }

  reportTotals(totals: GenerateTimings): void {
    if (!this.#quiet && totals.promptTokens > 0) {
      this.say(describeTimings(totals).join("\n"));
    }
  }
}
