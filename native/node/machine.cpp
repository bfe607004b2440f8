#include "node/machine.h"

#include <string>

#include "base/cores.h"
#include "base/cpu_id.h"
#include "kernels/kernels.h"
#include "node/support.h"

namespace addon {
namespace {

Napi::Value list_kernels(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (const bitnet::Kernels* k : bitnet::all_kernels()) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("name", k->name);
    entry.Set("supported", bitnet::supported(*k));
    Napi::Array lacks = Napi::Array::New(info.Env());
    for (const bitnet::CpuFeatureName& name : bitnet::cpu_feature_names()) {
      if (k->needs & ~bitnet::cpu_features() & name.feature) lacks.Set(lacks.Length(), name.name);
    }
    entry.Set("lacks", lacks);
    out.Set(out.Length(), entry);
  }
  return out;
}

// The layouts in which a supported kernel gives other bits than scalar.
Napi::Value test_kernel(const Napi::CallbackInfo& info) {
  const std::string name = string_arg(info, 0, "the kernel");
  Napi::Array wrong = Napi::Array::New(info.Env());
  for (const bitnet::Kernels* k : bitnet::all_kernels()) {
    if (name != k->name || !bitnet::supported(*k)) continue;
    for (const bitnet::WeightLayoutName& entry : bitnet::kWeightLayouts) {
      if (!bitnet::passes_self_test(*k, entry.layout)) wrong.Set(wrong.Length(), entry.name);
    }
    return wrong;
  }
  throw to_js(info.Env(), ErrorCode::kUsage, "this CPU cannot run a kernel named '" + name + "'");
}

Napi::Value describe_cpu(const Napi::CallbackInfo& info) {
  const bitnet::CpuId id = bitnet::cpu_id();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("vendor", js_string(info.Env(), id.vendor));
  out.Set("brand", js_string(info.Env(), id.brand));
  out.Set("hypervisor", js_string(info.Env(), id.hypervisor));
  Napi::Array features = Napi::Array::New(info.Env());
  for (const bitnet::CpuFeatureName& name : bitnet::cpu_feature_names()) {
    Napi::Object feature = Napi::Object::New(info.Env());
    feature.Set("name", name.name);
    feature.Set("present", (bitnet::cpu_features() & name.feature) != 0);
    features.Set(features.Length(), feature);
  }
  out.Set("features", features);
  return out;
}

Napi::Value physical_cores(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), bitnet::physical_cores());
}

Napi::Value is_translated(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), bitnet::is_translated());
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
  exports.Set("testKernel", Napi::Function::New<test_kernel>(env));
  exports.Set("describeCpu", Napi::Function::New<describe_cpu>(env));
  exports.Set("buildInfo", Napi::Function::New<build_info>(env));
  exports.Set("isTranslated", Napi::Function::New<is_translated>(env));
  exports.Set("physicalCores", Napi::Function::New<physical_cores>(env));
}

}  // namespace addon
