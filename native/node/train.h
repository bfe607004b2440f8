// The part of the addon that trains models.
#pragma once

#include <napi.h>

namespace addon {

// Adds openTraining and planTraining to the addon.
void define_train(Napi::Env env, Napi::Object exports);

}  // namespace addon
