// What this browser remembers beside the chats. Without storage everything works and is forgotten.

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
