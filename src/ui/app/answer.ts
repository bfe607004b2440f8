// One answer on its way: reads the stream into a message, which it gives on whenever it changed.

import type { Chat, Message } from "../chats/chat.js";
import { schemaProblem } from "../chats/settings.js";
import { type CompletionPiece, streamCompletion } from "../server/completion.js";
import { type Connection, ServerError } from "../server/connection.js";

export interface Progress {
  /** Tokens of the prompt that are read. */
  processed: number;
  total: number;
}

export class Answer {
  message: Message;
  progress: Progress | undefined;

  private readonly controller = new AbortController();
  private readonly started = performance.now();
  private firstToken: number | undefined;
  private wasStopped = false;

  constructor(message: Message) {
    this.message = { ...message, state: "writing", failure: undefined, finish: undefined };
  }

  stop(): void {
    this.wasStopped = true;
    this.controller.abort();
  }

  /** Never throws: a failure is part of the message. `changed` is called after every piece. */
  async read(connection: Connection, chat: Chat, path: Message[], changed: () => void): Promise<void> {
    try {
      for await (const piece of streamCompletion(connection, requestOf(chat, path), this.controller.signal)) {
        this.take(piece);
        changed();
      }
      this.change({ state: "done" });
    } catch (error) {
      this.change(this.wasStopped ? { state: "stopped" } : { state: "failed", failure: failureOf(error) });
    }
    this.progress = undefined;
  }

  private take(piece: CompletionPiece): void {
    switch (piece.kind) {
      case "text":
      case "thinking":
        this.takeText(piece.kind, piece.text);
        break;
      case "scores":
        this.change({ probabilities: [...(this.message.probabilities ?? []), ...piece.scores] });
        break;
      case "progress":
        this.progress = { processed: piece.processed, total: piece.total };
        this.change({ measured: { ...this.message.measured, promptTokens: piece.total, cachedTokens: piece.cached } });
        break;
      case "finish":
        this.change({ finish: piece.reason });
        break;
      case "model":
        if (piece.name !== this.message.model) {
          this.change({ model: piece.name });
        }
        break;
      case "counts": {
        const { kind: _, ...counts } = piece;
        this.change({ measured: { ...this.message.measured, ...definedOf(counts) } });
        break;
      }
    }
  }

  private takeText(kind: "text" | "thinking", text: string): void {
    const now = performance.now();
    this.firstToken ??= now;
    this.progress = undefined;
    const measured = { ...this.message.measured, firstTokenMs: this.firstToken - this.started };
    if (kind === "thinking") {
      measured.thinkingMs = now - this.firstToken;
    }
    this.change({ [kind]: this.message[kind] + text, measured });
  }

  private change(fields: Partial<Message>): void {
    this.message = { ...this.message, ...fields };
  }
}

function definedOf<Fields extends object>(fields: Fields): Partial<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Fields>;
}

function failureOf(error: unknown): { message: string; hint?: string } {
  if (error instanceof ServerError) {
    return { message: error.message, hint: error.hint };
  }
  return { message: error instanceof Error ? error.message : "The answer failed." };
}

/** The body of the request that continues a path of messages. */
function requestOf(chat: Chat, path: Message[]): Record<string, unknown> {
  const { system, values, schema, probabilities } = chat.settings;
  const problem = schemaProblem(schema);
  if (problem !== undefined) {
    throw new Error(`The JSON schema of this chat cannot be used: ${problem}.`);
  }
  const messages = path
    .filter(({ role, text }) => role === "user" || text !== "")
    .map(({ role, text }) => ({ role, content: text }));
  return {
    messages: system.trim() === "" ? messages : [{ role: "system", content: system }, ...messages],
    ...values,
    ...(schema.trim() === "" ? {} : { response_format: formatOf(JSON.parse(schema)) }),
    ...(probabilities ? { logprobs: true, top_logprobs: 5 } : {}),
  };
}

function formatOf(schema: unknown) {
  return { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
}
