// Adapters that were loaded for a model, as JavaScript holds them.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "model/adapter.h"

namespace addon {

// model.loadAdapter(matrices, options): a promise of an adapter. `keep` stays alive meanwhile.
Napi::Value load_adapter(const Napi::CallbackInfo& info,
                         std::shared_ptr<const bitnet::Model> model);

// [{ adapter, scale }], of which `model` is the one they were loaded for; undefined: none. Throws
// USAGE.
std::vector<bitnet::AdapterSet::Use> adapters_of(const Napi::Value& value,
                                                 const bitnet::Model& model);

void define_adapter(Napi::Env env);

}  // namespace addon
