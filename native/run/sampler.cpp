#include "run/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "run/portable_math.h"

namespace bitnet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kEverything = std::numeric_limits<int64_t>::max();  // of tokens or candidates

// SplitMix64 (Vigna, public domain): spreads one seed over the state of the generator.
uint64_t split_mix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t no_window(const SamplerParams&) { return 0; }

int64_t needs_nothing(const SamplerParams&) { return 0; }

int64_t penalty_window(const SamplerParams& p) {
  const bool neutral =
      p.repeat_penalty == 1.0f && p.presence_penalty == 0.0f && p.frequency_penalty == 0.0f;
  if (neutral) return 0;
  return p.repeat_last_n < 0 ? kEverything : p.repeat_last_n;
}

int64_t dry_window(const SamplerParams& p) {
  if (p.dry_multiplier == 0.0f) return 0;
  return p.dry_penalty_last_n < 0 ? kEverything : p.dry_penalty_last_n;
}

int64_t needs_of_top_n_sigma(const SamplerParams& p) {
  return p.top_n_sigma > 0.0f ? kEverything : 0;
}

int64_t needs_of_top_k(const SamplerParams& p) { return p.top_k; }

int64_t needs_of_typical(const SamplerParams& p) { return p.typical_p < 1.0f ? kEverything : 0; }

int64_t needs_of_top_p(const SamplerParams& p) { return p.top_p < 1.0f ? kEverything : 0; }

int64_t needs_of_min_p(const SamplerParams& p) { return p.min_p > 0.0f ? kEverything : 0; }

int64_t needs_of_top_p_and_min_p(const SamplerParams& p) {
  return p.top_p < 1.0f || p.min_p > 0.0f ? kEverything : 0;
}

// Of more than half of the probability there is no second token, so nothing would be excluded.
int64_t needs_of_xtc(const SamplerParams& p) {
  return p.xtc_probability > 0.0f && p.xtc_threshold <= 0.5f ? kEverything : 0;
}

int64_t needs_of_dynatemp(const SamplerParams& p) {
  return p.dynatemp_range > 0.0f ? kEverything : 0;
}

[[noreturn]] void fail_nothing_left(size_t n_vocab) {
  throw Error(ErrorCode::kUsage, "no token can be sampled: all " + std::to_string(n_vocab) +
                                     " logits are NaN or -inf after logit bias and penalties");
}

}  // namespace

const Sampler::Link Sampler::kLinks[] = {
    {"penalties", penalty_window, &Sampler::append_penalties, needs_nothing, nullptr,
     [](SamplerParams& p) {
       p.repeat_penalty = 1.0f;
       p.presence_penalty = p.frequency_penalty = 0.0f;
     }},
    {"dry", dry_window, &Sampler::append_dry, needs_nothing, nullptr,
     [](SamplerParams& p) { p.dry_multiplier = 0.0f; }},
    {"top_n_sigma", no_window, nullptr, needs_of_top_n_sigma, &Sampler::bar_beyond_sigmas,
     [](SamplerParams& p) { p.top_n_sigma = -1.0f; }},
    {"top_k", no_window, nullptr, needs_of_top_k, &Sampler::keep_top_k,
     [](SamplerParams& p) { p.top_k = 0; }},
    {"typ_p", no_window, nullptr, needs_of_typical, &Sampler::keep_typical,
     [](SamplerParams& p) { p.typical_p = 1.0f; }},
    {"top_p", no_window, nullptr, needs_of_top_p, &Sampler::keep_top_p,
     [](SamplerParams& p) { p.top_p = 1.0f; }},
    {"min_p", no_window, nullptr, needs_of_min_p, &Sampler::keep_min_p,
     [](SamplerParams& p) { p.min_p = 0.0f; }},
    {"xtc", no_window, nullptr, needs_of_xtc, &Sampler::exclude_top_choices,
     [](SamplerParams& p) { p.xtc_probability = 0.0f; }},
    {"temperature", no_window, nullptr, needs_of_dynatemp, &Sampler::choose_temperature,
     [](SamplerParams& p) {
       p.temperature = 1.0f;
       p.dynatemp_range = 0.0f;
     }},
};

const Sampler::Link Sampler::kTopPAndMinP = {
    "top_p, min_p", no_window, nullptr, needs_of_top_p_and_min_p, &Sampler::keep_top_p_and_min_p,
    nullptr};

// Of a name that check_sampling() has let pass.
const Sampler::Link& Sampler::find_link(const std::string& name) {
  return *std::find_if(std::begin(kLinks), std::end(kLinks),
                       [&](const Link& link) { return name == link.name; });
}

