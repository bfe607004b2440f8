// The model families: one row for each architecture that a file can name. Whoever asks what a
// family has (hyper-parameters, loader, cost, converter, error texts) reads these rows; the addon
// hands them to TypeScript.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/weights.h"

namespace bitnet {

enum class Activation { kSilu, kRelu2, kGeluTanh };

// Which elements of a head RoPE turns together: (i, i + d / 2), or (2i, 2i + 1).
enum class RopePairs { kHalves, kNeighbours };

// RMS norms of a layer. All but `pre` are rare; Layer says where each one stands.
struct Norms {
  bool pre;    // of what attention and feed-forward read
  bool sub;    // before the o and down projections (BitNet)
  bool qk;     // of each query and key
  bool post;   // of what attention and feed-forward give
  bool input;  // before every projection, all or none of them, as some ternary models have
};

struct Family {
  const char* architecture;  // general.architecture, and the prefix of its keys
  Activation activation;
  Norms norms;
  bool scaled_embedding = false;  // rows of the embedding are multiplied by sqrt(n_embd)
  RopePairs rope_pairs;
  bool rope_factors;  // rope_freqs.weight, if there, divides the frequencies (Llama 3.1)
  bool own_head;      // output.weight, if there, is the head; otherwise the embedding is
  bool pooled;        // may be a text embedding model: ARCH.pooling_type, no head
  bool ternary;       // by definition; of other families only some models are
};

// How many rows or columns a tensor has; extent() of config.h says the number.
enum class Extent {
  kOne,       // a vector is one row
  kHidden,    // n_embd
  kFfn,       // n_ff
  kQuery,     // n_heads * head_dim
  kKeyValue,  // n_kv_heads * head_dim
  kHead,      // head_dim
};

enum class TensorRole { kNorm, kLinear };

// One tensor of every layer, NAME.weight. A linear one may have NAME.bias [rows] and NAME.scale [1]
// beside it, in every family.
struct LayerTensor {
  const char* name;  // after "blk.N."
  TensorRole role;
  Extent rows, cols;
  bool Norms::*kind = nullptr;  // only families with these norms have it; null: all do
  bool optional = false;
  bool rotated = false;  // rows are heads that RoPE turns: their order follows from rope_pairs
  // Where a loaded layer has it, one of the two; both null: no pass reads it.
  const float* Layer::*vector = nullptr;
  Linear Layer::*linear = nullptr;
};

std::span<const Family> families();
// nullptr if no row has this name.
const Family* find_family(std::string_view architecture);
// The architectures as text: "a, b and c".
std::string list_architectures();
// The tensors of a layer, in the order in which files are written.
std::vector<LayerTensor> layer_tensors(const Family& family);

// Names for JavaScript.
const char* activation_name(Activation activation);
const char* norm_name(bool Norms::*kind);
const char* extent_name(Extent extent);

}  // namespace bitnet
