// Where the texts of `bitnet embed` come from: arguments, files, stdin; one after the other, however many there are.

import { createReadStream } from "node:fs";
import { addAbortSignal, type Readable } from "node:stream";
import { BitnetError, throwIfAborted, withContext } from "../system/errors.js";
import { readStreamLines } from "../system/line-file.js";
import { decodeText, readTextFile } from "../system/text-file.js";
import { unescapeText } from "./parsers.js";
import { checkStdin, readStdin } from "./prompt.js";

export interface TextSource {
  /** -p, which may be repeated, and the argument after the model. */
  typed: readonly string[];
  /** -f; "-" is stdin. */
  file?: string;
  /** Between texts in what is typed (default: a new line), and in files in the place of line ends. */
  separator?: string;
  /** Lines are JSON objects, of which this is the text. */
  jsonlField?: string;
  /** Process \n and the like in what was typed. */
  escapes: boolean;
}

const mostLineBytes = 64 * 2 ** 20;

/** The texts of a file first, then those that were typed. */
export async function* readTexts(source: TextSource, signal: AbortSignal): AsyncGenerator<string, void, undefined> {
  const { typed, file, separator } = source;
  if (file !== undefined || typed.length === 0) {
    yield* readFileTexts(file ?? "-", source, signal);
  }
  const read = (text: string) => (source.escapes ? unescapeText(text) : text);
  for (const text of typed) {
    yield* read(text).split(separator === undefined ? "\n" : read(separator));
  }
}

async function* readFileTexts(
  file: string,
  { separator, jsonlField, escapes }: TextSource,
  signal: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  if (separator !== undefined) {
    const text = file === "-" ? await readStdin(signal) : (await readTextFile(file)).replace(/\r?\n$/, "");
    yield* text.split(escapes ? unescapeText(separator) : separator);
    return;
  }
  const name = file === "-" ? "the standard input" : file;
  try {
    for await (const { bytes, number, isTooLong } of readStreamLines(openStream(file, signal), mostLineBytes)) {
      if (isTooLong) {
        throw new BitnetError("BAD_FILE", `${name}:${number}: the line has more than ${mostLineBytes} bytes`);
      }
      const line = decodeText(bytes, `${name}:${number}`);
      if (jsonlField === undefined) {
        yield line;
      } else if (line.trim() !== "") {
        yield readField(line, jsonlField, `${name}:${number}`);
      }
    }
  } catch (error) {
    throwIfAborted(signal);
    throw error instanceof BitnetError ? error : withContext(`cannot read ${name}`, error);
  }
}

function openStream(file: string, signal: AbortSignal): Readable {
  if (file !== "-") {
    const stream = createReadStream(file);
    stream.on("error", (error: NodeJS.ErrnoException) => {
      error.path ??= file; // reading a directory names no path
    });
    return stream;
  }
  checkStdin();
  return addAbortSignal(signal, process.stdin);
}

function readField(line: string, field: string, place: string): string {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (error) {
    throw new BitnetError("BAD_FILE", `${place}: the line is no JSON`, { cause: error });
  }
  const value = typeof row === "object" && row !== null && Object.hasOwn(row, field) ? Object(row)[field] : undefined;
  if (typeof value !== "string") {
    throw new BitnetError("BAD_FILE", `${place}: expected a text in ${JSON.stringify(field)}, got ${typeof value}`);
  }
  return value;
}
