#include "node/gguf.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/cores.h"
#include "base/threads.h"
#include "formats/format.h"
#include "gguf/statistics.h"
#include "model/check.h"
#include "node/object.h"
#include "node/support.h"

namespace addon {
namespace {

const char* gguf_type_name(bitnet::GgufType type) {
  static const char* const kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                       "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(type)];
}

constexpr int64_t kSafe = int64_t{1} << 53;  // integers of this size fit no number of JavaScript

// Keys are bytes, which may be no UTF-8 and mean something to JavaScript ("__proto__"): always a
// property of the object itself. Bytes that are no text become U+FFFD.
void set_own(Napi::Object& object, std::string_view key, Napi::Value value) {
  object.DefineProperty(Napi::PropertyDescriptor::Value(js_string(object.Env(), key), value,
                                                        napi_default_jsproperty));
}

Napi::Value element(Napi::Env env, const bitnet::GgufValue& value, uint64_t i) {
  using bitnet::GgufType;
  switch (value.element) {
    case GgufType::kString:
      return js_string(env, value.string(i));
    case GgufType::kBool:
      return Napi::Boolean::New(env, value.integer(i) != 0);
    case GgufType::kU64: {
      const auto n = static_cast<uint64_t>(value.integer(i));
      if (n < static_cast<uint64_t>(kSafe)) return Napi::Number::New(env, static_cast<double>(n));
      return Napi::BigInt::New(env, n);
    }
    case GgufType::kI64: {
      const int64_t n = value.integer(i);
      if (n > -kSafe && n < kSafe) return Napi::Number::New(env, static_cast<double>(n));
      return Napi::BigInt::New(env, n);
    }
    default:
      return Napi::Number::New(env, value.number(i));
  }
}

class GgufObject : public Wrapped<GgufObject> {
 public:
  static constexpr const char* kName = "Gguf";
  using Wrapped::Wrapped;

  void init(Napi::Object object, std::shared_ptr<const bitnet::Gguf> gguf) {
    gguf_ = std::move(gguf);
    object.Set("path", gguf_->name());
    object.Set("version", gguf_->version());
    object.Set("fileSize", gguf_->file_size());
    object.Set("dataOffset", gguf_->data_offset());
    Napi::Array paths = Napi::Array::New(object.Env(), gguf_->n_parts());
    for (size_t i = 0; i < gguf_->n_parts(); ++i)
      paths.Set(static_cast<uint32_t>(i), js_string(object.Env(), gguf_->path(i)));
    object.Set("paths", paths);
  }

