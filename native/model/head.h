// From hidden states to logits.
//
// A float head is most of what decoding reads: 56 % of the bytes of a 2B model per token. Where
// only the k largest logits matter (greedy, top-k), a compact int8 copy of the rows scores all of
// them with a proven error bound, and only the rows that can still be among the k largest are
// computed from the float weights. What is returned for those is bit for bit what the full head
// returns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "base/threads.h"
#include "model/linear.h"

namespace bitnet {

class FileMap;

class Head {
 public:
  // `layer` must outlive the head. compact: make the copy if the layer is a large float matrix; the
  // file's pages are given back to the OS as they are read (map may be null).
  Head(const Kernels& kernels, ThreadPool& pool, const Linear& layer, bool compact,
       const FileMap* map);

  // out [n, rows] = all logits of n hidden states [n, cols].
  void all(const float* hidden, int64_t n, float* out);

  // out [rows] = logits of one hidden state: exact for the k largest and for the ids in `always`,
  // -infinity for the others that cannot be among the k largest when those in `always` do not
  // count. Falls back to all() where no copy was made.
  void top(const float* hidden, int64_t k, std::span<const int32_t> always, float* out);

  bool is_compact() const { return !rows_.empty(); }
  int64_t compact_bytes() const;
  static constexpr int64_t kMaxTop = 512;  // beyond, too many rows are computed twice

 private:
  void build();
  void score(const float* hidden);
  void score_exactly(const float* hidden, float* out);
  // As the peers do: both factors of an F16 product are rounded to F16.
  int8_t* coarse() const { return reinterpret_cast<int8_t*>(coarse_.data()); }
  const float* rounded(const float* hidden, int64_t n);

  const Kernels& kernels_;
  ThreadPool& pool_;
  const Linear& layer_;
  const FileMap* map_;
  FloatInput input_;
  std::vector<float> rounded_;
  AlignedArray<uint8_t> scratch_;  // kMatmulScratch per thread
  // The copy, rows of stride_ int8.
  int64_t stride_ = 0;  // columns rounded up to 64, zero beyond
  HugeArray coarse_;
  std::vector<CoarseRow> rows_;
  // Of one call:
  AlignedArray<int16_t> coarse_input_;
  std::vector<int64_t> sums_;
  std::vector<float> lower_, upper_;
  std::vector<int32_t> candidates_;
};

}  // namespace bitnet
