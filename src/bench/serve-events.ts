// The events of a streamed answer (text/event-stream, WHATWG HTML section 9.2) as an OpenAI-compatible server sends them.

import { BitnetError } from "../system/errors.js";

const mostBuffered = 1 << 20; // characters of one event; servers send a few hundred

/** Cuts a stream of bytes into the data of its events; pieces may end anywhere, even inside a character. */
export class EventReader {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #data: string[] = [];
  #size = 0;

  /** The data of every event that ends in `bytes`. Throws BAD_FILE if one is too long. */
  push(bytes: Uint8Array): string[] {
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    // A carriage return at the end may be the first half of a line break.
    const usable = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = text.slice(0, usable).split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + text.slice(usable);
    const events: string[] = [];
    for (const line of lines) {
      this.#takeLine(line, events);
    }
    if (this.#rest.length + this.#size > mostBuffered) {
      throw new BitnetError("BAD_FILE", `the server sent an event of more than ${mostBuffered} characters`);
    }
    return events;
  }

  #takeLine(line: string, events: string[]): void {
    if (line === "") {
      if (this.#data.length > 0) {
        events.push(this.#data.join("\n"));
      }
      this.#data = [];
      this.#size = 0;
    } else if (line.startsWith("data:")) {
      const value = line.slice(line.startsWith("data: ") ? 6 : 5);
      this.#data.push(value);
      this.#size += value.length;
    } // comments (": ping") and other fields mean nothing here
  }
}

/** What an event says of an answer. */
export interface AnswerEvent {
  /** Whether it brings a part of the answer; an event may bring several tokens at once. */
  hasText: boolean;
  isFinished: boolean;
  usage?: { promptTokens?: number; completionTokens?: number; cachedTokens?: number };
  error?: string;
}

/** One chunk of a chat or of a completion; undefined for "[DONE]". Throws BAD_FILE if it is no JSON object. */
export function readAnswerEvent(data: string): AnswerEvent | undefined {
  if (data.trim() === "[DONE]") {
    return undefined;
  }
  const chunk = asObject(parse(data));
  if (chunk.error !== undefined && chunk.error !== null) {
    const { message } = asObject(chunk.error);
    return { hasText: false, isFinished: true, error: String(message ?? JSON.stringify(chunk.error)).slice(0, 200) };
  }
  const choices = Array.isArray(chunk.choices) ? chunk.choices.map(asObject) : [];
  return {
    hasText: choices.some(hasText),
    isFinished: choices.some(({ finish_reason: reason }) => typeof reason === "string"),
    usage: readUsage(chunk.usage),
  };
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (cause) {
    const shown = JSON.stringify(data.slice(0, 60));
    throw new BitnetError("BAD_FILE", `the server sent an event that is no JSON: ${shown}`, { cause });
  }
}

function hasText(choice: Record<string, unknown>): boolean {
  const delta = asObject(choice.delta);
  const texts = [choice.text, delta.content, delta.reasoning_content, delta.reasoning];
  return texts.some((text) => typeof text === "string" && text !== "") || Array.isArray(delta.tool_calls);
}

function readUsage(value: unknown): AnswerEvent["usage"] {
  if (typeof value !== "object" || value === null) {
    return undefined;
  }
  const usage = asObject(value);
  const cached = asObject(usage.prompt_tokens_details).cached_tokens;
  return {
    promptTokens: asCount(usage.prompt_tokens),
    completionTokens: asCount(usage.completion_tokens),
    cachedTokens: asCount(cached),
  };
}

function asCount(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

export function asObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
