// What a conversation writes, and where: answers on stdout, all else on stderr, hints only on a terminal.

import { Chalk } from "chalk";
import type { GenerateTimings } from "../../engine/generate.js";
import type { BitnetError } from "../../system/errors.js";
import type { ReplOutput } from "./repl.js";

export class Screen {
  readonly #stdout: ReplOutput;
  readonly #stderr: ReplOutput;
  readonly #quiet: boolean;
  readonly #chalk: InstanceType<typeof Chalk>;
  readonly json: boolean;
  /** The terminal on which lines are edited. */
  readonly promptOutput: ReplOutput;

  constructor(stdout: ReplOutput, stderr: ReplOutput, options: { json?: boolean; quiet?: boolean }) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#quiet = options.quiet ?? false;
    this.json = options.json ?? false;
    this.promptOutput = stdout.isTTY && !this.json ? stdout : stderr;
    const colored = stderr.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
    this.#chalk = new Chalk({ level: colored ? 1 : 0 });
  }

  answer(text: string): void {
    this.#stdout.write(this.#stdout.isTTY ? withoutControls(text) : text);
  }

  result(value: unknown): void {
    this.#stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** What somebody sitting there wants to know. */
  hint(text: string): void {
    if (this.#stderr.isTTY && !this.#quiet) {
      this.say(text);
    }
  }

  /** What was asked for. */
  say(text: string): void {
    this.#stderr.write(`${this.#chalk.dim(withoutControls(text))}\n`);
  }

  error({ message, hint }: BitnetError): void {
    this.#stderr.write(`${this.#chalk.red("error:")} ${withoutControls(message.replace(/\s*\n\s*/g, " "))}\n`);
    if (hint !== undefined) {
      this.#stderr.write(`${this.#chalk.yellow("hint:")} ${withoutControls(hint)}\n`);
    }
  }

  reportTotals(totals: GenerateTimings): void {
    if (!this.#quiet && totals.promptTokens > 0) {
      this.say(describeTimings(totals));
    }
  }
}

/** Text as a terminal may have it: a model cannot move the cursor or change colours. */
function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

/** Speeds of an answer or of all, in two lines. */
export function describeTimings(timings: GenerateTimings): string {
  const evaluated = timings.promptTokens - timings.reusedTokens;
  const speed = (tokens: number, ms: number) =>
    `${tokens} tokens in ${ms.toFixed(0)} ms${ms > 0 ? ` (${((tokens * 1000) / ms).toFixed(1)} tokens/s)` : ""}`;
  return [
    `prefill: ${speed(evaluated, timings.promptMs)}, ${timings.reusedTokens} reused`,
    `decode:  ${speed(timings.generatedTokens, timings.generateMs)}`,
  ].join("\n");
}
