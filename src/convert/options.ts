// What a conversion may be told.

import { basename } from "node:path";
import type { OptionNames } from "../system/options.js";
import type { ConvertProgress } from "./plan.js";

/** How the codes of an I2_S source lie; nothing in a file says so. All published files are canonical. */
export type I2sLayout = "canonical" | "arm64" | "row-group" | "sequential";

export interface ConvertOptions {
  /** Directory with config.json and safetensors, or a GGUF file. */
  source: string;
  outfile: string;
  /** Type of the ternary matrices, in any case: those of listTensorTypes() with a fileType. */
  outtype: string;
  /**
   * Type of token_embd: a writable one of listTensorTypes(). Default: f16, with a float outtype that one; a
   * GGUF source that has another type than f32 keeps it.
   */
  embeddingType?: string;
  /** Type of output, the head of models that do not share the embedding. Default: as embeddingType. */
  outputType?: string;
  /** Path of a kernel_config.ini with tile sizes of TL1 and TL2. Default: bitnet.cpp's own, else by the shapes. */
  kernelConfig?: string;
  /** general.name. Default: the source's name. */
  modelName?: string;
  /** The hub repository and revision that the source came from, for general.source.*. Default: from a hub cache path. */
  sourceRepository?: string;
  sourceRevision?: string;
  /** Pre-tokenizer to write instead of the one that is found. */
  tokenizerPre?: string;
  /** Ternarize weights that nothing declares ternary. Default: false. */
  force?: boolean;
  /** Leave out tensors with unknown names instead of failing. Default: false. */
  skipUnknown?: boolean;
  /** Default: the cores that this process may use. */
  threads?: number;
  /** Layout of I2_S tensors in a GGUF source. Default: canonical. */
  i2sLayout?: I2sLayout;
  /** Metadata and tokenizer only. Default: false. */
  vocabOnly?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: ConvertProgress) => void;
}

export const convertOptions: OptionNames<ConvertOptions> = {
  source: true,
  outfile: true,
  outtype: true,
  embeddingType: true,
  outputType: true,
  kernelConfig: true,
  modelName: true,
  sourceRepository: true,
  sourceRevision: true,
  tokenizerPre: true,
  force: true,
  skipUnknown: true,
  threads: true,
  i2sLayout: true,
  vocabOnly: true,
  signal: true,
  onProgress: true,
};

/** The file name that bitnet.cpp's converter would choose, without its folder. */
export function defaultFileName(outtype: string): string {
  return basename(`ggml-model-${outtype.toLowerCase()}.gguf`);
}
