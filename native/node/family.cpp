#include "node/family.h"

#include "model/family.h"

namespace addon {
namespace {

Napi::Object layer_tensor(Napi::Env env, const bitnet::LayerTensor& tensor) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", tensor.name);
  out.Set("role", tensor.role == bitnet::TensorRole::kLinear ? "linear" : "norm");
  if (tensor.kind) out.Set("norm", bitnet::norm_name(tensor.kind));
  out.Set("rows", bitnet::extent_name(tensor.rows));
  out.Set("cols", bitnet::extent_name(tensor.cols));
  out.Set("optional", tensor.optional);
  out.Set("rotated", tensor.rotated);
  return out;
}

Napi::Object family_object(Napi::Env env, const bitnet::Family& family) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("architecture", family.architecture);
  out.Set("activation", bitnet::activation_name(family.activation));
  out.Set("ropePairs", family.rope_pairs == bitnet::RopePairs::kHalves ? "halves" : "neighbours");
  out.Set("ownHead", family.own_head);
  out.Set("pooled", family.pooled);
  out.Set("ternary", family.ternary);
  Napi::Array tensors = Napi::Array::New(env);
  for (const bitnet::LayerTensor& tensor : bitnet::layer_tensors(family))
    tensors.Set(tensors.Length(), layer_tensor(env, tensor));
  out.Set("tensors", tensors);
  return out;
}

Napi::Value list_families(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (const bitnet::Family& family : bitnet::families())
    out.Set(out.Length(), family_object(info.Env(), family));
  return out;
}

}  // namespace

void define_family(Napi::Env env, Napi::Object exports) {
  exports.Set("families", Napi::Function::New<list_families>(env));
}

}  // namespace addon
