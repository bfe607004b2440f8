// Tokenizer and Decoder: text to token ids and back.
#pragma once

#include <napi.h>

#include <memory>

#include "tokenizer/tokenizer.h"

namespace addon {

Napi::Object make_tokenizer(Napi::Env env, std::shared_ptr<const bitnet::Tokenizer> tokenizer);

// Adds openTokenizer to the addon.
void define_tokenizer(Napi::Env env, Napi::Object exports);

}  // namespace addon
