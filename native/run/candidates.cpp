#include "run/candidates.h"

#include <cmath>

#include "run/portable_math.h"

namespace bitnet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

float best_logit(const std::vector<Candidate>& candidates) {
  float best = -kInfinity;
  for (const Candidate& c : candidates) best = std::max(best, c.logit);
  return best;
}

// Tokens above a rising threshold are gathered in a buffer that is cut back to k when full: linear
// time for any order of logits.
void select_top(std::span<const float> logits, size_t k, std::vector<Candidate>& out) {
  out.clear();
  const size_t n = logits.size();
  const size_t limit = k < n ? k + std::max<size_t>(k, 256) : n;
  float threshold = -kInfinity;
  for (size_t i = 0; i < n; ++i) {
    if (!(logits[i] > threshold)) continue;  // an equal logit with a higher id loses
    out.push_back({static_cast<int32_t>(i), logits[i], 0.0f});
    if (out.size() < limit || k >= n) continue;
    std::nth_element(out.begin(), out.begin() + (k - 1), out.end(), likelier);
    out.resize(k);
    threshold = out.back().logit;
  }
  if (k >= n) return;
  std::sort(out.begin(), out.end(), likelier);
  if (out.size() > k) out.resize(k);
}

double weigh(std::vector<Candidate>& candidates, double temperature) {
  const float best = best_logit(candidates);
  double total = 0.0;
  for (Candidate& c : candidates) {
    c.p = static_cast<float>(portable_exp(below_best(c.logit, best) / temperature));
    total += c.p;
  }
  return total;
}

int32_t likeliest_id(std::span<const float> logits) {
  int32_t id = -1;
  float best = -kInfinity;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > best)) continue;
    best = logits[i];
    id = static_cast<int32_t>(i);
  }
  return id;
}

LogSoftmax::LogSoftmax(std::span<const float> logits) {
  for (const float logit : logits) best_ = std::max(best_, logit);  // max(a, NaN) is a
  double total = 0.0;
  for (const float logit : logits) total += portable_exp(below_best(logit, best_));
  log_total_ = std::log(total);
}

}  // namespace bitnet
