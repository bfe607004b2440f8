// The messages that were typed in conversations, kept for the arrow keys of the next one.

import { appendFile, type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder, replaceFile } from "../../system/files.js";
import { stateFolder } from "../../system/folders.js";
import { withLock } from "../../system/lock.js";
import { withoutControls } from "./format.js";

/** Messages that are kept. */
const maxHistory = 1000;
/** Bytes at the end of a file that are looked at: more than that many messages have. */
const maxRead = 8 << 20;

/** Undefined for a user without a home folder. */
export function defaultHistoryFile(env?: NodeJS.ProcessEnv): string | undefined {
  const folder = stateFolder(env);
  return folder === undefined ? undefined : join(folder, "history");
}

/** Messages kept between chats: one per line, oldest first, readable by the user only. */
export class HistoryFile {
  readonly path: string;
  #last = "";
  #writing: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** The newest messages, newest first; creates the file if there is none. */
  async load(): Promise<string[]> {
    await makeFolder(dirname(this.path), 0o700);
    const { lines, isWhole } = await this.#read();
    if (lines.length > 2 * maxHistory || !isWhole) {
      await this.#alone(() => this.#shorten());
    }
    const kept = lines.slice(-maxHistory).map(decode);
    this.#last = kept.at(-1) ?? "";
    return kept.reverse();
  }

  /** As with a shell, what begins with a space is not kept. */
  add(message: string): void {
    if (message === this.#last || message.startsWith(" ") || this.#failure !== undefined) {
      return;
    }
    this.#last = message;
    this.#writing = this.#writing
      .then(() => this.#alone(() => appendFile(this.path, `${encode(message)}\n`, { mode: 0o600 })))
      .catch((error: Error) => {
        this.#failure ??= error;
      });
  }

  /** Waits for the last write; what went wrong, if something did. */
  async finish(): Promise<Error | undefined> {
    await this.#writing;
    return this.#failure;
  }

  /** The lines at the end of the file, which gets the user's rights only. */
  async #read(): Promise<{ lines: string[]; isWhole: boolean }> {
    const file = await open(this.path, "a+", 0o600);
    try {
      const { mode, size } = await this.#check(file);
      if ((mode & 0o077) !== 0) {
        await file.chmod(0o600);
      }
      const start = Math.max(0, size - maxRead);
      const bytes = Buffer.alloc(size - start);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, start);
      const lines = bytes.toString("utf8", 0, bytesRead).split("\n");
      return { lines: lines.slice(start > 0 ? 1 : 0).filter((line) => line !== ""), isWhole: start === 0 };
    } finally {
      await file.close();
    }
  }

  async #check(file: FileHandle): Promise<{ mode: number; size: number }> {
    const info = await file.stat();
    if (!info.isFile()) {
      throw new Error(`${this.path} is not a regular file`);
    }
    return info;
  }

  /** Keeps the newest lines, those that another chat has added meanwhile among them. */
  async #shorten(): Promise<void> {
    const { lines } = await this.#read();
    await replaceFile(this.path, `${lines.slice(-maxHistory).join("\n")}\n`, 0o600);
  }

  /** No other chat writes meanwhile. */
  #alone<T>(body: () => Promise<T>): Promise<T> {
    return withLock(`${this.path}.lock`, {}, body);
  }
}

/** A message of many lines is a JSON text on one. So is one that looks like that. */
function encode(message: string): string {
  return message.includes("\n") || decode(message) !== message ? JSON.stringify(message) : message;
}

function decode(line: string): string {
  if (!line.startsWith('"') || !line.endsWith('"')) {
    return line;
  }
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "string" ? withoutControls(value) : line;
  } catch {
    return line;
  }
}
