// Dummy models: random weights in the shape of a real one, for measuring and testing. The same seed gives the same file
// on every machine and with any number of threads.

import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { type ModelConfig, readModelConfig } from "../checkpoint/config.js";
import { chooseFamily, type ExpectedTensor, listExpectedTensors, listModelMetadata } from "../checkpoint/names.js";
import { readTokenizer } from "../checkpoint/tokenizer.js";
import { byteAlphabet, tokenTypes } from "../checkpoint/vocabulary.js";
import { findFamily, listFamilies } from "../gguf/families.js";
import { type MetadataEntry, openGguf } from "../gguf/gguf.js";
import type { NativeFamily } from "../native/addon.js";
import { at } from "../system/at.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import type { ConvertProgress, ConvertReport, ModelPlan, PlannedTensor } from "./plan.js";
import { chooseType, parseTypes, type TypeChoice } from "./types.js";
import { writeModel } from "./write.js";

export interface DummyOptions {
  outfile: string;
  /** A name of dummySizes. Default: of the model's config.json, else 125M. */
  size?: string;
  /** Default: that of the size. */
  architecture?: string;
  /** A checkpoint directory, a GGUF file or a tokenizer.json to take the tokenizer from. Default: a made-up vocabulary. */
  model?: string;
  outtype?: string; // default: i2_s
  embeddingType?: string; // default: as when converting
  outputType?: string;
  /** Rows of the embedding. Default: that of the size, or of the tokenizer. */
  vocabSize?: number;
  /** Blocks. Default: those of the size. */
  layers?: number;
  /** 0 .. 2^32 - 1. Default: 0. */
  seed?: number;
  kernelConfig?: string;
  modelName?: string;
  /** Metadata and tokenizer only. Default: false. */
  vocabOnly?: boolean;
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (progress: ConvertProgress) => void;
}

const dummyOptions: OptionNames<DummyOptions> = {
  outfile: true,
  size: true,
  architecture: true,
  model: true,
  outtype: true,
  embeddingType: true,
  outputType: true,
  vocabSize: true,
  layers: true,
  seed: true,
  kernelConfig: true,
  modelName: true,
  vocabOnly: true,
  threads: true,
  signal: true,
  onProgress: true,
};

export interface DummySize {
  architecture: string;
  hidden: number;
  ffn: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim?: number;
  pooling?: number; // of text embeddings: pooling_type
  vocab: number;
  context: number;
  theta: number;
  epsilon: number;
}

/** generate-dummy-bitnet-model.py's sizes. */
function plain(hidden: number, ffn: number, layers: number, heads: number): DummySize {
  return {
    architecture: "bitnet",
    hidden,
    ffn,
    layers,
    heads,
    kvHeads: heads,
    vocab: 32002,
    context: 2048,
    theta: 1e4,
    epsilon: 1e-5,
  };
}

function falcon3(hidden: number, ffn: number, layers: number, heads: number): DummySize {
  return {
    architecture: "llama",
    hidden,
    ffn,
    layers,
    heads,
    kvHeads: 4,
    vocab: 131072,
    context: 32768,
    theta: 1000042,
    epsilon: 1e-6,
  };
}

function falconE(ffn: number, layers: number, vocab: number): DummySize {
  return {
    architecture: "llama",
    hidden: 2048,
    ffn,
    layers,
    heads: 16,
    kvHeads: 2,
    vocab,
    context: 32768,
    theta: 1000042,
    epsilon: 1e-6,
  };
}

