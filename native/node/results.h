// What sessions give to JavaScript, as src/native/addon.ts has it.
#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

#include "run/engine.h"

namespace addon {

// The events of a step as one object, a NativeProgress.
Napi::Object progress_of(Napi::Env env, const std::vector<bitnet::Event>& events);

// What NativeScores has of the scores.
Napi::Object scores_of(Napi::Env env, const bitnet::Sequence& sequence, int64_t n_top);

}  // namespace addon
