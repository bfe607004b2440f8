// What a server of a model takes, and what fits into a given memory: computed from the file, nothing is loaded.

import type { Gguf } from "../gguf/gguf.js";
import { inspectGguf } from "../gguf/inspect.js";
import { listTensorTypes } from "../gguf/tensor-types.js";
import type { CacheType } from "../native/addon.js";
import { BitnetError } from "../system/errors.js";

export interface PlanOptions {
  /** What the process may take. */
  memoryBytes: number;
  /** Of one request. Default: the largest that fits, at most what the model was trained for. */
  contextSize?: number;
  /** Default: "f16". */
  cacheType?: CacheType;
  /** Requests at once. Default: as many as fit, at most 64. */
  parallel?: number;
}

export interface MemoryPlan {
  memoryBytes: number;
  /** As they lie in memory: a large float head has a compact copy there, and its file is read now and then. */
  weightBytes: number;
  /** Of a step, of the tokenizer and of the program itself. */
  fixedBytes: number;
  cacheType: CacheType;
  /** Of one token's keys and values. */
  tokenBytes: number;
  trainedContext: number;
  /** What the options ask for, with the largest that fit for what they leave open; undefined: nothing fits. */
  chosen?: PlanChoice;
  /** The least memory that one request with the smallest context takes. */
  smallestBytes: number;
  /** How many requests fit at once, by the context of each. */
  table: { contextSize: number; parallel: Record<CacheType, number> }[];
  tips: string[];
}

export interface PlanChoice {
  contextSize: number;
  parallel: number;
  cacheBytes: number;
  totalBytes: number;
}

const MiB = 2 ** 20;
// Node, the native part and what both keep: measured on Linux with the 2B model.
const programBytes = 60 * MiB;
const stepRows = 256;
const headRows = 16;
const smallestContext = 512;
const mostParallel = 64;

/** Of a model without its keys and values: weights, a step, the tokenizer and the program itself. Throws BAD_FILE. */
export function baseBytes(gguf: Gguf): number {
  return countWeights(gguf) + programBytes + scratchBytes(readSizes(gguf));
}

/** Throws BAD_FILE for a file that describes no model. */
export function planMemory(gguf: Gguf, options: PlanOptions): MemoryPlan {
  const { memoryBytes, cacheType = "f16" } = options;
  const sizes = readSizes(gguf);
  const weightBytes = countWeights(gguf);
  const fixedBytes = programBytes + scratchBytes(sizes);
  const kvBytes = (contextSize: number, type: CacheType) => kvCacheBytes(gguf, contextSize, type);
  const free = memoryBytes - weightBytes - fixedBytes;
  const countFitting = (contextSize: number, type: CacheType) =>
    Math.max(0, Math.min(mostParallel, Math.floor(free / kvBytes(contextSize, type))));
  const contexts = contextSizes(sizes.contextLength);
  const chosen = choose(options, contexts, (size) => countFitting(size, cacheType));
  const plan = {
    ...{ memoryBytes, weightBytes, fixedBytes, cacheType },
    tokenBytes: kvBytes(64, cacheType) / 64,
    trainedContext: sizes.contextLength,
    smallestBytes: weightBytes + fixedBytes + kvBytes(contexts[0] ?? smallestContext, "q8"),
    table: contexts.map((contextSize) => ({
      contextSize,
      parallel: { f16: countFitting(contextSize, "f16"), q8: countFitting(contextSize, "q8") },
    })),
  };
  const described = chosen && describeChoice(chosen, plan, kvBytes(chosen.contextSize, cacheType));
  return { ...plan, chosen: described, tips: writeTips(plan, described, sizes, gguf) };
}

interface Sizes {
  contextLength: number;
  width: number;
  feedForward: number;
  vocabulary: number;
}

function readSizes(gguf: Gguf): Sizes {
  const metadata = gguf.metadata();
  const architecture = String(metadata["general.architecture"]);
  const number = (key: string) => Number(metadata[`${architecture}.${key}`]);
  const embedding = gguf.tensors().find(({ name }) => name === "token_embd.weight");
  const sizes = {
    contextLength: number("context_length"),
    width: number("embedding_length"),
    feedForward: number("feed_forward_length"),
    vocabulary: embedding?.shape[1] ?? Number.NaN,
  };
  if (Object.values(sizes).some((size) => !Number.isSafeInteger(size) || size < 1)) {
    throw new BitnetError("BAD_FILE", `${gguf.path} describes no model whose memory could be told`, {
      hint: "bitnet inspect shows what it holds",
    });
  }
  return sizes;
}

