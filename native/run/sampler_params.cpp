#include "run/sampler_params.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"

namespace bitnet {
namespace {

[[noreturn]] void fail_usage(const char* option, const std::string& expected, double got) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", got);
  throw Error(ErrorCode::kUsage,
              std::string(option) + " must be " + expected + ", but got " + text);
}

[[noreturn]] void fail_bounds(const SamplingParameter& p, const char* kind, double got) {
  char text[96];
  std::snprintf(text, sizeof text, "%s from %.16g to %.16g", kind, p.least, p.most);
  fail_usage(p.name, text, got);
}

[[noreturn]] void fail_texts(const SamplingParameter& p, const char* unit, double got) {
  char text[160];
  std::snprintf(text, sizeof text, "at most %zu texts of %.16g to %.16g bytes, but got %.16g %s",
                kMaxTexts, p.least, p.most, got, unit);
  throw Error(ErrorCode::kUsage, std::string(p.name) + " must be " + text);
}

void check_value(const SamplingParameter& p, float value) {  // NaN is no number
  if (value >= static_cast<float>(p.least) && value <= static_cast<float>(p.most)) return;
  fail_bounds(p, "a number", value);
}

void check_value(const SamplingParameter& p, int32_t value) {
  if (value < p.least || value > p.most) fail_bounds(p, "a whole number", value);
}

void check_value(const SamplingParameter&, uint64_t) {}  // the bounds are JavaScript's

void check_value(const SamplingParameter& p, const std::vector<std::string>& texts) {
  if (texts.size() > kMaxTexts) fail_texts(p, "texts", static_cast<double>(texts.size()));
  for (const std::string& text : texts) {
    const double size = static_cast<double>(text.size());
    if (size < p.least || size > p.most) fail_texts(p, "bytes", size);
  }
}

[[noreturn]] void fail_sampler(const char* expected, const std::string& got) {
  std::string known;
  for (const std::string& name : SamplerParams().samplers)
    known += (known.empty() ? "" : ", ") + name;
  throw Error(ErrorCode::kUsage, std::string("samplers must be ") + expected + ", but got " + got +
                                     "; there are " + known);
}

}  // namespace

void check_sampling(const SamplerParams& params) {
  for (const SamplingParameter& p : kSamplingParameters) {
    std::visit([&](auto field) { check_value(p, params.*field); }, p.field);
  }
  const std::vector<std::string> known = SamplerParams().samplers;
  for (size_t i = 0; i < params.samplers.size(); ++i) {
    const std::string& name = params.samplers[i];
    const auto place = params.samplers.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(known.begin(), known.end(), name) == known.end())
      fail_sampler("names of samplers", name);
    if (std::find(params.samplers.begin(), place, name) != place)
      fail_sampler("each sampler once", name);
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0) fail_usage("logitBias", "given for token ids from 0 on", id);
    if (std::isnan(bias)) fail_usage("logitBias", "a number or an infinity", bias);
  }
}

}  // namespace bitnet
