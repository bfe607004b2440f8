// The lines that were typed in conversations, kept for the arrow keys of the next one.

import { appendFile, chmod, mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { replaceFile } from "../../system/files.js";
import { stateFolder } from "../../system/folders.js";
import { withLock } from "../../system/lock.js";

/** Lines that are kept. */
export const maxHistory = 1000;

/** Undefined for a user without a home folder. */
export function defaultHistoryFile(env?: NodeJS.ProcessEnv): string | undefined {
  const folder = stateFolder(env);
  return folder === undefined ? undefined : join(folder, "history");
}

/** Input lines kept between chats: one per line, oldest first, readable by the user only. */
export class HistoryFile {
  readonly path: string;
  #last = "";
  #writing: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** The newest lines, newest first; creates the file if there is none. */
  async load(): Promise<string[]> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await appendFile(this.path, "", { mode: 0o600 });
    await chmod(this.path, 0o600);
    const lines = (await readFile(this.path, "utf8")).split("\n").filter((line) => line !== "");
    const kept = lines.slice(-maxHistory);
    if (lines.length > 2 * maxHistory) {
      await this.#alone(() => this.#shorten());
    }
    this.#last = kept.at(-1) ?? "";
    return kept.reverse();
  }

  add(line: string): void {
    if (line === this.#last || this.#failure !== undefined) {
      return;
    }
    this.#last = line;
    this.#writing = this.#writing
      .then(() => this.#alone(() => appendFile(this.path, `${line}\n`, { mode: 0o600 })))
      .catch((error: Error) => {
        this.#failure ??= error;
      });
  }

  /** Keeps the newest lines, those that another chat has added meanwhile among them. */
  async #shorten(): Promise<void> {
    const lines = (await readFile(this.path, "utf8")).split("\n").filter((line) => line !== "");
    await replaceFile(this.path, `${lines.slice(-maxHistory).join("\n")}\n`, 0o600);
  }

  /** No other chat writes meanwhile. */
  #alone<T>(body: () => Promise<T>): Promise<T> {
    return withLock(`${this.path}.lock`, {}, body);
  }

  /** Waits for the last write; what went wrong, if something did. */
  async finish(): Promise<Error | undefined> {
    await this.#writing;
    return this.#failure;
  }
}
