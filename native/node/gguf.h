// Gguf: the metadata and the tensors of a file.
#pragma once

#include <napi.h>

#include <memory>

#include "gguf/gguf.h"

namespace addon {

Napi::Object make_gguf(Napi::Env env, std::shared_ptr<const bitnet::Gguf> gguf);

// Adds openGguf to the addon.
void define_gguf(Napi::Env env, Napi::Object exports);

}  // namespace addon
