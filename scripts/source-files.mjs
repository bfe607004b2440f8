// The sources that the checks of `npm run lint` look at.

import { existsSync, readdirSync } from "node:fs";
import { posix } from "node:path";

/** Paths, relative to `root` and with forward slashes, of the files in `folder` whose names match `pattern`. */
export function sourceFiles(root, folder, pattern) {
  const top = posix.join(root, folder);
  if (!existsSync(top)) {
    return [];
  }
  return readdirSync(top, { recursive: true })
    .map((name) => posix.join(folder, name.replaceAll("\\", "/")))
    .filter((name) => pattern.test(name))
    .sort();
}

/** Sources of the core: implementation, headers, and the text that the instruction sets share. */
export const CPP = /\.(cpp|h|inl)$/;
