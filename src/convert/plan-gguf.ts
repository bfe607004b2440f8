// A GGUF file -> the plan of another one: the same metadata and tensors, other types.

import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { findFamily, isLinearTensor, isTernaryModel } from "../gguf/families.js";
import { type Gguf, openGguf, type TensorInfo } from "../gguf/gguf.js";
import { isTernaryType } from "../gguf/tensor-types.js";
import { ggufAlignment, type MetadataEntry, string, u32 } from "../gguf/writer.js";
import { BitnetError } from "../system/errors.js";
import type { ConvertOptions } from "./convert.js";
import { chooseType, fileTypeOf, type TensorUse, type TypeChoice, typeThatFits } from "./types.js";
import type { ModelPlan, PlannedTensor } from "./write.js";

const llama3VocabSize = 128256;

export async function planGguf(options: ConvertOptions, types: TypeChoice): Promise<ModelPlan> {
  const gguf = openGguf(options.source);
  const warnings: string[] = [];
  const metadata = listMetadata(gguf, options, types, warnings);
  if (options.vocabOnly) {
    return { metadata, tensors: [], warnings };
  }
  const all = new Map(gguf.tensors().map((tensor) => [tensor.name, tensor]));
  const declared =
    options.force === true || isTernaryModel(String(gguf.metadata()["general.architecture"]), all.keys());
  const tensors: PlannedTensor[] = [];
  for (const tensor of all.values()) {
    if (scaleOwner(tensor, all) === undefined) {
      tensors.push(await planTensor(tensor, all, options, types, declared, warnings));
    }
  }
  return { metadata, tensors, warnings };
}

/** Some files keep unit weights and, beside them, NAME.scale: the ternary matrix that such a scale belongs to. */
function scaleOwner(tensor: TensorInfo, all: Map<string, TensorInfo>): TensorInfo | undefined {
  const owner = tensor.name.endsWith(".scale")
    ? all.get(`${tensor.name.slice(0, -".scale".length)}.weight`)
    : undefined;
  return owner !== undefined && isTernaryType(owner.type) ? owner : undefined;
}

async function planTensor(
  tensor: TensorInfo,
  all: Map<string, TensorInfo>,
  options: ConvertOptions,
  types: TypeChoice,
  declared: boolean,
  warnings: string[],
): Promise<PlannedTensor> {
  const { name, shape, type: sourceType, offset, bytes } = tensor;
  const use = useOf(tensor);
  const wanted = chooseType(types, use, sourceType);
  const type = use === "linear" ? wanted : typeThatFits(wanted, shape[0] ?? 1);
  if (type !== wanted) {
    warnings.push(`${name} becomes ${type}: rows of ${shape[0]} elements do not fit ${wanted}`);
  }
  const ternary = isTernaryType(sourceType);
  const scale = ternary ? all.get(name.replace(/weight$/, "scale")) : undefined;
  return {
    name,
    shape,
    type,
    sourceType,
    source: {
      kind: "tensor",
      type: sourceType,
      offset,
      bytes,
      i2sLayout: options.i2sLayout,
      factor: scale === undefined ? 1 : await readF32(options.source, scale),
    },
    file: resolve(options.source),
    ternary: use === "linear" && (ternary || isTernaryType(type)),
    declared,
    ropeHeads: 0,
    add: 0,
  };
}

function useOf({ name, type }: TensorInfo): TensorUse {
  if (isLinearTensor(name) || isTernaryType(type)) {
    return "linear";
  }
  if (name === "token_embd.weight") {
    return "embedding";
  }
  return name === "output.weight" ? "head" : "other";
}

async function readF32(path: string, { name, type, offset, bytes }: TensorInfo): Promise<number> {
  if (type !== "F32" || bytes !== 4) {
    throw new BitnetError("BAD_FILE", `${path}: ${name} is not one F32 number`);
  }
  const buffer = Buffer.alloc(4);
  const file = await open(path);
  try {
    await file.read(buffer, 0, 4, offset);
  } finally {
    await file.close();
  }
  return buffer.readFloatLE();
}

function listMetadata(gguf: Gguf, options: ConvertOptions, types: TypeChoice, warnings: string[]): MetadataEntry[] {
  const values = gguf.metadata();
  const { modelName, sourceRepository, sourceRevision, tokenizerPre } = options;
  const url = sourceRepository === undefined ? undefined : `https://huggingface.co/${sourceRepository}`;
  const replaced = [
    string("general.name", modelName),
    string("general.source.url", sourceRevision === undefined ? url : `${url}/tree/${sourceRevision}`),
    string("general.source.huggingface.repository", sourceRepository),
    string("tokenizer.ggml.pre", tokenizerPre ?? missingPre(values, warnings)),
    values["general.alignment"] === undefined ? undefined : u32("general.alignment", ggufAlignment),
    u32("general.file_type", fileTypeOf(types.outtype)),
    u32("general.quantization_version", 2),
  ].filter((entry) => entry !== undefined);
  const byKey = new Map(replaced.map((entry) => [entry.key, entry]));
  const kept = Object.keys(values).map((key): MetadataEntry => {
    const entry = byKey.get(key) ?? { key, value: gguf.metadataBytes(key) };
    byKey.delete(key);
    return entry;
  });
  return [...kept, ...byKey.values()];
}

/** The published BitNet-b1.58-2B-4T files do not name their pre-tokenizer, and readers then take a wrong one. */
function missingPre(values: Record<string, unknown>, warnings: string[]): string | undefined {
  const tokens = values["tokenizer.ggml.tokens"] as { length?: number } | undefined;
  const known =
    values["tokenizer.ggml.model"] === "gpt2" &&
    findFamily(String(values["general.architecture"]))?.ternary === true &&
    tokens?.length === llama3VocabSize;
  if (!known || values["tokenizer.ggml.pre"] !== undefined) {
    return undefined;
  }
  warnings.push("the source names no pre-tokenizer; llama-bpe, this vocabulary's own, is written");
  return "llama-bpe";
}
