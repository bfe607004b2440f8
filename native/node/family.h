// The model families, as JavaScript sees them.
#pragma once

#include <napi.h>

namespace addon {

void define_family(Napi::Env env, Napi::Object exports);

}  // namespace addon
