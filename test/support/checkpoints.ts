// Checkpoints as Hugging Face has them, made on the spot.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openGguf } from "../../src/gguf/gguf.js";
import { root } from "./fixtures.js";

export interface RawTensor {
  dtype: string;
  shape: number[];
  data: Buffer;
}

/** A folder that is gone after `body`. */
export async function withFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
  try {
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function encodeSafetensors(tensors: Record<string, RawTensor>): Buffer {
  let offset = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.length] };
    offset += data.length;
  }
  return frameSafetensors(
    JSON.stringify(header),
    Object.values(tensors).map(({ data }) => data),
  );
}

/** Any header before any data, right or wrong. */
export function frameSafetensors(header: string, data: Buffer[]): Buffer {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...data]);
}

/** Numbers from 0 to 1, the same ones for a seed. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export function float32(shape: number[], valueAt: (i: number) => number): RawTensor {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => valueAt(i));
  return { dtype: "F32", shape, data: Buffer.from(values.buffer) };
}

/** [rows, cols] codes 0, 1, 2, packed as quant_method "bitnet" does. */
export function packCodes(codes: Uint8Array, rows: number, cols: number): RawTensor {
  const data = Buffer.alloc((rows * cols) / 4);
  for (const [i, code] of codes.entries()) {
    const [row, col] = [Math.floor(i / cols), i % cols];
    const at = (row % (rows / 4)) * cols + col;
    data[at] = (data[at] ?? 0) | (code << (2 * Math.floor(row / (rows / 4))));
  }
  return { dtype: "U8", shape: [rows / 4, cols], data };
}

export type Json = Record<string, unknown>;

export interface MadeCheckpoint {
  config: Json;
  tensors: Record<string, RawTensor>;
  /** Of every packed or ternary linear layer. */
  codes: Record<string, Uint8Array>;
}

export const shape = { hidden: 64, ffn: 96, layers: 2, heads: 4, kvHeads: 2, headDim: 16, vocab: 2048 };

const linears: Record<string, [rows: number, cols: number]> = {
  "self_attn.q_proj": [shape.heads * shape.headDim, shape.hidden],
  "self_attn.k_proj": [shape.kvHeads * shape.headDim, shape.hidden],
  "self_attn.v_proj": [shape.kvHeads * shape.headDim, shape.hidden],
  "self_attn.o_proj": [shape.hidden, shape.heads * shape.headDim],
  "mlp.gate_proj": [shape.ffn, shape.hidden],
  "mlp.up_proj": [shape.ffn, shape.hidden],
  "mlp.down_proj": [shape.hidden, shape.ffn],
};

export interface MakeOptions {
  config?: Json;
  /** "packed": uint8 and weight_scale; "ternary": floats of three values; "master": any floats. */
  weights?: "packed" | "ternary" | "master";
  subNorms?: [attention: string, ffn: string];
  /** Norms of the embedding models, by their name within a layer. */
  extraNorms?: Record<string, number>;
  tied?: boolean;
  scale?: number;
}

/** A model of `shape` with random weights and the class of Llama-style checkpoints, unless config says otherwise. */
export function makeCheckpoint(options: MakeOptions = {}): MadeCheckpoint {
  const { weights = "packed", tied = true, scale = 0.5 } = options;
  const random = createRandom(1);
  const tensors: Record<string, RawTensor> = {};
  const codes: Record<string, Uint8Array> = {};
  const norm = (name: string, n: number) => {
    tensors[name] = float32([n], () => 0.5 + random());
  };
  tensors["model.embed_tokens.weight"] = float32([shape.vocab, shape.hidden], () => random() - 0.5);
  for (let layer = 0; layer < shape.layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    norm(`${prefix}input_layernorm.weight`, shape.hidden);
    norm(`${prefix}post_attention_layernorm.weight`, shape.hidden);
    const [attention, ffn] = options.subNorms ?? [];
    if (attention !== undefined && ffn !== undefined) {
      norm(`${prefix}${attention}.weight`, shape.heads * shape.headDim);
      norm(`${prefix}${ffn}.weight`, shape.ffn);
    }
    for (const [name, n] of Object.entries(options.extraNorms ?? {})) {
      norm(`${prefix}${name}.weight`, n);
    }
    for (const [name, [rows, cols]] of Object.entries(linears)) {
      const key = `${prefix}${name}.weight`;
      const drawn = Uint8Array.from({ length: rows * cols }, () => Math.floor(3 * random()));
      codes[key] = drawn;
      if (weights === "packed") {
        tensors[key] = packCodes(drawn, rows, cols);
        tensors[`${key}_scale`] = float32([1], () => scale);
      } else {
        const spread = () => (weights === "master" ? 0.6 + 0.8 * random() : 1);
        tensors[key] = float32([rows, cols], (i) => ((drawn[i] ?? 1) - 1) * 0.25 * spread());
      }
    }
  }
  norm("model.norm.weight", shape.hidden);
  if (!tied) {
    tensors["lm_head.weight"] = float32([shape.vocab, shape.hidden], () => random() - 0.5);
  }
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: shape.hidden,
    intermediate_size: shape.ffn,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    vocab_size: shape.vocab,
    tie_word_embeddings: tied,
    ...(weights === "packed" && { quantization_config: { quant_method: "bitnet" } }),
    ...options.config,
  };
  return { config, tensors, codes };
}

/** Writes a checkpoint with the tokenizer of the tiny model. `shards`: how many files. */
export function writeCheckpoint(folder: string, { config, tensors }: MadeCheckpoint, shards = 1): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    copyFileSync(join(root, "test", "fixtures", "tiny-bitnet-packed", name), join(folder, name));
  }
  if (shards === 1) {
    writeFileSync(join(folder, "model.safetensors"), encodeSafetensors(tensors));
    return folder;
  }
  const names = Object.keys(tensors);
  const map: Record<string, string> = {};
  for (let i = 0; i < shards; i++) {
    const part = names.filter((_, n) => n % shards === i);
    const file = `model-${String(i + 1).padStart(5, "0")}-of-${String(shards).padStart(5, "0")}.safetensors`;
    writeFileSync(
      join(folder, file),
      encodeSafetensors(Object.fromEntries(part.map((name) => [name, tensors[name]])) as Record<string, RawTensor>),
    );
    for (const name of part) {
      map[name] = file;
    }
  }
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  return folder;
}

/** The bytes of every tensor of a GGUF file, by name. */
export function readTensors(path: string): Map<string, Buffer> {
  const file = readFileSync(path);
  return new Map(
    openGguf(path)
      .tensors()
      .map(({ name, offset, bytes }) => [name, file.subarray(offset, offset + bytes)]),
  );
}
