// The baseline of the BitNet papers: the same model with its ternary matrices as dense F16, in a temporary file.

import { rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { convertCheckpoint } from "../convert/convert.js";
import { openGguf } from "../gguf/gguf.js";
import { isTernaryType } from "../gguf/tensor-types.js";
import { availableMemory } from "../native/machine.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { makeTemporaryFolder } from "../system/folders.js";

export interface DenseTwin {
  path: string;
  bytes: number;
  delete(): Promise<void>;
}

/** How large the twin of a model will be. Throws USAGE if the model has no ternary matrices. */
export function denseTwinBytes(path: string): number {
  const gguf = openGguf(path);
  let isTernary = false;
  let bytes = gguf.dataOffset;
  for (const tensor of gguf.tensors()) {
    const ternary = isTernaryType(tensor.type);
    isTernary ||= ternary;
    bytes += ternary ? 2 * tensor.shape.reduce((product, n) => product * n, 1) : tensor.bytes;
  }
  if (!isTernary) {
    throw new BitnetError("USAGE", `${path}: has no ternary matrices that --baseline f16 could make dense`);
  }
  return bytes;
}

/** Writes the twin into a temporary folder, if disk and memory have room for it. */
export async function writeDenseTwin(
  path: string,
  options: { kernelConfig?: string; signal?: AbortSignal; folder?: string } = {},
): Promise<DenseTwin> {
  const bytes = denseTwinBytes(path);
  const parent = options.folder ?? tmpdir();
  await checkRoom(parent, bytes);
  const folder = await makeTemporaryFolder("bitnet-f16-", parent);
  const outfile = join(folder, basename(path).replace(/(\.gguf)?$/i, "-f16.gguf"));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const { kernelConfig, signal } = options;
    await convertCheckpoint({ source: path, outfile, outtype: "f16", kernelConfig, signal });
  } catch (error) {
    await remove();
    throw error;
  }
  return { path: outfile, bytes, delete: remove };
}

async function checkRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await convertingAsync(() => statfs(folder));
  const size = (n: number) => `${(n / 2 ** 30).toFixed(1)} GiB`;
  const reserve = 2 ** 28; // what the rest of the machine should keep
  if (bavail * bsize < bytes + reserve) {
    throw new BitnetError(
      "NO_SPACE",
      `the F16 baseline needs ${size(bytes)} in ${folder}, which has ${size(bavail * bsize)}`,
      {
        hint: "set TMPDIR to a folder with more room",
      },
    );
  }
  if (availableMemory() < bytes + reserve) {
    throw new BitnetError(
      "NO_MEMORY",
      `the F16 baseline needs ${size(bytes)} of memory, ${size(availableMemory())} are available`,
    );
  }
}
