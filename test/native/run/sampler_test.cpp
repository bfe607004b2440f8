// The sampler against hand-computed cases, a slow reference, a chi-square bound and hostile values.
#include "run/sampler.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>
#include <variant>

#include "base/error.h"
#include "check.h"
#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Sample;
using bitnet::Sampler;
using bitnet::SamplerParams;
using bitnet::token_texts_of;
using bitnet::TokenTexts;
using Logits = std::vector<float>;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// All filters and penalties off, temperature 1.
SamplerParams plain() {
  SamplerParams p;
  p.temperature = 1.0f;
  p.top_k = 0;
  p.top_p = 1.0f;
  p.min_p = 0.0f;
  return p;
}

SamplerParams greedy() {
  SamplerParams p;
  p.temperature = 0.0f;
  return p;
}

Logits logits_of(const std::vector<double>& probabilities) {
  Logits logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// The tokens that survive the filters: temperature comes last, so a huge one draws them evenly.
std::set<int> survivors(SamplerParams params, const Logits& logits) {
  params.temperature = 1e6f;
  Sampler sampler(params);
  std::set<int> seen;
  for (int i = 0; i < 500; ++i) seen.insert(sampler.sample(logits).id);
  return seen;
}

ErrorCode code_of(const SamplerParams& params) {
  try {
    Sampler sampler(params);
  } catch (const Error& e) {
    return e.code;
  }
  return ErrorCode::kInternal;
}

// The random numbers of a seed, in [0, 1).
class Stream {
 public:
  explicit Stream(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      word = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
      word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
      word ^= word >> 31;
    }
  }
  double next() {
    const auto rotate = [](uint64_t v, int k) { return (v << k) | (v >> (64 - k)); };
    const uint64_t result = rotate(state_[1] * 5, 7) * 9, t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return static_cast<double>(result >> 40) / (1 << 24);
  }

 private:
  uint64_t state_[4];
};

// The documented behaviour, written as plainly as possible: sort everything, sum in double.
class Reference {
 public:
  explicit Reference(const SamplerParams& params) : params_(params), stream_(params.seed) {}

  void accept(int id) { history_.push_back(id); }

  // -1 when no token is usable.
  int sample(Logits logits) {
    adjust(logits);
    std::vector<Token> tokens;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] > -kInf) tokens.push_back({static_cast<int>(i), logits[i], 0, 0});
    }
    std::stable_sort(tokens.begin(), tokens.end(),
                     [](const Token& a, const Token& b) { return a.logit > b.logit; });
    if (tokens.empty()) return -1;
    if (params_.temperature <= 0 && params_.dynatemp_range <= 0) return tokens[0].id;
    if (params_.top_n_sigma > 0) top_n_sigma(tokens);
    const size_t k = static_cast<size_t>(std::max(params_.top_k, 0));
    if (k > 0 && tokens.size() > k) tokens.resize(k);
    if (params_.typical_p < 1) typical(tokens);
    if (params_.top_p < 1) top_p(tokens);
    if (params_.min_p > 0) min_p(tokens);
    if (params_.xtc_probability > 0 && params_.xtc_threshold <= 0.5f) xtc(tokens);
    const double temperature = choose_temperature(tokens);
    const double u = stream_.next();
    if (temperature <= 0) return tokens[0].id;
    softmax(tokens, temperature);
    double sum = 0;
    for (const Token& t : tokens) {
      sum += t.p;
      if (sum > u) return t.id;
    }
    return tokens.back().id;
  }

 private:
  struct Token {
    int id;
    float logit;
    double p, distance;
  };

  void adjust(Logits& logits) const {
    for (const auto& [id, bias] : params_.logit_bias) logits[id] += bias;
    const size_t n = params_.repeat_last_n < 0
                         ? history_.size()
                         : std::min<size_t>(history_.size(), params_.repeat_last_n);
    std::map<int, int> counts;
    for (size_t i = history_.size() - n; i < history_.size(); ++i) ++counts[history_[i]];
    for (const auto& [id, count] : counts) {
      if (id >= static_cast<int>(logits.size())) continue;
      float& l = logits[id];
      if (l > 0)
        l /= params_.repeat_penalty;
      else
        l *= params_.repeat_penalty;
      l -= static_cast<float>(count) * params_.frequency_penalty + params_.presence_penalty;
    }
    if (params_.dry_multiplier > 0) dry(logits);
  }

  // Without breakers: for each place, how many tokens before it are also the last ones.
  void dry(Logits& logits) const {
    const int last = params_.dry_penalty_last_n, size = static_cast<int>(history_.size());
    const int n = last < 0 ? size : std::min(size, last);
    const std::vector<int> tokens(history_.end() - n, history_.end());
    std::map<int, int> longest;
    for (int place = 1; place < n; ++place) {
      int length = 0;
      while (length < place && tokens[place - 1 - length] == tokens[n - 1 - length]) ++length;
      if (length < params_.dry_allowed_length) continue;
      longest[tokens[place]] = std::max(longest[tokens[place]], length);
    }
    for (const auto& [id, length] : longest) {
      if (id >= static_cast<int>(logits.size())) continue;
      const double power =
          std::pow(static_cast<double>(params_.dry_base), length - params_.dry_allowed_length);
      logits[id] -= static_cast<float>(params_.dry_multiplier * power);
    }
  }

  void top_n_sigma(std::vector<Token>& tokens) const {
    const double n = static_cast<double>(tokens.size());
    double mean = 0, variance = 0;
    for (const Token& t : tokens) mean += t.logit / n;
    for (const Token& t : tokens) variance += (t.logit - mean) * (t.logit - mean) / n;
    const double least = tokens[0].logit - params_.top_n_sigma * std::sqrt(variance);
    for (Token& t : tokens) {
      if (t.logit < least) t.logit = -kInf;
    }
  }

  void xtc(std::vector<Token>& tokens) {
    if (stream_.next() > params_.xtc_probability) return;
    softmax(tokens, 1);
    size_t above = 0;
    while (above < tokens.size() && tokens[above].p >= params_.xtc_threshold) ++above;
    if (above > 1) tokens.erase(tokens.begin(), tokens.begin() + (above - 1));
  }

  double choose_temperature(std::vector<Token>& tokens) const {
    const double t = params_.temperature, range = params_.dynatemp_range;
    if (range <= 0 || tokens.size() < 2) return t;
    softmax(tokens, 1);
    double entropy = 0;
    for (const Token& token : tokens) entropy -= token.p > 0 ? token.p * std::log(token.p) : 0;
    const double share = std::max(0.0, entropy / std::log(static_cast<double>(tokens.size())));
    const double low = std::max(0.0, t - range);
    return low + (t + range - low) * std::pow(share, params_.dynatemp_exponent);
  }

  static void softmax(std::vector<Token>& tokens, double temperature) {
    float best = -kInf;
    for (const Token& t : tokens) best = std::max(best, t.logit);
    double sum = 0;
    for (Token& t : tokens) {
      t.p = t.logit == best ? 1 : std::exp((double(t.logit) - double(best)) / temperature);
      sum += t.p;
    }
    for (Token& t : tokens) t.p /= sum;
  }

  void typical(std::vector<Token>& tokens) const {
    softmax(tokens, 1);
    double entropy = 0;
    for (const Token& t : tokens) {
      if (t.p > 0) entropy -= t.p * std::log(t.p);
    }
    for (Token& t : tokens) t.distance = std::fabs(entropy + std::log(t.p));
    std::stable_sort(tokens.begin(), tokens.end(),
                     [](const Token& a, const Token& b) { return a.distance < b.distance; });
    cut(tokens, [&](double sum) { return sum > params_.typical_p; });
    std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) {
      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    });
  }

  void top_p(std::vector<Token>& tokens) const {
    softmax(tokens, 1);
    cut(tokens, [&](double sum) { return sum >= params_.top_p; });
  }

  void min_p(std::vector<Token>& tokens) const {
    softmax(tokens, 1);
    const double best = tokens[0].p;
    while (tokens.back().p < params_.min_p * best) tokens.pop_back();
  }

  template <class Enough>
  static void cut(std::vector<Token>& tokens, Enough enough) {
    double sum = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      sum += tokens[i].p;
      if (!enough(sum)) continue;
      tokens.resize(i + 1);
      return;
    }
  }

  SamplerParams params_;
  Stream stream_;
  std::vector<int> history_;
};

