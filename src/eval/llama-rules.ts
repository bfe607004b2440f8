// llama.cpp's rules of choices: context and option are tokenized whole, and the mean log-probability of the tokens after
// what all options begin with is compared.

import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";
import type { Doc } from "./data/types.js";
import type { ScoreRequest } from "./requests.js";
import type { Asked } from "./samples.js";
import type { ChoiceTask, SentenceTask, Task } from "./task.js";

/** USAGE for tasks that llama.cpp has no rules for. */
export function checkLlamaRules(task: Task, shots: number, isChat: boolean): asserts task is ChoiceTask | SentenceTask {
  const isKnown = task.kind === "sentences" || (task.kind === "choices" && task.measure === undefined);
  if (!isKnown) {
    throw new BitnetError("USAGE", `${task.name}: llama.cpp has no rules for it`, { hint: "leave --rules out" });
  }
  if (shots > 0 || isChat) {
    throw new BitnetError("USAGE", `${task.name}: llama.cpp's rules know neither shots nor chats`, {
      hint: "leave --num-fewshot and --apply-chat-template out",
    });
  }
}

/** A request for each choice. What is scored begins where the choices differ, which all of them share a context up to. */
export function askByLlamaRules(
  task: ChoiceTask | SentenceTask,
  doc: Doc,
  tokenizer: Tokenizer,
  maxLength: number,
): Asked[] {
  const heads = task.kind === "sentences" ? task.contexts(doc) : [];
  const ends =
    task.kind === "sentences" ? heads.map(() => task.tail(doc)) : task.choices(doc).map((text) => ` ${text}`);
  const begins = task.kind === "sentences" ? heads : ends.map(() => task.prompt(doc));
  const texts = ends.map((end, place) => begins[place] + end);
  const whole = { texts, ...(heads.length > 0 && { heads }) };
  const scored = findScored(tokenizer, `${task.name}: a question`, whole, maxLength);
  const common = commonLength(scored.map(({ ids }) => ids));
  const shared = scored[0]?.ids.slice(0, common) ?? new Int32Array();
  return scored.map(({ ids, from, end }, place) => {
    const context = from === common ? shared : ids.slice(0, from);
    const request: ScoreRequest = { kind: "score", context, continuation: ids.slice(from, end), cut: 0 };
    return { request, arguments: [begins[place] ?? "", ends[place] ?? ""] };
  });
}

/** The options of a question. */
export interface WholeOptions {
  /** Whole texts, one per option. */
  texts: readonly string[];
  /** Texts after whose ids scoring may begin: of winogrande, where the end of the sentence decides. */
  heads?: readonly string[];
}

export interface ScoredIds {
  ids: Int32Array;
  /** The scored ids are [from, end). */
  from: number;
  end: number;
}

/** Ids after the common beginning that every option must have for the end of a sentence alone to be scored. */
const leastTrailing = 3;

/** What of each option is scored. USAGE where one needs more than `maxLength` ids; `what` is the question in the message. */
export function findScored(
  tokenizer: Tokenizer,
  what: string,
  { texts, heads }: WholeOptions,
  maxLength: number,
): ScoredIds[] {
  const ids = texts.map((text) => tokenizer.encode(text));
  const longest = Math.max(...ids.map(({ length }) => length));
  if (longest > maxLength) {
    throw new BitnetError("USAGE", `${what} needs ${longest} tokens, the context has ${maxLength}`, {
      hint: `-c ${longest} is enough for it`,
    });
  }
  const common = commonLength(ids);
  const skipsOption = heads !== undefined && ids.every(({ length }) => length - common > leastTrailing);
  return ids.map((own, place) => {
    const head = skipsOption ? tokenizer.encode(heads[place] ?? "").length : common;
    const from = Math.max(1, Math.min(head, own.length - 1));
    // The last id of a sentence is not scored, unless it is the only one.
    const end = own.length - (heads !== undefined && own.length - from > 1 ? 1 : 0);
    return { ids: own, from, end };
  });
}

/** How many ids all begin with. */
function commonLength([first = new Int32Array(), ...others]: readonly Int32Array[]): number {
  const differing = first.findIndex((id, place) => others.some((other) => other[place] !== id));
  return differing < 0 ? first.length : differing;
}
