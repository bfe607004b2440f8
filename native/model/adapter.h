// Low-rank adapters (LoRA): what is added to the products of some matrices W of a model. With A
// [r, cols] and B [rows, r], y = W x becomes y = W x + scale * B (A x), on the float x that a
// ternary W gets quantized. The weights of the model stay as they are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "model/model.h"

namespace bitnet {

// The matrices of a layer that are multiplied with the same input.
enum class LayerInput { kAttention, kAttended, kFfn, kActivated };  // q k v; o; gate up; down

constexpr int64_t kMaxAdapterRank = 4096;
// Adapters whose matrices are f32 in the file stay so up to this size, as it costs nothing; larger
// ones are kept in f16, which is read in half the time. See docs/adapters.md for what it rounds.
constexpr int64_t kMostExactBytes = int64_t{32} << 20;

// What is added to the matrices of one input: their A stacked to one product.
struct LowRank {
  struct Output {
    const Linear* linear;  // of the model
    int64_t first, rank;   // rows of `a`
    const uint8_t* b;      // panels, see Kernels::add_low_rank
  };
  int64_t rank = 0;  // rows of `a`; 0: nothing is added
  int64_t cols = 0, row_bytes = 0;
  const uint8_t* a = nullptr;  // [rank, row_bytes]
  std::vector<float> scales;   // [rank] of what A gives
  std::vector<Output> outputs;
};

// One adapted matrix, as its file has it.
struct AdapterTarget {
  int64_t layer;
  std::string name;  // of the matrix within its layer: "attn_q"
  int64_t rank;
  int64_t rows, cols;  // of the matrix
  float scale;         // alpha / r, whatever the file's way to say that
  // Row i of A [rank, cols] and of B [rows, rank], finite. Throw what reading throws.
  std::function<void(int64_t row, float*out)> read_a, read_b;
  TensorType type;  // of the file: F32, F16 or BF16
};

class Adapter {
 public:
  // `scaled_by_weights`: what is added is multiplied by the scale of the matrix, as programs did
  // that applied a separate scale last. Throws kUnsupported (a model whose projections have norms
  // of their own), kUsage (no such matrix, one of another shape, one twice, a rank out of bounds),
  // std::bad_alloc.
  static std::shared_ptr<const Adapter> load(const Model& model,
                                             const std::vector<AdapterTarget>& targets,
                                             bool scaled_by_weights);

  // Of the matrices of a layer with that input; null if nothing is added to them.
  const LowRank* of(size_t layer, LayerInput input) const;

  // What it adds, as a number: equal whatever file it came from.
  uint64_t hash() const { return hash_; }
  bool is_zero() const { return n_targets_ == 0; }  // it adds nothing
  TensorType type() const { return type_; }
  int64_t n_parameters() const { return n_parameters_; }
  int64_t n_bytes() const { return n_bytes_; }

 private:
  Adapter() = default;
  static constexpr size_t kInputs = 4;

  std::vector<LowRank> inputs_;  // [layer, LayerInput]
  std::vector<AlignedArray<uint8_t>> memory_;
  TensorType type_ = TensorType::kF32;
  uint64_t hash_ = 0;
  int64_t n_targets_ = 0, n_parameters_ = 0, n_bytes_ = 0;

  friend class AdapterBuilder;
};

// Adapters of a sequence, in the one order in which they are applied: what is the same set has the
// same bits, whatever the order in which it was named.
class AdapterSet {
 public:
  struct Use {
    std::shared_ptr<const Adapter> adapter;
    float scale;
  };
  AdapterSet() = default;
  // Without those that add nothing. Throws kUsage for a scale that is not finite.
  explicit AdapterSet(std::vector<Use> uses);

  const std::vector<Use>& uses() const { return uses_; }
  bool empty() const { return uses_.empty(); }
  uint64_t key() const { return key_; }  // 0: none

 private:
  std::vector<Use> uses_;
  uint64_t key_ = 0;
};

}  // namespace bitnet
