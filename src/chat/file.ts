// Chats in files: JSON with the messages and how they came about.

import { stat } from "node:fs/promises";
import { BitnetError, reasonOf, withContext } from "../system/errors.js";
import { replaceFile } from "../system/files.js";
import { parseJson } from "../system/json.js";
import { readTextFile } from "../system/text-file.js";
import { stringifyJson } from "../system/write-json.js";
import type { ChatMessage } from "./format.js";

export interface SavedChat {
  /** "" for none. */
  system: string;
  /** User and assistant in turn, beginning with "user". */
  messages: ChatMessage[];
  /** Name or file of the model. */
  model?: string;
  /** The chat format's name. */
  template?: string;
  /** Sampling and limits of the answers; for the reader, not applied when the chat is loaded. */
  options?: Record<string, unknown>;
}

const formatName = "bitnet-chat";
const formatVersion = 1;
const maxFileSize = 64 << 20;
const maxMessages = 100_000;

/** Writes the chat beside `path` and renames it, so that a full disk costs neither the old file nor the chat. */
export async function saveChat(path: string, chat: SavedChat): Promise<void> {
  const text = `${stringifyJson({ format: formatName, version: formatVersion, ...chat }, 2)}\n`;
  try {
    await replaceFile(path, text, 0o600);
  } catch (error) {
    throw withContext(`cannot save the chat to ${path}`, error);
  }
}

/** Reads a chat that saveChat wrote; BAD_FILE if it is anything else. */
export async function loadChat(path: string): Promise<SavedChat> {
  const text = await readBounded(path);
  const value = parseJson(text, path);
  try {
    return parseChat(value);
  } catch (error) {
    throw new BitnetError("BAD_FILE", `${path} is not a saved chat: ${reasonOf(error)}`, { cause: error });
  }
}

async function readBounded(path: string): Promise<string> {
  try {
    const info = await stat(path);
    if (!info.isFile()) {
      throw new BitnetError("BAD_FILE", "it is not a regular file");
    }
    if (info.size > maxFileSize) {
      throw new BitnetError("BAD_FILE", `it has ${info.size} bytes, more than any chat (${maxFileSize})`);
    }
    return await readTextFile(path);
  } catch (error) {
    throw withContext(`cannot load the chat from ${path}`, error);
  }
}

function parseChat(value: unknown): SavedChat {
  if (!isRecord(value) || value.format !== formatName) {
    throw new Error(`expected an object with "format": "${formatName}"`);
  }
  if (value.version !== formatVersion) {
    throw new Error(`expected "version": ${formatVersion}, got ${JSON.stringify(value.version)}`);
  }
  const { system = "", messages, model, template } = value;
  if (typeof system !== "string") {
    throw new Error('"system" is not a text');
  }
  if (!Array.isArray(messages) || messages.length > maxMessages) {
    throw new Error(`"messages" is not a list of at most ${maxMessages} messages`);
  }
  return {
    system,
    messages: messages.map(readTurn),
    model: typeof model === "string" ? model : undefined,
    template: typeof template === "string" ? template : undefined,
  };
}

/** The message at `index` of a chat, where user and assistant take turns. Throws if it is anything else. */
export function readTurn(value: unknown, index: number): ChatMessage {
  const role = index % 2 === 0 ? "user" : "assistant";
  if (!isRecord(value) || typeof value.content !== "string" || value.role !== role) {
    throw new Error(`message ${index + 1} is not of the form {"role": "${role}", "content": text}`);
  }
  const { content, thinking } = value;
  return typeof thinking === "string" && role === "assistant" ? { role, content, thinking } : { role, content };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
