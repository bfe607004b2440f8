// Examples from files: JSON lines, a list of JSON, plain text, each of them packed with gzip, too. A file is read as a
// stream; no more than one example of it is in memory.

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { extname } from "node:path";
import { pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { BitnetError, throwIfAborted, toBitnetError, withContext } from "../../system/errors.js";
import { requireFile } from "../../system/files.js";
import { parseJson } from "../../system/json.js";
import { readStreamLines } from "../../system/line-file.js";
import { isNestedDeeper } from "../../system/nesting.js";
import { decodeText } from "../../system/text-file.js";
import type { Origin } from "./example.js";
import { readListItems } from "./json-list.js";
import { maxExampleBytes, maxFileBytes, maxNesting, maxTextBytes } from "./limits.js";

/** What stands in one place of a file: a value of JSON, or a text. */
export interface Entry {
  origin: Origin;
  /** Throws BAD_FILE, with the place, if it cannot be read. */
  value: () => unknown;
}

/** A line of a text file that ends a document. */
const documentEnd = "<|endoftext|>";

const refused: ReadonlyMap<string, string> = new Map([
  [
    ".parquet",
    'write it as JSON lines, in Python: pandas.read_parquet(FILE).to_json("data.jsonl", orient="records", lines=True)',
  ],
  [".arrow", 'write it as JSON lines, in Python: datasets.Dataset.from_file(FILE).to_json("data.jsonl")'],
  [
    ".csv",
    'write it as JSON lines, in Python: pandas.read_csv(FILE).to_json("data.jsonl", orient="records", lines=True)',
  ],
  [".zip", "unpack it"],
  [".zst", "unpack it, or pack it with gzip"],
  [".bz2", "unpack it, or pack it with gzip"],
  [".xz", "unpack it, or pack it with gzip"],
]);

/** Everything that stands in a file, in its order. */
export async function* readEntries(file: string, signal?: AbortSignal): AsyncGenerator<Entry, void, undefined> {
  const { isPacked, end } = await checkFile(file);
  try {
    if (end === ".txt") {
      yield* readTexts(file, openBytes(file, isPacked, signal));
      return;
    }
    const isList = (await firstCharacter(openBytes(file, isPacked, signal))) === "[";
    const bytes = openBytes(file, isPacked, signal);
    yield* isList ? readList(file, bytes) : readLines(file, bytes);
  } catch (error) {
    throwIfAborted(signal);
    throw isZlibError(error) ? damagedError(file, error) : error;
  }
}

async function checkFile(file: string): Promise<{ isPacked: boolean; end: string }> {
  const isPacked = extname(file).toLowerCase() === ".gz";
  const end = extname(isPacked ? file.slice(0, -3) : file).toLowerCase();
  const advice = refused.get(end) ?? ((await hasParquetMark(file)) ? refused.get(".parquet") : undefined);
  if (advice !== undefined) {
    throw new BitnetError("UNSUPPORTED", `${file}: training data of this kind is not read`, { hint: advice });
  }
  return { isPacked, end };
}

/** Throws BAD_FILE for anything but a file: data is read a second time, which a pipe does not allow. */
export async function requireDataFile(path: string): Promise<void> {
  await requireFile(path, {
    folder: "name the files in it",
    other: "data is read more than once: write it to a file",
  });
}

async function hasParquetMark(path: string): Promise<boolean> {
  await requireDataFile(path);
  try {
    const file = await open(path, "r");
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
      return buffer.toString("latin1", 0, bytesRead) === "PAR1";
    } finally {
      await file.close();
    }
  } catch (error) {
    throw toBitnetError(error);
  }
}

/** The bytes of a file, unpacked. */
function openBytes(file: string, isPacked: boolean, signal: AbortSignal | undefined): Readable {
  const bytes = createReadStream(file, { highWaterMark: 256 * 2 ** 10, signal });
  // pipeline() hands failures on in both directions; whoever reads the last stream gets them.
  return isPacked ? pipeline(bytes, createGunzip(), () => {}) : bytes;
}

function isZlibError(error: unknown): boolean {
  const causes = [error, (error as Error | undefined)?.cause];
  return causes.some((cause) => /^Z_/.test(String((cause as NodeJS.ErrnoException | undefined)?.code)));
}

function damagedError(file: string, cause: unknown): BitnetError {
  return new BitnetError("BAD_FILE", `${file}: not a whole gzip file`, { hint: "get it again", cause });
}

