// Model: its description, what it costs to run, its sessions.
#pragma once

#include <napi.h>

namespace addon {

// Adds loadModel to the addon.
void define_model(Napi::Env env, Napi::Object exports);

}  // namespace addon
