// Files of vectors that are written as they come. What an earlier run has left is gone on with, if the texts and what else
// decides the vectors are the same.

import type { FileHandle } from "node:fs/promises";
import { open, rename, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { BitnetError, withContext } from "../system/errors.js";
import { flushDirectory, retryIfBusy } from "../system/files.js";
import { readFileLines } from "../system/line-file.js";
import { type CodedInfo, differenceOf, readInfo, type StoreInfo, writeInfo } from "./store-info.js";

/** What every kind of file does. */
export interface EmbeddingOutput {
  /** Texts that an earlier run has done. */
  readonly kept: number;
  keptTexts(): AsyncIterable<string>;
  /** On the disk when it resolves. */
  add(rows: readonly OutputRow[]): Promise<void>;
  /** Gives the files their names. Returns what should be known of them. */
  finish(): Promise<string[]>;
  /** What is there stays for the next run. */
  close(): Promise<void>;
}

export interface OutputRow {
  text: string;
  tokens: number;
  vector: Float32Array;
}

export const mostLineBytes = 256 * 2 ** 20;

/** The texts without those that `output` has, which must be the same. */
export async function* withoutKept(
  texts: AsyncIterable<string>,
  output: EmbeddingOutput,
  path: string,
): AsyncGenerator<string, void, undefined> {
  const kept = output.keptTexts()[Symbol.asyncIterator]();
  let place = 0;
  for await (const text of texts) {
    place++;
    if (place > output.kept) {
      yield text;
    } else if ((await kept.next()).value !== text) {
      throw otherwise(path, `text ${place} is another one`);
    }
  }
  if (place < output.kept) {
    throw otherwise(path, `it has ${output.kept} texts, now there are ${place}`);
  }
}

function otherwise(path: string, difference: string): BitnetError {
  return new BitnetError("USAGE", `${partialOf(path)} is of another run: ${difference}`, {
    hint: "name another file, or begin anew with --fresh",
  });
}

export function partialOf(path: string): string {
  return `${path}.partial`;
}

/** What the partial settings file says must be the same; a new one is written otherwise. True: there is an earlier run. */
export async function beginOrGoOn(path: string, infoPath: string, info: StoreInfo): Promise<boolean> {
  const before = await readInfo(infoPath).catch(() => undefined); // a torn one is of a run that had hardly begun
  const difference = before && differenceOf(before, info);
  if (difference !== undefined) {
    throw otherwise(path, difference);
  }
  if (before === undefined) {
    await writeInfo(infoPath, { ...info, precision: "float32" } satisfies CodedInfo);
  }
  return before !== undefined;
}

/** A file that is added to. */
export class GrowingFile {
  readonly path: string;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** With its first `bytes` bytes. */
  static async open(path: string, bytes: number): Promise<GrowingFile> {
    try {
      const file = await open(path, "a");
      await truncate(path, bytes);
      return new GrowingFile(path, file);
    } catch (error) {
      throw withContext(path, error);
    }
  }

  async add(bytes: string | Uint8Array): Promise<void> {
    try {
      await this.#file.appendFile(bytes);
    } catch (error) {
      throw withContext(this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

export async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** How many whole lines a file has, at most `most`, and where they end. */
export async function countLines(
  path: string,
  most = Number.POSITIVE_INFINITY,
): Promise<{ lines: number; bytes: number }> {
  let [lines, bytes] = [0, 0];
  if ((await sizeOf(path)) > 0) {
    for await (const line of readFileLines(path, mostLineBytes)) {
      if (lines >= most || line.isTorn || line.isTooLong) {
        break;
      }
      lines++;
      bytes = line.offset + line.bytes.length + 1;
    }
  }
  return { lines, bytes };
}

/** The first `count` lines of a file, each read by `read`. */
export async function* readLines<T>(path: string, count: number, read: (line: string) => T): AsyncGenerator<T> {
  if (count === 0) {
    return;
  }
  for await (const { bytes, number } of readFileLines(path, mostLineBytes)) {
    if (number > count) {
      return;
    }
    yield read(bytes.toString("utf8"));
  }
}

/** Gives finished files their names. */
export async function publish(names: readonly (readonly [from: string, to: string])[]): Promise<void> {
  for (const [from, to] of names) {
    await retryIfBusy(() => rename(from, to));
    await flushDirectory(dirname(to));
  }
}
