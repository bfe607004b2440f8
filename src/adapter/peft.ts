// Adapters in PEFT's form: a folder with adapter_config.json and adapter_model.safetensors, or a safetensors file that has
// the configuration beside it or in its metadata.

import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type CheckpointTensor, readSafetensors } from "../checkpoint/safetensors.js";
import { BitnetError } from "../system/errors.js";
import { parseJson, readJsonFile } from "../system/json.js";
import { type AdapterFile, type AdapterTensor, adaptedMatrices } from "./adapter.js";
import { assemble, type NamedTensor } from "./assemble.js";
import { type PeftConfig, parsePeftConfig } from "./peft-config.js";

export const configName = "adapter_config.json";
export const weightsName = "adapter_model.safetensors";
/** Keys of the metadata of our own files. */
export const metadataKeys = { config: "adapter_config", baseHash: "bitnet.base_hash" } as const;

const maxConfigBytes = 2 ** 20;

/** `path`: the folder or the safetensors file. */
export async function openPeft(path: string, isFolder: boolean): Promise<AdapterFile> {
  const weights = isFolder ? join(path, weightsName) : path;
  if (isFolder && !existsSync(weights)) {
    throw new BitnetError("NOT_FOUND", `${path}: there is no ${weightsName} in this folder`, {
      hint: existsSync(join(path, "adapter_model.bin"))
        ? "adapter_model.bin is a pickle, which is not read: save it as safetensors"
        : "an adapter is a folder of PEFT, a .safetensors file or a .gguf file",
    });
  }
  const { tensors, metadata } = await readSafetensors(weights);
  const config = await readConfig(weights, metadata);
  const named = tensors.map((tensor) => nameTensor(weights, tensor));
  const { rslora, baseName, dropout } = config;
  return {
    path,
    form: "peft",
    origin: { baseName, baseHash: metadata.get(metadataKeys.baseHash), rslora, dropout },
    ...assemble(weights, named, (matrix) => scalingOf(config, weights, matrix)),
    warnings: config.warnings,
  };
}

async function readConfig(weights: string, metadata: ReadonlyMap<string, string>): Promise<PeftConfig> {
  const beside = join(dirname(weights), configName);
  if (existsSync(beside)) {
    return parsePeftConfig(await readJsonFile(beside, maxConfigBytes), beside);
  }
  const inside = metadata.get(metadataKeys.config);
  if (inside === undefined || inside.length > maxConfigBytes) {
    throw new BitnetError("NOT_FOUND", `${weights}: there is no ${configName} beside it`, {
      hint: "it says the adapter's alpha, without which its scale is not known",
    });
  }
  const name = `${weights}: ${metadataKeys.config} in the metadata`;
  return parsePeftConfig(parseJson(inside, name), name);
}

function scalingOf(
  config: PeftConfig,
  weights: string,
  { layer, name, rank }: Parameters<Parameters<typeof assemble>[2]>[0],
) {
  const module = moduleName(layer, name);
  const said = config.rankOf(module);
  if (said !== rank) {
    throw new BitnetError("BAD_FILE", `${weights}: ${module} has rank ${rank}, by ${configName} it is ${said}`);
  }
  const alpha = config.alphaOf(module);
  return { alpha, scale: alpha / (config.rslora ? Math.sqrt(rank) : rank) };
}

/** Hugging Face's name of a matrix: "model.layers.0.self_attn.q_proj". */
export function moduleName(layer: number, name: string): string {
  const row = adaptedMatrices.find((matrix) => matrix.name === name);
  return `model.layers.${layer}.${row?.module ?? name}`;
}

// Safetensors' names of types -> GGUF's.
const types = new Map([
  ["F32", "F32"],
  ["F16", "F16"],
  ["BF16", "BF16"],
]);

/** What the parts of other adapters are. */
const foreign: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/lora_magnitude_vector/, "it is of DoRA, which is not supported"],
  [/lora_embedding_[AB]/, "adapters of embeddings are not supported"],
  [/lm_head/, "adapters of the head are not supported"],
  [/embed_tokens/, "adapters of embeddings are not supported"],
  [/norm/, "norms cannot be adapted"],
  [/modules_to_save|original_module/, "modules that are trained whole are not supported"],
  [/bias$/, "biases are not supported"],
];

/** "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", of which the outer parts may be missing. */
const tensorName =
  /^(?:base_model\.model\.)?(?:model\.)?layers\.(\d{1,5})\.(.{1,100})\.lora_([AB])(?:\.[\w-]{1,100})?\.weight$/;

function nameTensor(path: string, tensor: CheckpointTensor): NamedTensor {
  const fail = (what: string): never => {
    throw new BitnetError("UNSUPPORTED", `${path}: tensor ${tensor.name.slice(0, 200)}: ${what}`);
  };
  for (const [pattern, what] of foreign) {
    if (pattern.test(tensor.name)) {
      return fail(what);
    }
  }
  const match = tensorName.exec(tensor.name);
  const row = adaptedMatrices.find(({ module }) => module === match?.[2]);
  if (match === null || row === undefined) {
    const names = adaptedMatrices.map(({ module }) => module.replace(/^\w+\./, "")).join(", ");
    return fail(`not a matrix that can be adapted: ${names}`);
  }
  return {
    layer: Number(match[1]),
    name: row.name,
    part: match[3] === "A" ? "a" : "b",
    tensor: toMatrix(path, tensor),
  };
}

function toMatrix(path: string, { name, dtype, shape, file, offset, bytes }: CheckpointTensor): AdapterTensor {
  const type = types.get(dtype);
  if (type === undefined) {
    throw new BitnetError("UNSUPPORTED", `${path}: tensor ${name} is of type ${dtype}; F32, F16 or BF16 expected`);
  }
  const [rows, cols] = shape;
  if (shape.length !== 2 || rows === undefined || cols === undefined || rows < 1 || cols < 1) {
    throw new BitnetError("BAD_FILE", `${path}: tensor ${name} has the shape [${shape.join(", ")}]; a matrix expected`);
  }
  return { name, type, rows, cols, file, offset, bytes };
}

/** How an adapter is called where nobody has named it: the name of its folder or file. */
export function adapterName(path: string): string {
  const name = basename(path).replace(/\.(gguf|safetensors)$/i, "");
  return name === "adapter_model" ? basename(dirname(path)) : name;
}