template <class Random>
SamplerParams random_params(Random& random, int vocab) {
  const auto unit = [&] { return std::uniform_real_distribution<float>(0, 1)(random); };
  const auto pick = [&](int n) { return static_cast<int>(random() % n); };
  SamplerParams p;
  p.temperature = pick(8) == 0 ? 0.0f : 0.1f + 2 * unit();
  p.top_k = pick(3) == 0 ? 0 : 1 + pick(vocab + 5);
  p.top_p = pick(3) == 0 ? 1.0f : unit();
  p.min_p = pick(3) == 0 ? 0.0f : unit() * unit();
  p.typical_p = pick(3) != 0 ? 1.0f : unit();
  p.repeat_last_n = pick(12) - 1;
  p.repeat_penalty = pick(2) == 0 ? 1.0f : 0.5f + 1.5f * unit();
  p.presence_penalty = pick(2) == 0 ? 0.0f : 2 * unit() - 1;
  p.frequency_penalty = pick(2) == 0 ? 0.0f : 2 * unit() - 1;
  p.top_n_sigma = pick(4) != 0 ? -1.0f : 3 * unit();
  p.xtc_probability = pick(4) != 0 ? 0.0f : unit();
  p.xtc_threshold = 0.6f * unit();
  p.dry_multiplier = pick(3) != 0 ? 0.0f : 3 * unit();
  p.dry_base = 1 + unit();
  p.dry_allowed_length = pick(4);
  p.dry_penalty_last_n = pick(12) - 1;
  p.dynatemp_range = pick(4) != 0 ? 0.0f : 2 * unit();
  p.dynatemp_exponent = 2 * unit();
  p.seed = random();
  for (int i = pick(4); i > 0; --i) {
    p.logit_bias.emplace_back(pick(vocab), pick(4) == 0 ? -kInf : 4 * unit() - 2);
  }
  return p;
}

int sample_or_minus_one(Sampler& sampler, const Logits& logits) {
  try {
    return sampler.sample(logits).id;
  } catch (const Error& e) {
    CHECK(e.code == ErrorCode::kUsage);
    return -1;
  }
}

// The logits that a sampler says it needs: those of adjusted_ids() and, among the others, the
// n_needed() largest, lower ids first where they are equal. The rest is -infinity.
Logits only_needed(const Sampler& sampler, const Logits& logits) {
  const int64_t n = sampler.n_needed();
  if (n == 0) return logits;
  Logits out(logits.size(), -kInf);
  std::vector<bool> is_adjusted(logits.size());
  for (const int32_t id : sampler.adjusted_ids()) {
    if (id >= static_cast<int>(logits.size())) continue;
    out[id] = logits[id];
    is_adjusted[id] = true;
  }
  std::vector<int> others;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!is_adjusted[i] && !std::isnan(logits[i])) others.push_back(static_cast<int>(i));
  }
  std::stable_sort(others.begin(), others.end(),
                   [&](int a, int b) { return logits[a] > logits[b]; });
  if (others.size() > static_cast<size_t>(n)) others.resize(n);
  for (const int id : others) out[id] = logits[id];
  return out;
}

// Lists of texts stay as they are.
void set_value(const bitnet::SamplingParameter& row, SamplerParams& params, double value) {
  std::visit(
      [&](auto field) {
        using Value = std::decay_t<decltype(params.*field)>;
        if constexpr (std::is_arithmetic_v<Value>) params.*field = static_cast<Value>(value);
      },
      row.field);
}

// Sum of (observed - expected)^2 / expected over `draws` draws.
double chi_square(const SamplerParams& params, const Logits& logits,
                  const std::vector<double>& expected, int draws) {
  Sampler sampler(params);
  std::vector<int> observed(logits.size());
  for (int i = 0; i < draws; ++i) ++observed[sampler.sample(logits).id];
  double sum = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double mean = expected[i] * draws;
    sum += (observed[i] - mean) * (observed[i] - mean) / mean;
  }
  return sum;
}

struct Choice {
  int id;
  double p;
};

// Compares every draw of a sampler that has accepted `history` with what the random number of that
// draw picks from `expected`, the likeliest first.
void check_draws(const SamplerParams& params, const TokenTexts& texts,
                 const std::vector<int>& history, const Logits& logits,
                 const std::vector<Choice>& expected, double tolerance) {
  Sampler sampler(params, texts);
  Stream stream(params.seed);
  for (const int id : history) sampler.accept(id);
  const bool has_xtc = params.xtc_probability > 0 && params.xtc_threshold <= 0.5f;
  for (int draw = 0; draw < 500; ++draw) {
    const int id = sampler.sample(logits).id;
    if (has_xtc) stream.next();
    const double u = stream.next();
    double below = 0, p = -1;
    for (const Choice& choice : expected) {
      if (choice.id == id) {
        p = choice.p;
        break;
      }
      below += choice.p;
    }
    CHECK(p >= 0);
    CHECK(u >= below - tolerance);
    CHECK(u <= below + p + tolerance);
  }
}

// Token i has the text texts[i].
TokenTexts token_texts(const std::vector<std::string>& texts) {
  return {static_cast<int32_t>(texts.size()), [=](int32_t id) { return texts[id]; },
          [=](std::string_view text) {
            std::vector<int32_t> ids;
            while (!text.empty()) {
              size_t id = 0;
              while (id < texts.size() && !text.starts_with(texts[id])) ++id;
              if (id == texts.size()) break;
              ids.push_back(static_cast<int32_t>(id));
              text.remove_prefix(texts[id].size());
            }
            return ids;
          }};
}

template <class Value>
std::vector<Value> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<Value> out;
  for (Value word; in >> word;) out.push_back(word);
  return out;
}

