// A loaded model: its hyper-parameters and its weights. Weights are views of the mapped file
// wherever the file holds what the kernels read; everything else is converted once at load.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/threads.h"
#include "base/tuning.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"
#include "model/head.h"
#include "model/linear.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {

enum class Activation { kSilu, kRelu2 };

struct Config {
  std::string architecture;
  Activation activation;
  bool sub_norms;  // RMS norms before the o and down projections (the bitnet families)
  bool rope_neox;  // pairs (i, i + d/2); otherwise (2i, 2i + 1)
  int64_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx_train;
  float rope_theta, rms_eps;
  float rope_scale;  // positions are multiplied by it ("linear" scaling: 1 / factor)
};

// Norm weights: null where the family has no such norm.
struct Layer {
  const float *attn_norm, *q_norm, *k_norm, *attn_sub_norm, *attn_post_norm;
  const float *ffn_norm, *ffn_sub_norm, *ffn_post_norm;
  Linear q, k, v, o, gate, up, down;
};

struct LoadOptions {
  int n_threads = 0;   // 0: physical cores
  std::string kernel;  // empty: select_kernels() decides
  std::string tokenizer_pre;
  bool in_place = false;  // leave weights in the file's pages: shared, but slower to read
  HeadOptions head;
  std::string layout;  // of ternary weights: "auto", "i2_s", "lut", "trit"; see select_layout
  std::string kernel_config;  // kernel_config.ini for TL1 and TL2; empty: the built-in sets
  Tuning tuning;
};

class Model {
 public:
  // Throws kNotFound, kBadFile, kUnsupported (architecture, tensor type, shape), kUsage (kernel,
  // tuning), kNoMemory.
  static std::unique_ptr<Model> load(const std::string& path, const LoadOptions& options);

  // For measuring: takes effect with the next pass of any session. Throws kUsage.
  void set_tuning(const Tuning& values);

  const Gguf gguf;
  const Tokenizer tokenizer;
  const Kernels& kernels;
  Config config;
  WeightLayout layout = WeightLayout::kI2S;  // of all ternary weights

  Linear token_embd;  // rows are tokens
  Linear output;      // token_embd again if the file has no output tensor
  const float* output_norm = nullptr;
  std::vector<Layer> layers;
  std::vector<double> rope_freqs;  // [head_dim / 2] radians per position

  int64_t copied_bytes = 0;  // weights that are not used in place
  int64_t n_parameters = 0;

  Tuning tuning;
  ThreadPool pool;
  std::unique_ptr<Head> head;  // computes with `output`
  std::mutex compute;          // held while the pool works for one session

 private:
  Model(Gguf file, const LoadOptions& options);
  friend class Loader;
  std::vector<std::unique_ptr<uint8_t[]>> owned_;
  HugeArray ternary_memory_, head_memory_;  // weights that are not used in place
};

}  // namespace bitnet
