// A file that is one list of JSON values, one value at a time whatever the size of the file.

import { BitnetError } from "../../system/errors.js";

export interface ListItem {
  bytes: Buffer;
  /** Of its first byte, from 1 on. */
  line: number;
  /** More than `mostBytes`: only its beginning is there. */
  isTooLong: boolean;
}

const newline = 0x0a;
const quote = 0x22;
const comma = 0x2c;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** The items of the list that `chunks` are. Only brackets, commas and texts are looked at: items are parsed by the caller. */
export async function* readListItems(
  chunks: AsyncIterable<Buffer>,
  name: string,
  mostBytes: number,
): AsyncGenerator<ListItem, void, undefined> {
  const splitter = new ListSplitter(name, mostBytes);
  for await (const chunk of chunks) {
    yield* splitter.add(chunk);
  }
  splitter.end();
}

class ListSplitter {
  readonly #name: string;
  readonly #mostBytes: number;
  #depth = 0; // 1: in the list, between items
  #inText = false;
  #isEscaped = false;
  #isDone = false;
  #line = 1;
  #itemLine = 0; // 0: nothing but space since the last comma
  #parts: Buffer[] = [];
  #length = 0;

  constructor(name: string, mostBytes: number) {
    this.#name = name;
    this.#mostBytes = mostBytes;
  }

  *add(chunk: Buffer): Generator<ListItem, void, undefined> {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      const isBetween = this.#depth <= 1 && !this.#inText;
      if (isBetween && (byte === comma || byte === closeBracket) && this.#depth === 1) {
        this.#keep(chunk.subarray(from, at));
        yield* this.#endItem(byte);
        from = at + 1;
      } else if (isBetween && this.#depth === 0) {
        this.#begin(byte);
        from = at + 1;
      } else {
        this.#look(byte);
      }
      this.#line += byte === newline ? 1 : 0;
    }
    this.#keep(chunk.subarray(from));
  }

  end(): void {
    if (!this.#isDone) {
      throw new BitnetError("BAD_FILE", `${this.#name}, line ${this.#line}: the list has no end`, {
        hint: "it may be cut off: get it again",
      });
    }
  }

  /** A byte outside of the list. */
  #begin(byte: number): void {
    if (byte === openBracket && !this.#isDone) {
      this.#depth = 1;
    } else if (!isSpace(byte) && byte < 0x80) {
      throw new BitnetError("BAD_FILE", `${this.#name}, line ${this.#line}: text behind the end of the list`);
    } // a byte order mark
  }

  /** A byte of an item, or space before it. */
  #look(byte: number): void {
    if (this.#inText) {
      const ends = byte === quote && !this.#isEscaped;
      this.#isEscaped = byte === backslash && !this.#isEscaped;
      this.#inText = !ends;
      return;
    }
    if (this.#itemLine === 0 && !isSpace(byte)) {
      this.#itemLine = this.#line;
    }
    if (byte === quote) {
      this.#inText = true;
    } else if (byte === openBracket || byte === openBrace) {
      this.#depth++;
    } else if (byte === closeBracket || byte === closeBrace) {
      this.#depth--;
    }
  }

  #keep(part: Buffer): void {
    if (this.#depth > 0 && part.length > 0 && this.#length <= this.#mostBytes) {
      this.#parts.push(part);
      this.#length += part.length;
    }
  }

  *#endItem(byte: number): Generator<ListItem, void, undefined> {
    if (this.#itemLine > 0) {
      const bytes = Buffer.concat(this.#parts);
      yield { bytes, line: this.#itemLine, isTooLong: bytes.length > this.#mostBytes };
    } else if (byte === comma) {
      throw new BitnetError("BAD_FILE", `${this.#name}, line ${this.#line}: a comma without an item before it`);
    }
    this.#parts = [];
    this.#length = 0;
    this.#itemLine = 0;
    if (byte === closeBracket) {
      this.#depth = 0;
      this.#isDone = true;
    }
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === newline || byte === 0x0d;
}