// What is left out of the chain gets the value that has no effect.
void Sampler::build_chain() {
  for (const Link& link : kLinks) {
    const auto& names = params_.samplers;
    if (std::find(names.begin(), names.end(), link.name) == names.end()) link.leave_out(params_);
  }
  for (const std::string& name : params_.samplers) {
    const bool fused =
        !chain_.empty() && name == "min_p" && chain_.back()->run == &Sampler::keep_top_p;
    if (fused) {
      chain_.back() = &kTopPAndMinP;
    } else {
      chain_.push_back(&find_link(name));
    }
  }
  while (n_leading_ < chain_.size() && chain_[n_leading_]->append != nullptr) ++n_leading_;
}

Sampler::Sampler(const SamplerParams& params, const TokenTexts& texts) : params_(params) {
  check_sampling(params_);
  build_chain();
  uint64_t seed = params_.seed;
  for (uint64_t& word : state_) word = split_mix(seed);
  for (const Link* link : chain_) window_ = std::max(window_, link->window(params_));
  if (dry_window(params_) != 0) {
    breakers_ = SequenceBreakers(params_.dry_sequence_breakers, texts);
  }
}

// xoshiro256** (Blackman and Vigna, public domain); its upper bits are the best.
float Sampler::uniform() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return static_cast<float>(result >> 40) * 0x1p-24f;
}

void Sampler::accept(int32_t id) {
  if (id < 0) {
    throw Error(ErrorCode::kUsage,
                "the accepted token id must be 0 or positive, but got " + std::to_string(id));
  }
  if (window_ == 0) return;
  history_.push_back(id);
  const int64_t n = static_cast<int64_t>(history_.size());
  if (const int64_t window = penalty_window(params_); window > 0) {
    ++counts_[id];
    if (window < n) {
      const auto leaving = counts_.find(history_[n - 1 - window]);
      if (--leaving->second == 0) counts_.erase(leaving);
    }
  }
  // Half of it goes at a time, so a token is moved once.
  if (n / 2 >= window_) history_.erase(history_.begin(), history_.end() - window_);
}

void Sampler::reset() {
  history_.clear();
  counts_.clear();
}

void Sampler::append_bias(std::vector<Adjustment>& out) const {
  for (const auto& [id, bias] : params_.logit_bias) out.push_back({id, 1.0f, bias});
}

void Sampler::append_penalties(std::vector<Adjustment>& out) const {
  for (const auto& [id, count] : counts_) {
    const float frequent = static_cast<float>(count) * params_.frequency_penalty;
    out.push_back({id, params_.repeat_penalty, -(frequent + params_.presence_penalty)});
  }
}

void Sampler::append_dry(std::vector<Adjustment>& out) const {
  const size_t n = std::min<uint64_t>(history_.size(), dry_window(params_));
  bitnet::append_dry(std::span(history_).last(n), params_, breakers_, out);
}

std::vector<Adjustment> Sampler::adjustments() const {
  std::vector<Adjustment> out;
  append_bias(out);
  for (size_t i = 0; i < n_leading_; ++i) (this->*chain_[i]->append)(out);
  return out;
}

// Copies the logits only when something changes them.
std::span<const float> Sampler::adjusted(std::span<const float> logits) {
  for (const auto& [id, bias] : params_.logit_bias) {
    if (static_cast<size_t>(id) < logits.size()) continue;
    throw Error(ErrorCode::kUsage, "logitBias names token " + std::to_string(id) +
                                       ", but the vocabulary has " + std::to_string(logits.size()) +
                                       " tokens");
  }
  const std::vector<Adjustment> changes = adjustments();
  if (changes.empty()) return logits;
  adjusted_.assign(logits.begin(), logits.end());
  for (const Adjustment& change : changes) {
    if (static_cast<size_t>(change.id) >= logits.size()) continue;  // has no logit to change
    adjusted_[change.id] = change.of(adjusted_[change.id]);
  }
  return adjusted_;
}

// The same for candidates, where something was taken away or scaled before.
void Sampler::adjust_candidates(const Link& link) {
  std::vector<Adjustment> changes;
  (this->*link.append)(changes);
  for (Candidate& c : candidates_) {
    for (const Adjustment& change : changes) {
      if (change.id == c.id) c.logit = change.of(c.logit);
    }
  }
}

// Top-n-sigma (arXiv 2411.07641). As in llama.cpp, what is too far below the best stays a candidate
// of no probability: it counts for the number of candidates in top-k and in the temperature.
void Sampler::bar_beyond_sigmas() {
  const double n = static_cast<double>(candidates_.size());
  double mean = 0.0, squares = 0.0;
  for (const Candidate& c : candidates_) mean += c.logit;
  mean /= n;
  for (const Candidate& c : candidates_) squares += (c.logit - mean) * (c.logit - mean);
  const double least = best_logit(candidates_) - params_.top_n_sigma * std::sqrt(squares / n);
  for (Candidate& c : candidates_) {
    if (c.logit < least) c.logit = -kInfinity;
  }
}