std::vector<Choice> choices_of(const std::string& line) {
  std::vector<Choice> out;
  for (const std::string& word : words_of<std::string>(line)) {
    out.push_back({std::stoi(word), std::stod(word.substr(word.find(':') + 1))});
  }
  return out;
}

std::string from_hex(const std::string& hex) {
  std::string text;
  for (size_t i = 0; i < hex.size(); i += 2) {
    text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return text;
}

// "name value name value ...", with the names of the table.
void set_params(SamplerParams& params, const std::string& line) {
  const std::vector<std::string> words = words_of<std::string>(line);
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    int found = 0;
    for (const bitnet::SamplingParameter& row : bitnet::kSamplingParameters) {
      if (row.name != words[i]) continue;
      set_value(row, params, std::stod(words[i + 1]));
      ++found;
    }
    CHECK_EQ(found, 1);
  }
}

}  // namespace

TEST("the chain runs in the order of its names") {
  const Logits logits = logits_of({0.5, 0.3, 0.15, 0.05});
  const auto kept = [&](SamplerParams p, std::vector<std::string> samplers) {
    p.samplers = std::move(samplers);
    std::set<int> ids;
    for (uint64_t seed = 0; seed < 300; ++seed) {
      p.seed = seed;
      ids.insert(Sampler(p).sample(logits).id);
    }
    return ids;
  };
  SamplerParams p = plain();
  p.temperature = 4.0f;
  p.top_p = 0.7f;
  // 0.5 + 0.3 reaches 0.7; at temperature 4, with 0.31, 0.27, 0.23 and 0.18, it takes three.
  CHECK(kept(p, {"top_p", "temperature"}) == std::set<int>({0, 1}));
  CHECK(kept(p, {"temperature", "top_p"}) == std::set<int>({0, 1, 2}));
  CHECK(kept(p, {"temperature"}) == std::set<int>({0, 1, 2, 3}));
  CHECK(kept(p, {"top_p"}) == std::set<int>({0, 1}));

  // Of 0.5, 0.3 and 0.15, which min-p leaves, top-p 0.82 takes two (0.84); of all it takes three.
  SamplerParams two = plain();
  two.top_p = 0.82f;
  two.min_p = 0.2f;
  CHECK(kept(two, {"min_p", "top_p"}) == std::set<int>({0, 1}));
  CHECK(kept(two, {"top_p", "min_p"}) == std::set<int>({0, 1, 2}));
}

TEST("penalties after a filter bring nothing back") {
  SamplerParams p = greedy();
  p.presence_penalty = 5.0f;
  p.top_k = 1;
  const auto choose = [&](std::vector<std::string> samplers) {
    p.samplers = std::move(samplers);
    Sampler sampler(p);
    sampler.accept(0);
    return sampler.sample(Logits{3, 2, 1}).id;
  };
  CHECK_EQ(choose({"penalties", "top_k", "temperature"}), 1);
  CHECK_EQ(choose({"top_k", "penalties", "temperature"}), 0);
  CHECK_EQ(choose({"top_k", "temperature"}), 0);
  p.top_k = 2;
  CHECK_EQ(choose({"top_k", "penalties", "temperature"}), 1);
  // A temperature before it takes the likeliest alone; then there is no other.
  CHECK_EQ(choose({"temperature", "penalties"}), 0);
}

TEST("what is not in the chain has no effect, and no more logits are needed than the chain sees") {
  SamplerParams p;
  p.samplers = {"top_k"};
  CHECK_EQ(Sampler(p).n_needed(), 40);
  p.samplers = {"temperature", "top_k"};
  CHECK_EQ(Sampler(p).n_needed(), 40);
  p.samplers = {"temperature", "penalties", "top_k"};
  p.presence_penalty = 1.0f;
  CHECK_EQ(Sampler(p).n_needed(), 0);
  p.samplers = {};
  CHECK_EQ(Sampler(p).n_needed(), 0);
  p.temperature = 0.0f;  // left out: 1
  std::set<int> ids;
  for (p.seed = 0; p.seed < 50; ++p.seed) ids.insert(Sampler(p).sample(Logits{1, 1.1f}).id);
  CHECK_EQ(ids.size(), size_t{2});
}

TEST("the default chain written out is the default chain") {
  SamplerParams p, other;
  other.samplers = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                    "top_p",     "min_p", "xtc",         "temperature"};
  std::mt19937 random(7);
  Logits logits(300);
  for (p.seed = 0; p.seed < 100; ++p.seed) {
    for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 100.0f;
    other.seed = p.seed;
    CHECK_EQ(Sampler(p).sample(logits).id, Sampler(other).sample(logits).id);
  }
}

TEST("names that are none, and names twice, are refused") {
  for (const auto& names : {std::vector<std::string>{"top_q"}, {"top_k", "top_k"}}) {
    SamplerParams p;
    p.samplers = names;
    bool refused = false;
    try {
      Sampler sampler(p);
    } catch (const Error& e) {
      refused =
          e.code == ErrorCode::kUsage && std::string(e.what()).find(names[0]) != std::string::npos;
    }
    CHECK(refused);
  }
}

TEST("greedy picks the highest logit and the lower id among equals") {
  for (const float temperature : {0.0f, -1.0f}) {
    SamplerParams p = greedy();
    p.temperature = temperature;
    Sampler sampler(p);
    CHECK_EQ(sampler.sample(Logits{1, 3, 2}).id, 1);
    CHECK_EQ(sampler.sample(Logits{1, 3, 3, 3}).id, 1);
    CHECK_EQ(sampler.sample(Logits{-5}).id, 0);
    CHECK_EQ(sampler.sample(Logits{-0.0f, 0.0f}).id, 0);
  }
}

TEST("logit bias and penalties also steer greedy") {
  SamplerParams p = greedy();
  p.logit_bias = {{1, -kInf}, {2, 0.5f}, {2, 0.6f}};  // biases of one token add up
  CHECK_EQ(Sampler(p).sample(Logits{2, 9, 1}).id, 2);
  p.logit_bias = {{2, kInf}};
  CHECK_EQ(Sampler(p).sample(Logits{2, 9, 1}).id, 2);

  p = greedy();
  p.repeat_penalty = 2;
  Sampler repeat(p);
  repeat.accept(0);
  CHECK_EQ(repeat.sample(Logits{2, 1.5f}).id, 1);  // 2 / 2
  CHECK_EQ(repeat.sample(Logits{2, 0.5f}).id, 0);
  CHECK_EQ(repeat.sample(Logits{-1, -1.5f}).id, 1);  // -1 * 2
  CHECK_EQ(repeat.sample(Logits{-1, -2.5f}).id, 0);
  repeat.accept(0);  // once per token, however often it came
  CHECK_EQ(repeat.sample(Logits{-1, -2.5f}).id, 0);
}

