#include "node/machine.h"

#include "base/threads.h"
#include "kernels/kernels.h"

namespace addon {
namespace {

Napi::Value list_kernels(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (const bitnet::Kernels* k : bitnet::all_kernels()) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("name", k->name);
    entry.Set("supported", bitnet::supported(*k));
    out.Set(out.Length(), entry);
  }
  return out;
}

Napi::Value physical_cores(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), bitnet::physical_cores());
}

}  // namespace

void define_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("kernels", Napi::Function::New<list_kernels>(env));
  exports.Set("physicalCores", Napi::Function::New<physical_cores>(env));
}

}  // namespace addon
