// Gguf: the metadata and the tensors of a file.
#pragma once

#include <napi.h>

#include <memory>

#include "gguf/gguf.h"

namespace addon {

Napi::Object make_gguf(Napi::Env env, std::shared_ptr<const bitnet::Gguf> gguf);
// What such an object shows. Throws USAGE for any other value.
const bitnet::Gguf& gguf_of(const Napi::Value& value);

// Adds openGguf to the addon.
void define_gguf(Napi::Env env, Napi::Object exports);

}  // namespace addon
