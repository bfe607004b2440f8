#include "run/dry.h"

#include <algorithm>
#include <limits>

#include "run/portable_math.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {
namespace {

constexpr double kLargest = std::numeric_limits<float>::max();

}  // namespace

TokenTexts token_texts_of(const Tokenizer& tokenizer) {
  return {tokenizer.n_vocab(),
          [&](int32_t id) {
            return tokenizer.decode({&id, 1}, true);
          },
          [&](std::string_view text) { return tokenizer.encode(text, false, false); }};
}

// A breaker may stand in one token's text, or begin at the end of one and go on in the next tokens.
SequenceBreakers::SequenceBreakers(const std::vector<std::string>& breakers,
                                   const TokenTexts& texts) {
  constexpr size_t kMaxRest = 20;  // tokens
  for (int32_t id = 0; id < texts.n; ++id) {
    const std::string text = texts.text(id);
    for (const std::string& breaker : breakers) {
      if (text.find(breaker) != std::string::npos) {
        rests_.emplace(id, std::vector<int32_t>());
        continue;
      }
      for (size_t at = text.find(breaker[0]); at != std::string::npos;
           at = text.find(breaker[0], at + 1)) {
        const size_t n = text.size() - at;
        if (breaker.compare(0, n, text, at) != 0) continue;
        std::vector<int32_t> rest = texts.encode(std::string_view(breaker).substr(n));
        if (rest.size() > kMaxRest) rest.resize(kMaxRest);
        rests_.emplace(id, std::move(rest));
      }
    }
  }
}

int64_t SequenceBreakers::tokens_since(std::span<const int32_t> history, int64_t n) const {
  const auto last = history.end();
  for (int64_t i = 0; i < n; ++i) {  // i tokens follow the one that a breaker may begin in
    int64_t longest = -1;
    const auto [begin, end] = rests_.equal_range(last[-1 - i]);
    for (auto breaker = begin; breaker != end; ++breaker) {
      const std::vector<int32_t>& rest = breaker->second;
      const int64_t length = static_cast<int64_t>(rest.size());
      if (length > i || !std::equal(rest.begin(), rest.end(), last - i)) continue;
      longest = std::max(longest, length);
    }
    if (longest >= 0) return i - longest;
  }
  return n;
}

bool SequenceBreakers::has_whole(int32_t id) const {
  const auto [begin, end] = rests_.equal_range(id);
  return std::any_of(begin, end, [](const auto& breaker) { return breaker.second.empty(); });
}

void append_dry(std::span<const int32_t> history, const SamplerParams& params,
                const SequenceBreakers& breakers, std::vector<Adjustment>& out) {
  const int64_t n = static_cast<int64_t>(history.size());
  const int64_t allowed = params.dry_allowed_length;
  if (n <= allowed) return;
  const int64_t limit = breakers.tokens_since(history, n);
  if (limit < allowed) return;
  // Z-function of the tokens from the last one back: same[k] tokens before the k last ones equal
  // as many last ones. [from, to) is what the match that reaches furthest back covers.
  const auto token = [&](int64_t i) { return history[history.size() - 1 - i]; };
  std::vector<int64_t> same(n);
  std::unordered_map<int32_t, int64_t> longest;  // repetition that each token would go on with
  for (int64_t k = 1, from = 0, to = 0; k < n; ++k) {
    int64_t length = k < to ? std::min(to - k, same[k - from]) : 0;
    while (k + length < n && token(length) == token(k + length)) ++length;
    if (k + length > to) {
      from = k;
      to = k + length;
    }
    same[k] = length;
    length = std::min(length, limit);
    if (length < allowed) continue;
    int64_t& known = longest.try_emplace(token(k - 1), length).first->second;
    known = std::max(known, length);
  }
  for (const auto& [id, length] : longest) {
    if (breakers.has_whole(id)) continue;
    const double penalty = params.dry_multiplier * power(params.dry_base, length - allowed);
    out.push_back({id, 1.0f, -static_cast<float>(std::min(penalty, kLargest))});
  }
}

}  // namespace bitnet