export const dummySizes: Readonly<Record<string, DummySize>> = {
  "125M": plain(768, 3072, 11, 12),
  "350M": plain(1024, 3072, 24, 16),
  "1B": plain(2048, 3584, 24, 32),
  "1.5B": plain(1536, 9216, 28, 32),
  "2.7B": plain(3072, 7680, 24, 32),
  "3.8B": plain(3840, 8192, 24, 32),
  "7B": plain(4096, 12032, 32, 32),
  "13B": plain(5120, 13824, 40, 40),
  "30B": plain(6656, 16384, 60, 52),
  "70B": plain(8192, 24576, 80, 64),
  "100B": plain(8192, 45568, 72, 64),
  "bitnet_b1_58-large": plain(1536, 4096, 24, 16),
  "bitnet_b1_58-xl": plain(2048, 5460, 24, 32),
  "bitnet_b1_58-3B": plain(3200, 8640, 26, 32),
  "BitNet-b1.58-2B-4T": {
    ...plain(2560, 6912, 30, 20),
    architecture: "bitnet-b1.58",
    kvHeads: 5,
    vocab: 128256,
    context: 4096,
    theta: 5e5,
  },
  "Llama3-8B-1.58": {
    ...plain(4096, 14336, 32, 32),
    architecture: "llama",
    kvHeads: 8,
    vocab: 128256,
    context: 8192,
    theta: 5e5,
  },
  "Falcon3-1B": falcon3(2048, 8192, 18, 8),
  "Falcon3-3B": falcon3(3072, 9216, 22, 12),
  "Falcon3-7B": falcon3(3072, 23040, 28, 12),
  "Falcon3-10B": falcon3(3072, 23040, 40, 12),
  "Falcon-E-1B": falconE(4096, 24, 32768),
  "Falcon-E-3B": falconE(13312, 32, 65536),
  "bitnet-embedding-0.6b": {
    ...plain(1024, 3072, 28, 16),
    architecture: "qwen3",
    kvHeads: 8,
    headDim: 128,
    pooling: 1,
    vocab: 151936,
    context: 32768,
    theta: 1e6,
    epsilon: 1e-6,
  },
  "bitnet-embedding-270m": {
    ...plain(640, 2048, 18, 4),
    architecture: "gemma3",
    kvHeads: 1,
    headDim: 256,
    pooling: 1,
    vocab: 262144,
    context: 32768,
    epsilon: 1e-6,
  },
};

const defaultSize = "125M";
const maxSeed = 2 ** 32 - 1;

/** Writes a dummy model, verified as a converted one is. */
export async function generateDummy(options: DummyOptions): Promise<ConvertReport> {
  checkOptionNames("generateDummy", options, dummyOptions);
  const types = parseTypes({ ...options, outtype: options.outtype ?? "i2_s" });
  const seed = options.seed ?? 0;
  if (!Number.isInteger(seed) || seed < 0 || seed > maxSeed) {
    throw new BitnetError("USAGE", `expected a seed from 0 to ${maxSeed} but got ${seed}`);
  }
  return convertingAsync(async () => {
    const { outfile, kernelConfig, threads, signal, onProgress } = options;
    const plan = await planDummy(options, types, seed);
    return writeModel(plan, { outfile, kernelConfig, threads, signal, onProgress });
  });
}

async function planDummy(options: DummyOptions, types: TypeChoice, seed: number): Promise<ModelPlan> {
  const { size, config: base, family } = await chooseConfig(options);
  const tokenizer = await chooseTokenizer(options, base.vocabSize);
  const config = { ...base, vocabSize: tokenizer.size };
  config.tiedEmbeddings = !family.ownHead || family.pooled;
  const metadata: MetadataEntry[] = [
    ["general.architecture", "string", family.architecture],
    ["general.name", "string", options.modelName ?? `dummy-${size}`],
    ...listModelMetadata(family, config),
    ["general.file_type", "u32", types.outtype.fileType],
    ...tokenizer.entries,
    ["general.quantization_version", "u32", 2],
  ];
  const expected = options.vocabOnly ? [] : listExpectedTensors(family, config).filter(({ role }) => role !== "bias");
  const warnings: string[] = [];
  const tensors = expected.map((tensor, i) => planTensor(tensor, types, seed * 2 ** 20 + i, warnings));
  return { sources: options.model === undefined ? [] : [options.model], metadata, tensors, warnings };
}

function planTensor(
  { name, role, shape }: ExpectedTensor,
  types: TypeChoice,
  seed: number,
  warnings: string[],
): PlannedTensor {
  const use = role === "norm" || role === "bias" ? "other" : role;
  const cols = at(shape, shape.length - 1);
  // Sizes that keep activations near 1: a third of the weights is 0.
  const spread = { embedding: 1, head: cols ** -0.5, linear: 0, other: 0.02 }[use];
  return {
    name,
    shape: [...shape].reverse(),
    type: chooseType(types, { name, use, cols }, warnings),
    sourceType: "random",
    source: { kind: "random", seed, factor: (1.5 / cols) ** 0.5, mean: use === "other" ? 1 : 0, deviation: spread },
    ternary: use === "linear",
    declared: true,
    ropeHeads: 0,
    add: 0,
  };
}

interface DummyShape {
  size: string;
  config: ModelConfig;
  family: NativeFamily;
}