// Where it is the first stage, no more than k candidates come in.
void Sampler::keep_top_k() {
  const size_t k = static_cast<size_t>(params_.top_k);
  if (candidates_.size() <= k) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end(), likelier);
  candidates_.resize(k);
  std::sort(candidates_.begin(), candidates_.end(), likelier);
}

// Locally typical sampling (arXiv 2202.00666): keeps the tokens whose surprise -log(p) is nearest
// to the entropy, until they hold more than typical_p. With d = logit - best, surprise and entropy
// are log(sum) - d and log(sum) - mean(d), so their distance needs no logarithm.
void Sampler::keep_typical() {
  const double total = weigh(candidates_, 1.0);
  const float best = best_logit(candidates_);
  double mean = 0.0;
  for (const Candidate& c : candidates_) {
    if (c.p > 0.0f) mean += c.p * below_best(c.logit, best);
  }
  mean /= total;
  const auto distance = [=](const Candidate& c) {
    return std::fabs(below_best(c.logit, best) - mean);
  };
  const auto more_typical = [=](const Candidate& a, const Candidate& b) {
    const double of_a = distance(a), of_b = distance(b);
    return of_a != of_b ? of_a < of_b : likelier(a, b);
  };
  const double wanted = params_.typical_p * total;
  double sum = 0.0;
  const size_t kept = walk_sorted(candidates_, more_typical,
                                  [&](const Candidate& c) { return (sum += c.p) <= wanted; });
  candidates_.resize(kept);
  std::sort(candidates_.begin(), candidates_.end(), likelier);
}

void Sampler::keep_top_p() {
  const double wanted = params_.top_p * weigh(candidates_, 1.0);
  double sum = 0.0;
  candidates_.resize(walk_sorted(candidates_, likelier,
                                 [&](const Candidate& c) { return (sum += c.p) < wanted; }));
}

void Sampler::keep_min_p() {
  weigh(candidates_, 1.0);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.p < params_.min_p; });
}

// Both cut the tail of the sorted candidates, so the shorter of the two prefixes stays. Min-p goes
// first because it needs no sorting; top-p still counts the share of everything before the cut.
void Sampler::keep_top_p_and_min_p() {
  const double total = weigh(candidates_, 1.0);
  if (params_.min_p > 0.0f) {
    std::erase_if(candidates_, [&](const Candidate& c) { return c.p < params_.min_p; });
  }
  if (params_.top_p < 1.0f) {
    const double wanted = params_.top_p * total;
    double sum = 0.0;
    const size_t kept = walk_sorted(candidates_, likelier,
                                    [&](const Candidate& c) { return (sum += c.p) < wanted; });
    candidates_.resize(kept);
  }
}

// Exclude top choices: where several tokens have at least the threshold's probability, only the
// least likely of them stays. Takes one random number per sample, before that of the draw.
void Sampler::exclude_top_choices() {
  if (uniform() > params_.xtc_probability) return;
  const double least = params_.xtc_threshold * weigh(candidates_, 1.0);
  const Candidate* last = nullptr;
  for (const Candidate& c : candidates_) {
    if (c.p >= least && (last == nullptr || likelier(*last, c))) last = &c;
  }
  if (last == nullptr) return;
  const int32_t id = last->id;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.p >= least && c.id != id; });
}

// Dynamic temperature: between temperature - range and temperature + range, by the entropy as a
// share of that of as many equally likely candidates. With d = logit - best, the entropy is
// log(sum) - mean(d).
void Sampler::choose_temperature() {
  if (candidates_.size() < 2) return;
  const double total = weigh(candidates_, 1.0);
  const float best = best_logit(candidates_);
  double mean = 0.0;
  for (const Candidate& c : candidates_) {
    if (c.p > 0.0f) mean += c.p * below_best(c.logit, best);
  }
  const double entropy = portable_log(total) - mean / total;
  const double most = portable_log(static_cast<double>(candidates_.size()));
  const double share = std::clamp(entropy / most, std::numeric_limits<double>::min(), 1.0);
  const double low = std::max(0.0f, params_.temperature - params_.dynatemp_range);
  const double high = params_.temperature + params_.dynatemp_range;
  temperature_ = low + (high - low) * portable_exp(params_.dynatemp_exponent * portable_log(share));
}

// Makes the logits what a draw at temperature 1 takes, for what comes after it in the chain.
void Sampler::apply_temperature() {
  if (temperature_ <= 0.0) {
    candidates_ = {*std::min_element(candidates_.begin(), candidates_.end(), likelier)};
  }
  for (Candidate& c : candidates_) {
    if (temperature_ > 0.0) c.logit = static_cast<float>(c.logit / temperature_);
  }
  temperature_ = 1.0;
}