TEST("the presence penalty counts once, the frequency penalty every time") {
  SamplerParams p = greedy();
  p.presence_penalty = 1;
  Sampler presence(p);
  presence.accept(0);
  presence.accept(0);
  CHECK_EQ(presence.sample(Logits{2, 0.9f}).id, 0);  // 2 - 1
  CHECK_EQ(presence.sample(Logits{2, 1.1f}).id, 1);
  p = greedy();
  p.frequency_penalty = 0.5f;
  Sampler frequency(p);
  for (int i = 0; i < 3; ++i) frequency.accept(0);
  CHECK_EQ(frequency.sample(Logits{2, 0.4f}).id, 0);  // 2 - 3 * 0.5
  CHECK_EQ(frequency.sample(Logits{2, 0.6f}).id, 1);
  // Together: (2 / 1.25) - (3 * 0.25 + 0.5) = 0.35
  p.repeat_penalty = 1.25f;
  p.frequency_penalty = 0.25f;
  p.presence_penalty = 0.5f;
  Sampler all(p);
  for (int i = 0; i < 3; ++i) all.accept(0);
  CHECK_EQ(all.sample(Logits{2, 0.34f}).id, 0);
  CHECK_EQ(all.sample(Logits{2, 0.36f}).id, 1);
}

TEST("penalties look at the last repeat_last_n tokens") {
  struct Case {
    int last_n;
    int expected;
  };
  // Accepted: 0 0 0 1 1. Logits 3, 3.5, 0 and a frequency penalty of 1 per occurrence.
  for (const auto& [last_n, expected] : std::vector<Case>{{0, 1},  // off: 3, 3.5
                                                          {1, 0},  // 3, 2.5
                                                          {2, 0},  // 3, 1.5
                                                          {4, 1},  // 1, 1.5
                                                          {5, 1},  // 0, 1.5
                                                          {2000000000, 1},
                                                          {-1, 1}}) {
    SamplerParams p = greedy();
    p.frequency_penalty = 1;
    p.repeat_last_n = last_n;
    Sampler sampler(p);
    for (const int id : {0, 0, 0, 1, 1}) sampler.accept(id);
    CHECK_EQ(sampler.sample(Logits{3, 3.5f, 0}).id, expected);
    sampler.reset();
    CHECK_EQ(sampler.sample(Logits{3, 3.5f, 0}).id, 1);
    sampler.accept(1);
    CHECK_EQ(sampler.sample(Logits{3, 3.5f, 0}).id, last_n == 0 ? 1 : 0);
  }
}

TEST("the penalty window rolls on after a reset") {
  SamplerParams p = greedy();
  p.frequency_penalty = 1;
  p.repeat_last_n = 3;
  Sampler sampler(p);
  for (const int id : {0, 1, 2, 0}) sampler.accept(id);
  sampler.reset();
  for (const int id : {0, 1, 1, 2}) sampler.accept(id);  // the 0 leaves: 1 1 2 stay
  CHECK_EQ(sampler.sample(Logits{1, 2.9f, 1.9f}).id, 0);
}

TEST("accepted tokens beyond the vocabulary change nothing and negative ones are refused") {
  SamplerParams p = greedy();
  p.repeat_penalty = 2;
  Sampler sampler(p);
  sampler.accept(std::numeric_limits<int32_t>::max());
  CHECK_EQ(sampler.sample(Logits{1, 2}).id, 1);
  CHECK_THROWS(sampler.accept(-1), Error, "token id must be 0 or positive, but got -1");
}

TEST("sampling does not accept what it picks") {
  SamplerParams p = greedy();
  p.frequency_penalty = 10;
  Sampler sampler(p);
  for (int i = 0; i < 5; ++i) CHECK_EQ(sampler.sample(Logits{2, 1}).id, 0);
}

TEST("top-k keeps the k likeliest and lower ids among equals") {
  SamplerParams p = plain();
  const Logits logits{1, 5, 3, 3, 3, 4};
  const std::vector<std::set<int>> expected{
      {0, 1, 2, 3, 4, 5}, {1}, {1, 5}, {1, 2, 5}, {1, 2, 3, 5}, {1, 2, 3, 4, 5}, {0, 1, 2, 3, 4, 5},
      {0, 1, 2, 3, 4, 5}};
  for (size_t k = 0; k < expected.size(); ++k) {
    p.top_k = static_cast<int>(k);
    CHECK_EQ(survivors(p, logits), expected[k]);
  }
  p.top_k = std::numeric_limits<int>::max();
  CHECK_EQ(survivors(p, logits), expected[0]);
}

TEST("top-p keeps the smallest set that reaches p and at least one token") {
  SamplerParams p = plain();
  struct Case {
    float top_p;
    std::set<int> expected;
  };
  for (const auto& [top_p, expected] : std::vector<Case>{{0, {2}},
                                                         {0.39f, {2}},
                                                         {0.41f, {2, 0}},
                                                         {0.69f, {2, 0}},
                                                         {0.71f, {2, 0, 3}},
                                                         {0.91f, {0, 1, 2, 3}},
                                                         {1, {0, 1, 2, 3}}}) {
    p.top_p = top_p;
    CHECK_EQ(survivors(p, logits_of({0.3, 0.1, 0.4, 0.2})), expected);
  }
  p.top_p = 0.5f;  // one of two equal tokens reaches exactly p
  CHECK_EQ(survivors(p, Logits{7, 7}), (std::set<int>{0}));
}

TEST("min-p is relative to the likeliest token") {
  SamplerParams p = plain();
  struct Case {
    float min_p;
    std::set<int> expected;
  };
  for (const auto& [min_p, expected] : std::vector<Case>{{0, {0, 1, 2, 3}},
                                                         {0.19f, {0, 1, 2, 3}},
                                                         {0.21f, {0, 2, 3}},
                                                         {0.59f, {0, 2, 3}},
                                                         {0.61f, {0, 2}},
                                                         {1, {0, 2}}}) {
    p.min_p = min_p;
    const float l = std::log(0.5f);
    CHECK_EQ(survivors(p, Logits{l, std::log(0.1f), l, std::log(0.3f)}), expected);
  }
}

TEST("typical sampling keeps what is nearest to the entropy") {
  // Entropy 0.898; surprises 0.511, 1.204, 2.303; distances 0.387, 0.306, 1.405.
  SamplerParams p = plain();
  struct Case {
    float typical_p;
    std::set<int> expected;
  };
  for (const auto& [typical_p, expected] : std::vector<Case>{{0, {1}},
                                                             {0.29f, {1}},
                                                             {0.31f, {0, 1}},
                                                             {0.89f, {0, 1}},
                                                             {0.91f, {0, 1, 2}},
                                                             {1, {0, 1, 2}}}) {
    p.typical_p = typical_p;
    CHECK_EQ(survivors(p, logits_of({0.6, 0.3, 0.1})), expected);
  }
  p.typical_p = 0.5f;  // the kept tokens must hold more than p, not just p
  CHECK_EQ(survivors(p, Logits{7, 7, -kInf}), (std::set<int>{0, 1}));
}

