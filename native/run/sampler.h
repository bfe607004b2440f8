// Picks the next token from logits. Names, defaults and order of llama.cpp: logit bias, the chain
// of SamplerParams::samplers, a draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace bitnet {

struct SamplerParams {
  float temperature = 0.8f;
  int32_t top_k = 40;
  float top_p = 0.95f;
  float min_p = 0.05f;
  float top_n_sigma = -1.0f;
  float typical_p = 1.0f;
  float xtc_probability = 0.0f;
  float xtc_threshold = 0.1f;
  float repeat_penalty = 1.0f;
  int32_t repeat_last_n = 64;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float dry_multiplier = 0.0f;
  float dry_base = 1.75f;
  int32_t dry_allowed_length = 2;
  int32_t dry_penalty_last_n = -1;
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  float dynatemp_range = 0.0f;
  float dynatemp_exponent = 1.0f;
  // The chain in its order; what is not in it has no effect.
  std::vector<std::string> samplers = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                       "top_p",     "min_p", "xtc",         "temperature"};
  uint64_t seed = 0;
  int32_t n_probs = 0;
  int32_t n_post_probs = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to the logit; -infinity bans
};

// What there is to know about a field of SamplerParams; its default is the field's own. Checks, the
// addon, the library, the command line and docs/sampling.md have all of it from here.
struct SamplingParameter {
  const char* name;  // in JavaScript
  std::variant<float SamplerParams::*, int32_t SamplerParams::*, uint64_t SamplerParams::*,
               std::vector<std::string> SamplerParams::*>
      field;
  double least, most;   // of the number; of the bytes of each text
  const char* option;   // long option and its value on the command line; "": not a sampling option
  const char* aliases;  // other spellings of the option, separated by spaces
  const char* help;     // one line, without the default
};

constexpr double kMaxCount = 2147483647;        // of int32_t
constexpr double kMaxWhole = 9007199254740991;  // 2^53 - 1: above, JavaScript loses whole numbers
constexpr double kMaxReal = 1e6;                // more than any logit
constexpr size_t kMaxTexts = 64;                // in a list of texts

