// From hidden states to logits.
//
// A float head is most of what decoding reads: 56 % of the bytes of a 2B model per token. Where
// only the k largest logits matter (greedy, top-k), a compact int8 copy of the rows scores all of
// them with a proven error bound, and only the rows that can still be among the k largest are
// computed from the float weights. What is returned for those is bit for bit what the full head
// returns.
//
// Hidden states of several sequences share each reading of the weights, and get the same bits as
// alone.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "base/threads.h"
#include "model/linear.h"

namespace bitnet {

class FileMap;

// Thresholds of speed alone; results do not depend on them. Tests lower them.
struct HeadOptions {
  bool compact = true;                      // make the copy of a large float head
  int64_t worth_a_copy = int64_t{1} << 25;  // elements; a smaller head is read fast enough
  int64_t max_top = 512;                    // beyond, too many rows are computed twice
};

struct HeadQuery {
  const float* hidden;              // [cols]
  int64_t k;                        // how many of the largest logits must be exact; 0: all
  std::span<const int32_t> always;  // ids that must be exact as well and do not count among the k
  float* out;                       // [rows]
};

// Rows [begin, end) of the logits of the hidden states [first, first + n).
struct LogitBlock {
  int64_t first, n, begin, end;
  const float* logits;  // [n, end - begin]
};

constexpr int64_t kHeadRows = 16;         // hidden states that share a reading of the weights
constexpr int64_t kHeadBlockRows = 1024;  // rows of a LogitBlock, the last one may have fewer

// One call at a time.
class Head {
 public:
  // `layer` must outlive the head. The file's pages are given back to the OS as the copy is made of
  // them (map may be null).
  Head(const Kernels& kernels, ThreadPool& pool, const Linear& layer, const HeadOptions& options,
       const FileMap* map);

  // out [n, rows] = all logits of n hidden states [n, cols].
  void all(const float* hidden, int64_t n, float* out);

  // The same, without [n, rows] floats: `use` gets every block once, from the threads of the pool,
  // in any order; the logits are gone when it returns. Blocks begin at multiples of kHeadBlockRows
  // and, in hidden states, of kHeadRows. `use` must not throw.
  using UseBlock = std::function<void(const LogitBlock&)>;
  void blocks(const float* hidden, int64_t n, const UseBlock& use);

  // For each query, out = the logits of its hidden state: exact for the k largest and for the ids
  // in `always`, -infinity for the others that cannot be among the k largest when those in `always`
  // do not count. All logits where no copy was made or k is too large for it.
  void top(std::span<const HeadQuery> queries);

  bool is_compact() const { return !rows_.empty(); }
  int64_t compact_bytes() const;

 private:
  // A query that is answered from the copy.
  struct Search {
    const HeadQuery* query;
    float unit, x_norm, d_norm;  // see quantize()
    std::vector<int32_t> rows;   // to be computed from the float weights
  };

  void build();
  void take(int64_t t, const float* hidden);
  float* input(int64_t t) { return x_.data() + t * layer_.cols; }
  void multiply(int64_t first, int64_t n, const UseBlock& use);
  bool takes_copy(const HeadQuery& query) const;
  void answer_whole(std::span<const HeadQuery* const> group);
  void answer_from_copy(std::span<const HeadQuery* const> group);
  void quantize(int64_t t);
  void score(int64_t n);
  void seed(int64_t t);
  void widen(int64_t t);
  void compute_exactly();
  float* lower(int64_t t) { return lower_.data() + t * layer_.rows; }
  float* upper(int64_t t) { return upper_.data() + t * layer_.rows; }
  int8_t* coarse() const { return reinterpret_cast<int8_t*>(coarse_.data()); }

  const Kernels& kernels_;
  ThreadPool& pool_;
  const Linear& layer_;
  const HeadOptions options_;
  const FileMap* map_;
  // Scratch per thread: kMatmulScratch, and a block of logits [kHeadRows, kHeadBlockRows].
  AlignedArray<uint8_t> scratch_;
  AlignedArray<float> logits_;
  // The copy, rows of stride_ int8.
  int64_t stride_ = 0;  // columns rounded up to a HeadGroup, zero beyond
  HugeArray coarse_;
  std::vector<CoarseRow> rows_;
  // Of one group of up to kHeadRows hidden states:
  AlignedArray<float> x_;  // [kHeadRows, cols]
  FloatInput input_;
  std::vector<HeadGroup> quantized_;  // [kHeadRows, stride_ / 64]
  int32_t sums_[kHeadRows];           // of a quantized input
  std::vector<Search> searches_;
  std::vector<float> lower_, upper_;  // [group, rows]
  struct Exact {
    int32_t row, t;
    auto operator<=>(const Exact&) const = default;
  };
  std::vector<Exact> exact_;
};

}  // namespace bitnet
