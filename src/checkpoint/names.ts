// From the names of a Hugging Face checkpoint to those of a GGUF file: which family its class is, what its tensors are
// called there and how they change. What a family has is the core's table, see gguf/families.ts.

import { defaultPromptKey, promptKey } from "../gguf/embedding.js";
import { findFamily, isTernaryModel, listFamilies } from "../gguf/families.js";
import type { MetadataEntry } from "../gguf/gguf.js";
import type { NativeExtent, NativeFamily } from "../native/addon.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { type Checkpoint, holdTheSame } from "./checkpoint.js";
import type { ModelConfig } from "./config.js";
import type { CheckpointTensor } from "./safetensors.js";
import type { TokenizerOptions } from "./tokenizer.js";

export type TensorRole = "embedding" | "head" | "linear" | "norm" | "bias";

/** One tensor that a model of the family has. */
export interface ExpectedTensor {
  name: string; // in GGUF
  role: TensorRole;
  shape: number[]; // slowest dimension first
  optional: boolean;
  /** Heads whose rows are reordered; 0: none. */
  ropeHeads: number;
  /** Added to every element. */
  add: number;
}

/** What the checkpoints of a family have that its GGUF files do not show. */
export interface CheckpointRules {
  /** model_type in config.json, where it says more than the class. */
  modelType?: string;
  /** Classes in config.json. */
  classes: string[];
  /** Names of a layer's tensors that mean something else here. */
  layerNames?: Record<string, string>;
  /** Added to the norms of the family: its checkpoints store w - 1. */
  normOffset?: number;
  /** Where config.json has no max_position_embeddings. */
  contextLength?: number;
  /** Whether the SentencePiece tokenizer puts a space first, whatever its files say. */
  addSpacePrefix?: boolean;
  /** The token that ends each text of a text embedding model, whatever its files say. */
  pooledEnd?: string;
}

const llamaClasses = ["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"];
const bitnetClasses = ["BitnetForCausalLM", "BitNetForCausalLM"]; // old and new names are used for both graphs
const contextOfEmbeddings = 32768;

const checkpointRules: Record<string, CheckpointRules> = {
  bitnet: { classes: bitnetClasses },
  "bitnet-b1.58": { classes: bitnetClasses },
  llama: { classes: llamaClasses },
  qwen3: { modelType: "qwen3", classes: [], contextLength: contextOfEmbeddings, pooledEnd: "<|endoftext|>" },
  gemma3: {
    modelType: "gemma3_text",
    classes: [],
    layerNames: {
      post_attention_layernorm: "post_attention_norm",
      pre_feedforward_layernorm: "ffn_norm",
      post_feedforward_layernorm: "post_ffw_norm",
    },
    normOffset: 1,
    contextLength: contextOfEmbeddings,
    addSpacePrefix: false,
  },
};

/** The rules of a family's checkpoints; of a family that has none, no rule. */
function rulesOf({ architecture }: NativeFamily): CheckpointRules {
  return checkpointRules[architecture] ?? { classes: [] };
}

// hidden_act in config.json.
const hiddenActs: Record<NativeFamily["activation"], string> = {
  silu: "silu",
  relu2: "relu2",
  gelu_tanh: "gelu_pytorch_tanh",
};

/** Chooses by the model type or the class, and among the families of one class by the activation. */
export function chooseFamily(config: ModelConfig): NativeFamily {
  const families = familiesOfClass(config);
  const family = families.find(({ activation }) => hiddenActs[activation] === config.hiddenAct);
  if (family === undefined) {
    const expected = families.map(({ activation }) => JSON.stringify(hiddenActs[activation])).join(" or ");
    throw new BitnetError(
      "UNSUPPORTED",
      `${config.path}: hidden_act is ${JSON.stringify(config.hiddenAct)}; ${expected} expected for this model class`,
    );
  }
  const [change] = config.graphChanges;
  // Files of text embeddings are written as their makers write them, without what their windows would say.
  if (poolingOf(family, config) === undefined && change !== undefined) {
    throw new BitnetError(
      "UNSUPPORTED",
      `${config.path}: ${change}, which ${family.architecture} models here do not have`,
    );
  }
  return family;
}

function familiesOfClass(config: ModelConfig): NativeFamily[] {
  const name = config.architectures[0] ?? "";
  const has = (test: (rules: CheckpointRules) => boolean) => listFamilies().filter((family) => test(rulesOf(family)));
  const byType = has(({ modelType }) => modelType !== undefined && modelType === config.modelType);
  const found = byType.length > 0 ? byType : has(({ classes }) => classes.includes(name));
  if (found.length === 0) {
    throw new BitnetError(
      "UNSUPPORTED",
      `${config.path}: model class ${name || "(none)"} of type ${config.modelType || "(none)"} is not supported`,
      { hint: `supported: ${listSupported()}` },
    );
  }
  return found;
}

