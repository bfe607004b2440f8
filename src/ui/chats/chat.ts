// Chats as they are kept: a chat is a tree of messages, of which one path is shown.

import type { Settings } from "./settings.js";

export interface Chat {
  id: string;
  title: string;
  /** Times are milliseconds since 1970. */
  created: number;
  updated: number;
  /** The last message of the path that is shown; null for an empty chat. */
  leaf: string | null;
  settings: Settings;
}

export interface TokenProbability {
  token: string;
  logprob: number;
  /** The likeliest tokens in its place. */
  top: { token: string; logprob: number }[];
}

export interface Failure {
  message: string;
  /** What to do about it. */
  hint?: string;
}

export interface Measured {
  promptTokens?: number;
  cachedTokens?: number;
  answerTokens?: number;
  tokensPerSecond?: number;
  firstTokenMs?: number;
  thinkingMs?: number;
}

/** `writing` that is read from the disk was cut off when the page was closed. */
export type MessageState = "done" | "writing" | "stopped" | "failed";

export interface Message {
  id: string;
  chat: string;
  parent: string | null;
  role: "user" | "assistant";
  created: number;
  text: string;
  thinking: string;
  state: MessageState;
  failure?: Failure;
  /** Why the server ended it: stop, length, content_filter ... */
  finish?: string;
  model?: string;
  measured?: Measured;
  probabilities?: TokenProbability[];
}

/** A new identifier; crypto.randomUUID would need a secure context, which http in a local network is not. */
export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The first line of a message, cut to fit a list. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  const characters = [...line];
  return characters.length > 60 ? `${characters.slice(0, 59).join("")}…` : line;
}
