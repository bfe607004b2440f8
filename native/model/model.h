// A loaded model: its file, its hyper-parameters, its weights, and what computes with them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "base/tuning.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/head.h"
#include "model/store.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {

struct LoadOptions {
  int n_threads = 0;   // 0: physical cores
  std::string kernel;  // empty: select_kernels() decides
  std::string tokenizer_pre;
  bool in_place = false;  // leave weights in the file's pages: shared, but slower to read
  HeadOptions head;
  std::string layout;         // of ternary weights, see StoreOptions
  std::string kernel_config;  // kernel_config.ini for TL1 and TL2; empty: the built-in sets
  Tuning tuning;
  bool measure_prefetch = true;  // replaces tuning.prefetch_bytes if another value is faster here
};

// What is known of a model without its weights. Who keeps reading metadata or texts holds this
// alone, so that it does not keep the weights.
struct ModelFile {
  ModelFile(Gguf file, const TokenizerOptions& options)
      : gguf(std::move(file)), tokenizer(gguf, options) {}
  const Gguf gguf;
  const Tokenizer tokenizer;  // refers to it
};

class Model {
 public:
  // Throws kNotFound, kBadFile, kUnsupported (architecture, tensor type, shape), kUsage (kernel,
  // tuning), kNoMemory.
  static std::unique_ptr<Model> load(const std::string& path, const LoadOptions& options);
  ~Model();

  // For measuring. No pass may be running: Engine::set_tuning() sees to that. Throws kUsage.
  void set_tuning(const Tuning& values);

  // Memory of weights that are not used in place, the compact copy of the head among it.
  int64_t copied_bytes() const;
  int64_t n_parameters() const;  // elements of all tensors of the file

  const std::shared_ptr<const ModelFile> file;
  const Gguf& gguf;  // of it
  const Tokenizer& tokenizer;
  const Kernels& kernels;
  const Config config;

  Tuning tuning;    // changed by set_tuning alone
  ThreadPool pool;  // works for one thread at a time: that of the engine, once there is one

 private:
  Model(Gguf source, const LoadOptions& options);
  WeightStore store_;
  const Weights weights_;

 public:
  const WeightLayout layout;  // of all ternary weights
  // Parts of weights_.
  const Linear &token_embd, &output;
  const float* const output_norm;
  const std::vector<Layer>& layers;
  const std::vector<double>& rope_freqs;
  const std::unique_ptr<Head> head;  // computes with `output`; null if the model only embeds
};

}  // namespace bitnet
