// Picks the next token from logits. Names, defaults and order of llama.cpp:
// logit bias -> penalties -> top-k -> typical -> top-p -> min-p -> temperature -> draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bitnet {

struct SamplerParams {
  float temperature = 0.8f;     // <= 0: greedy
  int32_t top_k = 40;           // <= 0: off
  float top_p = 0.95f;          // 1: off
  float min_p = 0.05f;          // 0: off
  float typical_p = 1.0f;       // 1: off
  int32_t repeat_last_n = 64;   // penalty window in tokens; 0: off, -1: everything accepted
  float repeat_penalty = 1.0f;  // 1: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;
  int32_t n_probs = 0;  // log-probabilities of the n likeliest tokens with each sample
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to the logit; -infinity bans
};

struct TokenLogprob {
  int32_t id;
  float logprob;  // natural log of the softmax over the raw logits
};

struct Sample {
  int32_t id;
  float logprob;                  // of id, over the raw logits; NaN unless n_probs >= 1
  std::vector<TokenLogprob> top;  // n_probs entries, likeliest first; never a NaN or -inf logit
};

class Sampler {
 public:
  // Throws kUsage on values that make no sense (NaN, top_p outside [0, 1], ...).
  explicit Sampler(const SamplerParams& params);
  // The prompt counts for the penalties too.
  void accept(int32_t id);
  void reset();  // forgets accepted tokens; the random stream goes on
  // Does not accept() the sample. Ties are broken by the lower id. Throws kUsage if every logit
  // is NaN or -inf.
  Sample sample(std::span<const float> logits);
  const SamplerParams& params() const { return params_; }

  // How many of the largest logits decide the next sample, besides those of adjusted_ids(); the
  // others may be -infinity. 0: all of them.
  int64_t n_needed() const;
  // The tokens whose logits bias or penalties change, each once.
  std::vector<int32_t> adjusted_ids() const;

 private:
  struct Candidate {
    int32_t id;
    float logit;
    float p;
  };

  float uniform();  // [0, 1), 24 bits; the same stream on every platform
  bool penalizes() const;
  std::span<const float> adjusted(std::span<const float> logits);  // with bias and penalties
  void keep_typical();
  void keep_top_p_and_min_p();
  int32_t draw();

  SamplerParams params_;
  uint64_t state_[4];
  std::vector<int32_t> accepted_;                // ring of the last repeat_last_n tokens
  size_t oldest_ = 0;                            // where the full ring is overwritten next
  std::unordered_map<int32_t, int32_t> counts_;  // occurrences in the penalty window
  std::vector<float> adjusted_;                  // scratch, as the next one
  std::vector<Candidate> candidates_;
};

}  // namespace bitnet
