// Sampling parameters from JavaScript.
#pragma once

#include <napi.h>

#include "run/sampler.h"

namespace addon {

// The values that `options` names; the rest has its default. Throws USAGE.
bitnet::SamplerParams sampling_of(const Napi::Object& options);

// Adds samplingParameters and checkSampling to the addon.
void define_sampling(Napi::Env env, Napi::Object exports);

}  // namespace addon
