// Session: one sequence of tokens on a model, one operation at a time.
#pragma once

#include <napi.h>

#include <memory>

#include "run/session.h"

namespace addon {

Napi::Object make_session(Napi::Env env, std::shared_ptr<bitnet::Session> session);

// The class itself is not exported: models make sessions.
void define_session(Napi::Env env);

}  // namespace addon
