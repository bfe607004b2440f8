#include "run/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bitnet {

namespace {

// What a block of logits says of one position.
struct Partial {
  float most = -std::numeric_limits<float>::infinity();
  int32_t likeliest = -1;  // the first id with it
  double sum = 0;          // of exp(logit - most)
};

Partial reduce(const float* logits, int64_t first_id, int64_t n) {
  Partial out;
  for (int64_t i = 0; i < n; ++i) {
    if (!(logits[i] > out.most)) continue;
    out.most = logits[i];
    out.likeliest = static_cast<int32_t>(first_id + i);
  }
  const double most = out.most;
  for (int64_t i = 0; i < n; ++i) out.sum += std::exp(static_cast<double>(logits[i]) - most);
  return out;
}

}  // namespace

std::vector<Score> score_tokens(const Model& model, const float* hidden,
                                std::span<const int32_t> targets) {
  const int64_t n = static_cast<int64_t>(targets.size()), n_vocab = model.tokenizer.n_vocab();
  const int64_t n_blocks = (n_vocab + kHeadBlockRows - 1) / kHeadBlockRows;
  std::vector<Partial> partials(static_cast<size_t>(n * n_blocks));
  std::vector<float> of_target(targets.size());
  model.head->blocks(hidden, n, [&](const LogitBlock& block) {
    const int64_t rows = std::min(block.end, n_vocab) - block.begin;
    if (rows <= 0) return;  // only padding
    for (int64_t i = 0; i < block.n; ++i) {
      const float* logits = block.logits + i * (block.end - block.begin);
      const size_t t = static_cast<size_t>(block.first + i);
      partials[t * static_cast<size_t>(n_blocks) +
               static_cast<size_t>(block.begin / kHeadBlockRows)] =
          reduce(logits, block.begin, rows);
      const int64_t at = targets[t] - block.begin;
      if (at >= 0 && at < rows) of_target[t] = logits[at];
    }
  });
  // In the order of the vocabulary, whichever thread was first.
  std::vector<Score> scores;
  for (size_t t = 0; t < targets.size(); ++t) {
    const Partial* of = &partials[t * static_cast<size_t>(n_blocks)];
    const Partial* best = std::max_element(
        of, of + n_blocks, [](const Partial& a, const Partial& b) { return a.most < b.most; });
    double sum = 0;
    for (const Partial* p = of; p < of + n_blocks; ++p)
      sum += p->sum * std::exp(static_cast<double>(p->most) - best->most);
    scores.push_back({static_cast<double>(of_target[t]) - best->most - std::log(sum),
                      best->likeliest == targets[t]});
  }
  return scores;
}

}  // namespace bitnet
