// Chats in files: JSON with the messages and how they came about.

import { open, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import type { ChatMessage } from "./chat-format.js";
import { BitnetError } from "./errors.js";

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
  const text = `${JSON.stringify({ format: formatName, version: formatVersion, ...chat }, null, 2)}\n`;
  try {
    const target = await findTarget(path);
    const partial = `${target}.partial`;
    try {
      await writeDurably(partial, text);
      await rename(partial, target);
    } catch (error) {
      await rm(partial, { force: true }).catch(() => {});
      throw error;
    }
  } catch (error) {
    throw new BitnetError("NOT_FOUND", `cannot save the chat to ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** The file behind links. Renaming over anything but a file, such as a device, would destroy it. */
async function findTarget(path: string): Promise<string> {
  const target = await realpath(path).catch(() => path);
  const info = await stat(target).catch(() => undefined);
  if (info !== undefined && !info.isFile()) {
    throw new Error(info.isDirectory() ? "it is a directory" : "it is not a regular file");
  }
  return target;
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Reads a chat that saveChat wrote; BAD_FILE if it is anything else. */
export async function loadChat(path: string): Promise<SavedChat> {
  const text = await readBounded(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BitnetError("BAD_FILE", `${path} is not a saved chat: it is not JSON`, { cause: error });
  }
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
      throw new Error("it is not a regular file");
    }
    if (info.size > maxFileSize) {
      throw new Error(`it has ${info.size} bytes, more than any chat (${maxFileSize})`);
    }
    return await readFile(path, "utf8");
  } catch (error) {
    throw new BitnetError("NOT_FOUND", `cannot load the chat from ${path}: ${reasonOf(error)}`, { cause: error });
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
    messages: messages.map(parseMessage),
    model: typeof model === "string" ? model : undefined,
    template: typeof template === "string" ? template : undefined,
  };
}

function parseMessage(value: unknown, index: number): ChatMessage {
  const role = index % 2 === 0 ? "user" : "assistant";
  if (!isRecord(value) || typeof value.content !== "string" || value.role !== role) {
    throw new Error(`message ${index + 1} is not of the form {"role": "${role}", "content": text}`);
  }
  return { role, content: value.content };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const reasons: Record<string, string> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOENT: "no such file or directory",
  ENOTDIR: "no such directory",
  EISDIR: "it is a directory",
  EFBIG: "the file would be too large",
};

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code === undefined ? undefined : reasons[code]) ?? message;
}
