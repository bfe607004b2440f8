// The head and the cross-entropy of its logits, for a few positions at a time: the logits of all
// positions never exist at once.
#pragma once

#include <cstdint>
#include <span>

#include "train/compute.h"
#include "train/embedding.h"

namespace bitnet {

class LossHead {
 public:
  // n_kept: positions whose part of the gradient of a trained head can wait, see run().
  LossHead(Compute& compute, const EmbeddingRows& head, int64_t n_kept = 0);
  // Bytes of its logits, and of rows that were read. in_floats: EmbeddingRows::floats() is not
  // null.
  static int64_t logits_bytes(int64_t n_vocab, int64_t n_kept);
  static int64_t rows_bytes(int64_t n_vocab, int64_t cols, bool in_floats);

  // out [n, vocabulary] of hidden [n, cols].
  void logits(const float* hidden, int64_t n, float* out);

  // losses[i] = -log p(targets[i]) of hidden [n, cols], NaN where a logit is not finite. With
  // d_hidden [n, cols] also the gradient of the losses' sum times `weight`, which goes on into that
  // of the head if it is trained: at once, or when add_kept() is called if positions are kept, then
  // as those from `place` on.
  void run(const float* hidden, std::span<const int32_t> targets, float weight, float* losses,
           float* d_hidden, int64_t place = 0);
  // The gradient of the head by the kept positions [place, place + n); hidden: theirs.
  void add_kept(const float* hidden, int64_t place, int64_t n);

 private:
  // f(rows, first, n) for blocks of rows of the head as floats, in their order.
  template <class Use>
  void for_rows(Use&& use);
  // d_hidden [n, cols] from the gradients by logits z [n, vocabulary].
  void hidden_gradient(const float* z, int64_t n, float* d_hidden);
  void head_gradient(const float* z, const float* hidden, int64_t n);

  Compute& compute_;
  const EmbeddingRows& head_;
  int64_t chunk_, n_kept_;  // positions
  AlignedArray<float> logits_, rows_;
};

}  // namespace bitnet
