// The files in which Linux tells of itself. Where they are not, as on other systems, nothing is known and nothing fails.

import { closeSync, existsSync, openSync, readdirSync, readSync } from "node:fs";

const mostBytes = 2 ** 18;

export class SystemFiles {
  readonly #root: string | undefined;

  /** `root` stands before every path, for tests; undefined: no such file is there. */
  constructor(root: string | undefined) {
    this.#root = root;
  }

  /** Those of this machine. Windows has none, though Wine would show it those of Linux below its own letter. */
  static of(platform: NodeJS.Platform): SystemFiles {
    return new SystemFiles(platform === "win32" ? undefined : "");
  }

  /** The text of a file, up to 256 KiB; undefined if it cannot be read. Files of /proc and /sys have no size. */
  read(path: string): string | undefined {
    return this.readBytes(path)?.toString("utf8");
  }

  readBytes(path: string): Buffer | undefined {
    if (this.#root === undefined) {
      return undefined;
    }
    try {
      const file = openSync(this.#root + path, "r");
      try {
        const parts: Buffer[] = [];
        for (let left = mostBytes; left > 0; ) {
          const buffer = Buffer.alloc(Math.min(left, 2 ** 14));
          const count = readSync(file, buffer, 0, buffer.length, null);
          if (count === 0) {
            break;
          }
          parts.push(buffer.subarray(0, count));
          left -= count;
        }
        return Buffer.concat(parts);
      } finally {
        closeSync(file);
      }
    } catch {
      return undefined;
    }
  }

  /** The one line of a file. */
  line(path: string): string | undefined {
    const text = this.read(path)?.trim();
    return text === "" ? undefined : text;
  }

  /** The number that a file is; undefined for none, and for "max". */
  number(path: string): number | undefined {
    const text = this.line(path);
    return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
  }

  exists(path: string): boolean {
    return this.#root !== undefined && existsSync(this.#root + path);
  }

  list(path: string): string[] {
    try {
      return this.#root === undefined ? [] : readdirSync(this.#root + path);
    } catch {
      return [];
    }
  }
}

/** The value of a line "NAME: VALUE", as in /proc/meminfo and /proc/cpuinfo. */
export function fieldOf(text: string | undefined, name: string): string | undefined {
  const line = text?.split("\n").find((one) => one.startsWith(name) && /^\s*:/.test(one.slice(name.length)));
  return line?.slice(line.indexOf(":") + 1).trim();
}
