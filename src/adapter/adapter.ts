// A low-rank adapter (LoRA) as its file has it: for some matrices W of a model A [rank, columns] and B [rows, rank], of
// which scale * B A is added to W. Nothing of it is read but what the head of the file says.

/** One of the two matrices of an adapted matrix. */
export interface AdapterTensor {
  name: string; // in the file
  type: string; // GGUF's name: "F32"
  rows: number;
  cols: number;
  file: string;
  offset: number; // of its data, from the start of the file
  bytes: number;
}

export interface AdapterMatrix {
  layer: number;
  name: string; // GGUF's, within the layer: "attn_q"
  rank: number;
  alpha: number;
  scale: number; // alpha / rank, or what the file has in its place
  a: AdapterTensor; // [rank, columns]
  b: AdapterTensor; // [rows, rank]
}

/** What an adapter's maker has said of it. */
export interface AdapterOrigin {
  /** The base, as its maker named it. */
  baseName?: string;
  /** `Model.baseHash()` of the base, in adapters of our own. */
  baseHash?: string;
  rslora?: boolean;
  dropout?: number;
}

export interface AdapterFile {
  path: string; // as it was opened
  form: "peft" | "gguf";
  /** Of the base; in PEFT's form nothing says it. */
  architecture?: string;
  origin: AdapterOrigin;
  /** By layer, in the order of the families' tables. */
  matrices: AdapterMatrix[];
  parameters: number;
  bytes: number; // of its matrices
  warnings: string[];
}

/** The adapted matrices of a layer: GGUF's name, and Hugging Face's within the layer. */
export const adaptedMatrices = [
  { name: "attn_q", module: "self_attn.q_proj" },
  { name: "attn_k", module: "self_attn.k_proj" },
  { name: "attn_v", module: "self_attn.v_proj" },
  { name: "attn_output", module: "self_attn.o_proj" },
  { name: "ffn_gate", module: "mlp.gate_proj" },
  { name: "ffn_up", module: "mlp.up_proj" },
  { name: "ffn_down", module: "mlp.down_proj" },
] as const;

export const maxRank = 4096; // of native/model/adapter.h
