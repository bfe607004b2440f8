// Rows of JSON: a file with an object a line, or a file that is one list of objects.

import { open } from "node:fs/promises";
import { BitnetError, toBitnetError } from "../../system/errors.js";
import { parseJson } from "../../system/json.js";
import { readFileLines } from "../../system/line-file.js";
import { isNestedDeeper } from "../../system/nesting.js";
import { decodeText, readTextFile } from "../../system/text-file.js";
import { type Budget, maxNesting, maxRowBytes } from "./limits.js";
import { withOrigin } from "./origin.js";
import type { Doc } from "./types.js";

/** Line by line, so that no more than a line is held beside the rows. Empty lines are skipped. */
export async function* readJsonLines(path: string, budget: Budget): AsyncGenerator<Doc, void, undefined> {
  for await (const { number, bytes, isTooLong } of readFileLines(path, maxRowBytes)) {
    const place = `line ${number}`;
    if (isTooLong) {
      throw new BitnetError("BAD_FILE", `${path}, ${place}: longer than ${maxRowBytes} bytes`, {
        hint: "expected one JSON object a line",
      });
    }
    const text = decodeText(bytes, `${path}, ${place},`);
    if (text.trim() !== "") {
      budget.add(path, bytes.length);
      checkNesting(bytes, `${path}, ${place}`);
      yield toDoc(parseJson(text, path, number), path, place);
    }
  }
}

/** A list of objects; anything else in a file called .json is taken for lines, as the hub's library does. */
export async function* readJsonFile(path: string, budget: Budget): AsyncGenerator<Doc, void, undefined> {
  if ((await firstCharacter(path)) !== "[") {
    yield* readJsonLines(path, budget);
    return;
  }
  const text = await readTextFile(path); // of limited size
  checkNesting(Buffer.from(text), path);
  const rows = parseJson(text, path);
  for (const [i, row] of (Array.isArray(rows) ? rows : [rows]).entries()) {
    budget.add(path, 0); // the text has a limit of its own
    yield toDoc(row, path, `row ${i + 1}`);
  }
}

function checkNesting(json: Uint8Array, what: string): void {
  if (isNestedDeeper(json, maxNesting)) {
    throw new BitnetError("BAD_FILE", `${what}: lists and objects in more than ${maxNesting} levels`);
  }
}

function toDoc(value: unknown, path: string, place: string): Doc {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const got = Array.isArray(value) ? "a list" : value === null ? "null" : `a ${typeof value}`;
    throw new BitnetError(
      "BAD_FILE",
      `${path}, ${place}: expected an object with the columns of a row, but got ${got}`,
    );
  }
  return withOrigin({ ...value }, { path, place });
}

/** Behind the byte order mark and white space, of which there may be a little. */
async function firstCharacter(path: string): Promise<string> {
  try {
    const file = await open(path, "r");
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, 0);
      return buffer.toString("utf8", 0, bytesRead).trim().charAt(0); // trim() takes the mark too
    } finally {
      await file.close();
    }
  } catch (error) {
    throw toBitnetError(error);
  }
}
