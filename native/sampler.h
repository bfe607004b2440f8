// Picks the next token from logits. Names, defaults and order of llama.cpp:
// logit bias -> penalties -> top-k -> typical -> top-p -> min-p -> temperature -> draw.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace bitnet {

struct SamplerParams {
  float temperature = 0.8f;       // <= 0: greedy
  int32_t top_k = 40;             // <= 0: off
  float top_p = 0.95f;            // 1: off
  float min_p = 0.05f;            // 0: off
  float typical_p = 1.0f;         // 1: off
  int32_t repeat_last_n = 64;     // penalty window in tokens; 0: off, -1: everything accepted
  float repeat_penalty = 1.0f;    // 1: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;
  int32_t n_probs = 0;            // log-probabilities of the n likeliest tokens with each sample
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to the logit; -infinity bans
};

struct TokenLogprob {
  int32_t id;
  float logprob;                  // natural log of the softmax over the raw logits
};

struct Sample {
  int32_t id;
  float logprob;                  // of id, over the raw logits; NaN unless n_probs >= 1
  std::vector<TokenLogprob> top;  // n_probs entries, likeliest first
};

class Sampler {
 public:
  // Throws kUsage on values that make no sense (NaN, top_p outside [0, 1], ...).
  explicit Sampler(const SamplerParams& params);
  // The prompt counts for the penalties too.
  void accept(int32_t id);
  void reset();                   // forgets accepted tokens; the random stream goes on
  // Does not accept() the sample. Ties are broken by the lower id. Throws kInternal if every logit is NaN or -inf.
  Sample sample(std::span<const float> logits);
  const SamplerParams& params() const { return params_; }

 private:
  float uniform();                // [0, 1), 24 bits from a seeded generator with the same stream on every platform
  SamplerParams params_;
  uint64_t state_[4];
  std::vector<int32_t> accepted_;
  struct Candidate { int32_t id; float logit; float p; };
  std::vector<Candidate> candidates_;
};

}  // namespace bitnet
