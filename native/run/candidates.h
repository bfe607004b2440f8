// The tokens that may be picked, and their order. Every sum and every comparison that decides a
// draw runs in one fixed order on IEEE doubles, with exp() of our own, so a seed gives the same
// tokens on every platform (as long as the compiler does not fuse a*b+c: build with
// -ffp-contract=off).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace bitnet {

struct Candidate {
  int32_t id;
  float logit;
  float p;  // exp((logit - the best) / temperature), once weighed
};

// A change of one logit: first divided by `divide` if positive, else multiplied, then `add`ed to.
struct Adjustment {
  int32_t id;
  float divide, add;
  // Away from "likely" on both sides of zero.
  float of(float logit) const { return (logit > 0.0f ? logit / divide : logit * divide) + add; }
};

// The order of every walk: a total one, so no sort depends on the standard library.
constexpr auto likelier = [](const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
};

// logit - best, where two equal infinities are 0 apart. best is the maximum, so the result is <= 0.
inline double below_best(float logit, float best) {
  return logit == best ? 0.0 : static_cast<double>(logit) - static_cast<double>(best);
}

// -infinity of none.
float best_logit(const std::vector<Candidate>& candidates);

// Fills `out` with the k likeliest tokens, sorted, or with all in id order when k covers the
// vocabulary. NaN and -inf never enter.
void select_top(std::span<const float> logits, size_t k, std::vector<Candidate>& out);

// Sets p to exp((logit - best) / temperature) and returns the sum in the present order.
double weigh(std::vector<Candidate>& candidates, double temperature);

// The one with the largest logit; -1 if all are NaN or -infinity.
int32_t likeliest_id(std::span<const float> logits);

// Visits candidates in the order `before`, sorting no further than it gets, until `visit` returns
// false. Returns how many were visited; they stand sorted at the front.
template <class Before, class Visit>
size_t walk_sorted(std::vector<Candidate>& candidates, Before before, Visit visit) {
  const auto begin = candidates.begin();
  size_t sorted = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (i == sorted) {
      const size_t next = std::min(candidates.size(), std::max<size_t>(256, 4 * sorted));
      std::nth_element(begin + sorted, begin + (next - 1), candidates.end(), before);
      std::sort(begin + sorted, begin + next, before);
      sorted = next;
    }
    if (!visit(candidates[i])) return i + 1;
  }
  return candidates.size();
}

// Log-softmax of one vocabulary. All-bad logits give NaN; the caller has failed by then.
class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> logits);
  float operator()(float logit) const {
    return static_cast<float>(below_best(logit, best_) - log_total_);
  }

 private:
  float best_ = -std::numeric_limits<float>::infinity();
  double log_total_;
};

}  // namespace bitnet
