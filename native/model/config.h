// The hyper-parameters of a model file, bounded: whatever is computed from them fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "model/family.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {

// How the hidden states of a text become its embedding.
enum class Pooling : uint8_t { kNone, kMean, kCls, kLast };  // numbers of ARCH.pooling_type
const char* pooling_name(Pooling pooling);
std::optional<Pooling> find_pooling(std::string_view name);

struct Config {
  const Family* family;
  Activation activation;  // the family's, with one exception: see read_config
  bool rope_neox;         // RopePairs::kHalves
  int64_t n_layers, n_embd, n_ff;
  int64_t n_heads, n_kv_heads;  // n_heads is a multiple of n_kv_heads
  int64_t head_dim;             // even
  int64_t n_vocab;              // rows of the embedding, at least the tokens of the vocabulary
  int64_t n_ctx_train;          // tokens
  float rope_theta, rms_eps;
  float embedding_scale;  // multiplies the rows of the embedding
  Pooling pooling;        // kNone where the file says nothing
  bool embeds_only;       // it was made for embeddings: there is no head
  float rope_scale;       // positions are multiplied by it ("linear" scaling: 1 / factor)
};

// What a file is for: to be run, or to be written by a conversion, which keeps a pooling that is
// unknown here.
enum class Purpose : uint8_t { kRun, kWrite };

// All but n_vocab, which stays 0, from the metadata alone. Throws kUnsupported (architecture, RoPE
// scaling, a key that is not understood and the like), kBadFile.
Config read_config(const Gguf& gguf, Purpose purpose = Purpose::kRun);

// The whole. Old 1bitLLM models stand under the newer architecture bitnet-b1.58 although their own
// files say SiLU; their vocabulary of 32002 SentencePiece tokens tells them apart.
Config read_config(const Gguf& gguf, const Tokenizer& tokenizer, Purpose purpose = Purpose::kRun);

int64_t extent(const Config& config, Extent of);

// [head_dim / 2] radians per position. factors: [head_dim / 2] divisors, or null.
std::vector<double> rope_frequencies(const Config& config, const float* factors);

}  // namespace bitnet
