// Opens an adapter of any form.

import { open, stat } from "node:fs/promises";
import { convertingAsync } from "../system/errors.js";
import { requireFile } from "../system/files.js";
import type { AdapterFile } from "./adapter.js";
import { openGgufAdapter } from "./gguf.js";
import { openPeft } from "./peft.js";

/**
 * A folder of PEFT, its safetensors file, or a GGUF file. Throws NOT_FOUND, BAD_FILE for what is none or is damaged, and
 * UNSUPPORTED, naming it, for what an adapter has beside the matrices of layers.
 */
export async function openAdapter(path: string): Promise<AdapterFile> {
  return await convertingAsync(async () => {
    if ((await stat(path)).isDirectory()) {
      return await openPeft(path, true);
    }
    return (await isGguf(path)) ? openGgufAdapter(path) : await openPeft(path, false);
  });
}

async function isGguf(path: string): Promise<boolean> {
  await requireFile(path);
  const file = await open(path);
  try {
    const magic = Buffer.alloc(4);
    await file.read(magic, 0, 4, 0);
    return magic.toString("latin1") === "GGUF";
  } finally {
    await file.close();
  }
}