async function chooseConfig(options: DummyOptions): Promise<DummyShape> {
  const { model, architecture } = options;
  if (options.size === undefined && model !== undefined && (await stat(model)).isDirectory()) {
    const config = await readModelConfig(model);
    const family = architecture === undefined ? chooseFamily(config) : requireFamily(architecture);
    return { size: basename(model), config, family };
  }
  const wanted = (options.size ?? defaultSize).toLowerCase();
  const found = Object.entries(dummySizes).find(([name]) => name.toLowerCase() === wanted);
  if (found === undefined) {
    throw new BitnetError("USAGE", `unknown model size ${JSON.stringify(options.size)}`, {
      hint: `known: ${Object.keys(dummySizes).join(", ")}`,
    });
  }
  const [size, s] = found;
  const config: ModelConfig = {
    path: `the size ${size}`,
    architectures: [],
    modelType: "",
    hiddenAct: "",
    hiddenSize: s.hidden,
    intermediateSize: s.ffn,
    layers: options.layers ?? s.layers,
    heads: s.heads,
    kvHeads: s.kvHeads,
    headDim: s.headDim ?? s.hidden / s.heads,
    vocabSize: s.vocab,
    contextLength: s.context,
    normEpsilon: s.epsilon,
    ropeTheta: s.theta,
    pooling: s.pooling,
    tiedEmbeddings: true,
    graphChanges: [],
  };
  return { size, config, family: requireFamily(architecture ?? s.architecture) };
}

function requireFamily(architecture: string): NativeFamily {
  const family = findFamily(architecture);
  if (family === undefined) {
    throw new BitnetError("USAGE", `unknown model family ${JSON.stringify(architecture)}`, {
      hint: `known: ${listFamilies()
        .map((known) => known.architecture)
        .join(", ")}`,
    });
  }
  return family;
}

async function chooseTokenizer(
  options: DummyOptions,
  vocabSize: number,
): Promise<{ entries: MetadataEntry[]; size: number }> {
  const { model, vocabSize: wanted } = options;
  if (model === undefined) {
    const size = wanted ?? vocabSize;
    return { entries: listSyntheticVocabulary(size), size };
  }
  if (!(await stat(model)).isDirectory() && !/\.(json|model)$/.test(model)) {
    return copyTokenizer(model, wanted);
  }
  const directory = (await stat(model)).isDirectory() ? model : dirname(model);
  return readTokenizer(directory, { vocabSize: wanted });
}

function copyTokenizer(path: string, wanted: number | undefined): { entries: MetadataEntry[]; size: number } {
  const gguf = openGguf(path);
  const values = gguf.metadata();
  const tokens = values["tokenizer.ggml.tokens"] as { length?: number } | undefined;
  const size = tokens?.length;
  if (size === undefined || size === 0 || (wanted !== undefined && wanted < size)) {
    throw new BitnetError("BAD_FILE", `${path}: its vocabulary has ${size ?? "no"} tokens`);
  }
  const entries = gguf.metadataCopies().filter(([key]) => key.startsWith("tokenizer."));
  return { entries, size: wanted ?? size };
}

/** All bytes, then all pairs, then triples until the table is full, each with its merge; two control tokens at the end. */
function listSyntheticVocabulary(size: number): MetadataEntry[] {
  const least = byteAlphabet.length + 2;
  if (size < least) {
    throw new BitnetError("USAGE", `expected a vocabulary of at least ${least} tokens but got ${size}`);
  }
  const tokens = [...byteAlphabet];
  const merges: string[] = [];
  for (let n = 0; tokens.length < size - 2; n++) {
    const left = at(tokens, Math.floor(n / byteAlphabet.length));
    const right = at(byteAlphabet, n % byteAlphabet.length);
    tokens.push(left + right);
    merges.push(`${left} ${right}`);
  }
  const types = tokens.map(() => tokenTypes.normal as number);
  tokens.push("<|begin_of_text|>", "<|end_of_text|>");
  types.push(tokenTypes.control, tokenTypes.control);
  return [
    ["tokenizer.ggml.model", "string", "gpt2"],
    ["tokenizer.ggml.pre", "string", "llama-bpe"],
    ["tokenizer.ggml.tokens", "strings", tokens],
    ["tokenizer.ggml.token_type", "i32s", types],
    ["tokenizer.ggml.merges", "strings", merges],
    ["tokenizer.ggml.bos_token_id", "u32", size - 2],
    ["tokenizer.ggml.eos_token_id", "u32", size - 1],
    ["tokenizer.ggml.add_bos_token", "bool", true],
  ];
}
