// The model families: which GGUF architecture a checkpoint becomes, what its tensors are called there, how they change.

import type { MetadataEntry } from "../gguf/writer.js";
import { f32, string, u32 } from "../gguf/writer.js";
import { BitnetError } from "../system/errors.js";
import type { ModelConfig } from "./config.js";

export type Architecture = "bitnet" | "bitnet-b1.58" | "llama" | "qwen3" | "gemma3";

export interface Family {
  architecture: Architecture;
  /** Query and key rows are reordered for NORM RoPE. */
  permuted: boolean;
  /** Text embedding models: pooled, without a head. */
  embedding: boolean;
}

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

const families: Record<Architecture, Family> = {
  bitnet: { architecture: "bitnet", permuted: false, embedding: false },
  "bitnet-b1.58": { architecture: "bitnet-b1.58", permuted: false, embedding: false },
  llama: { architecture: "llama", permuted: true, embedding: false },
  qwen3: { architecture: "qwen3", permuted: false, embedding: true },
  gemma3: { architecture: "gemma3", permuted: false, embedding: true },
};

export function familyOf(architecture: Architecture): Family {
  return families[architecture];
}

export const architectures = Object.keys(families) as Architecture[];

const llamaClasses = new Set(["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"]);
const bitnetClasses = new Set(["BitnetForCausalLM", "BitNetForCausalLM"]);

/** Chooses by class, and between the two bitnet graphs by the activation: old and new names are used for both. */
export function chooseFamily(config: ModelConfig): Family {
  const architecture = architectureOf(config);
  const expected = {
    llama: "silu",
    bitnet: "silu",
    "bitnet-b1.58": "relu2",
    qwen3: "silu",
    gemma3: "gelu_pytorch_tanh",
  };
  if (config.hiddenAct !== expected[architecture]) {
    throw new BitnetError(
      "UNSUPPORTED",
      `${config.path}: hidden_act is ${JSON.stringify(config.hiddenAct)}; ${JSON.stringify(expected[architecture])} expected for this model class`,
    );
  }
  return families[architecture];
}

