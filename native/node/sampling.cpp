#include "node/sampling.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>
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

void read_value(const bitnet::SamplingParameter& p, Napi::Value value, float& field) {
  field = static_cast<float>(number_of(value.Env(), value, p.name));
}

template <class Whole>
void read_value(const bitnet::SamplingParameter& p, Napi::Value value, Whole& field) {
  field = static_cast<Whole>(integer_of(value.Env(), value, p.name, p.least, p.most));
}

void read_value(const bitnet::SamplingParameter& p, Napi::Value value,
                std::vector<std::string>& field) {
  const auto fail = [&] {
    throw to_js(value.Env(), ErrorCode::kUsage, std::string(p.name) + " must be a list of texts");
  };
  if (!value.IsArray()) fail();
  const auto texts = value.As<Napi::Array>();
  field.clear();
  // One text too many is enough for the core to refuse the list.
  const uint32_t n = std::min<uint32_t>(texts.Length(), bitnet::kMaxTexts + 1);
  for (uint32_t i = 0; i < n; ++i) {
    if (!texts.Get(i).IsString()) fail();
    field.push_back(texts.Get(i).As<Napi::String>());
  }
}

const char* kind_of(float) { return "real"; }
const char* kind_of(int32_t) { return "whole"; }
const char* kind_of(uint64_t) { return "whole"; }
const char* kind_of(const std::vector<std::string>&) { return "texts"; }

Napi::Value standard_of(Napi::Env env, float value) {
  // The shortest decimal that is this float: 0.95, not 0.949999988079071.
  char text[32];
  double decimal = value;
  for (int digits = 1; digits <= 9; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    decimal = std::strtod(text, nullptr);
    if (static_cast<float>(decimal) == value) break;
  }
  return Napi::Number::New(env, decimal);
}

Napi::Value standard_of(Napi::Env env, int32_t value) { return Napi::Number::New(env, value); }

Napi::Value standard_of(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Value standard_of(Napi::Env env, const std::vector<std::string>& texts) {
  Napi::Array out = Napi::Array::New(env);
  for (const std::string& text : texts) out.Set(out.Length(), js_string(env, text));
  return out;
}

// The rows of kSamplingParameters.
Napi::Value sampling_parameters(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  static const bitnet::SamplerParams defaults;
  Napi::Array out = Napi::Array::New(env);
  for (const bitnet::SamplingParameter& p : bitnet::kSamplingParameters) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("name", p.name);
    row.Set("least", p.least);
    row.Set("most", p.most);
    row.Set("option", p.option);
    row.Set("aliases", p.aliases);
    row.Set("help", p.help);
    std::visit(
        [&](auto field) {
          const auto& standard = defaults.*field;
          row.Set("kind", kind_of(standard));
          row.Set("standard", standard_of(env, standard));
        },
        p.field);
    out.Set(out.Length(), row);
  }
  return out;
}

Napi::Value check_sampling(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { bitnet::check_sampling(sampling_of(options_arg(info, 0))); });
  return info.Env().Undefined();
}

}  // namespace

bitnet::SamplerParams sampling_of(const Napi::Object& options) {
  bitnet::SamplerParams params;
  for (const bitnet::SamplingParameter& p : bitnet::kSamplingParameters) {
    const Napi::Value value = options.Get(p.name);
    if (value.IsUndefined()) continue;
    std::visit([&](auto field) { read_value(p, value, params.*field); }, p.field);
  }
  if (options.Get("logitBias").IsArray())
    params.logit_bias = logit_bias_of(options.Get("logitBias").As<Napi::Array>());
  return params;
}

void define_sampling(Napi::Env env, Napi::Object exports) {
  exports.Set("samplingParameters", Napi::Function::New<sampling_parameters>(env));
  exports.Set("checkSampling", Napi::Function::New<check_sampling>(env));
}

}  // namespace addon
