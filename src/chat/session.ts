// A chat with a session of its own: messages go in, answers come out.

import { Generation } from "../engine/generation.js";
import type { Session } from "../engine/model.js";
import { checkGenerateOptions, type GenerateOptions } from "../engine/request.js";
import { BitnetError, reasonOf } from "../system/errors.js";
import { type AnswerResult, newAnswerResult, streamAnswer } from "./answer.js";
import type { Chat } from "./chat.js";
import { readTurn } from "./file.js";
import type { ChatFormat, ChatMessage } from "./format.js";
import type { ChatPiece } from "./thinking.js";

/** A conversation. When the context is full, the oldest turns are forgotten; the system message stays. */
export class ChatSession {
  /** Where the chat is computed: context size, memory, timings of the last generation. */
  readonly session: Session;
  readonly #chat: Chat;
  readonly #generate: GenerateOptions;
  #busy = false;

  constructor(session: Session, chat: Chat, generate: GenerateOptions) {
    this.session = session;
    this.#chat = chat;
    this.#generate = generate;
  }

  get format(): ChatFormat {
    return this.#chat.format;
  }

  /** All but the system message; a copy, good for `createChat({ messages })`. */
  get messages(): ChatMessage[] {
    return this.#chat.messages.map((message) => ({ ...message }));
  }

  get system(): string {
    return this.#chat.system;
  }

  /** "" for none. */
  set system(text: string) {
    this.#checkIdle();
    this.#chat.system = checkSystem(text);
  }

  /**
   * Sends a message of the user: a loop over the pieces of the answer, `result`, or both. An abort, and leaving the loop,
   * keeps what there is of the answer: its result says "aborted". Wrong options throw here; a message that cannot fit
   * the context fails with USAGE, and the chat is as before.
   */
  send(message: string | ChatMessage, options: GenerateOptions = {}): Generation<ChatPiece, AnswerResult> {
    checkGenerateOptions("send", options);
    const content = contentOf(message);
    const merged = { ...this.#generate, ...options };
    const result = newAnswerResult(merged);
    return new Generation(this.#answer(content, merged, result), () => result);
  }

  /** Forgets all messages but the system message. */
  clear(): void {
    this.#checkIdle();
    this.#chat.clear();
  }

  /** Ends a running answer and frees the session. May be called again. */
  close(): void {
    this.session.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async *#answer(
    content: string,
    options: GenerateOptions,
    result: AnswerResult,
  ): AsyncGenerator<ChatPiece, AnswerResult, undefined> {
    this.#checkIdle();
    this.#busy = true;
    try {
      this.#chat.addUser(content);
      return yield* streamAnswer(this.#chat, this.session, this.session.tokenizer, options, result);
    } finally {
      this.#busy = false;
    }
  }

  #checkIdle(): void {
    if (this.#busy) {
      throw new BitnetError("USAGE", "the chat is busy: one message at a time");
    }
  }
}

function contentOf(message: unknown): string {
  if (typeof message === "string") {
    return message;
  }
  return asUsage("send", () => readTurn(message, 0)).content;
}

/** USAGE unless user and assistant take turns in `messages`. */
export function checkTurns(messages: readonly unknown[]): ChatMessage[] {
  return asUsage("messages", () => messages.map(readTurn));
}

function asUsage<T>(subject: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new BitnetError("USAGE", `${subject}: ${reasonOf(error)}`, { cause: error });
  }
}

export function checkSystem(text: unknown): string {
  if (typeof text !== "string") {
    throw new BitnetError("USAGE", `system: expected a text, got ${String(text)}`);
  }
  return text;
}

export function checkThinking(value: unknown): boolean | undefined {
  if (value !== undefined && typeof value !== "boolean") {
    throw new BitnetError("USAGE", `thinking: expected true or false, got ${String(value)}`);
  }
  return value;
}
