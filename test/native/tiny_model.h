// The smallest model files, right or wrong on purpose.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "formats/dequantize.h"
#include "gguf_builder.h"

// A valid model of the smallest kind, whose parts can be replaced by lies.
struct TinyFile {
  std::string arch = "bitnet-b1.58";
  uint32_t layers = 2, embd = 128, ff = 256, heads = 2, kv_heads = 1, context = 64;
  uint32_t n_vocab = 40;
  std::string tokenizer = "llama";  // or "gpt2"
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  // Tensors by name: what to write in place of the right one; type ~0 leaves it out.
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> ne;
    std::vector<uint8_t> bytes;
  };
  std::vector<Tensor> replaced;
  std::vector<Tensor> added;  // after all others
  // Keys with other values, written in place of the right ones.
  std::vector<std::pair<std::string, uint32_t>> keys;
  std::vector<std::pair<std::string, float>> floats;
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<std::pair<std::string, std::vector<int32_t>>> lists;
  GgufBuilder b;

  static constexpr uint32_t kF32 = 0, kF16 = 1, kTQ2_0 = 35, kI2_S = 36;

  template <class T>
  static bool has(const std::vector<std::pair<std::string, T>>& list, const std::string& key) {
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& pair) { return pair.first == key; });
  }

  static std::vector<uint8_t> f32s(size_t n, float value) {
    std::vector<uint8_t> bytes(n * 4);
    for (size_t i = 0; i < n; ++i) std::memcpy(&bytes[i * 4], &value, 4);
    return bytes;
  }
  static std::vector<uint8_t> f16s(size_t n) {
    std::vector<uint8_t> bytes(n * 2);
    for (size_t i = 0; i < n; ++i) {
      const uint16_t half = bitnet::f32_to_f16(0.25f * static_cast<float>(i % 17) - 2);
      std::memcpy(&bytes[i * 2], &half, 2);
    }
    return bytes;
  }
  // Codes 0, 1, 2 in some order, one scale.
  static std::vector<uint8_t> i2_s(uint64_t cols, uint64_t rows, float scale = 0.5f) {
    std::vector<uint8_t> bytes(cols * rows / 4 + 32);
    for (size_t i = 0; i < cols * rows / 4; ++i) bytes[i] = (i * 7 % 3) << 6 | (i % 3) << 2 | 0x11;
    std::memcpy(&bytes[cols * rows / 4], &scale, 4);
    return bytes;
  }

  void u32(const std::string& key, uint32_t value) {
    if (!has(keys, key) && !has(texts, key) && !has(lists, key)) b.u32(key, value);
  }
  void tensor(const std::string& name, uint32_t type, std::vector<uint64_t> ne,
              const std::vector<uint8_t>& bytes) {
    for (const Tensor& other : replaced) {
      if (other.name != name) continue;
      if (other.type != ~0u) b.tensor(name, other.type, other.ne, other.bytes);
      return;
    }
    b.tensor(name, type, ne, bytes);
  }
  void norm(const std::string& name, uint64_t n) { tensor(name, kF32, {n}, f32s(n, 1)); }
  void matrix(const std::string& name, uint64_t cols, uint64_t rows) {
    tensor(name, kI2_S, {cols, rows}, i2_s(cols, rows));
  }

  Bytes finish() {
    while (tokens.size() < n_vocab) tokens.push_back("t" + std::to_string(tokens.size()));
    b = {};
    b.string("general.architecture", arch);
    u32(arch + ".block_count", layers);
    u32(arch + ".embedding_length", embd);
    u32(arch + ".feed_forward_length", ff);
    u32(arch + ".attention.head_count", heads);
    u32(arch + ".attention.head_count_kv", kv_heads);
    u32(arch + ".context_length", context);
    if (!has(floats, arch + ".attention.layer_norm_rms_epsilon"))
      b.f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
    for (const auto& [key, value] : keys) b.u32(key, value);
    for (const auto& [key, value] : floats) b.f32(key, value);
    for (const auto& [key, value] : texts) b.string(key, value);
    for (const auto& [key, values] : lists) b.array<int32_t>(key, 5, values);
    b.string("tokenizer.ggml.model", tokenizer).strings("tokenizer.ggml.tokens", tokens);
    if (tokenizer == "gpt2") {
      b.string("tokenizer.ggml.pre", "gpt-2").strings("tokenizer.ggml.merges", {});
    } else {
      b.array<float>("tokenizer.ggml.scores", 6, std::vector<float>(tokens.size(), -1.0f));
    }
    std::vector<int32_t> types(tokens.size(), 1);
    types[0] = 2;
    types[1] = types[2] = 3;
    b.array<int32_t>("tokenizer.ggml.token_type", 5, types);
    write_tensors();
    return b.finish();
  }

  void write_tensors() {
    const uint64_t kv = uint64_t{kv_heads} * embd / heads;
    tensor("token_embd.weight", kF16, {embd, n_vocab}, f16s(uint64_t{embd} * n_vocab));
    norm("output_norm.weight", embd);
    for (uint32_t i = 0; i < layers; ++i) {
      const std::string blk = "blk." + std::to_string(i) + ".";
      for (const char* name : {"attn_norm", "ffn_norm"}) norm(blk + name + ".weight", embd);
      if (arch.starts_with("bitnet")) {
        norm(blk + "attn_sub_norm.weight", embd);
        norm(blk + "ffn_sub_norm.weight", ff);
      }
      if (arch == "qwen3" || arch == "gemma3") {
        for (const char* name : {"attn_q_norm", "attn_k_norm"})
          norm(blk + name + ".weight", embd / heads);
      }
      if (arch == "gemma3") {
        for (const char* name : {"post_attention_norm", "post_ffw_norm"})
          norm(blk + name + ".weight", embd);
      }
      matrix(blk + "attn_q.weight", embd, embd);
      matrix(blk + "attn_k.weight", embd, kv);
      matrix(blk + "attn_v.weight", embd, kv);
      matrix(blk + "attn_output.weight", embd, embd);
      matrix(blk + "ffn_gate.weight", embd, ff);
      matrix(blk + "ffn_up.weight", embd, ff);
      matrix(blk + "ffn_down.weight", ff, embd);
    }
    for (const Tensor& other : added) b.tensor(other.name, other.type, other.ne, other.bytes);
  }
};

// A file that is removed again.
struct TemporaryFile {
  const std::filesystem::path path;
  explicit TemporaryFile(const std::vector<uint8_t>& bytes)
      : path(std::filesystem::temp_directory_path() /
             ("bitnet-test-" + std::to_string(std::random_device{}()) + ".gguf")) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  ~TemporaryFile() {
    std::error_code error;  // Windows deletes no file that is mapped
    std::filesystem::remove(path, error);
  }
};
