// Choices by llama.cpp's rules and in its files: hellaswag, winogrande, multiple-choice.

import type { Model, Session } from "../engine/model.js";
import type { CacheType } from "../native/addon.js";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { placeOfLargest } from "./choices.js";
import { findScored, type ScoredIds, type WholeOptions } from "./llama-rules.js";
import { shareError, wilsonInterval } from "./statistics.js";

export const llamaChoiceKinds = ["hellaswag", "winogrande", "multiple-choice"] as const;
export type LlamaChoiceKind = (typeof llamaChoiceKinds)[number];

export interface LlamaChoiceTask extends WholeOptions {
  gold: number;
}

export interface LlamaChoiceOptions {
  /** Tokens that a task may take. Default: 512. */
  contextSize?: number;
  cacheType?: CacheType;
  /** Tasks at most, the first ones in the order of the file. Default: 0, all. */
  limit?: number;
  onProgress?: (progress: { done: number; total: number; accuracy: number }) => void;
  signal?: AbortSignal;
}

const choiceOptions: OptionNames<LlamaChoiceOptions> = {
  contextSize: true,
  cacheType: true,
  limit: true,
  onProgress: true,
  signal: true,
};

export interface LlamaChoiceResult {
  rules: "llama.cpp";
  kind: LlamaChoiceKind;
  /** Share of the tasks whose right option is the likeliest, its standard error and its interval of 95 % (Wilson). */
  accuracy: number;
  error: number;
  interval: { low: number; high: number };
  /** What guessing would come to, and its standard error. */
  chance: number;
  chanceError: number;
  tasks: { gold: number; chosen: number; scores: number[] }[];
  kernel: string;
  cacheType: CacheType;
}

/** The tasks of a file: text for hellaswag and winogrande, bytes for multiple-choice. `path` is for messages. */
export function readLlamaTasks(kind: LlamaChoiceKind, bytes: Uint8Array, path: string): LlamaChoiceTask[] {
  const tasks =
    kind === "multiple-choice"
      ? readMultipleChoice(bytes, path)
      : (kind === "hellaswag" ? readHellaSwag : readWinoGrande)(linesOf(bytes, path), path);
  if (tasks.length === 0) {
    throw new BitnetError("BAD_FILE", `${path} has no tasks`);
  }
  return tasks;
}

function linesOf(bytes: Uint8Array, path: string): string[] {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).split(/\r?\n/);
  } catch {
    throw new BitnetError("BAD_FILE", `${path} is not UTF-8 text`);
  }
}

const endings = 4;

/** Six lines a task: the context, the number of the right ending, four endings. */
function readHellaSwag(lines: readonly string[], path: string): LlamaChoiceTask[] {
  const used = lines.at(-1) === "" ? lines.slice(0, -1) : lines;
  const size = 2 + endings;
  if (used.length % size !== 0) {
    throw new BitnetError("BAD_FILE", `${path} has ${used.length} lines: expected ${size} for each task of hellaswag`);
  }
  return Array.from({ length: used.length / size }, (_, task) => {
    const [context = "", number = "", ...options] = used.slice(task * size, (task + 1) * size);
    const gold = Number(number);
    if (number.trim() === "" || !Number.isInteger(gold) || gold < 0 || gold >= endings) {
      throw new BitnetError(
        "BAD_FILE",
        `${path}, line ${task * size + 2}: expected 0 to ${endings - 1}, got '${number}'`,
      );
    }
    return { texts: options.map((option) => `${context} ${option}`), gold };
  });
}

/** index,sentence,option1,option2,answer: the option stands at the underscore. */
function readWinoGrande(lines: readonly string[], path: string): LlamaChoiceTask[] {
  return lines.flatMap((line, index) => {
    if (line.trim() === "" || (index === 0 && /^index,sentence/.test(line))) {
      return [];
    }
    const fail = (what: string) => new BitnetError("BAD_FILE", `${path}, line ${index + 1}: ${what}`);
    const [, sentence = "", first = "", second = "", answer = "", ...more] = splitCsv(line);
    const blank = sentence.indexOf("_");
    if (more.length > 0 || blank < 0) {
      throw fail("expected index,sentence,option1,option2,answer with one _ in the sentence");
    }
    if (answer.trim() !== "1" && answer.trim() !== "2") {
      throw fail(`expected 1 or 2 as the answer, got '${answer}'`);
    }
    const heads = [first, second].map((option) => sentence.slice(0, blank) + option);
    return [{ texts: heads.map((head) => head + sentence.slice(blank + 1)), heads, gold: Number(answer) - 1 }];
  });
}

