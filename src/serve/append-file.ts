// A file to whose end lines are written, in order and without waiting for the disk. Rotated by renaming it and reopening.

import { closeSync, fchmodSync, openSync, write } from "node:fs";
import { BitnetError, reasonOf } from "../system/errors.js";

// A disk that does not keep up must not fill the memory: what is more is lost, and told.
const maxPending = 8 * 2 ** 20; // characters

export interface AppendOptions {
  /** Permissions: 0o600. The file gets them also if it was there. */
  mode?: number;
  /** Told once for each row of failures. */
  onFailure?: (reason: string) => void;
}

export class AppendFile {
  readonly #path: string;
  readonly #options: AppendOptions;
  #descriptor: number;
  #pending = "";
  #writing: Promise<void> | undefined;
  #hasFailed = false;

  /** Throws if the file cannot be written. */
  constructor(path: string, options: AppendOptions = {}) {
    this.#path = path;
    this.#options = options;
    this.#descriptor = openForAppending(path, options.mode);
  }

  write(line: string): void {
    if (this.#pending.length + line.length > maxPending) {
      this.#fail("the disk is too slow; lines were lost");
      return;
    }
    this.#pending += line;
    this.#writing ??= this.#writeAll();
  }

  /** What is written from now on goes to the file that has the name now. Throws if it cannot be written. */
  reopen(): void {
    const before = this.#descriptor;
    this.#descriptor = openForAppending(this.#path, this.#options.mode);
    const close = () => closeSync(before);
    if (this.#writing === undefined) {
      close();
    } else {
      this.#writing.then(close);
    }
  }

  async close(): Promise<void> {
    await this.#writing;
    closeSync(this.#descriptor);
  }

  async #writeAll(): Promise<void> {
    while (this.#pending !== "") {
      const bytes = Buffer.from(this.#pending);
      this.#pending = "";
      try {
        await writeFully(this.#descriptor, bytes);
        this.#hasFailed = false;
      } catch (error) {
        this.#fail(reasonOf(error));
      }
    }
    this.#writing = undefined;
  }

  #fail(reason: string): void {
    if (!this.#hasFailed) {
      this.#hasFailed = true;
      this.#options.onFailure?.(`${this.#path}: ${reason}`);
    }
  }
}

function openForAppending(path: string, mode = 0o644): number {
  try {
    const descriptor = openSync(path, "a", mode);
    if (mode === 0o600) {
      fchmodSync(descriptor, mode);
    }
    return descriptor;
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: it cannot be written: ${reasonOf(error)}`, { cause: error });
  }
}

async function writeFully(descriptor: number, bytes: Buffer): Promise<void> {
  let offset = 0;
  while (offset < bytes.length) {
    offset += await new Promise<number>((resolve, reject) => {
      write(descriptor, bytes, offset, bytes.length - offset, null, (error, n) =>
        error === null ? resolve(n) : reject(error),
      );
    });
  }
}
