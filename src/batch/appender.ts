// A file that lines are added to: on the disk within a second, and never far ahead of it in memory.

import { type FileHandle, open } from "node:fs/promises";
import { withContext } from "../system/errors.js";

const flushMs = 1000;
const mostUnwritten = 2 ** 20; // bytes

export class Appender {
  readonly #path: string;
  readonly #file: FileHandle;
  #lines: string[] = [];
  #unwritten = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Writes come one after the other. */
  #writing: Promise<void> = Promise.resolve();
  #failure: unknown;
  #isClosed = false;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /** At the end of what is there, or `fresh`. */
  static async open(path: string, fresh = false): Promise<Appender> {
    try {
      return new Appender(path, await open(path, fresh ? "w" : "a"));
    } catch (error) {
      throw withContext(path, error);
    }
  }

  /** Resolves when more may be added. Throws what an earlier write has failed with. */
  async add(line: string): Promise<void> {
    this.#throwFailure();
    this.#lines.push(line);
    this.#unwritten += line.length;
    this.#timer ??= setTimeout(() => void this.flush().catch(() => {}), flushMs);
    if (this.#unwritten > mostUnwritten) {
      await this.flush();
    }
  }

  /** Everything that was added is on the disk. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const text = this.#lines.join("");
    this.#lines = [];
    this.#unwritten = 0;
    this.#writing = this.#writing.then(() => this.#write(text));
    await this.#writing;
    this.#throwFailure();
  }

  /** May be called again. */
  async close(): Promise<void> {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    try {
      await this.flush();
    } finally {
      await this.#file.close();
    }
  }

  async #write(text: string): Promise<void> {
    if (text === "" || this.#failure !== undefined) {
      return;
    }
    try {
      await this.#file.appendFile(text);
      await this.#file.datasync();
    } catch (error) {
      this.#failure = error;
    }
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) {
      throw withContext(this.#path, this.#failure);
    }
  }
}
