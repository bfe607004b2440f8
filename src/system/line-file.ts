// Files of lines, read one line at a time whatever their size.

import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import { toBitnetError } from "./errors.js";

const newline = 0x0a;
const carriageReturn = 0x0d;
const chunkBytes = 256 * 2 ** 10;

export interface FileLine {
  /** From 1 on. */
  number: number;
  /** Of its first byte in the file. */
  offset: number;
  /** Without its end; of a line that is too long, its beginning. */
  bytes: Buffer;
  isTooLong: boolean;
  /** It has no end: the file stops in it. */
  isTorn: boolean;
}

/** Every line of a file, empty ones included. No line of more than `mostBytes` is kept in memory. */
export function readFileLines(path: string, mostBytes: number): AsyncGenerator<FileLine, void, undefined> {
  return readStreamLines(createReadStream(path, { highWaterMark: chunkBytes }), mostBytes);
}

/** The same of a stream, such as the standard input. */
export async function* readStreamLines(stream: Readable, mostBytes: number): AsyncGenerator<FileLine, void, undefined> {
  const line = new LineMaker(mostBytes);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let from = 0;
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
        yield line.end(chunk.subarray(from, at), true);
        from = at + 1;
      }
      line.add(chunk.subarray(from));
    }
    if (!line.isEmpty) {
      yield line.end(Buffer.alloc(0), false);
    }
  } catch (error) {
    throw toBitnetError(error);
  } finally {
    stream.destroy();
  }
}

class LineMaker {
  readonly #mostBytes: number;
  #parts: Buffer[] = [];
  /** Of the parts that are kept. */
  #kept = 0;
  #length = 0;
  #number = 1;
  #offset = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  add(part: Buffer): void {
    this.#length += part.length;
    if (part.length > 0 && this.#kept <= this.#mostBytes) {
      this.#parts.push(part);
      this.#kept += part.length;
    }
  }

  end(part: Buffer, hasEnd: boolean): FileLine {
    this.add(part);
    const bytes = this.#parts.length === 1 ? (this.#parts[0] ?? part) : Buffer.concat(this.#parts);
    const isTooLong = this.#length > this.#mostBytes;
    const line = {
      ...{ number: this.#number, offset: this.#offset, isTooLong, isTorn: !hasEnd },
      bytes: bytes.at(-1) === carriageReturn && !isTooLong ? bytes.subarray(0, -1) : bytes,
    };
    this.#offset += this.#length + 1;
    this.#number++;
    this.#parts = [];
    this.#kept = 0;
    this.#length = 0;
    return line;
  }
}
