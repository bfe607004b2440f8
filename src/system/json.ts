// JSON files that other programs have written: what Python writes and reads is read, the rest is told with its place.

import { readFile, stat } from "node:fs/promises";
import { BitnetError, withContext } from "./errors.js";
import { guessEncoding } from "./text-file.js";

/**
 * The value of a JSON file. Like Python's json, takes NaN, Infinity and a byte order mark. Throws BAD_FILE, with line and
 * column, and if the file is longer than `maxBytes`.
 */
export async function readJsonFile(path: string, maxBytes: number): Promise<unknown> {
  const { size } = await stat(path);
  if (size > maxBytes) {
    throw new BitnetError("BAD_FILE", `${path}: ${size} bytes; at most ${maxBytes} expected`);
  }
  const bytes = await readFile(path).catch((error) => {
    throw withContext(path, error); // that of a directory does not tell its path
  });
  return parseJson(decodeJson(bytes, path), path);
}

function decodeJson(bytes: Uint8Array, path: string): string {
  const encoding = guessEncoding(bytes);
  if (encoding !== undefined) {
    throw new BitnetError("BAD_FILE", `${path}: not valid JSON: it is ${encoding}, not UTF-8`, {
      hint: "save it as UTF-8",
    });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes); // leaves the byte order mark out
  } catch (cause) {
    throw new BitnetError("BAD_FILE", `${path}: not valid JSON: not UTF-8 text`, { cause });
  }
}

/** The same for text; `name` is what errors call it, `firstLine` the number of its first line. */
export function parseJson(text: string, name: string, firstLine = 1): unknown {
  try {
    return JSON.parse(text); // far faster, and right for nearly every file
  } catch {
    return new Reader(text, name, firstLine).readAll();
  }
}

const maxDepth = 500; // what Python's reads, about

const patterns = {
  space: /[ \t\n\r]*/y,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON has them as escapes only
  string: /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y,
  number: /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y,
  word: /-?[A-Za-z]+/y,
  shown: /[\w.+-]{1,20}|./suy,
};

const words = new Map<string, unknown>([
  ["true", true],
  ["false", false],
  ["null", null],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

/** JSON with the numbers that Python writes, too; says where and what is wrong. */
class Reader {
  readonly #text: string;
  readonly #name: string;
  readonly #firstLine: number;
  #at = 0;

  constructor(text: string, name: string, firstLine: number) {
    this.#text = text;
    this.#name = name;
    this.#firstLine = firstLine;
  }

  readAll(): unknown {
    const value = this.#readValue(0);
    if (this.#peek() !== "") {
      this.#fail("the end of the file");
    }
    return value;
  }

  #readValue(depth: number): unknown {
    if (depth > maxDepth) {
      this.#fail(`at most ${maxDepth} levels`);
    }
    const next = this.#peek();
    if (next === "{") {
      return Object.fromEntries(this.#readItems("}", () => this.#readMember(depth)));
    }
    if (next === "[") {
      return this.#readItems("]", () => this.#readValue(depth + 1));
    }
    if (next === '"') {
      return this.#readString();
    }
    const number = this.#take("number");
    if (number !== undefined) {
      return Number(number);
    }
    const start = this.#at;
    const word = this.#take("word") ?? "";
    if (!words.has(word)) {
      this.#at = start;
      this.#fail("a value");
    }
    return words.get(word);
  }

  /** What stands between brackets, separated by commas. */
  #readItems<T>(end: string, readItem: () => T): T[] {
    const items: T[] = [];
    this.#at++;
    if (this.#peek() === end) {
      this.#at++;
      return items;
    }
    for (;;) {
      items.push(readItem());
      const next = this.#peek();
      if (next !== "," && next !== end) {
        this.#fail(`a comma or ${end}`);
      }
      this.#at++;
      if (next === end) {
        return items;
      }
    }
  }

  #readMember(depth: number): [string, unknown] {
    if (this.#peek() !== '"') {
      this.#fail("a key in double quotes");
    }
    const key = this.#readString();
    if (this.#peek() !== ":") {
      this.#fail("a colon");
    }
    this.#at++;
    return [key, this.#readValue(depth + 1)];
  }

  #readString(): string {
    const literal = this.#take("string");
    if (literal === undefined) {
      this.#fail("the end of a string, without line breaks and with known escapes");
    }
    return String(JSON.parse(literal));
  }

  /** The next character that is no space; empty at the end. */
  #peek(): string {
    this.#take("space");
    return this.#text.charAt(this.#at);
  }

  #take(kind: keyof typeof patterns): string | undefined {
    const pattern = patterns[kind];
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0];
    this.#at += token?.length ?? 0;
    return token;
  }

  #fail(expected: string): never {
    const lines = this.#text.slice(0, this.#at).split(/\r\n|\r|\n/);
    const line = this.#firstLine + lines.length - 1;
    const column = (lines.at(-1)?.length ?? 0) + 1;
    const found = this.#at >= this.#text.length ? "the end of the file" : JSON.stringify(this.#take("shown"));
    throw new BitnetError(
      "BAD_FILE",
      `${this.#name}: not valid JSON at line ${line}, column ${column}: expected ${expected} but found ${found}`,
    );
  }
}
