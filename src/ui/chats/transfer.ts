// Chats as a JSON file, both ways. A file may come from anywhere: only known fields of the right kind are taken, texts
// are bounded, and every record gets a new id, so that nothing that is already there is replaced.

import { type Chat, type Failure, type Measured, type Message, newId, type TokenProbability } from "./chat.js";
import { readSettings } from "./settings.js";
import { subtreeOf } from "./tree.js";

const format = "bitnet-chats";

export interface StoredChat {
  chat: Chat;
  messages: Message[];
}

/** Of a file, in bytes. */
export const importLimit = 256 * 2 ** 20;

/** Bounds of one import. */
const limits = { chats: 10_000, messages: 200_000, text: 4_000_000, title: 200, tokens: 100_000 };

export function exportChats(stored: StoredChat[]): string {
  const chats = stored.map(({ chat, messages }) => ({
    ...chat,
    messages: messages.toSorted((a, b) => a.created - b.created),
  }));
  return JSON.stringify({ format, version: 1, exported: new Date().toISOString(), chats }, undefined, 1);
}

/** Throws an Error with a sentence for the user. */
export function importChats(text: string): StoredChat[] {
  const file = fieldsOf(parse(text));
  if (file.get("format") !== format || !Array.isArray(file.get("chats"))) {
    throw new Error('This is no export of chats: it has no "format": "bitnet-chats".');
  }
  const chats = listOf(file.get("chats")).filter((chat) => fieldsOf(chat).size > 0);
  const count = chats.reduce<number>((sum, chat) => sum + listOf(fieldsOf(chat).get("messages")).length, 0);
  if (chats.length > limits.chats || count > limits.messages) {
    throw new Error(`The file has more than ${limits.chats} chats or ${limits.messages} messages.`);
  }
  return chats.map(readChat);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
}

function readChat(value: unknown): StoredChat {
  const fields = fieldsOf(value);
  const id = newId();
  const created = timeOf(fields.get("created"));
  const given = listOf(fields.get("messages")).map((message) => ({ fields: fieldsOf(message), id: newId() }));
  const ids = new Map(given.map((message) => [message.fields.get("id"), message.id]));
  const read = given.map((message) => readMessage(message.fields, message.id, id, ids));
  const messages = reachable(read);
  const leaf = ids.get(fields.get("leaf"));
  const chat: Chat = {
    id,
    title: textOf(fields.get("title")).slice(0, limits.title) || "Imported chat",
    created,
    updated: timeOf(fields.get("updated") ?? created),
    leaf: messages.some((message) => message.id === leaf) ? (leaf ?? null) : (messages.at(-1)?.id ?? null),
    settings: readSettings(fields.get("settings")),
  };
  return { chat, messages };
}

/** Messages of a circle are reached from no beginning; they are left out. */
function reachable(messages: Message[]): Message[] {
  const tree = new Map(messages.map((message) => [message.id, message]));
  const roots = messages.filter(({ parent }) => parent === null);
  const kept = new Set(roots.flatMap(({ id }) => subtreeOf(tree, id)));
  return messages.filter(({ id }) => kept.has(id));
}

function readMessage(fields: Map<string, unknown>, id: string, chat: string, ids: Map<unknown, string>): Message {
  const state = fields.get("state");
  const finish = fields.get("finish");
  const model = fields.get("model");
  return {
    id,
    chat,
    parent: ids.get(fields.get("parent")) ?? null,
    role: fields.get("role") === "assistant" ? "assistant" : "user",
    created: timeOf(fields.get("created")),
    text: textOf(fields.get("text")),
    thinking: textOf(fields.get("thinking")),
    state: state === "stopped" || state === "failed" ? state : state === "writing" ? "stopped" : "done",
    failure: readFailure(fields.get("failure")),
    finish: typeof finish === "string" ? finish.slice(0, 100) : undefined,
    model: typeof model === "string" ? model.slice(0, 200) : undefined,
    measured: readMeasured(fields.get("measured")),
    probabilities: readProbabilities(fields.get("probabilities")),
  };
}

function readFailure(value: unknown): Failure | undefined {
  const message = textOf(fieldsOf(value).get("message")).slice(0, 10_000);
  return message === "" ? undefined : { message };
}

function readMeasured(value: unknown): Measured | undefined {
  const fields = fieldsOf(value);
  const number = (name: keyof Measured) => {
    const one = fields.get(name);
    return typeof one === "number" && one >= 0 ? one : undefined;
  };
  return fields.size === 0
    ? undefined
    : {
        promptTokens: number("promptTokens"),
        cachedTokens: number("cachedTokens"),
        answerTokens: number("answerTokens"),
        tokensPerSecond: number("tokensPerSecond"),
        firstTokenMs: number("firstTokenMs"),
        thinkingMs: number("thinkingMs"),
      };
}

function readProbabilities(value: unknown): TokenProbability[] | undefined {
  const read = (one: unknown) => {
    const fields = fieldsOf(one);
    const logprob = fields.get("logprob");
    return {
      token: textOf(fields.get("token")).slice(0, 1000),
      logprob: typeof logprob === "number" ? logprob : 0,
      fields,
    };
  };
  const tokens = listOf(value).slice(0, limits.tokens);
  return tokens.length === 0
    ? undefined
    : tokens.map((one) => {
        const { token, logprob, fields } = read(one);
        const top = listOf(fields.get("top")).slice(0, 20).map(read);
        return { token, logprob, top: top.map((other) => ({ token: other.token, logprob: other.logprob })) };
      });
}

function fieldsOf(value: unknown): Map<string, unknown> {
  return new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value.slice(0, limits.text) : "";
}

/** Nothing after now, as no order of chats and messages could be trusted with it. */
function timeOf(value: unknown): number {
  const now = Date.now();
  return typeof value === "number" && value >= 0 ? Math.min(value, now) : now;
}
