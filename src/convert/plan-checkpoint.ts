// A checkpoint directory -> the plan of a GGUF file: every tensor with its source, its checks and its treatment.

import { basename, resolve } from "node:path";
import { hubOriginOf, openCheckpoint, readScalar } from "../checkpoint/checkpoint.js";
import { type ModelConfig, readModelConfig } from "../checkpoint/config.js";
import {
  chooseFamily,
  type ExpectedTensor,
  isDeclaredTernary,
  listModelMetadata,
  type MatchedTensor,
  matchTensors,
  scaleSuffix,
  tokenizerRulesOf,
} from "../checkpoint/names.js";
import type { CheckpointTensor } from "../checkpoint/safetensors.js";
import { readTokenizer } from "../checkpoint/tokenizer.js";
import type { MetadataEntry } from "../gguf/gguf.js";
import type { NativeConvertSource } from "../native/addon.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { ConvertOptions } from "./options.js";
import type { ModelPlan, PlannedTensor } from "./plan.js";
import { chooseType, type TypeChoice } from "./types.js";

const floatDtypes = new Set(["F32", "F16", "BF16"]);

// A scale beyond these bounds comes from a checkpoint that stores the inverse of what its config.json says.
const plausibleScale = { least: 1e-5, most: 50 };

export async function planCheckpoint(options: ConvertOptions, types: TypeChoice): Promise<ModelPlan> {
  const config = await readModelConfig(options.source);
  const origin = hubOriginOf(options.source);
  const checkpoint = options.vocabOnly ? undefined : await openCheckpoint(options.source);
  const family = chooseFamily(config);
  const modelMetadata = listModelMetadata(family, config);
  const tokenizerRules = tokenizerRulesOf(family, config);
  const matched = checkpoint === undefined ? [] : await matchTensors(checkpoint, family, config, options.skipUnknown);
  const declared = options.force === true || isDeclaredTernary(config, family, matched);
  const tokenizer = await readTokenizer(options.source, {
    ...tokenizerRules,
    vocabSize: config.vocabSize,
    ids: config,
    pre: options.tokenizerPre,
  });
  const metadata: MetadataEntry[] = [
    ["general.architecture", "string", family.architecture],
    ...listOrigin(options, origin),
    ...modelMetadata,
    ["general.file_type", "u32", types.outtype.fileType],
    ...tokenizer.entries,
    ["general.quantization_version", "u32", 2],
  ];
  const planner = new CheckpointPlanner(config, types, declared);
  const tensors: PlannedTensor[] = [];
  for (const tensor of matched) {
    tensors.push(await planner.plan(tensor));
  }
  return { sources: [options.source], metadata, tensors, warnings: planner.warnings };
}

function listOrigin(options: ConvertOptions, origin: { repository: string; revision: string } | undefined) {
  const repository = options.sourceRepository ?? origin?.repository;
  const revision = options.sourceRevision ?? origin?.revision;
  const name = options.modelName ?? repository?.split("/")[1] ?? basename(resolve(options.source));
  const url = repository === undefined ? undefined : `https://huggingface.co/${repository}`;
  const entries: MetadataEntry[] = [
    ["general.name", "string", name],
    ["general.source.url", "string", revision === undefined ? url : `${url}/tree/${revision}`],
    ["general.source.huggingface.repository", "string", repository],
  ];
  return entries;
}

class CheckpointPlanner {
  readonly warnings: string[] = [];
  readonly #config: ModelConfig;
  readonly #types: TypeChoice;
  readonly #declared: boolean;

  constructor(config: ModelConfig, types: TypeChoice, declared: boolean) {
    this.#config = config;
    this.#types = types;
    this.#declared = declared;
  }

  async plan(matched: MatchedTensor): Promise<PlannedTensor> {
    const { expected, tensor } = matched;
    const packed = expected.role === "linear" && tensor.dtype === "U8";
    this.#checkShape(expected, tensor, packed);
    const { name, role, ropeHeads, add } = expected;
    const source = packed ? await this.#packedSource(matched) : this.#floatSource(matched);
    return {
      name,
      shape: [...expected.shape].reverse(),
      type: this.#typeOf(expected),
      sourceType: packed ? "U8 packed" : tensor.dtype,
      source: { ...source, file: tensor.file, offset: tensor.offset, bytes: tensor.bytes },
      ternary: role === "linear" && (packed || this.#declared || this.#types.outtype.ternary),
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

  #floatSource({ tensor, scale }: MatchedTensor): NativeConvertSource {
    if (!floatDtypes.has(tensor.dtype)) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${tensor.file}: tensor ${tensor.name} is ${tensor.dtype}; F32, F16 or BF16 expected`,
      );
    }
    if (scale !== undefined) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${tensor.file}: tensor ${tensor.name} has a scale although it is not packed`,
      );
    }
    return { kind: "tensor", type: tensor.dtype };
  }

  /** AutoBitLinear multiplies by weight_scale, BitLinear divides: the wrong choice gives a model that only looks right. */
  async #packedSource({ tensor, scale }: MatchedTensor): Promise<NativeConvertSource> {
    if (scale === undefined) {
      throw new BitnetError(
        "BAD_FILE",
        `${tensor.file}: tensor ${tensor.name} is packed but has no ${tensor.name}${scaleSuffix}`,
      );
    }
    const stored = await readScalar(scale);
    const divides = this.#config.quantization?.linearClass !== "autobitlinear";
    const factor = Math.fround(divides ? 1 / stored : stored);
    if (!Number.isFinite(factor) || factor <= 0) {
      throw new BitnetError("BAD_FILE", `${scale.file}: ${scale.name} is ${stored}; a positive number expected`);
    }
    if (factor < plausibleScale.least || factor > plausibleScale.most) {
      this.warnings.push(
        `${tensor.name}: weights of ${factor} are hard to believe; is linear_class in config.json right?`,
      );
    }
    return { kind: "hf-packed", factor };
  }
}
