// What this machine can do: kernels and cores.
#pragma once

#include <napi.h>

namespace addon {

// Adds kernels, testKernel, describeCpu, buildInfo and physicalCores to the addon.
void define_machine(Napi::Env env, Napi::Object exports);

}  // namespace addon