function listSupported(): string {
  const rules = Object.values(checkpointRules);
  const classes = new Set(rules.flatMap((rule) => rule.classes));
  return `${[...classes].join(", ")}, and the types ${rules.flatMap(({ modelType }) => modelType ?? []).join(" and ")}`;
}

/** Whether config.json says that the weights are ternary, by its quantization or by the model's type or class. */
export function saysTernary({ quantization, modelType, architectures }: ModelConfig): boolean {
  const byClass = Object.entries(checkpointRules).some(
    ([architecture, { classes }]) =>
      findFamily(architecture)?.ternary === true && architectures.some((name) => classes.includes(name)),
  );
  return quantization !== undefined || modelType === "bitnet" || byClass;
}

/** Whether the weights are meant to be ternary: by config.json, or by what the family and its tensors say. */
export function isDeclaredTernary(config: ModelConfig, family: NativeFamily, matched: MatchedTensor[]): boolean {
  const names = matched.map(({ expected }) => expected.name);
  return saysTernary(config) || isTernaryModel(family.architecture, names);
}

// Hugging Face's name within a layer, without ".weight" -> GGUF's.
const layerNames: Record<string, string> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.inner_attn_ln": "attn_sub_norm", // 1bitLLM
  "self_attn.attn_sub_norm": "attn_sub_norm",
  "attention.attn_sub_norm": "attn_sub_norm",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "self_attn.q_proj.norm": "attn_q_norm_in",
  "self_attn.k_proj.norm": "attn_k_norm_in",
  "self_attn.v_proj.norm": "attn_v_norm_in",
  "self_attn.o_proj.norm": "attn_output_norm_in",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "mlp.ffn_layernorm": "ffn_sub_norm", // 1bitLLM
  "mlp.ffn_sub_norm": "ffn_sub_norm",
  "feed_forward.ffn_sub_norm": "ffn_sub_norm",
  "mlp.gate_proj.norm": "ffn_gate_norm_in",
  "mlp.up_proj.norm": "ffn_up_norm_in",
  "mlp.down_proj.norm": "ffn_down_norm_in",
};

// Of several names for the same tensor, those that are not written any more.
const olderNames = new Set([
  "self_attn.inner_attn_ln",
  "attention.attn_sub_norm",
  "mlp.ffn_layernorm",
  "feed_forward.ffn_sub_norm",
]);
const checkpointNames = new Map(
  Object.entries(layerNames)
    .filter(([name]) => !olderNames.has(name))
    .map(([name, ggufName]) => [ggufName, name]),
);

const checkpointTops = new Map([
  ["token_embd.weight", "model.embed_tokens.weight"],
  ["output_norm.weight", "model.norm.weight"],
  ["output.weight", "lm_head.weight"],
]);
const checkpointSuffixes = new Map([
  ["weight", "weight"],
  ["lora_a", "lora_A"],
  ["lora_b", "lora_B"],
]);

/**
 * The name in checkpoints of a tensor of a BitNet or Llama model, "blk.0.attn_q.weight", or of a matrix of an adapter,
 * "blk.0.attn_q.lora_a". Throws INTERNAL for any other name.
 */
export function checkpointNameOf(ggufName: string): string {
  const [, layer, key = "", suffix = ""] = /^blk\.(\d+)\.(\w+)\.(\w+)$/.exec(ggufName) ?? [];
  const [name, end] = [checkpointNames.get(key), checkpointSuffixes.get(suffix)];
  const inLayer = name === undefined || end === undefined ? undefined : `model.layers.${layer}.${name}.${end}`;
  const found = checkpointTops.get(ggufName) ?? inLayer;
  if (found === undefined) {
    throw new BitnetError("INTERNAL", `no tensor of a checkpoint is ${ggufName}`);
  }
  return found;
}

// Buffers that some exports contain; they follow from config.json.
const dropped = /\.(attention\.masked_bias|attention\.bias|rotary_emb\.inv_freq)$/;

/** The GGUF name of a checkpoint's tensor; null: it is not needed; undefined: unknown. */
function mapTensorName(family: NativeFamily, name: string): string | null | undefined {
  if (dropped.test(name)) {
    return null;
  }
  const plain = name.replace(/^model\./, "");
  const top = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
  }[plain];
  if (top !== undefined) {
    return top;
  }
  const match = /^layers\.(\d{1,4})\.(.+)\.(weight|bias)$/.exec(plain);
  if (match === null) {
    return undefined;
  }
  const [layer, key, kind] = [at(match, 1), at(match, 2), at(match, 3)];
  const names = { ...layerNames, ...rulesOf(family).layerNames };
  return Object.hasOwn(names, key) ? `blk.${layer}.${names[key]}.${kind}` : undefined;
}

