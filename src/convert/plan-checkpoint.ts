// A checkpoint directory -> the plan of a GGUF file: every tensor with its source, its checks and its treatment.

import { basename, resolve } from "node:path";
import { type Checkpoint, hubOriginOf, openCheckpoint, readScalar } from "../checkpoint/checkpoint.js";
import { type ModelConfig, readModelConfig } from "../checkpoint/config.js";
import {
  chooseFamily,
  type ExpectedTensor,
  listExpectedTensors,
  listModelMetadata,
  mapTensorName,
  poolingOf,
  rulesOf,
  saysTernary,
} from "../checkpoint/names.js";
import type { CheckpointTensor } from "../checkpoint/safetensors.js";
import { readTokenizer } from "../checkpoint/tokenizer.js";
import { isTernaryModel } from "../gguf/families.js";
import type { MetadataEntry } from "../gguf/gguf.js";
import { isTernaryType } from "../gguf/tensor-types.js";
import type { NativeConvertSource, NativeFamily } from "../native/addon.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { ConvertOptions } from "./options.js";
import type { ModelPlan, PlannedTensor } from "./plan.js";
import { chooseType, fileTypeOf, type TypeChoice } from "./types.js";

const floatDtypes = new Set(["F32", "F16", "BF16"]);
const scaleSuffix = "_scale";

// A scale beyond these bounds comes from a checkpoint that stores the inverse of what its config.json says.
const plausibleScale = { least: 1e-5, most: 50 };

export async function planCheckpoint(options: ConvertOptions, types: TypeChoice): Promise<ModelPlan> {
  const config = await readModelConfig(options.source);
  const family = chooseFamily(config);
  const metadata = await listMetadata(options, types, family, config);
  if (options.vocabOnly) {
    return { metadata, tensors: [], warnings: [] };
  }
  const checkpoint = await openCheckpoint(options.source);
  const sources = mapSources(checkpoint, family, options.skipUnknown ?? false);
  const declared = options.force === true || isDeclaredTernary(config, family, sources);
  const planner = new CheckpointPlanner(checkpoint, config, types, declared);
  const tensors: PlannedTensor[] = [];
  for (const expected of listExpectedTensors(family, config)) {
    const source = sources.get(expected.name);
    if (source !== undefined) {
      tensors.push(await planner.plan(expected, source));
      sources.delete(expected.name);
    } else if (!expected.optional) {
      throw new BitnetError(
        "BAD_FILE",
        `${options.source}: no tensor for ${expected.name}: the checkpoint is not complete`,
      );
    }
  }
  refuseLeftovers(sources, config);
  return { metadata, tensors, warnings: planner.warnings };
}

/** By config.json, or by what the family and its tensors say. */
function isDeclaredTernary(config: ModelConfig, { architecture }: NativeFamily, sources: Map<string, unknown>) {
  return saysTernary(config) || isTernaryModel(architecture, sources.keys());
}

