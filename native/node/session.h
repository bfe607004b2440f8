// Session: one sequence of tokens on a model, one operation at a time.
#pragma once

#include <napi.h>

#include <memory>

#include "node/events.h"

namespace addon {

// `urgency` of all its operations.
Napi::Object make_session(Napi::Env env, std::shared_ptr<Runtime> runtime,
                          std::shared_ptr<bitnet::Sequence> sequence, bitnet::Urgency urgency);

// The class itself is not exported: models make sessions.
void define_session(Napi::Env env);

}  // namespace addon
