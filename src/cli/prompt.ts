// Where the prompt of `bitnet run` comes from: arguments, files, stdin.

import { fstatSync, type Stats } from "node:fs";
import { addAbortSignal } from "node:stream";
import { buffer as readAll } from "node:stream/consumers";
import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError, throwIfAborted, withContext } from "../system/errors.js";
import { decodeText, readTextFile } from "../system/text-file.js";
import { unescapeText } from "./parsers.js";

export interface PromptSource {
  /** -p; "-" is stdin. */
  prompt?: string;
  /** -f; "-" is stdin. */
  file?: string;
  /** The argument after the model. */
  operand?: string;
  /** Process \n and the like in what was typed. */
  escapes: boolean;
}

/** The prompt, if there is one: a file or stdin first, then what was typed. */
export async function readPrompt(source: PromptSource, signal: AbortSignal): Promise<string | undefined> {
  const { prompt, file, operand, escapes } = source;
  const typed = prompt === "-" ? undefined : (prompt ?? operand);
  const parts: string[] = [];
  if (file === "-" || prompt === "-") {
    parts.push(await readStdin(signal));
  } else if (file !== undefined) {
    parts.push(dropLastNewline(await readTextFile(file)));
  } else if (operand !== undefined && isPiped()) {
    parts.push(await readStdin(signal));
  }
  if (typed !== undefined) {
    parts.push(escapes ? unescapeText(typed) : typed);
  }
  const given = parts.filter((part, i) => part !== "" || i === parts.length - 1);
  return given.length === 0 ? undefined : given.join("\n\n");
}

/** Whether somebody has directed a pipe or a file with something in it to stdin. */
export function isPiped(): boolean {
  const stdin = statStdin();
  return stdin !== undefined && (stdin.isFIFO() || (stdin.isFile() && stdin.size > 0));
}

/** Undefined if it is closed. */
function statStdin(): Stats | undefined {
  try {
    return fstatSync(0);
  } catch {
    return undefined;
  }
}

/** Throws if stdin is a directory, which Node takes for a file without contents. */
export function checkStdin(): void {
  if (statStdin()?.isDirectory()) {
    throw new BitnetError("USAGE", "the standard input is a directory, not a text");
  }
}

/** All of stdin as text, without the newline at its end. */
export async function readStdin(signal: AbortSignal): Promise<string> {
  return dropLastNewline(decodeText(await readStdinBytes(signal), "the standard input"));
}

export async function readStdinBytes(signal: AbortSignal): Promise<Buffer> {
  checkStdin();
  try {
    return await readAll(addAbortSignal(signal, process.stdin));
  } catch (error) {
    throwIfAborted(signal);
    throw withContext("cannot read the standard input", error);
  }
}

/** Tells that a text brings the token that the model wants at the beginning: it is there once. */
export function noteOwnBos(tokenizer: Tokenizer, text: string | Uint8Array, say: (text: string) => void): void {
  const { addBos, bos } = tokenizer.info;
  const name = addBos && bos >= 0 ? tokenizer.piece(bos, { special: true }) : "";
  if (name !== "" && Buffer.from(text).subarray(0, name.length).equals(Buffer.from(name))) {
    say(`the text begins with ${name} already; no second one is added`);
  }
}

/** As llama-cli does with -f: editors end every file with a newline that is not meant. */
function dropLastNewline(text: string): string {
  return text.replace(/\r?\n$/, "");
}