/** GGUF names -> tensors of the checkpoint; scales stay with their weights. */
function mapSources(checkpoint: Checkpoint, family: NativeFamily, skipUnknown: boolean): Map<string, CheckpointTensor> {
  const sources = new Map<string, CheckpointTensor>();
  for (const [name, tensor] of checkpoint.tensors) {
    if (name.endsWith(scaleSuffix) && checkpoint.tensors.has(name.slice(0, -scaleSuffix.length))) {
      continue;
    }
    const mapped = mapTensorName(family, name);
    if (mapped === undefined && !skipUnknown) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${tensor.file}: tensor ${name} is none that a ${family.architecture} model has`,
        {
          hint: "leave such tensors out with --skip-unknown",
        },
      );
    }
    if (typeof mapped === "string") {
      if (sources.has(mapped)) {
        throw new BitnetError(
          "BAD_FILE",
          `${tensor.file}: both ${name} and ${sources.get(mapped)?.name} are ${mapped}`,
        );
      }
      sources.set(mapped, tensor);
    }
  }
  return sources;
}

/** A head beside shared embeddings is not needed; any other tensor that is left contradicts config.json. */
function refuseLeftovers(sources: Map<string, CheckpointTensor>, config: ModelConfig): void {
  for (const [name, tensor] of sources) {
    if (name !== "output.weight") {
      throw new BitnetError("BAD_FILE", `${tensor.file}: tensor ${tensor.name} is one too many for ${config.path}`);
    }
  }
}

class CheckpointPlanner {
  readonly warnings: string[] = [];
  readonly #checkpoint: Checkpoint;
  readonly #config: ModelConfig;
  readonly #types: TypeChoice;
  readonly #declared: boolean;

  constructor(checkpoint: Checkpoint, config: ModelConfig, types: TypeChoice, declared: boolean) {
    this.#checkpoint = checkpoint;
    this.#config = config;
    this.#types = types;
    this.#declared = declared;
  }

  async plan(expected: ExpectedTensor, tensor: CheckpointTensor): Promise<PlannedTensor> {
    const packed = expected.role === "linear" && tensor.dtype === "U8";
    this.#checkShape(expected, tensor, packed);
    const { name, role, ropeHeads, add } = expected;
    const source = packed ? await this.#packedSource(tensor) : this.#floatSource(tensor);
    return {
      name,
      shape: [...expected.shape].reverse(),
      type: this.#typeOf(expected),
      sourceType: packed ? "U8 packed" : tensor.dtype,
      source: { ...source, file: tensor.file, offset: tensor.offset, bytes: tensor.bytes },
      ternary: role === "linear" && (packed || this.#declared || isTernaryType(this.#types.outtype)),
      declared: this.#declared,
      ropeHeads,
      add,
    };
  }

  #checkShape({ shape }: ExpectedTensor, tensor: CheckpointTensor, packed: boolean): void {
    const wanted = packed ? [at(shape, 0) / 4, ...shape.slice(1)] : shape;
    if (tensor.shape.join() !== wanted.join()) {
      throw new BitnetError(
        "BAD_FILE",
        `${tensor.file}: tensor ${tensor.name} is ${tensor.dtype} [${tensor.shape.join(", ")}], but by ${this.#config.path} it must be [${wanted.join(", ")}]`,
      );
    }
  }

  #typeOf({ name, role, shape }: ExpectedTensor): string {
    const use = role === "embedding" || role === "head" || role === "linear" ? role : "other";
    return chooseType(this.#types, { name, use, cols: at(shape, shape.length - 1) }, this.warnings);
  }

  #floatSource(tensor: CheckpointTensor): NativeConvertSource {
    if (!floatDtypes.has(tensor.dtype)) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${tensor.file}: tensor ${tensor.name} is ${tensor.dtype}; F32, F16 or BF16 expected`,
      );
    }
    if (this.#checkpoint.tensors.has(tensor.name + scaleSuffix)) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${tensor.file}: tensor ${tensor.name} has a scale although it is not packed`,
      );
    }
    return { kind: "tensor", type: tensor.dtype };
  }

  /** AutoBitLinear multiplies by weight_scale, BitLinear divides: the wrong choice gives a model that only looks right. */
  async #packedSource(tensor: CheckpointTensor): Promise<NativeConvertSource> {
    const scaleTensor = this.#checkpoint.tensors.get(tensor.name + scaleSuffix);
    if (scaleTensor === undefined) {
      throw new BitnetError(
        "BAD_FILE",
        `${tensor.file}: tensor ${tensor.name} is packed but has no ${tensor.name}${scaleSuffix}`,
      );
    }
    const stored = await readScalar(scaleTensor);
    const divides = this.#config.quantization?.linearClass !== "autobitlinear";
    const factor = Math.fround(divides ? 1 / stored : stored);
    if (!Number.isFinite(factor) || factor <= 0) {
      throw new BitnetError(
        "BAD_FILE",
        `${scaleTensor.file}: ${scaleTensor.name} is ${stored}; a positive number expected`,
      );
    }
    if (factor < plausibleScale.least || factor > plausibleScale.most) {
      this.warnings.push(
        `${tensor.name}: weights of ${factor} are hard to believe; is linear_class in config.json right?`,
      );
    }
    return { kind: "hf-packed", factor };
  }
}

async function listMetadata(
  options: ConvertOptions,
  types: TypeChoice,
  family: NativeFamily,
  config: ModelConfig,
): Promise<MetadataEntry[]> {
  const origin = hubOriginOf(options.source);
  const repository = options.sourceRepository ?? origin?.repository;
  const revision = options.sourceRevision ?? origin?.revision;
  const name = options.modelName ?? repository?.split("/")[1] ?? basename(resolve(options.source));
  const url = repository === undefined ? undefined : `https://huggingface.co/${repository}`;
  const tokenizer = await readTokenizer(options.source, {
    vocabSize: config.vocabSize,
    ids: config,
    end: poolingOf(family, config) === undefined ? undefined : rulesOf(family).pooledEnd,
    addSpacePrefix: rulesOf(family).addSpacePrefix,
    pre: options.tokenizerPre,
  });
  return [
    ["general.architecture", "string", family.architecture],
    ["general.name", "string", name],
    ["general.source.url", "string", revision === undefined ? url : `${url}/tree/${revision}`],
    ["general.source.huggingface.repository", "string", repository],
    ...listModelMetadata(family, config),
    ["general.file_type", "u32", fileTypeOf(types.outtype)],
    ...tokenizer.entries,
    ["general.quantization_version", "u32", 2],
  ];
}
