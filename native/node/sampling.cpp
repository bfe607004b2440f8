#include "node/sampling.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "node/support.h"

namespace addon {
namespace {

std::vector<std::pair<int32_t, float>> logit_bias_of(const Napi::Array& pairs) {
  std::vector<std::pair<int32_t, float>> out;
  Napi::Env env = pairs.Env();
  for (uint32_t i = 0; i < pairs.Length(); ++i) {
    if (!pairs.Get(i).IsArray())
      throw to_js(env, ErrorCode::kUsage, "logitBias must be pairs of id and bias");
    const auto pair = pairs.Get(i).As<Napi::Array>();
    out.emplace_back(static_cast<int32_t>(
                         integer_of(env, pair.Get(0u), "a token id of logitBias", 0, INT32_MAX)),
                     static_cast<float>(number_of(env, pair.Get(1u), "a bias of logitBias")));
  }
  return out;
}

}  // namespace

bitnet::SamplerParams sampling_of(const Napi::Object& options) {
  bitnet::SamplerParams p;
  Napi::Env env = options.Env();
  const auto real = [&](const char* key, float& field) {
    if (!options.Get(key).IsUndefined())
      field = static_cast<float>(number_of(env, options.Get(key), key));
  };
  const auto whole = [&](const char* key, int32_t& field) {
    if (!options.Get(key).IsUndefined()) {
      field = static_cast<int32_t>(integer_of(env, options.Get(key), key, INT32_MIN, INT32_MAX));
    }
  };
  real("temperature", p.temperature);
  whole("topK", p.top_k);
  real("topP", p.top_p);
  real("minP", p.min_p);
  real("typicalP", p.typical_p);
  whole("repeatLastN", p.repeat_last_n);
  real("repeatPenalty", p.repeat_penalty);
  real("presencePenalty", p.presence_penalty);
  real("frequencyPenalty", p.frequency_penalty);
  whole("nProbs", p.n_probs);
  if (!options.Get("seed").IsUndefined()) {
    p.seed =
        static_cast<uint64_t>(integer_of(env, options.Get("seed"), "seed", 0, kMaxSafeInteger));
  }
  if (options.Get("logitBias").IsArray())
    p.logit_bias = logit_bias_of(options.Get("logitBias").As<Napi::Array>());
  return p;
}

}  // namespace addon
