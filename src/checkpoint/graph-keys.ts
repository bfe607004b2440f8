// What config.json may say about a model's graph beyond what a conversion reads: parts that the families that are run
// do not have. Left out in silence, such a part would make another model of the weights.

interface GraphKey {
  key: string;
  /** Values, beside null and a key that is not there, that leave the part out. */
  off: readonly unknown[];
  /** The part counts only if this key is not false. */
  unless?: string;
}

// As the classes of transformers name them.
const graphKeys: readonly GraphKey[] = [
  { key: "partial_rotary_factor", off: [1] },
  { key: "sliding_window", off: [0], unless: "use_sliding_window" },
  { key: "attention_chunk_size", off: [0] },
  { key: "logit_scale", off: [1] },
  { key: "logits_scaling", off: [1] },
  { key: "final_logit_softcapping", off: [0] },
  { key: "attn_logit_softcapping", off: [0] },
  { key: "embedding_multiplier", off: [1] },
  { key: "residual_multiplier", off: [1] },
  { key: "attention_multiplier", off: [] },
  { key: "query_pre_attn_scalar", off: [] },
  { key: "use_bidirectional_attention", off: [false] },
  { key: "is_causal", off: [true] },
  { key: "use_qk_norm", off: [false] },
  { key: "num_experts", off: [0] },
  { key: "num_local_experts", off: [0] },
  { key: "n_routed_experts", off: [0] },
  { key: "kv_lora_rank", off: [0] },
  { key: "q_lora_rank", off: [0] },
];

/** The keys of config.json that add to the graph, with their values: "sliding_window is 4096". */
export function listGraphChanges(json: Record<string, unknown>): string[] {
  return graphKeys
    .filter(({ key, off, unless }) => {
      const value = json[key] ?? null;
      return value !== null && !off.includes(value) && !(unless !== undefined && json[unless] === false);
    })
    .map(({ key }) => `${key} is ${JSON.stringify(json[key])}`);
}
