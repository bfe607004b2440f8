// How tokens are picked: names, defaults and order of llama.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
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

}  // namespace bitnet