function architectureOf(config: ModelConfig): Architecture {
  const [name] = config.architectures;
  if (config.modelType === "qwen3") {
    return "qwen3";
  }
  if (config.modelType === "gemma3_text") {
    return "gemma3";
  }
  if (name !== undefined && bitnetClasses.has(name)) {
    return config.hiddenAct === "silu" ? "bitnet" : "bitnet-b1.58";
  }
  if (name !== undefined && llamaClasses.has(name)) {
    return "llama";
  }
  throw new BitnetError(
    "UNSUPPORTED",
    `${config.path}: model class ${name ?? "(none)"} of type ${config.modelType || "(none)"} is not supported`,
    { hint: `supported: ${[...bitnetClasses, ...llamaClasses].join(", ")}, and the types qwen3 and gemma3_text` },
  );
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

const gemmaNames: Record<string, string> = {
  post_attention_layernorm: "post_attention_norm",
  pre_feedforward_layernorm: "ffn_norm",
  post_feedforward_layernorm: "post_ffw_norm",
};

// Buffers that some exports contain; they follow from config.json.
const dropped = /\.(attention\.masked_bias|attention\.bias|rotary_emb\.inv_freq)$/;

/** The GGUF name of a checkpoint's tensor; null: it is not needed; undefined: unknown. */
export function mapTensorName(family: Family, name: string): string | null | undefined {
  if (dropped.test(name)) {
    return null;
  }
  const plain = name.replace(/^model\./, "");
  if (plain === "lm_head.weight") {
    return family.embedding ? null : "output.weight";
  }
  const top = { "embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight" }[plain];
  if (top !== undefined) {
    return top;
  }
  const match = /^layers\.(\d{1,4})\.(.+)\.(weight|bias)$/.exec(plain);
  const key = match?.[2] ?? "";
  const names = family.architecture === "gemma3" ? { ...layerNames, ...gemmaNames } : layerNames;
  return Object.hasOwn(names, key) ? `blk.${match?.[1]}.${names[key]}.${match?.[3]}` : undefined;
}

/** Every tensor that a model of this family and size has, in the order of the output. */
export function listExpectedTensors(family: Family, config: ModelConfig): ExpectedTensor[] {
  const { hiddenSize, vocabSize } = config;
  const norms = family.architecture === "gemma3" ? 1 : 0; // this family stores w - 1
  const tensors = [
    tensor("token_embd.weight", "embedding", [vocabSize, hiddenSize]),
    ...Array.from({ length: config.layers }, (_, layer) => listLayerTensors(family, config, `blk.${layer}.`)).flat(),
    tensor("output_norm.weight", "norm", [hiddenSize], { add: norms }),
  ];
  if (!family.embedding && !config.tiedEmbeddings) {
    // Some untied checkpoints have no head of their own after all; readers then take the embedding.
    tensors.push(tensor("output.weight", "head", [vocabSize, hiddenSize], { optional: true }));
  }
  return tensors;
}

function listLayerTensors(family: Family, config: ModelConfig, prefix: string): ExpectedTensor[] {
  const { hiddenSize: hidden, intermediateSize: ffn, heads, kvHeads, headDim } = config;
  const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
  const add = family.architecture === "gemma3" ? 1 : 0;
  const norm = (name: string, n: number, shift = add) => tensor(`${prefix}${name}.weight`, "norm", [n], { add: shift });
  const linear = (name: string, rows: number, cols: number, ropeHeads = 0) => [
    tensor(`${prefix}${name}.weight`, "linear", [rows, cols], { ropeHeads }),
    tensor(`${prefix}${name}.bias`, "bias", [rows], { ropeHeads, optional: true }),
  ];
  const permuted = (n: number) => (family.permuted ? n : 0);
  const subNorms = family.architecture === "bitnet" || family.architecture === "bitnet-b1.58";
  return [
    norm("attn_norm", hidden),
    norm("ffn_norm", hidden),
    ...(subNorms ? [norm("attn_sub_norm", width), norm("ffn_sub_norm", ffn)] : []),
    ...(family.architecture === "gemma3" ? [norm("post_attention_norm", hidden), norm("post_ffw_norm", hidden)] : []),
    ...(family.embedding
      ? [norm("attn_q_norm", headDim), norm("attn_k_norm", headDim), ...inputNorms(norm, config)]
      : []),
    ...linear("attn_q", width, hidden, permuted(heads)),
    ...linear("attn_k", kvWidth, hidden, permuted(kvHeads)),
    ...linear("attn_v", kvWidth, hidden),
    ...linear("attn_output", hidden, width),
    ...linear("ffn_gate", ffn, hidden),
    ...linear("ffn_up", ffn, hidden),
    ...linear("ffn_down", hidden, ffn),
  ];
}

/** The norm inside each linear layer of the embedding models; optional, as plain Qwen3 and Gemma have none. */
function inputNorms(
  norm: (name: string, n: number, add: number) => ExpectedTensor,
  config: ModelConfig,
): ExpectedTensor[] {
  const { hiddenSize: hidden, intermediateSize: ffn } = config;
  const width = config.heads * config.headDim;
  const sizes = {
    attn_q: hidden,
    attn_k: hidden,
    attn_v: hidden,
    attn_output: width,
    ffn_gate: hidden,
    ffn_up: hidden,
    ffn_down: ffn,
  };
  return Object.entries(sizes).map(([name, n]) => ({ ...norm(`${name}_norm_in`, n, 0), optional: true }));
}

function tensor(name: string, role: TensorRole, shape: number[], rest: Partial<ExpectedTensor> = {}): ExpectedTensor {
  return { name, role, shape, optional: false, ropeHeads: 0, add: 0, ...rest };
}

/** The model's own metadata, in the order of bitnet.cpp's files. */
export function listModelMetadata(family: Family, config: ModelConfig): MetadataEntry[] {
  const a = family.architecture;
  const entries = [
    u32(`${a}.vocab_size`, config.vocabSize),
    u32(`${a}.context_length`, config.contextLength ?? (family.embedding ? 32768 : undefined)),
    u32(`${a}.embedding_length`, config.hiddenSize),
    u32(`${a}.block_count`, config.layers),
    u32(`${a}.feed_forward_length`, config.intermediateSize),
    u32(`${a}.rope.dimension_count`, config.headDim),
    u32(`${a}.attention.head_count`, config.heads),
    u32(`${a}.attention.head_count_kv`, config.kvHeads),
    f32(`${a}.attention.layer_norm_rms_epsilon`, config.normEpsilon),
    f32(`${a}.rope.freq_base`, config.ropeTheta),
  ];
  if (family.embedding || config.headDim * config.heads !== config.hiddenSize) {
    entries.push(u32(`${a}.attention.key_length`, config.headDim), u32(`${a}.attention.value_length`, config.headDim));
  }
  return [...entries, ...ropeScaling(a, config)].filter((entry) => entry !== undefined);
}

function ropeScaling(architecture: string, config: ModelConfig): (MetadataEntry | undefined)[] {
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
    string(`${architecture}.rope.scaling.type`, "linear"),
    f32(`${architecture}.rope.scaling.factor`, scaling.factor),
  ];
}