/** A float head is found by 8-bit codes; its own rows stay in the file, whose pages the system may take back. */
function countWeights(gguf: Gguf): number {
  const isFloat = (type: string) => ["F32", "F16", "BF16"].includes(type);
  const isLarge = (name: string) => name === "token_embd.weight" || name === "output.weight";
  return gguf.tensors().reduce((sum, { name, type, shape, bytes }) => {
    const elements = shape.reduce((product, n) => product * n, 1);
    return sum + (isFloat(type) && isLarge(name) ? elements : bytes);
  }, 0);
}

/** Activations of a step of the most rows, and logits of as many rows as the head takes at once; float32. */
function scratchBytes({ width, feedForward, vocabulary }: Sizes): number {
  return 4 * (stepRows * (8 * width + 3 * feedForward) + headRows * vocabulary);
}

/** Of one context. */
export function kvCacheBytes(gguf: Gguf, contextSize: number, cacheType: CacheType): number {
  const { memory } = inspectGguf(gguf, { contextSize, cacheType });
  if (memory === undefined) {
    throw new BitnetError("BAD_FILE", `${gguf.path} describes no model whose memory could be told`);
  }
  return memory.kvCache;
}

/** Powers of two from 512 on, and the trained one. */
function contextSizes(trained: number): number[] {
  const sizes: number[] = [];
  for (let size = smallestContext; size < trained; size *= 2) {
    sizes.push(size);
  }
  return [...sizes, trained];
}

/** The most requests for the context that is asked for; else the largest context for the requests that are. */
function choose(
  { contextSize, parallel }: PlanOptions,
  contexts: readonly number[],
  countFitting: (contextSize: number) => number,
): { contextSize: number; parallel: number } | undefined {
  const wanted = parallel ?? 1;
  const size = contextSize ?? contexts.findLast((each) => countFitting(each) >= wanted);
  const most = size === undefined ? 0 : countFitting(size);
  return size === undefined || most < wanted ? undefined : { contextSize: size, parallel: parallel ?? most };
}

function describeChoice(
  { contextSize, parallel }: { contextSize: number; parallel: number },
  { weightBytes, fixedBytes }: Pick<MemoryPlan, "weightBytes" | "fixedBytes">,
  contextBytes: number,
): PlanChoice {
  const cacheBytes = parallel * contextBytes;
  return { contextSize, parallel, cacheBytes, totalBytes: weightBytes + fixedBytes + cacheBytes };
}

function writeTips(
  { memoryBytes, cacheType, smallestBytes, table }: Omit<MemoryPlan, "chosen" | "tips">,
  chosen: PlanChoice | undefined,
  sizes: Sizes,
  gguf: Gguf,
): string[] {
  const tips: string[] = [];
  const isCut = chosen === undefined || chosen.contextSize < sizes.contextLength || chosen.parallel < mostParallel;
  if (cacheType === "f16" && isCut && table.some(({ parallel }) => parallel.q8 > parallel.f16)) {
    tips.push("--cache-type q8 halves the memory of keys and values");
  }
  const head = gguf.tensors().find(({ name }) => name === "output.weight" || name === "token_embd.weight");
  const types = listTensorTypes();
  if (head !== undefined && ["F32", "F16", "BF16"].includes(head.type) && types.some(({ name }) => name === "Q6_K")) {
    tips.push("bitnet convert MODEL --embedding-type q6_k makes a file with a smaller head");
  }
  if (chosen !== undefined && memoryBytes - chosen.totalBytes > 64 * MiB) {
    const rest = Math.floor((memoryBytes - chosen.totalBytes) / MiB);
    tips.push(`-cram ${Math.min(rest, 8192)} keeps beginnings of prompts in what is left`);
  }
  if (chosen === undefined && memoryBytes >= smallestBytes) {
    tips.push("a smaller -c or --cache-type q8 fits");
  }
  return tips;
}
