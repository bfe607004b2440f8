// From a document and its shots to the text that the model gets, as lm-evaluation-harness writes it.

import type { ChatFormat, FormatMessage } from "../chat/format.js";
import type { Doc } from "./data/types.js";
import { stripLeft, stripRight } from "./python-text.js";
import type { ChoiceTask, ContinuationTask, GenerationTask, SentenceTask } from "./task.js";

export type PromptedTask = ChoiceTask | SentenceTask | ContinuationTask | GenerationTask;

export interface PromptOptions {
  system?: string;
  /** The format of a chat; without one prompts are plain text. */
  format?: ChatFormat;
  /** Each shot is a turn of the chat, instead of all being in one message. */
  multiturn?: boolean;
}

/** A message, and what follows it where there is no chat. */
interface Part {
  role: "system" | "user" | "assistant";
  text: string;
  after: string;
}

const betweenShots = "\n\n";

/** The text before a question, once for each of the contexts of a task that has several. */
export function writeContexts(task: PromptedTask, doc: Doc, shots: readonly Doc[], options: PromptOptions): string[] {
  const questions = task.kind === "sentences" ? task.contexts(doc) : [task.prompt(doc)];
  const before = [...systemPart(task, options), ...shots.flatMap((shot) => shotParts(task, shot))];
  return questions.map((text) => writeParts([...before, { role: "user", text, after: "" }], options));
}

/** What stands between a context and a choice: nothing in a chat, where the answer begins a message. */
export function delimiterOf(task: PromptedTask, { format }: PromptOptions): string {
  return format === undefined ? (task.delimiter ?? " ") : "";
}

function systemPart({ description = "" }: PromptedTask, { system = "" }: PromptOptions): Part[] {
  const text = joinWithSpace(system, description, betweenShots);
  return text === "" ? [] : [{ role: "system", text, after: "" }];
}

/** The delimiter stands only where neither side has white space of its own. */
function joinWithSpace(first: string, second: string, delimiter: string): string {
  const isApart = first === "" || second === "" || stripRight(first) !== first || stripLeft(second) !== second;
  return first + (isApart ? "" : delimiter) + second;
}

function shotParts(task: PromptedTask, shot: Doc): Part[] {
  const target = shotTarget(task, shot);
  return [
    { role: "user", text: shotPrompt(task, shot), after: target === "" ? "" : (task.delimiter ?? " ") },
    ...(target === "" ? [] : [{ role: "assistant", text: target, after: betweenShots } as const]),
  ];
}

function shotPrompt(task: PromptedTask, shot: Doc): string {
  if (task.shots.prompt !== undefined) {
    return task.shots.prompt(shot);
  }
  return task.kind === "sentences" ? (task.contexts(shot)[task.gold(shot)] ?? "") : task.prompt(shot);
}

function shotTarget(task: PromptedTask, shot: Doc): string {
  if (task.shots.target !== undefined) {
    return task.shots.target(shot);
  }
  switch (task.kind) {
    case "choices":
      return task.choices(shot)[task.gold(shot)] ?? "";
    case "sentences":
      return task.rest(shot);
    default: {
      const target = task.target(shot);
      return typeof target === "string" ? target : (target[0] ?? "");
    }
  }
}

function writeParts(parts: readonly Part[], { format, multiturn }: PromptOptions): string {
  if (format === undefined) {
    return parts.map(({ text, after }) => text + after).join("");
  }
  return format.render(multiturn ? parts.map(toMessage) : toSingleTurn(parts), true);
}

function toMessage({ role, text }: Part): FormatMessage {
  return { role, content: text };
}

/** The system message, and all others as one of the user. */
function toSingleTurn(parts: readonly Part[]): FormatMessage[] {
  const system = parts.filter(({ role }) => role === "system");
  const others = parts.filter(({ role }) => role !== "system");
  const content = others.map(({ text, after }) => text + after).join("");
  return [...system.map(toMessage), { role: "user", content }];
}