/** Fields of a line; those with commas stand in quotes, in which a quote is doubled. */
function splitCsv(line: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= line.length; ) {
    if (line[at] === '"') {
      const quoted = /^"((?:[^"]|"")*)"?/.exec(line.slice(at)) ?? ["", ""];
      fields.push((quoted[1] ?? "").replaceAll('""', '"'));
      at += quoted[0].length + 1;
    } else {
      const comma = line.indexOf(",", at);
      const end = comma < 0 ? line.length : comma;
      fields.push(line.slice(at, end));
      at = end + 1;
    }
  }
  return fields;
}

const mostTasks = 2 ** 22;
const mostAnswers = 2 ** 10;

/** u32 n, u32 position[n]; a task is a string and two lists of answers, of which the first has one right one. */
function readMultipleChoice(bytes: Uint8Array, path: string): LlamaChoiceTask[] {
  const reader = new BinaryReader(bytes, path);
  const positions = Array.from({ length: reader.count("tasks", mostTasks) }, () => reader.u32());
  return positions.map((position) => {
    reader.seek(position);
    const question = reader.text();
    const { answers, labels } = reader.answers();
    reader.answers(); // of mc2, which llama.cpp reads and does not use
    const gold = labels.indexOf(1);
    if (gold < 0) {
      throw new BitnetError("BAD_FILE", `${path}: the task at byte ${position} has no right answer`);
    }
    return { texts: answers.map((answer) => `${question} ${answer}`), gold };
  });
}

class BinaryReader {
  readonly #view: DataView;
  readonly #path: string;
  #at = 0;

  constructor(bytes: Uint8Array, path: string) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#path = path;
  }

  seek(position: number): void {
    this.#at = position;
    this.#take(0);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  count(what: string, most: number): number {
    const n = this.u32();
    if (n > most || 4 * n > this.#view.byteLength) {
      throw new BitnetError(
        "BAD_FILE",
        `${this.#path}: ${n} ${what} at byte ${this.#at - 4} are more than there can be`,
      );
    }
    return n;
  }

  text(): string {
    const length = this.u32();
    const start = this.#take(length);
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + start, length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new BitnetError("BAD_FILE", `${this.#path}: the text at byte ${start} is not UTF-8`);
    }
  }

  answers(): { answers: string[]; labels: number[] } {
    const n = this.count("answers", mostAnswers);
    const answers = Array.from({ length: n }, () => this.text());
    return { answers, labels: Array.from({ length: n }, () => this.u32()) };
  }

  #take(length: number): number {
    const start = this.#at;
    if (start + length > this.#view.byteLength) {
      throw new BitnetError("BAD_FILE", `${this.#path} ends within a task: byte ${start + length} is not there`);
    }
    this.#at = start + length;
    return start;
  }
}

/** Throws USAGE for a task that is longer than the context, naming the tokens that it needs. */
export async function evaluateLlamaChoices(
  model: Model,
  kind: LlamaChoiceKind,
  tasks: readonly LlamaChoiceTask[],
  options: LlamaChoiceOptions = {},
): Promise<LlamaChoiceResult> {
  checkOptionNames("evaluateLlamaChoices", options, choiceOptions);
  const { contextSize = 512, cacheType = "f16", limit = 0, onProgress, signal } = options;
  const taken = limit > 0 ? tasks.slice(0, limit) : tasks;
  throwIfAborted(signal);
  await using session = model.createSession({ contextSize, cacheType, sharePrompts: false });
  const results: LlamaChoiceResult["tasks"] = [];
  let hits = 0;
  for (const [index, task] of taken.entries()) {
    const scores: number[] = [];
    for (const part of findScored(model.tokenizer, `task ${index + 1}`, task, contextSize)) {
      scores.push(await scorePart(session, part, signal));
    }
    const chosen = placeOfLargest(scores);
    hits += chosen === task.gold ? 1 : 0;
    results.push({ gold: task.gold, chosen, scores });
    onProgress?.({ done: results.length, total: taken.length, accuracy: hits / results.length });
  }
  const n = results.length;
  const chance = n / results.reduce((sum, { scores }) => sum + scores.length, 0);
  return {
    rules: "llama.cpp",
    kind,
    accuracy: hits / n,
    error: shareError(hits / n, n),
    interval: wilsonInterval(hits, n),
    chance,
    chanceError: shareError(chance, n),
    tasks: results,
    kernel: model.info.kernel,
    cacheType,
  };
}

async function scorePart(
  session: Session,
  { ids, from, end }: ScoredIds,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { logprobs } = await session.score(ids.subarray(0, end), { from, signal });
  return logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length;
}
