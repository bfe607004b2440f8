// Writes adapters, in either form, and brings one form to the other.

import { findFamily } from "../gguf/families.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { openAdapter } from "./open.js";
import { type GgufAdapterOptions, writeGgufAdapter } from "./write-gguf.js";
import { type AdapterDtype, writePeft } from "./write-peft.js";
import { checkWritten, readWritten, type WrittenAdapter } from "./written.js";

/** Of the base: what a GGUF adapter cannot do without. */
export type AdapterBase = Pick<GgufAdapterOptions, "architecture" | "headDim">;

export interface WriteAdapterOptions {
  /** "peft": a folder. "gguf": a file. */
  form: "peft" | "gguf";
  /** For "gguf". */
  base?: AdapterBase;
  /** Default: "f32". A GGUF file has no bf16 here. */
  dtype?: AdapterDtype;
  /** Text of README.md beside an adapter of PEFT. */
  readme?: string;
}

/** Throws USAGE for what cannot be written; nothing is left half written. */
export async function writeAdapter(path: string, adapter: WrittenAdapter, options: WriteAdapterOptions): Promise<void> {
  checkWritten(adapter);
  const { form, base, dtype = "f32", readme } = options;
  await convertingAsync(async () => {
    if (form === "peft") {
      return await writePeft(path, adapter, { dtype, readme });
    }
    if (base === undefined || dtype === "bf16") {
      throw new BitnetError(
        "USAGE",
        base === undefined ? "a GGUF adapter needs its base" : "a GGUF adapter is written as f32 or f16",
      );
    }
    await writeGgufAdapter(path, adapter, { ...base, dtype });
  });
}

/** From PEFT's form to GGUF, or back. `base`: needed for the former, and for the latter where rows have to be reordered. */
export async function convertAdapter(
  source: string,
  target: string,
  { base, dtype }: { base?: AdapterBase; dtype?: AdapterDtype } = {},
): Promise<"peft" | "gguf"> {
  const file = await openAdapter(source);
  const form = file.form === "peft" ? "gguf" : "peft";
  const headDim = base !== undefined && needsOrder(base.architecture) ? base.headDim : 0;
  if (form === "peft" && base === undefined && needsOrder(file.architecture)) {
    throw new BitnetError("USAGE", `${source}: the rows of its q and k cannot be put in order without the base`);
  }
  await writeAdapter(target, await readWritten(file, headDim), { form, base, dtype });
  return form;
}

/** Whether files of such models have the rows of q and k in another order than Hugging Face. */
export function needsOrder(architecture: string | undefined): boolean {
  return findFamily(architecture ?? "")?.ropePairs === "neighbours";
}