constexpr SamplingParameter kSamplingParameters[] = {
    {"temperature", &SamplerParams::temperature, -kMaxReal, kMaxReal, "--temp <t>",
     "-temp --temperature", "temperature; 0: the likeliest token"},
    {"topK", &SamplerParams::top_k, 0, kMaxCount, "--top-k <n>", "",
     "sample from the n likeliest tokens; 0: all"},
    {"topP", &SamplerParams::top_p, 0, 1, "--top-p <p>", "",
     "sample from the likeliest tokens of this joint probability"},
    {"minP", &SamplerParams::min_p, 0, 1, "--min-p <p>", "",
     "drop tokens below this share of the best probability"},
    {"topNSigma", &SamplerParams::top_n_sigma, -1, kMaxReal, "--top-nsigma <n>", "--top-n-sigma",
     "keep logits within n standard deviations of the best; 0 or below: off"},
    {"typicalP", &SamplerParams::typical_p, 0, 1, "--typical <p>", "--typical-p",
     "locally typical sampling; 1: off"},
    {"xtcProbability", &SamplerParams::xtc_probability, 0, 1, "--xtc-probability <p>", "",
     "chance to exclude the top choices (XTC) at a token; 0: off"},
    {"xtcThreshold", &SamplerParams::xtc_threshold, 0, 1, "--xtc-threshold <p>", "",
     "top choices are tokens of this probability, all but the last of them; above 0.5: off"},
    {"repeatPenalty", &SamplerParams::repeat_penalty, 1e-6, kMaxReal, "--repeat-penalty <x>", "",
     "penalty of repeated tokens; 1: off"},
    {"repeatLastN", &SamplerParams::repeat_last_n, -1, kMaxCount, "--repeat-last-n <n>", "",
     "tokens that the penalties see; -1: the context"},
    {"presencePenalty", &SamplerParams::presence_penalty, -kMaxReal, kMaxReal,
     "--presence-penalty <x>", "", "penalty of tokens that occurred"},
    {"frequencyPenalty", &SamplerParams::frequency_penalty, -kMaxReal, kMaxReal,
     "--frequency-penalty <x>", "", "penalty per occurrence"},
    {"dryMultiplier", &SamplerParams::dry_multiplier, 0, kMaxReal, "--dry-multiplier <x>", "",
     "penalty of tokens that go on with a repetition (DRY); 0: off"},
    {"dryBase", &SamplerParams::dry_base, 1, kMaxReal, "--dry-base <x>", "",
     "factor of the DRY penalty for each token that the repetition is longer"},
    {"dryAllowedLength", &SamplerParams::dry_allowed_length, 0, kMaxCount,
     "--dry-allowed-length <n>", "", "tokens that may be repeated before DRY takes effect"},
    {"dryPenaltyLastN", &SamplerParams::dry_penalty_last_n, -1, kMaxCount,
     "--dry-penalty-last-n <n>", "", "tokens that DRY sees; 0: off, -1: the context"},
    {"drySequenceBreakers", &SamplerParams::dry_sequence_breakers, 1, 40,
     "--dry-sequence-breaker <text>", "", "text that ends a repetition for DRY; repeatable"},
    {"dynatempRange", &SamplerParams::dynatemp_range, 0, kMaxReal, "--dynatemp-range <t>", "",
     "temperature goes up and down by this with the entropy of the choice; 0: off"},
    {"dynatempExponent", &SamplerParams::dynatemp_exponent, 0, kMaxReal, "--dynatemp-exp <x>",
     "--dynatemp-exponent", "exponent of the entropy, from 0 to 1, in that"},
    {"samplers", &SamplerParams::samplers, 1, 40, "--samplers <names>", "",
     "the chain in its order, separated by semicolons; what is left out is off"},
    {"seed", &SamplerParams::seed, 0, kMaxWhole, "", "", "same seed, same text"},
    {"logprobs", &SamplerParams::n_probs, 0, 1000, "", "",
     "log-probabilities of the n likeliest tokens with each sample"},
    {"postSamplingProbs", &SamplerParams::n_post_probs, 0, 1000, "", "",
     "probabilities of the n likeliest tokens of those that the chain leaves, with each sample"},
};

// Throws kUsage for a value outside of kSamplingParameters.
void check_sampling(const SamplerParams& params);

// What a parameter that is a text asks of the vocabulary.
struct TokenTexts {
  int32_t n = 0;                                                 // ids are below
  std::function<std::string(int32_t)> text;                      // control tokens have theirs, too
  std::function<std::vector<int32_t>(std::string_view)> encode;  // nothing is added to the text
};

class Tokenizer;
// Refers to `tokenizer`.
TokenTexts token_texts_of(const Tokenizer& tokenizer);

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
  struct Candidate {
    int32_t id;
    float logit;
    float p;
  };

  // A change of one logit: first divided by `divide` if positive, else multiplied, then `add`ed to.
  struct Adjustment {
    int32_t id;
    float divide, add;
    // Away from "likely" on both sides of zero.
    float of(float logit) const { return (logit > 0.0f ? logit / divide : logit * divide) + add; }
  };
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
  friend void check_sampling(const SamplerParams& params);

  static const Link* find_link(const std::string& name);
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
  int64_t tokens_since_breaker(int64_t n) const;
  void find_breakers(const TokenTexts& texts);
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
  // Tokens in whose text a sequence breaker of DRY begins, each with the tokens of the rest of it.
  std::unordered_multimap<int32_t, std::vector<int32_t>> breakers_;
  double temperature_ = 1.0;              // of the next draw
  double total_ = 0.0;                    // of the weights of the last one; 0: there was no choice
  std::vector<float> adjusted_, masked_;  // scratch, as the next one
  std::vector<Candidate> candidates_;
};

}  // namespace bitnet