TEST("the filters run in the order top-k, typical, top-p, min-p, temperature") {
  SamplerParams p = plain();
  const Logits four = logits_of({0.4, 0.3, 0.2, 0.1});
  p.top_p = 0.5f;
  CHECK_EQ(survivors(p, four), (std::set<int>{0, 1}));
  p.top_k = 2;  // renormalized 0.57, 0.43
  CHECK_EQ(survivors(p, four), (std::set<int>{0}));

  // Typical drops the best token, so min-p and top-p measure against the rest.
  const Logits eight = logits_of({0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1});
  p = plain();
  p.typical_p = 0.65f;
  p.min_p = 0.9f;
  CHECK_EQ(survivors(p, eight), (std::set<int>{1, 2, 3, 4, 5, 6, 7}));
  p.min_p = 0;
  p.top_p = 0.2f;  // 2 / 7 reach it
  CHECK_EQ(survivors(p, eight), (std::set<int>{1, 2}));

  // Top-p counts the shares of tokens that min-p removes afterwards: 0.4, 0.3 | 0.2, 0.1.
  p = plain();
  p.top_p = 0.41f;
  p.min_p = 0.7f;
  CHECK_EQ(survivors(p, four), (std::set<int>{0, 1}));

  // Temperature changes no survivor (survivors() itself uses a huge one), and a tiny one is greedy.
  p = plain();
  p.temperature = std::numeric_limits<float>::denorm_min();
  Sampler cold(p);
  for (int i = 0; i < 100; ++i) CHECK_EQ(cold.sample(Logits{1, 2, 1.9999f}).id, 1);
}

TEST("draws follow the softmax at the given temperature") {
  // Nine degrees of freedom: a true sampler exceeds 50 in one of ten million seeds.
  Logits logits;
  for (int i = 0; i < 10; ++i) logits.push_back(0.3f * static_cast<float>((i * 7) % 10) - 20);
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    std::vector<double> expected;
    double sum = 0;
    for (const float l : logits) sum += std::exp(l / temperature);
    for (const float l : logits) expected.push_back(std::exp(l / temperature) / sum);
    SamplerParams p = plain();
    p.temperature = temperature;
    p.seed = 7;
    CHECK(chi_square(p, logits, expected, 100000) < 50);
    p.temperature = temperature * 1.1f;  // the bound is sharp enough to see a wrong temperature
    CHECK(chi_square(p, logits, expected, 100000) > 50);
  }
}

TEST("the random stream is xoshiro256** seeded by splitmix64") {
  // 1024 equal logits turn the upper ten bits into the id. Values from a Python version.
  struct Case {
    uint64_t seed;
    std::vector<int> expected;
  };
  for (const auto& [seed, expected] :
       std::vector<Case>{{0, {615, 765, 105, 426, 750, 1023, 432, 548}},
                         {42, {85, 388, 696, 946, 1015, 788, 736, 870}},
                         {UINT64_MAX, {573, 785, 519, 765, 580, 749, 379, 786}}}) {
    SamplerParams p = plain();
    p.seed = seed;
    Sampler sampler(p);
    for (const int id : expected) CHECK_EQ(sampler.sample(Logits(1024, 1.0f)).id, id);
  }
}

TEST("equal seeds give equal tokens, reset keeps the stream going, filters do not shift it") {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  Logits logits(5000);
  for (float& l : logits) l = normal(random);
  SamplerParams p;
  p.seed = 99;
  Sampler a(p), b(p);
  p.seed = 100;
  Sampler c(p);
  int different = 0;
  for (int i = 0; i < 200; ++i) {
    const int id = a.sample(logits).id;
    CHECK_EQ(id, b.sample(logits).id);
    different += id != c.sample(logits).id;
    if (i == 100) b.reset();
  }
  CHECK(different > 50);

  p = plain();
  Sampler one(p), two(p);
  one.sample(Logits{1});  // even a sure token takes its random number
  two.sample(logits);
  for (int i = 0; i < 20; ++i) CHECK_EQ(one.sample(logits).id, two.sample(logits).id);
}

TEST("log-probabilities are those of the raw logits") {
  const Logits logits{std::log(2.0f), std::log(5.0f), std::log(1.0f), kNaN, -kInf};
  SamplerParams p = greedy();
  CHECK(std::isnan(Sampler(p).sample(logits).logprob));
  CHECK(Sampler(p).sample(logits).top.empty());
  p.n_probs = 2;
  p.logit_bias = {{1, -kInf}, {2, 3.0f}};
  p.repeat_penalty = 3;
  Sampler sampler(p);
  sampler.accept(0);
  Sample sample = sampler.sample(logits);
  CHECK_EQ(sample.id, 2);
  CHECK_NEAR(sample.logprob, std::log(1.0 / 8), 1e-6);
  CHECK_EQ(sample.top.size(), 2u);
  CHECK_EQ(sample.top[0].id, 1);
  CHECK_NEAR(sample.top[0].logprob, std::log(5.0 / 8), 1e-6);
  CHECK_EQ(sample.top[1].id, 0);
  CHECK_NEAR(sample.top[1].logprob, std::log(2.0 / 8), 1e-6);

  p.n_probs = 1000;  // more than there are: all usable ones
  p.temperature = 1;
  sample = Sampler(p).sample(logits);
  CHECK_EQ(sample.top.size(), 3u);
  CHECK(sample.top[0].id == 1 && sample.top[1].id == 0 && sample.top[2].id == 2);
  double sum = 0;
  for (const auto& t : sample.top) sum += std::exp(t.logprob);
  CHECK_NEAR(sum, 1, 1e-6);
}

TEST("probabilities after sampling are those of the draw, over what the chain leaves") {
  const Logits logits = logits_of({0.4, 0.3, 0.2, 0.1});
  SamplerParams p = plain();
  p.n_post_probs = 10;
  p.top_k = 3;
  p.temperature = 0.5f;  // squares
  std::map<int, int> drawn;
  Sampler sampler(p);
  const double total = 0.16 + 0.09 + 0.04;
  for (int i = 0; i < 2000; ++i) {
    const Sample sample = sampler.sample(logits);
    ++drawn[sample.id];
    CHECK_EQ(sample.candidates.size(), size_t{3});
    for (size_t k = 0; k < 3; ++k) {
      const double weight = std::array{0.4, 0.3, 0.2}[k];
      CHECK_EQ(sample.candidates[k].id, static_cast<int32_t>(k));
      CHECK_NEAR(sample.candidates[k].probability, weight * weight / total, 1e-6);
      if (sample.id == static_cast<int32_t>(k))
        CHECK_EQ(sample.probability, sample.candidates[k].probability);
    }
    CHECK(std::isnan(sample.logprob));
  }
  CHECK_NEAR(drawn[0] / 2000.0, 0.16 / total, 0.05);
  p.n_post_probs = 1;
  const Sample one = Sampler(p).sample(logits);
  CHECK(one.candidates.size() == 1 && one.candidates[0].id == 0);
  // Without a choice it is sure, whatever the logits say; and telling changes no draw.
  p.temperature = 0;
  CHECK_EQ(Sampler(p).sample(logits).probability, 1.0f);
  CHECK(std::isnan(Sampler(plain()).sample(logits).probability));
  SamplerParams untold = plain();
  SamplerParams told = untold;
  told.n_post_probs = 2;
  told.n_probs = 2;
  Sampler a(untold), b(told);
  for (int i = 0; i < 100; ++i) CHECK_EQ(a.sample(logits).id, b.sample(logits).id);
  const std::vector<int32_t> allowed = {2, 3};
  const Sample held = b.sample(logits, &allowed);
  CHECK_EQ(held.candidates.size(), size_t{2});
  CHECK_NEAR(held.candidates[0].probability, 2.0 / 3, 1e-6);
}

