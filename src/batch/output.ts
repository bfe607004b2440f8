// The output of a batch: what an earlier run has left of it, where the next one adds, and how it gets its name.

import { type FileHandle, open, rename, rm, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { BitnetError, withContext } from "../system/errors.js";
import { findTarget, flushDirectory, retryIfBusy } from "../system/files.js";
import { readFileLines } from "../system/line-file.js";
import { Appender } from "./appender.js";
import { type BatchSource, readRequests } from "./check.js";
import { HashTable } from "./hash-table.js";
import { readOutcomeLine } from "./outcome.js";
import { hashOfId } from "./request.js";

/** Longest answer that is read back, in bytes. */
const mostOutcomeBytes = 64 * 2 ** 20;

const isThere = 1;
const isWanted = 2;
const isCopied = 3;

/** The lines that were answered before. */
export class EarlierAnswers {
  /** The file; undefined: there is none. */
  readonly path?: string;
  readonly #states = new HashTable(Uint32Array);
  /** Where the last line ends that is whole. */
  #wholeBytes = 0;
  #lineCount = 0;
  #wanted = 0;
  #isTorn = false;
  #model: string | undefined;

  private constructor(path?: string) {
    this.path = path;
  }

  static none(): EarlierAnswers {
    return new EarlierAnswers();
  }

  /** Reads what is at `partial`, else what an earlier run has made of `output`. */
  static async find(output: string, partial: string): Promise<EarlierAnswers> {
    if (await exists(partial)) {
      return (await new EarlierAnswers(partial).#read()) ?? new EarlierAnswers();
    }
    if (!(await exists(output))) {
      return new EarlierAnswers();
    }
    const earlier = await new EarlierAnswers(output).#read();
    if (earlier === undefined) {
      throw new BitnetError("USAGE", `${output} is there already, and not the output of a batch`, {
        hint: "name another file, or begin anew with --restart, which replaces it",
      });
    }
    return earlier;
  }

  /** The lines of this batch among them. */
  get count(): number {
    return this.#wanted;
  }

  /** The model that has given them, as far as they say. */
  get model(): string | undefined {
    return this.#model;
  }

  /** Told of each line of the batch: true if its answer is there. */
  want(id: string): boolean {
    const hash = hashOfId(id);
    const state = this.#states.get(hash);
    if (state === isThere) {
      this.#states.set(hash, isWanted);
      this.#wanted++;
    }
    return state !== undefined;
  }

  has(id: string): boolean {
    return this.#states.get(hashOfId(id)) !== undefined;
  }

  /** Makes `partial` a file of the wanted answers and nothing else. */
  async keepWanted(partial: string): Promise<void> {
    if (this.path === partial && this.#wanted === this.#lineCount) {
      if (this.#isTorn) {
        await truncate(partial, this.#wholeBytes);
      }
      return;
    }
    const next = `${partial}.next`;
    await writeWhole(next, async (kept) => {
      for await (const { bytes } of this.#lines()) {
        const line = readOutcomeLine(bytes);
        if (line?.isSuccess && this.#states.get(hashOfId(line.id)) === isWanted) {
          this.#states.set(hashOfId(line.id), isCopied);
          await kept.add(`${bytes.toString("utf8")}\n`);
        }
      }
    });
    await retryIfBusy(() => rename(next, partial));
  }

  async *#lines() {
    if (this.path === undefined) {
      return;
    }
    for await (const line of readFileLines(this.path, mostOutcomeBytes)) {
      if (!line.isTorn && !line.isTooLong) {
        yield line;
      } else {
        this.#isTorn = true;
      }
    }
  }

  /** Undefined: its first line is not that of an output. */
  async #read(): Promise<EarlierAnswers | undefined> {
    for await (const { bytes, offset, number } of this.#lines()) {
      const line = readOutcomeLine(bytes);
      if (line === undefined && number === 1) {
        return undefined;
      }
      this.#lineCount++;
      this.#wholeBytes = offset + bytes.length + 1;
      if (line?.isSuccess) {
        this.#states.set(hashOfId(line.id), isThere);
        this.#model ??= line.model;
      }
    }
    return this;
  }
}

/** Writes a file anew; nothing is left of one that fails. */
async function writeWhole(path: string, write: (file: Appender) => Promise<void>): Promise<void> {
  try {
    const file = await Appender.open(path, true);
    try {
      await write(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Where outputs go: real paths. */
export interface OutputPaths {
  output: string;
  errors?: string;
}

export async function resolveOutputs(output: string, errors: string | undefined): Promise<OutputPaths> {
  const resolve = (path: string) =>
    findTarget(path).catch((error: unknown) => {
      throw withContext(path, error);
    });
  return { output: await resolve(output), ...(errors === undefined ? {} : { errors: await resolve(errors) }) };
}

export function partialOf(path: string): string {
  return `${path}.partial`;
}

/** Gives a finished file its name. */
export async function publish(partial: string, path: string): Promise<void> {
  await retryIfBusy(() => rename(partial, path));
  await flushDirectory(dirname(path));
}

/** The same with the lines in the order of the batch. */
export async function publishInOrder(source: BatchSource, path: string): Promise<void> {
  const partial = partialOf(path);
  await writeInOrder(source, partial, `${partial}.ordered`);
  await publish(`${partial}.ordered`, path);
  await rm(partial, { force: true });
}

async function writeInOrder(source: BatchSource, from: string, to: string): Promise<void> {
  const places = new HashTable(Float64Array);
  for await (const { bytes, offset } of readFileLines(from, mostOutcomeBytes)) {
    const line = readOutcomeLine(bytes);
    if (line !== undefined) {
      places.set(hashOfId(line.id), offset);
    }
  }
  const file = await open(from, "r");
  try {
    await writeWhole(to, async (ordered) => {
      for await (const { id } of readRequests(source)) {
        const offset = places.get(hashOfId(id));
        if (offset !== undefined) {
          await ordered.add(await readLineAt(file, offset));
        }
      }
    });
  } finally {
    await file.close();
  }
}

const lineChunk = 16 * 2 ** 10;

async function readLineAt(file: FileHandle, offset: number): Promise<string> {
  const parts: Buffer[] = [];
  for (let at = offset; ; at += lineChunk) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(lineChunk), 0, lineChunk, at);
    const read = buffer.subarray(0, bytesRead);
    const end = read.indexOf(0x0a);
    parts.push(end < 0 ? read : read.subarray(0, end + 1));
    if (end >= 0 || bytesRead === 0) {
      return Buffer.concat(parts).toString("utf8");
    }
  }
}
