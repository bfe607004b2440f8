// Comma-separated values (RFC 4180), read in pieces: the first record names the columns, a field in double quotes may hold
// commas, line ends and doubled quotes, lines end with LF, CRLF or CR.

import { createReadStream } from "node:fs";
import { BitnetError, toBitnetError } from "../../system/errors.js";
import { guessEncoding } from "../../system/text-file.js";
import { type Budget, maxColumns, maxRowBytes } from "./limits.js";
import { withOrigin } from "./origin.js";
import type { Doc } from "./types.js";

/** The rows below the names of the columns; every value is text. Empty lines are skipped. */
export async function* readCsv(path: string, budget: Budget): AsyncGenerator<Doc, void, undefined> {
  const parser = new RecordParser(path);
  let names: string[] | undefined;
  for await (const text of readPieces(path)) {
    for (const { line, fields, length } of parser.add(text)) {
      if (names === undefined) {
        names = checkNames(fields, path);
      } else if (fields.length > 1 || fields[0] !== "" || names.length === 1) {
        budget.add(path, length);
        yield toDoc(names, fields, path, line);
      }
    }
  }
  if (names === undefined) {
    throw new BitnetError("BAD_FILE", `${path} is empty`, {
      hint: "expected a first line with the names of the columns",
    });
  }
}

function checkNames(names: string[], path: string): string[] {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new BitnetError("BAD_FILE", `${path}, line 1: two columns are called "${twice}"`, {
      hint: "the first line must name the columns",
    });
  }
  return names;
}

function toDoc(names: readonly string[], fields: readonly string[], path: string, line: number): Doc {
  const place = `line ${line}`;
  if (fields.length !== names.length) {
    const expected = `${names.length} fields, one for each column`;
    throw new BitnetError("BAD_FILE", `${path}, ${place}: expected ${expected}, but got ${fields.length}`, {
      hint: `the first line names the columns: ${names.slice(0, 12).join(", ")}; a field with a comma needs quotes`,
    });
  }
  return withOrigin(Object.fromEntries(names.map((name, i) => [name, fields[i]])), { path, place });
}

/** The text of the file, and "" for its end. */
async function* readPieces(path: string): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder("utf-8", { fatal: true }); // drops the byte order mark
  let isFirst = true;
  try {
    for await (const bytes of createReadStream(path, { highWaterMark: 256 * 2 ** 10 }) as AsyncIterable<Buffer>) {
      const encoding = isFirst ? guessEncoding(bytes) : undefined;
      if (encoding !== undefined) {
        throw new TypeError(encoding);
      }
      isFirst = false;
      const text = decoder.decode(bytes, { stream: true });
      if (text !== "") {
        yield text;
      }
    }
    decoder.decode();
  } catch (error) {
    if (error instanceof TypeError) {
      throw new BitnetError("BAD_FILE", `${path} is not UTF-8 text`, { hint: "save it as UTF-8", cause: error });
    }
    throw toBitnetError(error);
  }
  yield "";
}

interface CsvRecord {
  /** Where it begins, from 1 on. */
  line: number;
  fields: string[];
  /** In characters. */
  length: number;
}

type State = "start" | "bare" | "quoted" | "closed";

class RecordParser {
  readonly #path: string;
  #state: State = "start";
  #fields: string[] = [];
  /** Of the field that is being read. */
  #parts: string[] = [];
  #length = 0;
  #line = 1;
  #firstLine = 1;
  #afterReturn = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** The records that end in `text`, which goes on where the last one stopped; "" is the end of the file. */
  *add(text: string): Generator<CsvRecord, void, undefined> {
    if (text === "") {
      yield* this.#finish();
      return;
    }
    for (let at = 0; at < text.length; ) {
      const stop = this.#findStop(text, at);
      this.#keep(text.slice(at, stop));
      if (stop < text.length) {
        yield* this.#take(text.charAt(stop));
      }
      at = stop + 1;
    }
  }

  /** The next character that means something where the parser is. */
  #findStop(text: string, from: number): number {
    if (this.#state === "quoted") {
      const quote = text.indexOf('"', from);
      return quote < 0 ? text.length : quote;
    }
    const special = /[",\r\n]/g;
    special.lastIndex = from;
    return special.exec(text)?.index ?? text.length;
  }

  #keep(part: string): void {
    if (part === "") {
      return;
    }
    if (this.#state === "closed") {
      throw this.#error(`expected a comma or the end of the line behind a quoted field, but got ${part.slice(0, 20)}`);
    }
    this.#afterReturn = false;
    this.#state = this.#state === "start" ? "bare" : this.#state;
    this.#parts.push(part);
    this.#grow(part.length);
    if (this.#state === "quoted") {
      this.#line += countLines(part);
    }
  }

  #grow(by: number): void {
    this.#length += by;
    if (this.#length > maxRowBytes) {
      throw this.#error(`a row of more than ${maxRowBytes} characters; is a quote not closed?`);
    }
  }

  *#take(character: string): Generator<CsvRecord, void, undefined> {
    const afterReturn = this.#afterReturn;
    this.#afterReturn = false;
    this.#grow(1);
    if (character === '"') {
      this.#takeQuote();
    } else if (character === ",") {
      this.#endField();
    } else if (!(character === "\n" && afterReturn)) {
      this.#afterReturn = character === "\r";
      this.#line++;
      yield this.#endRecord();
    }
  }

  #takeQuote(): void {
    if (this.#state === "bare") {
      this.#parts.push('"'); // inside a field it is a character, as Python's csv has it
    } else if (this.#state === "closed") {
      this.#parts.push('"'); // doubled
      this.#state = "quoted";
    } else {
      this.#state = this.#state === "quoted" ? "closed" : "quoted";
    }
  }

  #endField(): void {
    this.#fields.push(this.#parts.join(""));
    if (this.#fields.length > maxColumns) {
      throw this.#error(`more than ${maxColumns} fields`);
    }
    this.#parts = [];
    this.#state = "start";
  }

  #endRecord(): CsvRecord {
    this.#endField();
    const record = { line: this.#firstLine, fields: this.#fields, length: this.#length };
    this.#fields = [];
    this.#length = 0;
    this.#firstLine = this.#line;
    return record;
  }

  *#finish(): Generator<CsvRecord, void, undefined> {
    if (this.#state === "quoted") {
      throw this.#error("a quote is never closed");
    }
    if (this.#state !== "start" || this.#fields.length > 0) {
      yield this.#endRecord();
    }
  }

  #error(what: string): BitnetError {
    return new BitnetError("BAD_FILE", `${this.#path}, line ${this.#firstLine}: ${what}`);
  }
}

/** Line ends of a quoted field: LF or CRLF. */
function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
    count++;
  }
  return count;
}
