// Models of random weights in any shape, and rows for them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "train/training.h"

struct ModelShape {
  int64_t layers, hidden, ffn, heads, kv_heads, vocab;
};

// A BitNet b1.58 model.
inline bitnet::ConvertRequest random_request(const ModelShape& shape, bool is_ternary) {
  bitnet::ConvertRequest out;
  out.file.string("general.architecture", "bitnet-b1.58");
  const auto key = [&](const char* name, int64_t value) {
    out.file.u32(std::string("bitnet-b1.58.") + name, static_cast<uint32_t>(value));
  };
  key("block_count", shape.layers);
  key("embedding_length", shape.hidden);
  key("feed_forward_length", shape.ffn);
  key("attention.head_count", shape.heads);
  key("attention.head_count_kv", shape.kv_heads);
  key("context_length", 4096);
  const auto add = [&](const std::string& name, std::vector<int64_t> ne, bool is_matrix) {
    bitnet::ConvertJob job;
    job.name = name + ".weight";
    job.ne = std::move(ne);
    job.source.kind = bitnet::SourceKind::kRandom;
    job.source.seed = out.jobs.size();
    job.source.mean = job.ne.size() == 1 ? 1 : 0;
    job.source.deviation = job.ne.size() == 1 ? 0 : 0.02f;
    job.source.factor = 0.05f;
    job.ternary = is_matrix && is_ternary;
    job.declared = true;
    out.jobs.push_back(job);
  };
  const int64_t hidden = shape.hidden, kv = hidden / shape.heads * shape.kv_heads;
  add("token_embd", {hidden, shape.vocab}, false);
  add("output_norm", {hidden}, false);
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string blk = bitnet::layer_prefix(i);
    for (const char* name : {"attn_norm", "ffn_norm", "attn_sub_norm"})
      add(blk + name, {hidden}, false);
    add(blk + "ffn_sub_norm", {shape.ffn}, false);
    add(blk + "attn_q", {hidden, hidden}, true);
    add(blk + "attn_k", {hidden, kv}, true);
    add(blk + "attn_v", {hidden, kv}, true);
    add(blk + "attn_output", {hidden, hidden}, true);
    add(blk + "ffn_gate", {hidden, shape.ffn}, true);
    add(blk + "ffn_up", {hidden, shape.ffn}, true);
    add(blk + "ffn_down", {shape.ffn, hidden}, true);
  }
  return out;
}

// One document of n tokens, all of which count.
inline bitnet::TrainRow random_row(int64_t n, int64_t n_vocab) {
  bitnet::TrainRow row;
  for (int64_t t = 0; t < n; ++t) {
    row.ids.push_back(static_cast<int32_t>(t * 7919 % n_vocab));
    row.labels.push_back(t == 0 ? bitnet::kIgnoredLabel
                                : static_cast<int32_t>((t * 104729 + 1) % n_vocab));
  }
  row.documents = {0};
  return row;
}
