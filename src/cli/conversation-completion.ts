// What Tab completes behind a command: a word of a list, the path of a file.

import { readdirSync } from "node:fs";
import { sep } from "node:path";
import { expandHome } from "../system/folders.js";
import type { Completion } from "./terminal/edit-line.js";

/** Names of a folder that are looked at. */
const maxNames = 10_000;

/** The first word, if nothing stands behind it. */
export function completeWord(argument: string, words: readonly string[]): Completion {
  const wanted = argument.toLowerCase();
  return { start: 0, candidates: words.filter((word) => word.startsWith(wanted)).map((word) => `${word} `) };
}

/** A path to the end of the line, with or without an opening quote; what cannot be read has no names. */
export function completePath(argument: string): Completion {
  const quote = /^["']/.exec(argument)?.[0] ?? "";
  const path = argument.slice(quote.length);
  const begin = Math.max(path.lastIndexOf("/"), path.lastIndexOf(sep)) + 1; // Windows takes both
  const folder = path.slice(0, begin);
  const start = path.slice(begin);
  const names = listNames(folder, quote === "")
    .filter((name) => name.startsWith(start) && (start !== "" || !name.startsWith(".")))
    .sort();
  return { start: quote.length + begin, candidates: names };
}

function listNames(folder: string, mayBeHome: boolean): string[] {
  try {
    const place = mayBeHome ? expandHome(folder) : folder;
    const entries = readdirSync(place === "" ? "." : place, { withFileTypes: true }).slice(0, maxNames);
    return entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
  } catch {
    return [];
  }
}