TEST("log-probabilities hold for huge, tiny and infinite logits and for a large vocabulary") {
  SamplerParams p = greedy();
  p.n_probs = 3;
  Sample sample = Sampler(p).sample(Logits{3e38f, 3e38f, -3e38f});
  CHECK_NEAR(sample.logprob, -std::log(2.0), 1e-6);
  CHECK_EQ(sample.top[1].id, 1);
  sample = Sampler(p).sample(Logits{kInf, 1, kInf, kInf, kInf});
  CHECK_NEAR(sample.logprob, -std::log(4.0), 1e-6);
  CHECK_EQ(sample.top[2].id, 3);
  sample = Sampler(p).sample(Logits(128256, -1000.0f));
  CHECK_NEAR(sample.logprob, -std::log(128256.0), 1e-5);
  CHECK_EQ(sample.top[2].id, 2);
}

TEST("log-probabilities near zero are exact to a float") {
  SamplerParams p = greedy();
  p.n_probs = 1;
  Sampler sampler(p);
  for (float x = 5; x < 12; x += 0.001f) {
    const double expected = -std::log1p(std::exp(-static_cast<double>(x)));
    CHECK_NEAR(sampler.sample(Logits{0, -x}).logprob, expected, -expected * 1e-7);
  }
}

TEST("thousands of random cases match the slow reference") {
  std::mt19937_64 random(2024);
  std::normal_distribution<float> normal(0, 3);
  int errors = 0;
  for (int round = 0; round < 4000; ++round) {
    const int vocab = 1 + static_cast<int>(random() % (round % 10 == 0 ? 3000 : 40));
    const SamplerParams params = random_params(random, vocab);
    Sampler sampler(params);
    Reference reference(params);
    for (int step = 0; step < 6; ++step) {
      Logits logits(vocab);
      for (float& l : logits) {
        l = normal(random);
        if (round % 3 == 0) l = std::round(l);  // many ties
        if (round % 4 == 0 && random() % 8 == 0) l = random() % 2 == 0 ? kNaN : -kInf;
      }
      const int id = sample_or_minus_one(sampler, logits);
      const int expected = reference.sample(logits);
      CHECK_EQ(id, expected);
      errors += expected < 0;
      const int next = id < 0 || step % 2 == 0 ? static_cast<int>(random() % vocab) : id;
      sampler.accept(next);
      reference.accept(next);
    }
  }
  CHECK(errors > 0 && errors < 1000);  // the cases without a usable token were among them
}

TEST("the logits that a sampler says it needs give the same sample as all of them") {
  std::mt19937_64 random(31);
  std::normal_distribution<float> normal(0, 3);
  int masked = 0;
  for (int round = 0; round < 6000; ++round) {
    const int vocab = 2 + static_cast<int>(random() % 60);
    SamplerParams params = random_params(random, vocab);
    if (round % 2 == 0) params.top_k = 1 + static_cast<int>(random() % 4);
    Sampler all(params), some(params);
    for (int step = 0; step < 5; ++step) {
      Logits logits(vocab);
      for (float& l : logits) {
        l = normal(random);
        if (round % 3 == 0) l = std::round(l);  // many ties
        if (round % 8 == 0 && random() % 8 == 0) l = random() % 2 == 0 ? kNaN : -kInf;
      }
      const Logits needed = only_needed(some, logits);
      masked += std::count(needed.begin(), needed.end(), -kInf) > vocab / 2;
      const int id = sample_or_minus_one(all, logits);
      CHECK_EQ(sample_or_minus_one(some, needed), id);
      const int next = id < 0 || step % 2 == 0 ? static_cast<int>(random() % vocab) : id;
      all.accept(next);
      some.accept(next);
    }
  }
  CHECK(masked > 5000);
}

TEST(
    "log-probabilities need every logit, greedy sampling one, and so do others what they look at") {
  SamplerParams p;
  CHECK_EQ(Sampler(p).n_needed(), 40);
  p.n_probs = 1;
  CHECK_EQ(Sampler(p).n_needed(), 0);
  p = greedy();
  CHECK_EQ(Sampler(p).n_needed(), 1);
  CHECK_EQ(Sampler(plain()).n_needed(), 0);
  p = plain();
  p.typical_p = 0.5f;
  CHECK_EQ(Sampler(p).n_needed(), 0);
  p.top_k = 7;
  CHECK_EQ(Sampler(p).n_needed(), 7);
}

TEST("a full vocabulary in any order matches the slow reference") {
  std::mt19937_64 random(8);
  std::normal_distribution<float> normal(0, 3);
  Logits logits(128256);
  for (float& l : logits) l = normal(random);
  Logits ascending = logits;
  std::sort(ascending.begin(), ascending.end());
  const Logits descending(ascending.rbegin(), ascending.rend());
  std::vector<SamplerParams> cases(5);
  cases[1].top_k = 0;
  cases[2] = plain();
  cases[3].top_k = 1000;
  cases[3].temperature = 1.5f;
  cases[4].top_k = 0;
  cases[4].typical_p = 0.9f;
  for (const Logits& l : {logits, ascending, descending, Logits(128256, 2.0f)}) {
    for (SamplerParams params : cases) {
      params.seed = random();
      Sampler sampler(params);
      Reference reference(params);
      for (int i = 0; i < 3; ++i) CHECK_EQ(sampler.sample(l).id, reference.sample(l));
    }
  }
}

TEST("NaN and -inf never win and +inf always does") {
  for (SamplerParams p : {greedy(), plain(), SamplerParams()}) {
    Sampler sampler(p);
    for (int i = 0; i < 50; ++i) {
      CHECK_EQ(sampler.sample(Logits{kNaN, -kInf, -3e38f, kNaN}).id, 2);
      CHECK_EQ(sampler.sample(Logits{3e38f, kNaN, kInf, -kInf}).id, 2);
    }
  }
  SamplerParams p = plain();
  p.typical_p = 0.5f;
  p.top_p = 0.9f;
  Sampler sampler(p);
  for (int i = 0; i < 50; ++i) {
    const int id = sampler.sample(Logits{1, kInf, kNaN, kInf, -kInf, 3e38f}).id;
    CHECK(id == 1 || id == 3);
  }
}

