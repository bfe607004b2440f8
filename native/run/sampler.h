// Picks the next token from logits: logit bias, the chain of SamplerParams::samplers, a draw. The
// same seed gives the same tokens on every platform.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "run/candidates.h"
#include "run/dry.h"
#include "run/sampler_params.h"

namespace bitnet {

struct TokenLogprob {
  int32_t id;
  float logprob;  // natural log of the softmax over the raw logits
};

struct TokenProbability {
  int32_t id;
  float probability;  // that it is drawn, after the whole chain
};

struct Sample {
  int32_t id;
  float logprob;                  // of id, over the raw logits; NaN unless n_probs >= 1
  std::vector<TokenLogprob> top;  // n_probs entries, likeliest first; never a NaN or -inf logit
  // With n_post_probs >= 1: of id, and as many entries at most, likeliest first.
  float probability = std::numeric_limits<float>::quiet_NaN();
  std::vector<TokenProbability> candidates{};
};

class Sampler {
 public:
  // Throws kUsage as check_sampling() does. `texts` are used here only; none: texts name no token.
  explicit Sampler(const SamplerParams& params, const TokenTexts& texts = {});
  // The prompt counts for the penalties too.
  void accept(int32_t id);
  void reset();  // forgets accepted tokens; the random stream goes on
  // Does not accept() the sample. Ties are broken by the lower id. Throws kUsage if every logit
  // is NaN or -inf.
  // Only tokens in `allowed` can be chosen, if it is given; log-probabilities are of all.
  Sample sample(std::span<const float> logits, const std::vector<int32_t>* allowed = nullptr);
  const SamplerParams& params() const { return params_; }

  // How many of the largest logits decide the next sample, not counting those of adjusted_ids(),
  // which it needs too; the others may be -infinity. 0: all of them.
  int64_t n_needed() const;
  // The same for the choice alone, without the log-probabilities that are told with it.
  int64_t n_deciding() const;
  // The tokens whose logits change before anything is chosen, each once.
  std::vector<int32_t> adjusted_ids() const;

 private:
  // A part of the chain. It changes logits of single tokens (`append`) or takes candidates away
  // (`run`).
  struct Link {
    const char* name;  // of SamplerParams::samplers
    // How many of the accepted tokens it looks back at; 0: at none, kEverything: at all.
    int64_t (*window)(const SamplerParams&);
    void (Sampler::*append)(std::vector<Adjustment>&) const;
    // How many of the likeliest candidates decide what it keeps; 0: it is off, kEverything: all.
    int64_t (*needs)(const SamplerParams&);
    void (Sampler::*run)();  // narrows candidates_, of which there is at least one
    void (*leave_out)(SamplerParams&);
  };
  static const Link kLinks[];
  static const Link kTopPAndMinP;  // in the place of the two, where they follow each other

  static const Link& find_link(const std::string& name);
  void build_chain();
  bool is_greedy() const;
  void run_chain();
  void adjust_candidates(const Link& link);
  float uniform();               // [0, 1), 24 bits; the same stream on every platform
  int64_t n_candidates() const;  // how many of the likeliest tokens enter the stages
  std::vector<Adjustment> adjustments() const;
  std::span<const float> adjusted(std::span<const float> logits);
  std::span<const float> masked(std::span<const float> logits, const std::vector<int32_t>& allowed);
  void append_bias(std::vector<Adjustment>& out) const;
  void append_penalties(std::vector<Adjustment>& out) const;
  void append_dry(std::vector<Adjustment>& out) const;
  void bar_beyond_sigmas();
  void keep_top_k();
  void keep_typical();
  void keep_top_p();
  void keep_min_p();
  void keep_top_p_and_min_p();
  void exclude_top_choices();
  void choose_temperature();
  void apply_temperature();
  int32_t draw();
  void tell_probabilities(Sample& sample);

  SamplerParams params_;
  std::vector<const Link*> chain_;
  size_t n_leading_ = 0;  // links of the chain that change logits before anything is taken away
  uint64_t state_[4];
  int64_t window_ = 0;                           // the longest of the chain
  std::vector<int32_t> history_;                 // the last window_ accepted tokens, or some more
  std::unordered_map<int32_t, int32_t> counts_;  // occurrences in the window of the penalties
  SequenceBreakers breakers_;                    // of DRY
  double temperature_ = 1.0;                     // of the next draw
  double total_ = 0.0;                    // of the weights of the last one; 0: there was no choice
  std::vector<float> adjusted_, masked_;  // scratch, as the next one
  std::vector<Candidate> candidates_;
};

}  // namespace bitnet