  const bitnet::Gguf& gguf() const { return *gguf_; }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&GgufObject::metadata>("metadata"),
                          InstanceMethod<&GgufObject::metadata_keys>("metadataKeys"),
                          InstanceMethod<&GgufObject::metadata_array>("metadataArray"),
                          InstanceMethod<&GgufObject::tensors>("tensors"),
                          InstanceMethod<&GgufObject::check_model>("checkModel"),
                          InstanceMethod<&GgufObject::examine_tensor>("examineTensor"),
                          InstanceMethod<&GgufObject::resident_bytes>("residentBytes")});
  }

 private:
  Napi::Value metadata(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env);
    for (const auto& [key, value] : gguf_->metadata()) {
      if (value.type != bitnet::GgufType::kArray) {
        set_own(out, key, element(env, value, 0));
        continue;
      }
      Napi::Object summary = Napi::Object::New(env);
      summary.Set("arrayOf", gguf_type_name(value.element));
      summary.Set("length", value.count);
      set_own(out, key, summary);
    }
    return out;
  }

  Napi::Value metadata_keys(const Napi::CallbackInfo& info) {
    Napi::Array out = Napi::Array::New(info.Env(), gguf_->metadata().size());
    uint32_t i = 0;
    for (const auto& entry : gguf_->metadata()) out.Set(i++, js_string(info.Env(), entry.first));
    return out;
  }

  Napi::Value metadata_array(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const std::string key = string_arg(info, 0, "the key");
    const uint64_t start =
        static_cast<uint64_t>(integer_of(env, info[1], "start", 0, kMaxSafeInteger));
    const uint64_t count =
        static_cast<uint64_t>(integer_of(env, info[2], "count", 0, kMaxSafeInteger));
    const bitnet::GgufValue* value = gguf_->find(key);
    if (!value || value->type != bitnet::GgufType::kArray) {
      throw to_js(env, ErrorCode::kNotFound, gguf_->name() + ": no array named " + key);
    }
    const uint64_t begin = std::min(start, value->count),
                   end = begin + std::min(count, value->count - begin);
    Napi::Array out = Napi::Array::New(env, static_cast<size_t>(end - begin));
    for (uint64_t i = begin; i < end; ++i)
      out.Set(static_cast<uint32_t>(i - begin), element(env, *value, i));
    return out;
  }

  Napi::Value tensors(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Array out = Napi::Array::New(env, gguf_->tensors().size());
    uint32_t i = 0;
    for (const bitnet::GgufTensor& t : gguf_->tensors()) {
      Napi::Object tensor = Napi::Object::New(env);
      Napi::Array shape = Napi::Array::New(env, t.n_dims);
      for (uint32_t d = 0; d < t.n_dims; ++d) shape.Set(d, t.ne[d]);
      tensor.Set("name", js_string(env, t.name));
      tensor.Set("type", bitnet::tensor_type_name(t.type));
      tensor.Set("shape", shape);
      tensor.Set("offset", gguf_->offset_of(t));
      tensor.Set("bytes", t.n_bytes);
      if (gguf_->n_parts() > 1) tensor.Set("part", t.part + 1);
      out.Set(i++, tensor);
    }
    return out;
  }

  Napi::Value check_model(const Napi::CallbackInfo& info) {
    const std::string pre = optional_string(options_arg(info, 0), "tokenizerPre");
    guarded(info.Env(), [&] { bitnet::check_model(*gguf_, {pre}); });
    return info.Env().Undefined();
  }

  Napi::Value examine_tensor(const Napi::CallbackInfo& info) {
    const auto last = static_cast<double>(gguf_->tensors().size()) - 1;
    const int64_t index = integer_of(info.Env(), info[0], "the place of a tensor", 0, last);
    auto found = std::make_shared<bitnet::TensorStatistics>();
    return Task::start(
        info.Env(),
        [gguf = gguf_, index, found] {
          bitnet::ThreadPool pool(bitnet::physical_cores());
          *found = bitnet::examine_tensor(*gguf, gguf->tensors()[static_cast<size_t>(index)], pool);
        },
        [found](Napi::Env env) -> Napi::Value { return statistics_of(env, *found); });
  }

  static Napi::Value statistics_of(Napi::Env env, const bitnet::TensorStatistics& found) {
    Napi::Object out = Napi::Object::New(env);
    out.Set("readable", found.readable);
    out.Set("ternary", found.ternary);
    out.Set("badRows", found.n_bad_rows);
    out.Set("constantRows", found.n_constant_rows);
    if (found.ternary) {
      out.Set("minus", found.n_negative);
      out.Set("zero", found.n_zero);
      out.Set("plus", found.n_positive);
      out.Set("leastScale", found.least_scale);
      out.Set("mostScale", found.most_scale);
    } else {
      out.Set("least", found.least);
      out.Set("most", found.most);
      out.Set("rms", found.rms);
    }
    return out;
  }

  Napi::Value resident_bytes(const Napi::CallbackInfo& info) {
    const auto resident = gguf_->resident_bytes();
    return resident ? Napi::Number::New(info.Env(), static_cast<double>(*resident))
                    : info.Env().Undefined();
  }

  std::shared_ptr<const bitnet::Gguf> gguf_;
};

// The rows of formats/format.h, as far as they concern who plans a file.
Napi::Value tensor_types(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  for (const bitnet::Format* format : bitnet::all_formats()) {
    Napi::Object type = Napi::Object::New(env);
    type.Set("name", format->name);
    type.Set("id", static_cast<uint32_t>(format->type));
    type.Set("blockElements", format->block_elems);
    type.Set("blockBytes", format->block_bytes);
    type.Set("ternary", format->ternary != nullptr);
    type.Set("readable", format->dequantize != nullptr);
    type.Set("writable", format->quantize != nullptr);
    if (format->file_type) type.Set("fileType", *format->file_type);
    if (format->substitute) type.Set("substitute", tensor_type_name(*format->substitute));
    out.Set(out.Length(), type);
  }
  return out;
}

Napi::Value open_gguf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const bool alone = options_arg(info, 1).Get("alone").ToBoolean();
    return make_gguf(info.Env(), std::make_shared<const bitnet::Gguf>(bitnet::Gguf::open(
                                     string_arg(info, 0, "the path"),
                                     alone ? bitnet::Parts::kThisFile : bitnet::Parts::kAll)));
  });
}

}  // namespace

Napi::Object make_gguf(Napi::Env env, std::shared_ptr<const bitnet::Gguf> gguf) {
  return GgufObject::make(env, std::move(gguf));
}

const bitnet::Gguf& gguf_of(const Napi::Value& value) {
  const GgufObject* object = GgufObject::find(value);
  if (!object) throw to_js(value.Env(), ErrorCode::kUsage, "expected an opened GGUF file");
  return object->gguf();
}

void define_gguf(Napi::Env env, Napi::Object exports) {
  GgufObject::define(env);
  exports.Set("tensorTypes", Napi::Function::New<tensor_types>(env));
  exports.Set("openGguf", Napi::Function::New<open_gguf>(env));
}

}  // namespace addon