/** The scale of a packed matrix stands beside it, under its name and this. */
export const scaleSuffix = "_scale";

/** A tensor of the model and where the checkpoint has it. */
export interface MatchedTensor {
  expected: ExpectedTensor;
  tensor: CheckpointTensor;
  /** What the checkpoint has beside it under its name and scaleSuffix. */
  scale?: CheckpointTensor;
}

/** The tensors of the model, in the order of the output. Throws if one is missing, unknown or too many. */
export async function matchTensors(
  checkpoint: Checkpoint,
  family: NativeFamily,
  config: ModelConfig,
  skipUnknown = false,
): Promise<MatchedTensor[]> {
  const sources = nameTensors(checkpoint, family, skipUnknown);
  const matched: MatchedTensor[] = [];
  const used = new Set<string>();
  for (const expected of listExpectedTensors(family, config)) {
    const tensor = sources.get(expected.name);
    if (tensor !== undefined) {
      matched.push({ expected, tensor, scale: checkpoint.tensors.get(tensor.name + scaleSuffix) });
      used.add(expected.name);
    } else if (!expected.optional) {
      throw new BitnetError(
        "BAD_FILE",
        `${checkpoint.directory}: no tensor for ${expected.name}: the checkpoint is not complete`,
      );
    }
  }
  if (!used.has("output.weight")) {
    await dropHead(sources, family, config);
  }
  for (const [name, tensor] of sources) {
    if (!used.has(name)) {
      throw new BitnetError("BAD_FILE", `${tensor.file}: tensor ${tensor.name} is one too many for ${config.path}`);
    }
  }
  return matched;
}

/** A head that the model does not need: that of an embedding model, or one that is the embedding once more. */
async function dropHead(sources: Map<string, CheckpointTensor>, family: NativeFamily, config: ModelConfig) {
  const head = sources.get("output.weight");
  if (head === undefined) {
    return;
  }
  sources.delete("output.weight");
  const embedding = sources.get("token_embd.weight");
  if (poolingOf(family, config) === undefined && embedding !== undefined && !(await holdTheSame(head, embedding))) {
    const reason = config.tiedEmbeddings
      ? `by ${config.path} the embedding is the head, but this is another one`
      : `a ${family.architecture} model has no head of its own`;
    throw new BitnetError("UNSUPPORTED", `${head.file}: tensor ${head.name}: ${reason}`);
  }
}

