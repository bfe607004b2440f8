// A checkpoint directory or a GGUF file -> a GGUF file, one tensor at a time, verified after writing.

import { BitnetError } from "./errors.js";

/** How the codes of an I2_S source lie; nothing in a file says so. All published files are canonical. */
export type I2sLayout = "canonical" | "arm64" | "row-group" | "sequential";

export interface ConvertOptions {
  /** Directory with config.json and safetensors, or a GGUF file. */
  source: string;
  outfile: string;
  /** Type of the ternary matrices, in any case: f32, f16, bf16, i2_s, tl1, tl2, tq1_0, tq2_0. */
  outtype: string;
  /** Type of token_embd: f32, f16, bf16, q8_0, q6_k, q5_0, q4_0. Default: f16 (a GGUF source keeps its type). */
  embeddingType?: string;
  /** Type of output, the head of models that do not share the embedding. Default: as embeddingType. */
  outputType?: string;
  /** Path of a kernel_config.ini with the tile sizes of TL1 and TL2. Default: bitnet.cpp's own. */
  kernelConfig?: string;
  /** general.name. Default: the source's name. */
  modelName?: string;
  /** The hub repository and revision that the source came from, for general.source.*. Default: from a hub cache path. */
  sourceRepository?: string;
  sourceRevision?: string;
  /** Ternarize weights that nothing declares ternary. Default: false. */
  force?: boolean;
  /** Default: the cores that this process may use. */
  threads?: number;
  /** Layout of I2_S tensors in a GGUF source. Default: canonical. */
  i2sLayout?: I2sLayout;
  /** Metadata and tokenizer only. Default: false. */
  vocabOnly?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: ConvertProgress) => void;
}

export interface ConvertProgress {
  tensor: string;
  doneBytes: number; // of the output's tensor data
  totalBytes: number;
}

export interface ConvertedTensor {
  name: string;
  type: string;
  sourceType: string;
  shape: number[]; // ne order: fastest dimension first
  bytes: number;
  /** Of a ternary tensor: the value of +1, and how many weights are -1, 0 and +1. */
  scale?: number;
  minus?: number;
  zero?: number;
  plus?: number;
}

export interface ConvertReport {
  outfile: string;
  bytes: number;
  seconds: number;
  tensors: ConvertedTensor[];
  typeHistogram: Record<string, number>;
  ternary: { minus: number; zero: number; plus: number };
  /** The file was read back and every tensor holds what its source says. */
  verified: boolean;
  warnings: string[];
}

/** Converts; on any failure nothing is left under `outfile`. */
export async function convertCheckpoint(options: ConvertOptions): Promise<ConvertReport> {
  throw new BitnetError("UNSUPPORTED", `cannot convert ${options.source} yet`);
}
