// Text files of people: prompts, templates, chats. They come from all kinds of editors.

import { createReadStream } from "node:fs";
import { BitnetError } from "./errors.js";

const maxFileSize = 64 << 20; // bytes; far above any context

/**
 * The text of a UTF-8 file without its byte order mark. Text in another encoding is BAD_FILE: read as UTF-8 it would be
 * another text.
 */
export async function readTextFile(path: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Read on to the end: pipes and files that grow have no size.
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxFileSize) {
        throw new BitnetError("BAD_FILE", `${path} is too large for a text: more than ${maxFileSize} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof BitnetError ? error : Object.assign(error as Error, { path }); // EISDIR comes without one
  }
  return decodeText(Buffer.concat(chunks), path);
}

/** The text of UTF-8 bytes, as readTextFile takes them; `what` they are is for messages. */
export function decodeText(bytes: Uint8Array, what: string): string {
  const encoding = guessEncoding(bytes);
  if (encoding === undefined) {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes); // drops the mark
    } catch {
      // told below
    }
  }
  throw new BitnetError("BAD_FILE", `${what} is not UTF-8 text${encoding === undefined ? "" : `, but ${encoding}`}`, {
    hint: "save it as UTF-8",
  });
}

/** Encodings that give themselves away, by their mark or by the zeros in every other byte. */
export function guessEncoding([first, second, third, fourth]: Uint8Array): string | undefined {
  if (first === 0xff && second === 0xfe) {
    return third === 0 && fourth === 0 ? "UTF-32" : "UTF-16";
  }
  if (first === 0xfe && second === 0xff) {
    return "UTF-16";
  }
  const isWide = (first === 0) !== (second === 0) && first !== undefined && second !== undefined;
  return isWide ? "UTF-16" : undefined;
}