// One random number per draw, whatever the candidates: the stream does not depend on the filters.
int32_t Sampler::draw() {
  const double random = uniform();
  total_ = 0.0;
  if (temperature_ <= 0.0) {
    return std::min_element(candidates_.begin(), candidates_.end(), likelier)->id;
  }
  total_ = weigh(candidates_, temperature_);
  const double wanted = random * total_;
  double sum = 0.0;
  int32_t id = -1;
  walk_sorted(candidates_, likelier, [&](const Candidate& c) {
    if (c.p > 0.0f) id = c.id;  // rounding may leave sum below wanted: then the last one wins
    return (sum += c.p) <= wanted;
  });
  return id;
}

// How likely the last draw was to choose each candidate.
void Sampler::tell_probabilities(Sample& sample) {
  if (total_ == 0.0) {
    sample.probability = 1.0f;
    sample.candidates = {{sample.id, 1.0f}};
    return;
  }
  std::sort(candidates_.begin(), candidates_.end(), likelier);
  const size_t n = static_cast<size_t>(params_.n_post_probs);
  for (const Candidate& c : candidates_) {
    const float probability = static_cast<float>(c.p / total_);
    if (c.id == sample.id) sample.probability = probability;
    if (sample.candidates.size() < n && c.p > 0.0f)
      sample.candidates.push_back({c.id, probability});
  }
}

// The likeliest token after the changes, if nothing changes logits later.
bool Sampler::is_greedy() const {
  const auto changes = [](const Link* link) { return link->append != nullptr; };
  return params_.temperature <= 0.0f && params_.dynatemp_range <= 0.0f &&
         std::none_of(chain_.begin() + static_cast<std::ptrdiff_t>(n_leading_), chain_.end(),
                      changes);
}

// The temperature is left to the draw where it comes last.
void Sampler::run_chain() {
  for (size_t i = n_leading_; i < chain_.size() && !candidates_.empty(); ++i) {
    const Link& link = *chain_[i];
    if (link.append != nullptr) {
      adjust_candidates(link);
    } else if (link.needs(params_) != 0) {
      (this->*link.run)();
    }
    const bool is_temperature = link.run == &Sampler::choose_temperature;
    if (is_temperature && i + 1 < chain_.size() && !candidates_.empty()) apply_temperature();
  }
}

std::span<const float> Sampler::masked(std::span<const float> logits,
                                       const std::vector<int32_t>& allowed) {
  masked_.assign(logits.size(), -std::numeric_limits<float>::infinity());
  for (const int32_t id : allowed) {
    const auto i = static_cast<size_t>(id);
    if (i < logits.size()) masked_[i] = logits[i];
  }
  return masked_;
}

Sample Sampler::sample(std::span<const float> logits, const std::vector<int32_t>* allowed) {
  Sample sample{-1, std::numeric_limits<float>::quiet_NaN(), {}};
  std::span<const float> usable = adjusted(logits);
  if (allowed != nullptr) usable = masked(usable, *allowed);
  temperature_ = params_.temperature;
  total_ = 0.0;
  if (is_greedy()) {
    sample.id = likeliest_id(usable);
  } else {
    select_top(usable, static_cast<size_t>(n_candidates()), candidates_);
    run_chain();
    if (!candidates_.empty()) sample.id = draw();
  }
  if (sample.id < 0) fail_nothing_left(logits.size());

  if (params_.n_post_probs > 0) tell_probabilities(sample);
  if (params_.n_probs > 0) {
    const LogSoftmax log_softmax(logits);
    sample.logprob = log_softmax(logits[sample.id]);
    select_top(logits, static_cast<size_t>(params_.n_probs), candidates_);
    std::sort(candidates_.begin(), candidates_.end(), likelier);
    sample.top.reserve(candidates_.size());
    for (const Candidate& c : candidates_) sample.top.push_back({c.id, log_softmax(c.logit)});
  }
  return sample;
}

// The first link that takes away decides: those after it see no more than it leaves. Without any,
// the draw itself looks at every token, and so does a change of logits before it.
int64_t Sampler::n_candidates() const {
  for (size_t i = n_leading_; i < chain_.size(); ++i) {
    if (chain_[i]->append != nullptr) return kEverything;
    if (const int64_t n = chain_[i]->needs(params_); n != 0) return n;
  }
  return kEverything;
}

int64_t Sampler::n_needed() const { return params_.n_probs > 0 ? 0 : n_deciding(); }

int64_t Sampler::n_deciding() const {
  if (is_greedy()) return 1;
  const int64_t n = n_candidates();
  return n == kEverything ? 0 : n;
}

std::vector<int32_t> Sampler::adjusted_ids() const {
  std::vector<int32_t> ids;
  for (const Adjustment& change : adjustments()) ids.push_back(change.id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace bitnet
