// What a GGUF file holds and what running it takes, without loading it.

import { type CacheType, loadAddon } from "../native/addon.js";
import { converting } from "../system/errors.js";
import { type EmbeddingReport, embeddingOf } from "./embedding.js";
import { isLinearTensor } from "./families.js";
import type { Gguf, MetadataValue, TensorInfo } from "./gguf.js";
import { isTernaryType } from "./tensor-types.js";

export interface InspectReport {
  path: string;
  version: number;
  fileSize: number; // bytes, as below; of all parts
  /** Of a model in several files: how many, and which one this is, from 1, if only one was looked at. */
  split?: { parts: number; part?: number };
  architecture: string;
  name: string;
  /** Types of the matrices of layers; undefined: there are none. */
  weights?: { ternary: string[]; floats: string[] };
  parameters: number;
  metadata: Record<string, MetadataValue>;
  tensors: TensorInfo[];
  types: { type: string; tensors: number; bytes: number }[]; // largest first
  memory?: MemoryEstimate;
  /** Of a model of text embeddings. */
  embedding?: EmbeddingReport;
}

export interface MemoryEstimate {
  contextSize: number; // tokens
  weights: number;
  kvCache: number;
  total: number;
}

export interface InspectOptions {
  /** For the estimate of memory. Default: 4096, or what the model was trained with if that is less. */
  contextSize?: number;
  /** How keys and values would be kept. Default: "f16". */
  cacheType?: CacheType;
}

export function inspectGguf(gguf: Gguf, options: InspectOptions = {}): InspectReport {
  const metadata = gguf.metadata();
  const tensors = gguf.tensors();
  return {
    path: gguf.path,
    version: gguf.version,
    fileSize: gguf.fileSize,
    split: splitOf(gguf, metadata),
    architecture: String(metadata["general.architecture"] ?? ""),
    name: String(metadata["general.name"] ?? ""),
    weights: weightsOf(tensors),
    parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0),
    metadata,
    tensors,
    types: countTypes(tensors),
    memory: estimateMemory(gguf, metadata, tensors, options),
    embedding: embeddingOf(metadata),
  };
}

function splitOf({ paths }: Gguf, metadata: Record<string, MetadataValue>): InspectReport["split"] {
  const [no, count] = [metadata["split.no"], metadata["split.count"]];
  if (paths.length > 1) {
    return { parts: paths.length };
  }
  return typeof no === "number" && typeof count === "number" && count > 1 ? { parts: count, part: no + 1 } : undefined;
}

function weightsOf(tensors: TensorInfo[]): InspectReport["weights"] {
  const types = [...new Set(tensors.filter(({ name }) => isLinearTensor(name)).map(({ type }) => type))];
  const [ternary, floats] = [types.filter(isTernaryType), types.filter((type) => !isTernaryType(type))];
  return types.length === 0 ? undefined : { ternary, floats };
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
  gguf: Gguf,
  metadata: Record<string, MetadataValue>,
  tensors: TensorInfo[],
  options: InspectOptions,
): MemoryEstimate | undefined {
  const number = (key: string): number | undefined => {
    const name = `${String(metadata["general.architecture"])}.${key}`;
    const value = metadata[name];
    const one = typeof value === "object" ? gguf.metadataArray(name, 0, 1)[0] : value; // one of each layer: all equal
    return typeof one === "number" ? one : undefined;
  };
  const [layers, heads, width] = [number("block_count"), number("attention.head_count"), number("embedding_length")];
  if (layers === undefined || heads === undefined || width === undefined || tensors.length === 0) {
    return undefined;
  }
  const headDim = number("attention.key_length") ?? width / heads;
  const contextSize = options.contextSize ?? Math.min(4096, number("context_length") ?? 4096);
  const weights = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const shape = { layers, heads: number("attention.head_count_kv") ?? heads, headDim, contextSize };
  const kvCache = converting(() => loadAddon().kvBytes({ ...shape, cacheType: options.cacheType }));
  return { contextSize, weights, kvCache, total: weights + kvCache };
}
