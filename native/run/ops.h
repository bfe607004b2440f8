// The operations of the network, each for the rows of a batch and each callable alone. Arrays are
// [rows, width] of floats. An object has the scratch memory of one step: one call at a time, from
// the thread that owns the model's pool.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "model/adapter.h"
#include "model/model.h"
#include "run/batch.h"

namespace bitnet {

// Matrices of a layer that are multiplied with the same input, and what they want of it.
struct Products {
  Products(const Model& model, size_t layer, LayerInput input,
           std::initializer_list<const Linear*> matrices);

  size_t layer;  // these two are the place of their adapters
  LayerInput input;
  std::vector<const Linear*> matrices;
  bool quantized = false;  // int8 activations: some matrix is ternary
  bool integers = false;   // 14-bit activations: some matrix is block-quantized
  bool tables = false;     // look-up tables of few tokens: ternary, in a layout that has them
};

class Ops {
 public:
  Ops(Model& model, int64_t most_rows);

  // x [n, n_embd] = rows of the token embedding, scaled where the family wants that.
  void embed(std::span<const int32_t> tokens, float* x);

  // The input of products(): x [n, cols] normalized with weight [cols] (null: as it is), in the
  // forms that `next` wants. Stays until the next call of prepare() or prepare_activated().
  void prepare(const float* x, const float* weight, int64_t cols, int64_t n, const Products& next);
  // The same of act(gate) * up, which is left in gate: one job, as the rows are in the caches.
  void prepare_activated(float* gate, const float* up, const float* weight, int64_t cols, int64_t n,
                         const Products& next);
  // out[i] [n, matrices[i]->rows] = the prepared input times each matrix, scaled, with its bias,
  // and with the adapters of the row's sequence.
  void multiply(const Products& products, std::initializer_list<float*> out);

  // out = every vector of `cols` in x [n, cols], normalized by itself.
  void norm(const float* x, const float* weight, float* out, int64_t cols, int64_t n);
  // The same in place. Does nothing if weight is null.
  void norm(float* x, const float* weight, int64_t cols, int64_t n);
  void activate(float* gate, const float* up, int64_t cols, int64_t n);  // gate = act(gate) * up
  void add(float* x, const float* y, int64_t cols, int64_t n);           // x += y

  // Rotates the heads of x [n, n_heads, head_dim] by the positions that set_batch() was given.
  void rope(float* x, int64_t n_heads, int64_t n);
  // Rounds keys and values [n, n_kv_heads, head_dim] into the blocks of the batch's tables.
  void store(int64_t layer, const float* k, const float* v);
  // out [n, n_heads, head_dim] = attention of q to the keys up to each row's own position.
  void attend(int64_t layer, const float* q, float* out);

  // What multiply(), rope(), store() and attend() work on, until the next call. `batch` must stay.
  void set_batch(const Batch& batch);

 private:
  template <class Before>
  void prepare_rows(const float* x, const float* weight, int64_t cols, int64_t n,
                    const Products& next, Before&& before);
  void make_tables();
  void multiply_chunk(const Products& products, std::initializer_list<float*> out, int64_t chunk,
                      int64_t grain, uint8_t* memory);

  // Consecutive rows that an adapter is applied to. Those of one set follow each other.
  struct Adapted {
    const Adapter* adapter;
    float scale;
    int64_t first_row, n;
  };
  // ... and what it adds to a product: `at` is where the results of A [n, rank] stand.
  struct LowRankRows {
    const Adapted* rows;
    const LowRank* of;
    int64_t at, first_chunk, n_chunks;
  };
  void plan_adapters();
  int64_t plan_low_rank(const Products& products);
  void reduce(int64_t chunk);
  void expand(const Products& products, std::initializer_list<float*> out);

  // Query rows of a sequence that share a key/value head, and the segments of keys to take.
  struct Tile {
    const Batch::Part* part;
    int64_t head, first;  // row `first` of [token, head of the group]
    int64_t first_segment, last_segment;
    int64_t partials;  // where in partials_; below 0: it is the whole result
  };
  struct Queries;
  void plan_tiles();
  void add_tiles(const Batch::Part& part);
  void add_segments(const Batch::Part& part);
  void fill_queries(const Tile& tile, int64_t layer, const float* q, float* out, Queries& to) const;
  void attend_tile(const Tile& tile, int64_t layer, const float* q, float* out, int thread);
  void merge(const Tile& first, float* out);
  using Activate = void (*)(float* gate, const float* up, int64_t n);
  Activate activation() const;
  int64_t group() const { return config_.n_heads / config_.n_kv_heads; }
  uint8_t* scratch(int thread) const;

  const Model& model_;
  const Config& config_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  const Batch* batch_ = nullptr;
  AlignedArray<float> cos_, sin_;         // [rows, head_dim / 2]
  AlignedArray<uint8_t> thread_scratch_;  // of products and attention, per thread
  // The prepared input, [rows, widest].
  AlignedArray<float> normed_, scales_;
  AlignedArray<int8_t> quantized_;
  AlignedArray<int32_t> sums_;
  AlignedArray<TokenPairs> pairs_;  // if the kernels want them
  AlignedArray<uint8_t> tables_;    // [kFewTokens] rows, of look-up layouts
  QuantizedBatch activations_;
  FloatInput float_input_;
  std::vector<Tile> tiles_;  // of one layer, the same for all
  std::vector<Tile> merges_;
  std::vector<float> partials_;  // grows with the longest context
  std::vector<Adapted> adapted_;
  std::vector<LowRankRows> low_rank_;  // of one product
  std::vector<float> reduced_;         // what A gives, of all of them
};

}  // namespace bitnet
