// Reading columns of documents, which other people have written: what is missing or of another kind is told by its name.
// Tables of text (CSV) have no types: there digits are integers, and lists and objects are written as JSON.

import { BitnetError } from "../system/errors.js";
import type { Doc } from "./data/types.js";

/** A document that is not what its task expects; who knows file and row adds them. */
export class ColumnError extends BitnetError {
  readonly column: string;

  constructor(column: string, expected: string, value: unknown) {
    super("BAD_FILE", `column ${column}: expected ${expected}, got ${describe(value)}`);
    this.column = column;
  }
}

function describe(value: unknown): string {
  if (value === undefined) {
    return "nothing";
  }
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function textOf(doc: Doc, column: string): string {
  const value = doc[column];
  if (typeof value !== "string") {
    throw new ColumnError(column, "a text", value);
  }
  return value;
}

export function textsOf(doc: Doc, column: string): string[] {
  const value = unpacked(doc[column]);
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw new ColumnError(column, "a list of texts", value);
  }
  return value;
}

/** Integers of some files are texts, or true and false. */
export function integerOf(doc: Doc, column: string): number {
  const value = doc[column];
  const isDigits = typeof value === "string" && /^\s*-?\d+\s*$/.test(value);
  const integer = isDigits || typeof value === "boolean" ? Number(value) : value;
  if (!Number.isSafeInteger(integer)) {
    throw new ColumnError(column, "an integer", value);
  }
  return integer as number;
}

export function integersOf(doc: Doc, column: string): number[] {
  const value = unpacked(doc[column]);
  if (!Array.isArray(value)) {
    throw new ColumnError(column, "a list of integers", value);
  }
  return value.map((item) => integerOf({ [column]: item }, column));
}

/** A column that has columns of its own. */
export function fieldsOf(doc: Doc, column: string): Doc {
  const value = unpacked(doc[column]);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ColumnError(column, "an object", value);
  }
  return value as Doc;
}

/** A list or an object that a table of text has as JSON. */
function unpacked(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) {
    return value;
  }
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** The place of `wanted` in a list that a document gives. */
export function placeOf(list: readonly string[], wanted: string, column: string): number {
  const place = list.indexOf(wanted);
  if (place < 0) {
    throw new ColumnError(column, `one of ${list.slice(0, 10).join(", ")}`, wanted);
  }
  return place;
}
