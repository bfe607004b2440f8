// What a GGUF file holds and what running it takes, without loading it.

import type { Gguf, MetadataValue, TensorInfo } from "./gguf.js";

export interface InspectReport {
  path: string;
  version: number;
  fileSize: number; // bytes, as below
  architecture: string;
  name: string;
  parameters: number;
  metadata: Record<string, MetadataValue>;
  tensors: TensorInfo[];
  types: { type: string; tensors: number; bytes: number }[]; // largest first
  memory?: MemoryEstimate;
}

export interface MemoryEstimate {
  contextSize: number; // tokens
  weights: number;
  kvCache: number;
  total: number;
}

const kvBytesPerValue = 2; // keys and values are kept as F16

/** Default context: 4096, or what the model was trained with if that is less. */
export function inspectGguf(gguf: Gguf, options: { contextSize?: number } = {}): InspectReport {
  const metadata = gguf.metadata();
  const tensors = gguf.tensors();
  return {
    path: gguf.path,
    version: gguf.version,
    fileSize: gguf.fileSize,
    architecture: String(metadata["general.architecture"] ?? ""),
    name: String(metadata["general.name"] ?? ""),
    parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0),
    metadata,
    tensors,
    types: countTypes(tensors),
    memory: estimateMemory(metadata, tensors, options.contextSize),
  };
}

function countTypes(tensors: TensorInfo[]): InspectReport["types"] {
  const types = new Map<string, { type: string; tensors: number; bytes: number }>();
  for (const { type, bytes } of tensors) {
    const entry = types.get(type) ?? { type, tensors: 0, bytes: 0 };
    types.set(type, { type, tensors: entry.tensors + 1, bytes: entry.bytes + bytes });
  }
  return [...types.values()].sort((a, b) => b.bytes - a.bytes);
}

/** undefined for a file that describes no transformer. */
function estimateMemory(
  metadata: Record<string, MetadataValue>,
  tensors: TensorInfo[],
  wanted: number | undefined,
): MemoryEstimate | undefined {
  const number = (key: string): number | undefined => {
    const value = metadata[`${String(metadata["general.architecture"])}.${key}`];
    return typeof value === "number" ? value : undefined;
  };
  const [layers, heads, width] = [number("block_count"), number("attention.head_count"), number("embedding_length")];
  if (layers === undefined || heads === undefined || width === undefined || tensors.length === 0) {
    return undefined;
  }
  const headDim = number("attention.key_length") ?? width / heads;
  const kvWidth = (number("attention.head_count_kv") ?? heads) * headDim;
  const contextSize = wanted ?? Math.min(4096, number("context_length") ?? 4096);
  const weights = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const kvCache = 2 * layers * kvWidth * contextSize * kvBytesPerValue;
  return { contextSize, weights, kvCache, total: weights + kvCache };
}
