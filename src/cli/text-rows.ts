// What the commands that measure a model on a text share: their options, and what is said of an evaluation.

import type { EvaluationSetting } from "../eval/perplexity.js";
import { openGguf } from "../gguf/gguf.js";
import { BitnetError } from "../system/errors.js";
import type { OptionRows } from "./option-rows.js";
import { modelRows, sessionRows } from "./options.js";
import { integerFrom } from "./parsers.js";
import { isScreen, note, type OutputStream } from "./terminal/output.js";
import { createProgress } from "./terminal/progress.js";

export const evaluatedModelRows = {
  path: modelRows.path,
  threads: modelRows.threads,
  kernel: modelRows.kernel,
  layout: modelRows.layout,
  tokenizerPre: modelRows.tokenizerPre,
  kernelConfig: modelRows.kernelConfig,
  inPlace: modelRows.inPlace,
} as const satisfies OptionRows;

export const windowRows = {
  contextSize: {
    flags: "-c, --ctx-size <n>",
    help: "tokens of a window, of which the later half is scored",
    parse: integerFrom(3),
    standard: 512,
  },
  chunks: {
    flags: "--chunks <n>",
    help: "windows at most; -1: all of the text (default: -1)",
    parse: integerFrom(-1),
  },
  parseSpecial: {
    flags: "--parse-special",
    help: "read the names of control tokens in the text as those tokens (default: as text)",
  },
  cacheType: sessionRows.cacheType,
} as const satisfies OptionRows;

/** `--chunks 0` and `-1` are all of them, as in llama-perplexity. */
export function readChunks(chunks: number | undefined): number | undefined {
  return chunks !== undefined && chunks > 0 ? chunks : undefined;
}

/** "windows of 512 tokens, kernel avx2, cache f16": without it a number cannot be compared. */
export function describeSetting({
  algorithm,
  contextSize,
  stride,
  chunks,
  kernel,
  cacheType,
}: EvaluationSetting): string {
  const how = stride > 0 ? ` every ${stride}` : "";
  return `${chunks} ${algorithm} of ${contextSize} tokens${how}, kernel ${kernel}, ${cacheType} cache`;
}

/** Running values on stderr: a bar on a terminal, elsewhere `[k]value,` as llama-perplexity prints them. */
export function showRunning(
  what: string,
  quiet: boolean | undefined,
  stream: OutputStream = process.stderr,
): { update(done: number, total: number, value: number): void; stop(): void } {
  if (quiet) {
    return { update() {}, stop() {} };
  }
  if (isScreen(stream)) {
    const progress = createProgress(what, "steps", stream);
    return {
      update: (done, total, value) => progress.update(done, total, { name: `${what} ${value.toFixed(4)}` }),
      stop: () => progress.stop(),
    };
  }
  let isOpen = false;
  return {
    update(done, _total, value) {
      stream.write(`[${done}]${value.toFixed(4)},`);
      isOpen = true;
    },
    stop() {
      stream.write(isOpen ? "\n" : "");
      isOpen = false;
    },
  };
}

/** Notes what the file of a model says wrongly. */
export function noteWarnings(warnings: readonly string[], quiet: boolean | undefined): void {
  for (const text of quiet ? [] : warnings) {
    note(text);
  }
}

/** Runs `work`; where it was stopped, `finished` says what there is of it. */
export async function keepFinished<T>(work: () => Promise<T>, finished: () => string | undefined): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const text = error instanceof BitnetError && error.code === "ABORTED" ? finished() : undefined;
    if (text !== undefined) {
      note(text);
    }
    throw error;
  }
}

export function modelBytes(path: string): number {
  return openGguf(path).fileSize;
}
