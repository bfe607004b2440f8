// A GGUF file -> the plan of another one: the same metadata and tensors, other types.

import { readScalar } from "../checkpoint/checkpoint.js";
import { findFamily, isLinearTensor, isTernaryModel } from "../gguf/families.js";
import {
  type Gguf,
  type MetadataEntry,
  type MetadataValue,
  openGguf,
  splitKeys,
  type TensorInfo,
} from "../gguf/gguf.js";
import { isTernaryType } from "../gguf/tensor-types.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { ConvertOptions } from "./options.js";
import type { ModelPlan, PlannedTensor } from "./plan.js";
import { chooseType, type TensorUse, type TypeChoice } from "./types.js";

const llama3VocabSize = 128256;

export async function planGguf(options: ConvertOptions, types: TypeChoice): Promise<ModelPlan> {
  const gguf = openGguf(options.source);
  const values = gguf.metadata();
  const copies = gguf.metadataCopies();
  const all = new Map(gguf.tensors().map((tensor) => [tensor.name, tensor]));
  const declared = options.force === true || isTernaryModel(String(values["general.architecture"]), all.keys());
  const warnings: string[] = [];
  gguf.checkModel({ tokenizerPre: options.tokenizerPre });
  const metadata = listMetadata(values, copies, options, types, warnings);
  if (options.vocabOnly) {
    return { sources: gguf.paths, metadata, tensors: [], warnings };
  }
  const tensors: PlannedTensor[] = [];
  for (const tensor of all.values()) {
    if (scaleOwner(tensor, all) === undefined) {
      tensors.push(await planTensor(tensor, gguf, all, options, types, declared, warnings));
    }
  }
  return { sources: gguf.paths, metadata, tensors, warnings };
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
  gguf: Gguf,
  all: Map<string, TensorInfo>,
  options: ConvertOptions,
  types: TypeChoice,
  declared: boolean,
  warnings: string[],
): Promise<PlannedTensor> {
  const { name, shape, type: sourceType, offset, bytes } = tensor;
  const use = useOf(tensor);
  const type = chooseType(types, { name, use, cols: at(shape, 0), kept: sourceType }, warnings);
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
      file: fileOf(tensor, gguf),
      offset,
      bytes,
      i2sLayout: options.i2sLayout,
      factor: scale && (await readFactor(scale, gguf)),
    },
    ternary: use === "linear" && (ternary || isTernaryType(type)),
    declared,
    ropeHeads: 0,
    add: 0,
  };
}

async function readFactor(scale: TensorInfo, gguf: Gguf): Promise<number> {
  const factor = await readScalar({ ...scale, dtype: scale.type, file: fileOf(scale, gguf) });
  if (!Number.isFinite(factor)) {
    throw new BitnetError("BAD_FILE", `${gguf.path}: tensor ${scale.name} holds a value that is not a number`);
  }
  return factor;
}

function fileOf({ part = 1 }: TensorInfo, { paths }: Gguf): string {
  return at(paths, part - 1);
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

/** The source's keys in their order; those that change stay at their place, new ones come last. */
function listMetadata(
  values: Record<string, MetadataValue>,
  copies: MetadataEntry[],
  options: ConvertOptions,
  types: TypeChoice,
  warnings: string[],
): MetadataEntry[] {
  const { modelName, sourceRepository, sourceRevision, tokenizerPre } = options;
  const url = sourceRepository === undefined ? undefined : `https://huggingface.co/${sourceRepository}`;
  const all: MetadataEntry[] = [
    ["general.name", "string", modelName],
    ["general.source.url", "string", sourceRevision === undefined ? url : `${url}/tree/${sourceRevision}`],
    ["general.source.huggingface.repository", "string", sourceRepository],
    ["tokenizer.ggml.pre", "string", tokenizerPre ?? missingPre(values, warnings)],
    ["general.file_type", "u32", types.outtype.fileType],
    ["general.quantization_version", "u32", 2],
  ];
  const changed = all.filter(([, , value]) => value !== undefined);
  const byKey = new Map(changed.map((entry) => [entry[0], entry]));
  return [
    ...copies.filter(([key]) => !splitKeys.includes(key)).map((entry) => byKey.get(entry[0]) ?? entry),
    ...changed.filter(([key]) => values[key] === undefined),
  ];
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
