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

struct TopLogit {
  float logit;
  int32_t id;
};

bool is_likelier(const TopLogit& a, const TopLogit& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The largest of a block, best first, into `top`; returns how many. Fewer than top.size() where
// logits are NaN or -infinity.
size_t select_largest(const float* logits, int64_t first_id, int64_t n, std::span<TopLogit> top) {
  size_t count = 0;
  for (int64_t i = 0; i < n && !top.empty(); ++i) {
    const bool is_full = count == top.size();
    const float least = is_full ? top[count - 1].logit : -std::numeric_limits<float>::infinity();
    if (!(logits[i] > least)) continue;
    size_t at = is_full ? count - 1 : count++;
    for (; at > 0 && logits[i] > top[at - 1].logit; --at) top[at] = top[at - 1];
    top[at] = {logits[i], static_cast<int32_t>(first_id + i)};
  }
  return count;
}

// What the blocks of the head say of up to kHeadRows hidden states.
class Group {
 public:
  Group(const Model& model, std::span<const int32_t> targets, int64_t n_top)
      : targets_(targets),
        n_vocab_(model.tokenizer.n_vocab()),
        n_blocks_(static_cast<size_t>((n_vocab_ + kHeadBlockRows - 1) / kHeadBlockRows)),
        n_top_(static_cast<size_t>(n_top)),
        partials_(targets.size() * n_blocks_),
        tops_(partials_.size() * n_top_),
        n_tops_(partials_.size()),
        of_target_(targets.size()) {}

  // From any thread; each block once.
  void take(const LogitBlock& block) {
    const int64_t rows = std::min(block.end, n_vocab_) - block.begin;
    if (rows <= 0) return;  // only padding
    for (int64_t i = 0; i < block.n; ++i) {
      const float* logits = block.logits + i * (block.end - block.begin);
      const size_t t = static_cast<size_t>(block.first + i);
      const size_t at = t * n_blocks_ + static_cast<size_t>(block.begin / kHeadBlockRows);
      partials_[at] = reduce(logits, block.begin, rows);
      n_tops_[at] =
          select_largest(logits, block.begin, rows, std::span(tops_).subspan(at * n_top_, n_top_));
      const int64_t target = targets_[t] - block.begin;
      if (target >= 0 && target < rows) of_target_[t] = logits[target];
    }
  }

  // In the order of the vocabulary, whichever thread was first.
  Score score(size_t t) const {
    const auto partials = std::span(partials_).subspan(t * n_blocks_, n_blocks_);
    const Partial& best =
        *std::max_element(partials.begin(), partials.end(),
                          [](const Partial& a, const Partial& b) { return a.most < b.most; });
    double sum = 0;
    for (const Partial& p : partials)
      sum += p.sum * std::exp(static_cast<double>(p.most) - best.most);
    const auto logprob = [&, log_sum = std::log(sum)](float logit) {
      return static_cast<double>(logit) - best.most - log_sum;
    };
    Score out{logprob(of_target_[t]), best.likeliest == targets_[t], {}};
    for (const TopLogit& top : merged_top(t)) out.top.push_back({top.id, logprob(top.logit)});
    return out;
  }

 private:
  std::vector<TopLogit> merged_top(size_t t) const {
    std::vector<TopLogit> all;
    for (size_t at = t * n_blocks_; at < (t + 1) * n_blocks_; ++at) {
      const auto from = tops_.begin() + static_cast<std::ptrdiff_t>(at * n_top_);
      all.insert(all.end(), from, from + static_cast<std::ptrdiff_t>(n_tops_[at]));
    }
    const size_t n = std::min(all.size(), n_top_);
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n), all.end(),
                      is_likelier);
    all.resize(n);
    return all;
  }

  const std::span<const int32_t> targets_;
  const int64_t n_vocab_;
  const size_t n_blocks_, n_top_;
  std::vector<Partial> partials_;  // [targets, blocks]
  std::vector<TopLogit> tops_;     // [targets, blocks, n_top]
  std::vector<size_t> n_tops_;     // [targets, blocks]
  std::vector<float> of_target_;
};

}  // namespace

std::vector<Score> score_tokens(const Model& model, const float* hidden,
                                std::span<const int32_t> targets, int64_t n_top) {
  std::vector<Score> scores;
  for (size_t first = 0; first < targets.size(); first += kHeadRows) {
    const size_t n = std::min(targets.size() - first, static_cast<size_t>(kHeadRows));
    Group group(model, targets.subspan(first, n), n_top);
    model.head->blocks(hidden + static_cast<int64_t>(first) * model.config.n_embd,
                       static_cast<int64_t>(n),
                       [&](const LogitBlock& block) { group.take(block); });
    for (size_t t = 0; t < n; ++t) scores.push_back(group.score(t));
  }
  return scores;
}

}  // namespace bitnet
