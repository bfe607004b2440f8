// config.json of a checkpoint, as far as a conversion needs it, checked.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../system/errors.js";
import { readJson } from "./checkpoint.js";
import { listGraphChanges } from "./graph-keys.js";
import { readPooling, readPrompts, type TextPrompts } from "./sentence-transformers.js";

export interface ModelConfig {
  path: string;
  architectures: string[];
  modelType: string;
  hiddenAct: string;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocabSize: number;
  contextLength?: number;
  normEpsilon: number;
  ropeTheta?: number;
  ropeScaling?: { type: string; factor?: number };
  tiedEmbeddings: boolean;
  /** What else it says about the graph: "sliding_window is 4096". */
  graphChanges: string[];
  /** Of quantization_config with quant_method "bitnet". */
  quantization?: { linearClass: string; mode: string };
  /** Of a text embedding model, how it pools: 1 mean, 2 first token, 3 last token; undefined for one with a head. */
  pooling?: number;
  /** Of the same: what may stand before texts. */
  textPrompts?: TextPrompts;
  bosTokenId?: number;
  eosTokenId?: number;
  padTokenId?: number;
}

/** Of a model; far above those that there are. */
export const maxLayers = 4096;

type Json = Record<string, unknown>;

/** Reads `directory`/config.json. Throws NOT_FOUND, BAD_FILE naming the key, UNSUPPORTED. */
export async function readModelConfig(directory: string): Promise<ModelConfig> {
  const path = join(directory, "config.json");
  if (!existsSync(path)) {
    throw new BitnetError("NOT_FOUND", `${path} is missing: expected a directory with a Hugging Face checkpoint`);
  }
  const config = parseModelConfig(await readJson(path), path);
  const hasHead = config.architectures.some((name) => name.endsWith("ForCausalLM"));
  const pooling = await readPooling(directory, hasHead);
  return { ...config, pooling, textPrompts: pooling === undefined ? undefined : await readPrompts(directory) };
}

export function parseModelConfig(json: Json, path: string): ModelConfig {
  const size = (key: string): number => requireSize(json[key], key, path);
  const optionalSize = (key: string): number | undefined =>
    json[key] === undefined || json[key] === null ? undefined : size(key);
  const [hiddenSize, heads] = [size("hidden_size"), size("num_attention_heads")];
  const config: ModelConfig = {
    path,
    architectures: Array.isArray(json.architectures) ? json.architectures.map(String) : [],
    modelType: String(json.model_type ?? ""),
    hiddenAct: String(json.hidden_act ?? json.hidden_activation ?? "silu"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: requireLayers(size("num_hidden_layers"), path),
    heads,
    kvHeads: optionalSize("num_key_value_heads") ?? heads,
    headDim: optionalSize("head_dim") ?? hiddenSize / heads,
    vocabSize: size("vocab_size"),
    contextLength: optionalSize("max_position_embeddings"),
    normEpsilon: requireNumber(json.rms_norm_eps ?? json.norm_eps ?? 1e-5, "rms_norm_eps", path),
    ...ropeOf(json, path),
    tiedEmbeddings: json.tie_word_embeddings === true,
    graphChanges: listGraphChanges(json),
    quantization: quantizationOf(json.quantization_config, path),
    bosTokenId: firstId(json.bos_token_id),
    eosTokenId: firstId(json.eos_token_id),
    padTokenId: firstId(json.pad_token_id),
  };
  if (!Number.isInteger(config.headDim) || heads % config.kvHeads !== 0) {
    throw new BitnetError(
      "BAD_FILE",
      `${path}: ${heads} heads, ${config.kvHeads} key/value heads and a hidden size of ${hiddenSize} do not fit together`,
    );
  }
  return config;
}

function quantizationOf(value: unknown, path: string): ModelConfig["quantization"] {
  if (typeof value !== "object" || value === null) {
    return undefined;
  }
  const json = value as Json;
  const method = String(json.quant_method ?? "");
  if (method !== "bitnet") {
    throw new BitnetError(
      "UNSUPPORTED",
      `${path}: quantization method ${JSON.stringify(method)}; only "bitnet" is supported`,
    );
  }
  return {
    linearClass: String(json.linear_class ?? "bitlinear").toLowerCase(),
    mode: String(json.quantization_mode ?? "offline").toLowerCase(),
  };
}

function ropeOf(json: Json, path: string): Pick<ModelConfig, "ropeTheta" | "ropeScaling"> {
  const parameters = (json.rope_parameters ?? {}) as Json; // where newer files keep both
  const theta = json.rope_theta ?? parameters.rope_theta;
  const scaling = (json.rope_scaling ?? parameters) as Json;
  const type = String(scaling.rope_type ?? scaling.type ?? "default");
  return {
    ropeTheta: theta === undefined || theta === null ? undefined : requireNumber(theta, "rope_theta", path),
    ropeScaling:
      type === "default"
        ? undefined
        : {
            type,
            factor:
              scaling.factor === undefined ? undefined : requireNumber(scaling.factor, "rope_scaling.factor", path),
          },
  };
}

function requireSize(value: unknown, key: string, path: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 31) {
    return value;
  }
  throw new BitnetError("BAD_FILE", `${path}: expected a positive integer for ${key} but got ${shown(value)}`);
}

/** Each of them is a list of tensors before anything is known of the file's. */
function requireLayers(layers: number, path: string): number {
  if (layers > maxLayers) {
    throw new BitnetError("BAD_FILE", `${path}: num_hidden_layers is ${layers}; at most ${maxLayers} layers expected`);
  }
  return layers;
}

/** As the file has it: JSON has no NaN. */
function shown(value: unknown): string {
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}

function requireNumber(value: unknown, key: string, path: string): number {
  if (typeof value === "number" && value > 0 && Number.isFinite(value)) {
    return value;
  }
  throw new BitnetError("BAD_FILE", `${path}: expected a positive number for ${key} but got ${shown(value)}`);
}

function firstId(value: unknown): number | undefined {
  const id: unknown = Array.isArray(value) ? value[0] : value;
  return typeof id === "number" && Number.isInteger(id) && id >= 0 ? id : undefined;
}
