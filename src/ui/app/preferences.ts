// What this browser remembers beside the chats. Without storage everything works and is forgotten.

import type { Message } from "../chats/chat.js";
import { noSettings, readSettings, type Settings } from "../chats/settings.js";

export type Theme = "auto" | "light" | "dark";

const themeName = "bitnet-theme";
const settingsName = "bitnet-settings";

export function readTheme(): Theme {
  const theme = readItem(localStorage, themeName);
  return theme === "light" || theme === "dark" ? theme : "auto";
}

export function applyTheme(theme: Theme): void {
  if (theme === "auto") {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = theme;
  }
}

export function keepTheme(theme: Theme): void {
  applyTheme(theme);
  keepItem(localStorage, themeName, theme);
}

/** Those that new chats begin with. */
export function readDefaultSettings(): Settings {
  try {
    return readSettings(JSON.parse(readItem(localStorage, settingsName) || "null"));
  } catch {
    return noSettings;
  }
}

export function keepDefaultSettings(settings: Settings): void {
  keepItem(localStorage, settingsName, JSON.stringify(settings));
}

/** What was typed and not sent. */
export function readDraft(chat: string): string {
  return readItem(sessionStorage, `bitnet-draft-${chat}`);
}

export function keepDraft(chat: string, text: string): void {
  keepItem(sessionStorage, `bitnet-draft-${chat}`, text);
}

/** An answer that was being written. */
type Unfinished = Pick<Message, "id" | "chat" | "text" | "thinking">;

const unfinishedName = "bitnet-unfinished";

/** When the page goes away no database can be waited for; this is written at once. */
export function keepUnfinished(messages: Unfinished[]): void {
  const kept = messages.map(({ id, chat, text, thinking }) => ({ id, chat, text, thinking }));
  keepItem(localStorage, unfinishedName, kept.length === 0 ? "" : JSON.stringify(kept));
}

/** What pages that went away have kept, once. */
export function takeUnfinished(): Unfinished[] {
  const text = readItem(localStorage, unfinishedName);
  keepItem(localStorage, unfinishedName, "");
  try {
    return JSON.parse(text || "[]");
  } catch {
    return [];
  }
}

function readItem(storage: Storage, name: string): string {
  try {
    return storage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function keepItem(storage: Storage, name: string, value: string): void {
  try {
    if (value === "") {
      storage.removeItem(name);
    } else {
      storage.setItem(name, value);
    }
  } catch {
    // Full or forbidden: it is a convenience.
  }
}
