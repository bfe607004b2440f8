// The files of a checkpoint that say how texts become tokens: what goes along when its weights change.

import { copyFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const tokenizerFiles = new Set([
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
]);

/** Names of those that a folder has, in alphabetical order. */
export async function listTokenizerFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => tokenizerFiles.has(name)).sort();
}

/** Copies those that `from` has; returns their names. */
export async function copyTokenizerFiles(from: string, to: string): Promise<string[]> {
  const names = await listTokenizerFiles(from);
  for (const name of names) {
    await copyFile(join(from, name), join(to, name));
  }
  return names;
}