TEST("without a usable token it throws and works again afterwards") {
  for (SamplerParams p : {greedy(), plain(), SamplerParams()}) {
    p.n_probs = 1;
    p.logit_bias = {{0, -kInf}};
    Sampler sampler(p);
    CHECK_THROWS(sampler.sample(Logits{5, -kInf, kNaN}), Error, "all 3 logits are NaN or -inf");
    CHECK_EQ(sampler.sample(Logits{5, 1, kNaN}).id, 1);
    CHECK_EQ(sample_or_minus_one(sampler, Logits{5}), -1);
    p.logit_bias.clear();
    CHECK_THROWS(Sampler(p).sample(Logits{}), Error, "all 0 logits");
  }
}

TEST("a logit bias beyond the vocabulary is a usage error") {
  SamplerParams p = greedy();
  p.logit_bias = {{3, 1.0f}};
  Sampler sampler(p);
  CHECK_EQ(sampler.sample(Logits{0, 0, 0, 0}).id, 3);
  CHECK_THROWS(sampler.sample(Logits{0, 0, 0}), Error,
               "logitBias names token 3, but the vocabulary has 3 tokens");
  try {
    sampler.sample(Logits{0, 0, 0});
  } catch (const Error& e) {
    CHECK(e.code == ErrorCode::kUsage);
  }
}

TEST("parameters that make no sense are refused by name") {
  struct Case {
    const char* text;
    void (*set)(SamplerParams&);
  };
  for (const auto& [text, set] : std::vector<Case>{
           {"temperature must be a number from -1000000 to 1000000, but got nan",
            [](SamplerParams& p) { p.temperature = kNaN; }},
           {"temperature must be a number", [](SamplerParams& p) { p.temperature = kInf; }},
           {"topK must be a whole number from 0 to 2147483647, but got -1",
            [](SamplerParams& p) { p.top_k = -1; }},
           {"topP must be a number from 0 to 1, but got 1.5",
            [](SamplerParams& p) { p.top_p = 1.5f; }},
           {"topP must be", [](SamplerParams& p) { p.top_p = -0.1f; }},
           {"topP must be a number from 0 to 1, but got nan",
            [](SamplerParams& p) { p.top_p = kNaN; }},
           {"minP must be", [](SamplerParams& p) { p.min_p = 1.1f; }},
           {"minP must be", [](SamplerParams& p) { p.min_p = kNaN; }},
           {"typicalP must be", [](SamplerParams& p) { p.typical_p = -1; }},
           {"repeatLastN must be a whole number from -1 to",
            [](SamplerParams& p) { p.repeat_last_n = -2; }},
           {"repeatPenalty must be a number from 1e-06 to",
            [](SamplerParams& p) { p.repeat_penalty = 0; }},
           {"repeatPenalty must be", [](SamplerParams& p) { p.repeat_penalty = kNaN; }},
           {"repeatPenalty must be", [](SamplerParams& p) { p.repeat_penalty = kInf; }},
           {"presencePenalty must be", [](SamplerParams& p) { p.presence_penalty = kNaN; }},
           {"frequencyPenalty must be", [](SamplerParams& p) { p.frequency_penalty = -kInf; }},
           {"logprobs must be a whole number from 0 to 1000, but got -1",
            [](SamplerParams& p) { p.n_probs = -1; }},
           {"logitBias must be",
            [](SamplerParams& p) {
              p.logit_bias = {{-1, 0.0f}};
            }},
           {"logitBias must be", [](SamplerParams& p) {
              p.logit_bias = {{1, kNaN}};
            }}}) {
    SamplerParams p;
    set(p);
    CHECK_THROWS(Sampler(p), Error, text);
    CHECK(code_of(p) == ErrorCode::kUsage);
  }
}

TEST("every row takes its bounds, and refuses what is just outside by its name") {
  for (const bitnet::SamplingParameter& row : bitnet::kSamplingParameters) {
    const auto refused = [&](const SamplerParams& p) {
      try {
        Sampler sampler(p);
      } catch (const Error& e) {
        CHECK(std::string(e.what()).starts_with(std::string(row.name) + " must be "));
        return true;
      }
      return false;
    };
    if (const auto* field = std::get_if<std::vector<std::string> SamplerParams::*>(&row.field)) {
      const auto with = [&](size_t n, double bytes) {
        SamplerParams p;
        (p.*(*field)).assign(n, std::string(static_cast<size_t>(bytes), 'x'));
        return p;
      };
      const bool is_any_text = std::string(row.name) != "samplers";  // those have names
      CHECK_EQ(refused(with(1, row.least)), !is_any_text);
      CHECK_EQ(refused(with(bitnet::kMaxTexts, row.most)), !is_any_text);
      CHECK(refused(with(1, row.least - 1)));
      CHECK(refused(with(1, row.most + 1)));
      CHECK(refused(with(bitnet::kMaxTexts + 1, row.least)));
      continue;
    }
    const auto with = [&](double value) {
      SamplerParams p;
      set_value(row, p, value);
      return p;
    };
    CHECK(!refused(with(row.least)));
    CHECK(!refused(with(row.most)));
    const bool is_seed = std::string(row.name) == "seed";  // every uint64 is one
    if (row.most < bitnet::kMaxCount) CHECK(refused(with(row.most * 1.001 + 1)));
    if (!is_seed) CHECK(refused(with(row.least - 1 - std::fabs(row.least) / 1000)));
  }
  Sampler standard{SamplerParams()};
}

TEST("llama.cpp's own cases of DRY, XTC and top-n-sigma") {  // its tests/test-sampling.cpp
  struct Dry {
    float multiplier;
    int allowed;
    std::vector<int> history;
    int breaker;  // token, -1: none
    std::vector<double> expected;
  };
  for (const Dry& c : std::vector<Dry>{
           {1, 2, {0, 1}, -1, {0.25, 0.25, 0.25, 0.25}},
           {1, 2, {0, 1, 2, 0, 1}, -1, {0.296923, 0.296923, 0.109232, 0.296923}},
           {1, 2, {0, 1, 3, 4, 0, 1}, 3, {0.2, 0.2, 0.2, 0.2, 0.2}},
           {2, 2, {0, 1, 2, 0, 1}, -1, {0.241818, 0.241818, 0.032727, 0.241818, 0.241818}},
           {1, 4, {0, 1, 2, 3, 4, 0, 1}, -1, {0.2, 0.2, 0.2, 0.2, 0.2}}}) {
    SamplerParams p = plain();
    p.dry_multiplier = c.multiplier;
    p.dry_base = 1.1f;
    p.dry_allowed_length = c.allowed;
    p.dry_sequence_breakers = {"stop"};
    std::vector<std::string> texts(c.expected.size(), "go");
    if (c.breaker >= 0) texts[c.breaker] = "non-stop!";
    std::vector<Choice> expected;
    for (size_t id = 0; id < c.expected.size(); ++id) {
      expected.push_back({static_cast<int>(id), c.expected[id]});
    }
    std::stable_sort(expected.begin(), expected.end(),
                     [](const Choice& a, const Choice& b) { return a.p > b.p; });
    check_draws(p, token_texts(texts), c.history, Logits(texts.size(), 0.5f), expected, 1e-5);
  }
  const Logits falling = logits_of({0.4, 0.3, 0.2, 0.1});
  const std::vector<Choice> all{{0, 0.4}, {1, 0.3}, {2, 0.2}, {3, 0.1}};
  struct Xtc {
    float threshold;
    std::vector<Choice> expected;
  };
  for (const Xtc& c : std::vector<Xtc>{{0.09f, {{3, 1}}},
                                       {0.19f, {{2, 2 / 3.0}, {3, 1 / 3.0}}},
                                       {0.29f, {{1, 0.5}, {2, 1 / 3.0}, {3, 1 / 6.0}}},
                                       {0.39f, all}}) {
    SamplerParams p = plain();
    p.xtc_probability = 1;
    p.xtc_threshold = c.threshold;
    check_draws(p, {}, {}, falling, c.expected, 1e-6);
  }
  SamplerParams p = plain();
  p.top_n_sigma = 1;
  check_draws(p, {}, {}, falling, {{0, 0.571429}, {1, 0.428571}}, 1e-6);
  for (const float keeps_all : {0.0f, 3.0f}) {
    p.top_n_sigma = keeps_all;
    check_draws(p, {}, {}, falling, all, 1e-6);
  }
}

