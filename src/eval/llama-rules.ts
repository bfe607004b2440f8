// Tasks of choices by llama.cpp's rules: context and option are tokenized whole, and the mean log-probability of the tokens
// after what all options begin with is compared.

import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";
import type { Doc } from "./data/types.js";
import type { ScoreRequest } from "./requests.js";
import type { Asked } from "./samples.js";
import type { ChoiceTask, SentenceTask, Task } from "./task.js";

/** Tokens after the common beginning that every option must have for the end of a sentence alone to be scored. */
const leastTrailing = 3;

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
  const ids = ends.map((end, place) => tokenizer.encode(begins[place] + end));
  const longest = Math.max(...ids.map(({ length }) => length));
  if (longest > maxLength) {
    throw new BitnetError("USAGE", `${task.name}: a question needs ${longest} tokens, the context has ${maxLength}`, {
      hint: `-c ${longest} is enough for it`,
    });
  }
  const common = commonLength(ids);
  const shared = ids[0]?.slice(0, common) ?? new Int32Array();
  const skipsOption = heads.length > 0 && ids.every(({ length }) => length - common > leastTrailing);
  return ids.map((own, place) => {
    const head = skipsOption ? tokenizer.encode(begins[place] ?? "").length : common;
    const from = Math.max(1, Math.min(head, own.length - 1));
    // The last token of a sentence is not scored, unless it is the only one.
    const end = own.length - (heads.length > 0 && own.length - from > 1 ? 1 : 0);
    const context = from === common ? shared : own.slice(0, from);
    const request: ScoreRequest = { kind: "score", context, continuation: own.slice(from, end), cut: 0 };
    return { request, arguments: [begins[place] ?? "", ends[place] ?? ""] };
  });
}

/** How many ids all begin with. */
function commonLength([first = new Int32Array(), ...others]: readonly Int32Array[]): number {
  const differing = first.findIndex((id, place) => others.some((other) => other[place] !== id));
  return differing < 0 ? first.length : differing;
}
