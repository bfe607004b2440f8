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

Napi::Value build_info(const Napi::CallbackInfo& info) {
#if defined(__clang__)
  const char* compiler = "Clang " __clang_version__;
#elif defined(__GNUC__)
  const char* compiler = "GCC " __VERSION__;
#else
  const char* compiler = "unknown";
#endif
#ifdef NDEBUG
  const char* build = "Release";
#else
  const char* build = "Debug";
#endif
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("compiler", compiler);
  out.Set("build", build);
  return out;
}

}  // namespace

void define_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("kernels", Napi::Function::New<list_kernels>(env));
  exports.Set("buildInfo", Napi::Function::New<build_info>(env));
  exports.Set("physicalCores", Napi::Function::New<physical_cores>(env));
}

}  // namespace addon
