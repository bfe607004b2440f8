// Twins of a model in temporary files, to be measured beside it: with its ternary matrices as dense F16, the baseline of the
// BitNet papers, and with another type of token embedding, what quantize_embeddings.py compares.

import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { convertCheckpoint } from "../convert/convert.js";
import type { ConvertOptions } from "../convert/options.js";
import { isLinearTensor } from "../gguf/families.js";
import { openGguf, type TensorInfo } from "../gguf/gguf.js";
import { isTernaryType, tensorTypeOf } from "../gguf/tensor-types.js";
import { availableMemory } from "../native/machine.js";
import { BitnetError, convertingAsync } from "../system/errors.js";

export interface Twin {
  path: string;
  bytes: number;
  delete(): Promise<void>;
}

export interface TwinOptions {
  kernelConfig?: string;
  signal?: AbortSignal;
  /** Where the temporary folder is made. Default: that of the system. */
  folder?: string;
}

/** How large the twin of a model will be. Throws USAGE if the model has no ternary matrices. */
export function denseTwinBytes(path: string): number {
  const gguf = openGguf(path);
  let isTernary = false;
  let bytes = gguf.dataOffset;
  for (const tensor of gguf.tensors()) {
    const ternary = isTernaryType(tensor.type);
    isTernary ||= ternary;
    bytes += ternary ? 2 * countElements(tensor) : tensor.bytes;
  }
  if (!isTernary) {
    throw new BitnetError("USAGE", `${path}: has no ternary matrices that --baseline f16 could make dense`);
  }
  return bytes;
}

/** Writes the dense twin, if disk and memory have room for it. */
export async function writeDenseTwin(path: string, options: TwinOptions = {}): Promise<Twin> {
  return writeTwin(path, "f16", denseTwinBytes(path), { outtype: "f16" }, options);
}

/** How large a model with this type of token embedding will be. */
export function embeddingTwinBytes(path: string, embeddingType: string): number {
  const { blockBytes, blockElements } = tensorTypeOf(embeddingType.toUpperCase());
  const gguf = openGguf(path);
  const embedding = findEmbedding(gguf.tensors(), path);
  return gguf.fileSize - embedding.bytes + (countElements(embedding) / blockElements) * blockBytes;
}

/** Writes the model with this type of token embedding; its matrices stay what they are, or become I2_S if they are floats. */
export async function writeEmbeddingTwin(
  path: string,
  embeddingType: string,
  options: TwinOptions = {},
): Promise<Twin> {
  const type = openGguf(path)
    .tensors()
    .find(({ name }) => isLinearTensor(name))?.type;
  const outtype = type !== undefined && isTernaryType(type) ? type : "i2_s";
  const bytes = embeddingTwinBytes(path, embeddingType);
  return writeTwin(path, `embed-${embeddingType.toLowerCase()}`, bytes, { outtype, embeddingType }, options);
}

function findEmbedding(tensors: readonly TensorInfo[], path: string): TensorInfo {
  const found = tensors.find(({ name }) => name === "token_embd.weight");
  if (found === undefined) {
    throw new BitnetError("BAD_FILE", `${path}: has no token_embd.weight, whose type --embedding-types could change`);
  }
  return found;
}

function countElements({ shape }: TensorInfo): number {
  return shape.reduce((product, n) => product * n, 1);
}

async function writeTwin(
  path: string,
  suffix: string,
  bytes: number,
  types: Pick<ConvertOptions, "outtype" | "embeddingType">,
  { kernelConfig, signal, folder: parent = tmpdir() }: TwinOptions,
): Promise<Twin> {
  await checkRoom(suffix, parent, bytes);
  const folder = await convertingAsync(() => mkdtemp(join(parent, "bitnet-twin-")));
  const outfile = join(folder, basename(path).replace(/(\.gguf)?$/i, `-${suffix}.gguf`));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    await convertCheckpoint({ source: path, outfile, ...types, kernelConfig, signal });
  } catch (error) {
    await remove();
    throw error;
  }
  return { path: outfile, bytes, delete: remove };
}

async function checkRoom(what: string, folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await convertingAsync(() => statfs(folder));
  const size = (n: number) => `${(n / 2 ** 30).toFixed(1)} GiB`;
  const reserve = 2 ** 28; // what the rest of the machine should keep
  if (bavail * bsize < bytes + reserve) {
    throw new BitnetError(
      "NO_SPACE",
      `the ${what} twin of the model needs ${size(bytes)} in ${folder}, which has ${size(bavail * bsize)}`,
      {
        hint: "set TMPDIR to a folder with more room",
      },
    );
  }
  if (availableMemory() < bytes + reserve) {
    throw new BitnetError(
      "NO_MEMORY",
      `the ${what} twin of the model needs ${size(bytes)} of memory, ${size(availableMemory())} are available`,
    );
  }
}
