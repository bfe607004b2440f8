// What tells files from all others.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { withContext } from "./errors.js";

/** SHA-256 of the bytes of all files, one after the other; that of a single file is what sha256sum says. */
export async function hashFiles(paths: readonly string[], signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  for (const path of paths) {
    try {
      for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20, signal })) {
        hash.update(chunk as Buffer);
      }
    } catch (error) {
      throw withContext(path, error);
    }
  }
  return hash.digest("hex");
}
