// A checkpoint directory or a GGUF file -> a GGUF file, one tensor at a time, verified after writing.

import { realpath, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { planCheckpoint } from "./plan-checkpoint.js";
import { planGguf } from "./plan-gguf.js";
import { parseTypes } from "./types.js";
import { type ConvertProgress, type ConvertReport, writeModel } from "./write.js";

export type { ConvertedTensor, ConvertProgress, ConvertReport } from "./write.js";

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
  /** Path of a kernel_config.ini with the tile sizes of TL1 and TL2. Default: bitnet.cpp's own. */
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

/** Converts; on any failure nothing is left under `outfile`. */
export async function convertCheckpoint(options: ConvertOptions): Promise<ConvertReport> {
  const types = parseTypes(options);
  const { outfile, kernelConfig, threads, signal, onProgress } = options;
  return convertingAsync(async () => {
    const isDirectory = (await stat(options.source)).isDirectory();
    await refuseSameFile(options.source, outfile);
    const plan = isDirectory ? await planCheckpoint(options, types) : await planGguf(options, types);
    // The tokenizer of a GGUF source is copied as it is, whether this program can run it or not.
    return writeModel(plan, { outfile, kernelConfig, checkTokenizer: isDirectory, threads, signal, onProgress });
  });
}

async function refuseSameFile(source: string, outfile: string): Promise<void> {
  const target = await realpath(outfile).catch(() => resolve(outfile));
  if ((await realpath(source)) === target) {
    throw new BitnetError("USAGE", `${outfile} is both the source and the output`);
  }
}

/** The file name that bitnet.cpp's converter would choose, without its folder. */
export function defaultFileName(outtype: string): string {
  return basename(`ggml-model-${outtype.toLowerCase()}.gguf`);
}
