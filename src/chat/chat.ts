// A conversation: its messages, the token ids that stand for them, and what to forget when the context is full.

import { BitnetError } from "../system/errors.js";
import {
  addBos,
  type ChatPart,
  type ChatTokenizer,
  encodeParts,
  encodePlain,
  findMarkers,
  renderParts,
} from "./encode.js";
import type { ChatFormat, ChatMessage } from "./format.js";

/** A prompt as it was rendered and as tokens. */
interface RenderedPrompt {
  parts: ChatPart[];
  ids: number[];
}

/**
 * The state of a conversation. Its prompts grow by appending: ids of earlier turns, generated ones included, stay as
 * they are, so that a session finds them in its cache.
 */
export class Chat {
  readonly format: ChatFormat;
  readonly #tokenizer: ChatTokenizer;
  readonly #markers: readonly string[];
  #system = "";
  #messages: ChatMessage[] = []; // user and assistant in turn
  #prompt: RenderedPrompt | undefined; // of the last user message; undefined: to be rendered from the messages
  #answerIds: number[] | undefined; // of the answer to #prompt
  #thinking: boolean | undefined;
  #before: { prompt: RenderedPrompt | undefined; answerIds: number[] | undefined } | undefined; // one turn ago

  constructor(format: ChatFormat, tokenizer: ChatTokenizer) {
    this.format = format;
    this.#tokenizer = tokenizer;
    this.#markers = findMarkers(format, tokenizer);
  }

  /** Without the system message. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  get system(): string {
    return this.#system;
  }

  /** "" for none. */
  set system(text: string) {
    this.#system = text;
    this.#forgetIds();
  }

  /** Whether the model is to think before it answers, if its template leaves the choice. undefined: as it likes. */
  get thinking(): boolean | undefined {
    return this.#thinking;
  }

  set thinking(value: boolean | undefined) {
    this.#thinking = value;
    this.#forgetIds();
  }

  get turnCount(): number {
    return Math.ceil(this.#messages.length / 2);
  }

  /** Does the chat end with a message that has no answer yet? */
  get isUnanswered(): boolean {
    return this.#messages.at(-1)?.role === "user";
  }

  /** The next user message. One that never got an answer is replaced. */
  addUser(content: string): void {
    if (this.isUnanswered) {
      this.dropUnanswered();
    }
    const prompt = this.#prompt;
    const answerIds = this.#answerIds;
    this.#messages.push({ role: "user", content });
    this.#before = { prompt, answerIds };
    this.#answerIds = undefined;
    this.#prompt = prompt && answerIds ? this.#extend(prompt, answerIds) : undefined;
  }

  /**
   * The answer to the last user message; `ids` as generated, the end-of-generation token included, or undefined if they
   * are not the content's. `thinking` is kept beside the content and never part of a prompt.
   */
  addAnswer(content: string, ids: readonly number[] | undefined, thinking = ""): void {
    this.promptIds(); // what it answers
    this.#messages.push({ role: "assistant", content, ...(thinking === "" ? {} : { thinking }) });
    this.#answerIds = ids && [...ids];
  }

  /** Takes back the last answer; false if there is none. */
  removeAnswer(): boolean {
    if (this.#messages.at(-1)?.role !== "assistant") {
      return false;
    }
    this.#messages.pop();
    this.#answerIds = undefined;
    return true;
  }

  dropUnanswered(): void {
    if (this.isUnanswered) {
      this.#messages.pop();
      this.#prompt = this.#before?.prompt;
      this.#answerIds = this.#before?.answerIds;
      this.#before = undefined;
    }
  }

  /** Forgets the oldest turns: messages with their answers. */
  dropOldestTurns(count: number): void {
    this.#messages.splice(0, 2 * count);
    this.#forgetIds();
  }

  /** Tokens that the prompt would have without the oldest turns. */
  lengthWithout(turns: number): number {
    return this.#render(this.#messages.slice(2 * turns)).ids.length;
  }

  /** Forgets all turns; the system message stays. */
  clear(): void {
    this.#messages = [];
    this.#forgetIds();
  }

  /** Replaces all turns by these, which must alternate and begin with "user". */
  restore(messages: readonly ChatMessage[]): void {
    this.clear();
    this.#messages = messages.map((message) => ({ ...message }));
  }

  /** The ids of the chat up to where the answer to the last user message begins. */
  promptIds(): readonly number[] {
    if (!this.isUnanswered) {
      throw new BitnetError("INTERNAL", "nothing to answer");
    }
    this.#prompt ??= this.#render(this.#messages);
    return this.#prompt.ids;
  }

  /** Does the prompt itself open the thinking part of the answer? */
  beginsThinking(): boolean {
    this.promptIds();
    const last = this.#prompt?.parts.at(-1);
    const { thinking } = this.format;
    return thinking !== undefined && last?.content === false && last.text.trimEnd().endsWith(thinking.open);
  }

  /** The next prompt has to be rendered from the messages. */
  #forgetIds(): void {
    this.#prompt = undefined;
    this.#answerIds = undefined;
    this.#before = undefined;
  }

  #parts(messages: readonly ChatMessage[]): ChatPart[] {
    const system = this.#system === "" ? [] : [{ role: "system", content: this.#system }];
    return renderParts(this.format, this.#tokenizer, [...system, ...messages], true, { thinking: this.#thinking });
  }

  #encode(parts: readonly ChatPart[]): number[] {
    return encodeParts(parts, this.#tokenizer, this.#markers);
  }

  #render(messages: readonly ChatMessage[]): RenderedPrompt {
    const parts = this.#parts(messages);
    return { parts, ids: addBos(this.#encode(parts), this.#tokenizer) };
  }

  /** The prompt after `answerIds` answered `before`: appended where the template only appends, else rendered anew. */
  #extend(before: RenderedPrompt, answerIds: readonly number[]): RenderedPrompt {
    const parts = this.#parts(this.#messages);
    const [answer, closing, ...rest] = parts.slice(before.parts.length);
    const appends = before.parts.every((part, i) => part.text === parts[i]?.text && part.content === parts[i]?.content);
    if (!appends || answer?.content !== true || closing === undefined) {
      return { parts, ids: addBos(this.#encode(parts), this.#tokenizer) };
    }
    const joined = this.#closeAnswer(answerIds, closing.text);
    const added = this.#encode([{ text: joined.closing, content: false }, ...rest]);
    return { parts, ids: before.ids.concat(joined.ids, added) };
  }

  /**
   * Fits the token that ended an answer to the text that follows an answer in the template: it is that text's
   * beginning, or the template ends answers in its own way, or the template has nothing there and the token stays.
   */
  #closeAnswer(ids: readonly number[], closing: string): { ids: readonly number[]; closing: string } {
    const last = ids.at(-1);
    if (last === undefined || !this.#tokenizer.isEog(last)) {
      return { ids, closing };
    }
    const text = closing.trimStart();
    const end = this.#tokenizer.piece(last, { special: true });
    if (end !== "" && text.startsWith(end)) {
      return { ids, closing: text.slice(end.length) };
    }
    const [first] = encodePlain(text, this.#tokenizer, true);
    const endsItself = first !== undefined && (this.#tokenizer.isEog(first) || first === this.#tokenizer.info.eos);
    return { ids: endsItself ? ids.slice(0, -1) : ids, closing };
  }
}
