// What a user is told at the first time only.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeFolderSync } from "../system/files.js";
import { stateFolder } from "../system/folders.js";

/** Calls `say` unless that was done before, as the folder of states remembers. Where nothing can be kept, every time. */
export function sayOnce(what: string, say: () => void): void {
  const folder = stateFolder();
  try {
    if (folder !== undefined) {
      makeFolderSync(join(folder, "told"), 0o700);
      writeFileSync(join(folder, "told", what), "", { flag: "wx" });
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") {
      return;
    }
  }
  say();
}
