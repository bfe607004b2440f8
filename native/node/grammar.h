// Grammars that were compiled, as JavaScript holds them.
#pragma once

#include <napi.h>

#include <memory>

#include "grammar/grammar.h"

namespace addon {

// The grammar behind an object that compileGrammar made. Throws USAGE for anything else.
std::shared_ptr<const bitnet::Grammar> grammar_of(const Napi::Value& value);

// Adds compileGrammar to the addon.
void define_grammar(Napi::Env env, Napi::Object exports);

}  // namespace addon
