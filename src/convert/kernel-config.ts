// kernel_config.ini: the tile sizes of TL1 and TL2 in the words of bitnet.cpp, whose converter reads the file and whose
// code generators take the same numbers as arguments.

import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { NativeTileSizes } from "../native/addon.js";
import { replaceFile } from "../system/files.js";

/** The file as Python's configparser reads and writes it. */
export function formatKernelConfig(tiles: readonly NativeTileSizes[]): string {
  const type = tiles[0]?.type ?? "";
  const list = (key: "BM" | "BK" | "bm") => tiles.map((shape) => shape[key]).join(",");
  const generator = `codegen_${type.toLowerCase()}.py`;
  const sections = tiles.map(
    ({ rows, cols, BM, BK, bm }, i) =>
      `[Kernels_${i}]\nm = ${rows}\nk = ${cols}\nbm = ${BM}\nbk = ${BK}\nbmm = ${bm}\n`,
  );
  const shapes = tiles.map(({ rows, cols }) => `[${rows}, ${cols}]`).join(", ");
  return `# ${type} tiles, m x k. With [${shapes}] in its ModelShapeDict the kernels come from
# ${generator} --BM ${list("BM")} --BK ${list("BK")} --bm ${list("bm")}

${sections.join("\n")}`;
}

/** Whether the text of a file was written by `formatKernelConfig`, and not by a user. */
export function isWrittenKernelConfig(text: string): boolean {
  return /^# TL\d tiles, m x k\. With \[/.test(text);
}

export const kernelConfigName = "kernel_config.ini";

/** Where it goes if the common name is taken. */
export function kernelConfigOf(outfile: string): string {
  return join(dirname(outfile), `${basename(outfile).replace(/\.gguf$/i, "")}-${kernelConfigName}`);
}

/**
 * Writes it beside a model. A kernel_config.ini that says something else stays, and the new one is named after the model.
 * Returns its path.
 */
export async function writeKernelConfig(outfile: string, tiles: readonly NativeTileSizes[]): Promise<string> {
  const text = formatKernelConfig(tiles);
  const common = join(dirname(outfile), kernelConfigName);
  const there = await readFile(common, "utf8").catch(() => undefined);
  if (there === text) {
    return common;
  }
  const path = there === undefined ? common : kernelConfigOf(outfile);
  await replaceFile(path, text);
  return path;
}