/** Behind the byte order mark and white space. */
async function firstCharacter(bytes: Readable): Promise<string> {
  try {
    for await (const chunk of bytes as AsyncIterable<Buffer>) {
      const text = chunk
        .toString("latin1")
        .replace(/^\u00ef\u00bb\u00bf/, "")
        .trimStart();
      if (text !== "") {
        return text.charAt(0);
      }
    }
    return "";
  } catch (error) {
    throw toBitnetError(error);
  } finally {
    bytes.destroy();
  }
}

/** One value a line. Empty lines are skipped. */
async function* readLines(file: string, bytes: Readable): AsyncGenerator<Entry, void, undefined> {
  for await (const { number, offset, bytes: line, isTooLong } of readStreamLines(bytes, maxExampleBytes)) {
    requireSize(file, offset);
    if (line.length > 0 && (isTooLong || line.some((byte) => byte > 0x20))) {
      yield jsonEntry({ file, number, unit: "line" }, line, isTooLong, number);
    }
  }
}

async function* readList(file: string, bytes: Readable): AsyncGenerator<Entry, void, undefined> {
  let number = 0;
  try {
    for await (const { line, bytes: item, isTooLong } of readListItems(
      withinSize(file, bytes),
      file,
      maxExampleBytes,
    )) {
      number++;
      yield jsonEntry({ file, number, unit: "item" }, item, isTooLong, line);
    }
  } finally {
    bytes.destroy();
  }
}

async function* withinSize(file: string, bytes: Readable): AsyncGenerator<Buffer, void, undefined> {
  let read = 0;
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    read += chunk.length;
    requireSize(file, read);
    yield chunk;
  }
}

function requireSize(file: string, bytes: number): void {
  if (bytes > maxFileBytes) {
    throw new BitnetError("BAD_FILE", `${file}: more than ${maxFileBytes / 2 ** 30} GiB of training data`);
  }
}

function jsonEntry(origin: Origin, bytes: Buffer, isTooLong: boolean, firstLine: number): Entry {
  const { file } = origin;
  const place = `${file}, ${origin.unit} ${origin.number}`;
  return {
    origin,
    value: () => {
      if (isTooLong) {
        throw new BitnetError("BAD_FILE", `${place}: longer than ${maxExampleBytes / 2 ** 20} MiB`, {
          hint: "expected one JSON object a line; .txt for plain text",
        });
      }
      if (isNestedDeeper(bytes, maxNesting)) {
        throw new BitnetError("BAD_FILE", `${place}: lists and objects in more than ${maxNesting} levels`);
      }
      return parseJson(decodeText(bytes, place), file, firstLine);
    },
  };
}

/** Documents, divided by lines that say so; a file without such a line is one document. */
async function* readTexts(file: string, bytes: Readable): AsyncGenerator<Entry, void, undefined> {
  let number = 1;
  let lines: Buffer[] = [];
  let length = 0;
  const take = (): Entry[] => {
    const text = Buffer.concat(lines);
    lines = [];
    length = 0;
    const origin: Origin = { file, number, unit: "document" };
    return text.some((byte) => byte > 0x20) ? [textEntry(origin, text)] : [];
  };
  for await (const line of readStreamLines(bytes, maxTextBytes)) {
    requireSize(file, line.offset);
    if (line.bytes.length <= documentEnd.length + 8 && line.bytes.toString().trim() === documentEnd) {
      yield* take();
      number++;
      continue;
    }
    lines.push(line.bytes, ...(line.isTorn ? [] : [Buffer.from("\n")]));
    length += line.bytes.length + 1;
    if (length > maxTextBytes) {
      throw new BitnetError("BAD_FILE", `${file}, document ${number}: longer than ${maxTextBytes / 2 ** 20} MiB`, {
        hint: `divide it with lines ${documentEnd}`,
      });
    }
  }
  yield* take();
}

function textEntry(origin: Origin, bytes: Buffer): Entry {
  return {
    origin,
    value: () => ({ text: decodeText(bytes, `${origin.file}, document ${origin.number}`).replace(/^\n+|\s+$/g, "") }),
  };
}

/** `error` with its place before it, if it tells none. */
export function locateError(origin: Origin, error: unknown): BitnetError {
  const { file, unit, number } = origin;
  const known = toBitnetError(error);
  return known.message.startsWith(file) ? known : withContext(`${file}, ${unit} ${number}`, known);
}
