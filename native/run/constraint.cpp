#include "run/constraint.h"

#include <algorithm>
#include <limits>

namespace bitnet {
namespace {

// The tokens of the largest known logits, likeliest first. Ties are broken by the lower id.
std::vector<int32_t> likeliest(std::span<const float> logits) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -std::numeric_limits<float>::infinity()) ids.push_back(static_cast<int32_t>(i));
  }
  const auto likelier = [&](int32_t a, int32_t b) {
    const float of_a = logits[static_cast<size_t>(a)], of_b = logits[static_cast<size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  };
  const auto end = ids.begin() + std::min<int64_t>(kGrammarLogits, std::ssize(ids));
  std::partial_sort(ids.begin(), end, ids.end(), likelier);
  ids.erase(end, ids.end());
  return ids;
}

}  // namespace

std::optional<std::vector<int32_t>> choose_allowed(TokenGrammar& grammar, const Sampler& sampler,
                                                   std::span<const float> logits, bool is_whole) {
  const int64_t n_deciding = sampler.n_deciding();
  if (n_deciding > 0) {
    // Tokens whose logits change do not count among those that decide, but take part.
    const std::vector<int32_t> adjusted = sampler.adjusted_ids();
    std::vector<int32_t> allowed;
    int64_t n = 0;
    for (const int32_t id : likeliest(logits)) {
      if (std::binary_search(adjusted.begin(), adjusted.end(), id) || !grammar.allows(id)) continue;
      allowed.push_back(id);
      if (++n == n_deciding) break;
    }
    if (n == n_deciding) {
      for (const int32_t id : adjusted) {
        if (id >= 0 && static_cast<size_t>(id) < logits.size() && grammar.allows(id))
          allowed.push_back(id);
      }
      return allowed;
    }
  }
  if (!is_whole) return std::nullopt;
  return grammar.allowed();
}

}  // namespace bitnet
