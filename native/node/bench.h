// The part of the addon that measures.
#pragma once

#include <napi.h>

namespace addon {

// Adds measureLimits, timeKernel and tuningParameters to the addon.
void define_bench(Napi::Env env, Napi::Object exports);

}  // namespace addon