/** GGUF names -> tensors of the checkpoint; scales stay with their weights. */
function nameTensors(
  { tensors }: Checkpoint,
  family: NativeFamily,
  skipUnknown: boolean,
): Map<string, CheckpointTensor> {
  const named = new Map<string, CheckpointTensor>();
  for (const [name, tensor] of tensors) {
    if (name.endsWith(scaleSuffix) && tensors.has(name.slice(0, -scaleSuffix.length))) {
      continue;
    }
    const mapped = mapTensorName(family, name);
    if (mapped === undefined && !skipUnknown) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${tensor.file}: tensor ${name} is none that a ${family.architecture} model has`,
        { hint: "leave such tensors out with --skip-unknown" },
      );
    }
    if (typeof mapped !== "string") {
      continue;
    }
    const other = named.get(mapped);
    if (other !== undefined) {
      throw new BitnetError("BAD_FILE", `${tensor.file}: both ${name} and ${other.name} are ${mapped}`);
    }
    named.set(mapped, tensor);
  }
  return named;
}

/** How pooled text embeddings are made, of a family that knows them: pooling_type; undefined: it is no such model. */
function poolingOf(family: NativeFamily, config: ModelConfig): number | undefined {
  return family.pooled ? config.pooling : undefined;
}

/** What the tokenizer's files do not say of a family. */
export function tokenizerRulesOf(
  family: NativeFamily,
  config: ModelConfig,
): Pick<TokenizerOptions, "end" | "addSpacePrefix"> {
  const { addSpacePrefix, pooledEnd } = rulesOf(family);
  return { addSpacePrefix, end: poolingOf(family, config) === undefined ? undefined : pooledEnd };
}

/** Every tensor that a model of this family and size has, in the order of the output. */
export function listExpectedTensors(family: NativeFamily, config: ModelConfig): ExpectedTensor[] {
  const { hiddenSize, vocabSize } = config;
  const tensors = [
    tensor("token_embd.weight", "embedding", [vocabSize, hiddenSize]),
    ...Array.from({ length: config.layers }, (_, layer) => listLayerTensors(family, config, `blk.${layer}.`)).flat(),
    tensor("output_norm.weight", "norm", [hiddenSize], { add: rulesOf(family).normOffset }),
  ];
  if (poolingOf(family, config) === undefined && !config.tiedEmbeddings && family.ownHead) {
    // Some untied checkpoints have no head of their own after all; readers then take the embedding.
    tensors.push(tensor("output.weight", "head", [vocabSize, hiddenSize], { optional: true }));
  }
  return tensors;
}

function listLayerTensors(family: NativeFamily, config: ModelConfig, prefix: string): ExpectedTensor[] {
  const { normOffset } = rulesOf(family);
  return family.tensors.flatMap(({ name, role, norm, rows, cols, optional, rotated }): ExpectedTensor[] => {
    const [n, width] = [sizeOf(config, rows), sizeOf(config, cols)];
    if (role === "norm") {
      const add = norm === "input" ? 0 : normOffset; // those before a projection are stored as they are
      return [tensor(`${prefix}${name}.weight`, "norm", [width], { optional, add })];
    }
    const ropeHeads = rotated && family.ropePairs === "neighbours" ? n / config.headDim : 0;
    return [
      tensor(`${prefix}${name}.weight`, "linear", [n, width], { optional, ropeHeads }),
      tensor(`${prefix}${name}.bias`, "bias", [n], { optional: true, ropeHeads }),
    ];
  });
}

function sizeOf(config: ModelConfig, extent: NativeExtent): number {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  return {
    one: 1,
    hidden: hiddenSize,
    ffn: intermediateSize,
    query: heads * headDim,
    keyValue: kvHeads * headDim,
    head: headDim,
  }[extent];
}

function tensor(name: string, role: TensorRole, shape: number[], rest: Partial<ExpectedTensor> = {}): ExpectedTensor {
  const { optional = false, ropeHeads = 0, add = 0 } = rest;
  return { name, role, shape, optional, ropeHeads, add };
}

/** The model's own metadata, in the order of bitnet.cpp's files. */
export function listModelMetadata(family: NativeFamily, config: ModelConfig): MetadataEntry[] {
  const a = family.architecture;
  // Norms of each head are what makes the head size a number of its own.
  const normsHeads = family.tensors.some(({ norm }) => norm === "qk");
  const ownHeadDim = normsHeads || config.headDim * config.heads !== config.hiddenSize;
  return [
    [`${a}.vocab_size`, "u32", config.vocabSize],
    [`${a}.context_length`, "u32", config.contextLength ?? rulesOf(family).contextLength],
    [`${a}.embedding_length`, "u32", config.hiddenSize],
    [`${a}.block_count`, "u32", config.layers],
    [`${a}.feed_forward_length`, "u32", config.intermediateSize],
    [`${a}.rope.dimension_count`, "u32", config.headDim],
    [`${a}.attention.head_count`, "u32", config.heads],
    [`${a}.attention.head_count_kv`, "u32", config.kvHeads],
    [`${a}.attention.layer_norm_rms_epsilon`, "f32", config.normEpsilon],
    [`${a}.rope.freq_base`, "f32", config.ropeTheta],
    [`${a}.attention.key_length`, "u32", ownHeadDim ? config.headDim : undefined],
    [`${a}.attention.value_length`, "u32", ownHeadDim ? config.headDim : undefined],
    ...ropeScaling(a, config),
    [`${a}.pooling_type`, "u32", poolingOf(family, config)],
    ...listPrompts(family, config),
  ];
}

function listPrompts(family: NativeFamily, config: ModelConfig): MetadataEntry[] {
  const { textPrompts } = config;
  if (textPrompts === undefined || poolingOf(family, config) === undefined) {
    return [];
  }
  const prompts = textPrompts.prompts.map(([name, text]): MetadataEntry => [promptKey + name, "string", text]);
  return [...prompts, [defaultPromptKey, "string", textPrompts.standard]];
}

function ropeScaling(architecture: string, config: ModelConfig): MetadataEntry[] {
  const scaling = config.ropeScaling;
  if (scaling === undefined) {
    return [];
  }
  if (scaling.type !== "linear" || scaling.factor === undefined) {
    throw new BitnetError(
      "UNSUPPORTED",
      `${config.path}: rope scaling of type ${JSON.stringify(scaling.type)}; only "linear" is supported`,
    );
  }
  return [
    [`${architecture}.rope.scaling.type`, "string", "linear"],
    [`${architecture}.rope.scaling.factor`, "f32", scaling.factor],
  ];
}
