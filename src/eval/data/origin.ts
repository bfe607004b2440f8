// Where a document stands, for messages about it.

import { BitnetError } from "../../system/errors.js";
import type { Doc } from "./types.js";

export interface Origin {
  path: string;
  /** "line 3" of a text, "row 3" of a table; both count from 1. */
  place: string;
}

const origins = new WeakMap<Doc, Origin>();

/** Remembers where a document comes from. */
export function withOrigin(doc: Doc, origin: Origin): Doc {
  origins.set(doc, origin);
  return doc;
}

/** Where a document comes from; undefined for one that was made up. */
export function originOf(doc: Doc): Origin | undefined {
  return origins.get(doc);
}

/** What is wrong with a document, with its file, its place there and the columns that it has; other errors as they are. */
export function locateError(doc: Doc, error: unknown): unknown {
  const origin = originOf(doc);
  if (origin === undefined || !(error instanceof BitnetError) || error.code !== "BAD_FILE") {
    return error;
  }
  const columns = Object.keys(doc).slice(0, 12).join(", ") || "none";
  return new BitnetError("BAD_FILE", `${origin.path}, ${origin.place}, ${error.message}`, {
    hint: `its columns are ${columns}; they must be those of the data set on the hub`,
    cause: error,
  });
}