TEST("probabilities of whole chains are llama.cpp's, with breakers found in a real vocabulary") {
  const bitnet::Gguf gguf = bitnet::Gguf::open(check::data("tiny-vocab.gguf"));
  const bitnet::Tokenizer tokenizer(gguf);
  std::ifstream in(check::data("sampling.txt"));
  int cases = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    SamplerParams params = plain();
    set_params(params, line);
    const auto next_line = [&] {
      std::getline(in, line);
      return line.substr(line.find(' ') + 1);
    };
    params.dry_sequence_breakers.clear();
    for (const std::string& hex : words_of<std::string>(next_line())) {
      params.dry_sequence_breakers.push_back(from_hex(hex));
    }
    const std::vector<int> history = words_of<int>(next_line());
    Logits logits(tokenizer.n_vocab(), -kInf);
    for (const Choice& c : choices_of(next_line())) logits[c.id] = static_cast<float>(c.p);
    const std::vector<Choice> expected = choices_of(next_line());
    params.seed = ++cases;
    check_draws(params, token_texts_of(tokenizer), history, logits, expected, 2e-6);
  }
  CHECK_EQ(cases, 80);
}

TEST("a breaker may be a part of a token, or begin in one and go on in the next") {
  SamplerParams p = greedy();
  p.dry_multiplier = 10;
  p.dry_allowed_length = 1;
  p.dry_sequence_breakers = {"cd"};
  const TokenTexts texts = token_texts({"a", "bc", "d", "xcdy", "e"});
  struct Case {
    std::vector<int> history;
    int expected;
  };
  // Token 0 is the likeliest, unless it would go on with a repetition.
  for (const auto& [history, expected] :
       std::vector<Case>{{{4, 0, 4}, 1},
                         {{4, 0, 3, 4}, 1},     // the last 4 comes after the breaker
                         {{4, 0, 4, 3}, 0},     // nothing does
                         {{4, 0, 1, 2, 4}, 1},  // "bc" and "d" are one, too
                         {{1, 2, 0, 1, 2}, 0},
                         {{2, 1, 0, 2, 1}, 1}}) {  // "d" and "bc" are none
    Sampler sampler(p, texts);
    for (const int id : history) sampler.accept(id);
    CHECK_EQ(sampler.sample(Logits{2, 1, 0, 0, 0}).id, expected);
  }
}

TEST("XTC is by chance, and takes its random number only when it is on") {
  SamplerParams p = plain();
  p.seed = 3;
  const Logits logits = logits_of({0.5, 0.3, 0.2});
  Sampler off(p);
  p.xtc_threshold = 0.6f;
  p.xtc_probability = 1;
  Sampler never(p);
  for (int i = 0; i < 50; ++i) CHECK_EQ(off.sample(logits).id, never.sample(logits).id);
  p.xtc_threshold = 0.25f;
  p.xtc_probability = 0.3f;
  p.temperature = 1e-3f;  // the likeliest that is left
  Sampler sometimes(p);
  Stream stream(p.seed);
  for (int i = 0; i < 500; ++i) {
    const bool excludes = stream.next() <= 0.3;
    stream.next();  // of the draw
    CHECK_EQ(sometimes.sample(logits).id, excludes ? 1 : 0);
  }
}

TEST("any parameters and any logits give a usable id or a clean error") {
  std::mt19937_64 random(77);
  const auto wild = [&]() -> float {
    switch (random() % 8) {
      case 0:
        return 0;
      case 1:
        return 1;
      case 2:
        return kNaN;
      case 3:
        return random() % 2 == 0 ? kInf : -kInf;
      case 4:
        return std::numeric_limits<float>::denorm_min();
      case 5:
        return random() % 2 == 0 ? 3.4e38f : -3.4e38f;
      default:
        break;
    }
    const uint32_t bits = static_cast<uint32_t>(random());
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return random() % 2 == 0 ? value : static_cast<float>(random() % 1000) / 1000;
  };
  int sampled = 0;
  for (int round = 0; round < 20000; ++round) {
    const int vocab = static_cast<int>(random() % 300);
    SamplerParams p = random_params(random, vocab + 1);
    // One or two wild values: with more, hardly any set of parameters passes the checks.
    for (int i = 0; i < 2; ++i) {
      const auto& rows = bitnet::kSamplingParameters;
      const auto& field = rows[random() % std::size(rows)].field;
      if (const auto* real = std::get_if<float SamplerParams::*>(&field)) p.*(*real) = wild();
    }
    if (random() % 8 == 0) p.top_k = static_cast<int32_t>(random() >> 33);
    if (random() % 8 == 0) p.repeat_last_n = static_cast<int32_t>(random());
    if (random() % 4 == 0) p.n_probs = static_cast<int32_t>(random() % 400);
    if (random() % 4 == 0) p.logit_bias.emplace_back(static_cast<int32_t>(random() % 310), wild());
    try {
      Sampler sampler(p);
      for (int step = 0; step < 3; ++step) {
        Logits logits(vocab);
        for (float& l : logits) l = wild();
        const Sample sample = sampler.sample(logits);
        CHECK(sample.id >= 0 && sample.id < vocab);
        CHECK(sample.top.size() <= static_cast<size_t>(p.n_probs));
        for (const auto& t : sample.top) CHECK(t.id >= 0 && t.id < vocab && t.logprob <= 0);
        for (const auto& t : sample.top) CHECK(logits[t.id] > -kInf);
        CHECK(logits[sample.id] > -kInf);
        CHECK(p.n_probs > 0 ? sample.logprob <= 0 : std::isnan(sample.logprob));
        sampler.accept(sample.id);
        sampler.accept(static_cast<int32_t>(random() % 400));
        ++sampled;
      }
    } catch (const Error& e) {
      CHECK(e.code == ErrorCode::kUsage);
    }
  }
  CHECK(sampled > 10000);
}
