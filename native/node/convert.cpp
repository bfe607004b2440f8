#include "node/convert.h"

#include <fstream>
#include <iterator>
#include <limits>
#include <memory>

#include "convert/convert.h"
#include "formats/format.h"
#include "gguf/tiles.h"
#include "node/gguf.h"
#include "node/support.h"
#include "node/thread_task.h"

namespace addon {
namespace {

int64_t integer_field(const Napi::Object& object, const char* key, int64_t fallback) {
  const Napi::Value value = object.Get(key);
  return value.IsUndefined() ? fallback : integer_of(object.Env(), value, key, 0, kMaxSafeInteger);
}

float float_field(const Napi::Object& object, const char* key, float fallback) {
  const Napi::Value value = object.Get(key);
  return value.IsUndefined() ? fallback : static_cast<float>(number_of(object.Env(), value, key));
}

bool bool_field(const Napi::Object& object, const char* key) { return object.Get(key).ToBoolean(); }

bitnet::TensorType type_field(const Napi::Object& object, const char* key) {
  const std::string name = optional_string(object, key);
  if (const bitnet::Format* format = bitnet::find_format(name)) return format->type;
  throw to_js(object.Env(), ErrorCode::kUnsupported, "unknown tensor type \"" + name + "\"");
}

bitnet::I2SLayout layout_field(const Napi::Object& object) {
  static constexpr std::pair<const char*, bitnet::I2SLayout> kLayouts[] = {
      {"", bitnet::I2SLayout::kCanonical},
      {"canonical", bitnet::I2SLayout::kCanonical},
      {"arm64", bitnet::I2SLayout::kArm64},
      {"row-group", bitnet::I2SLayout::kRowGroup},
      {"sequential", bitnet::I2SLayout::kSequential},
  };
  const std::string name = optional_string(object, "i2sLayout");
  for (const auto& [known, layout] : kLayouts) {
    if (name == known) return layout;
  }
  throw to_js(object.Env(), ErrorCode::kUsage, "unknown I2_S layout \"" + name + "\"");
}

bitnet::ConvertSource source_of(const Napi::Object& js) {
  bitnet::ConvertSource out;
  const std::string kind = optional_string(js, "kind");
  if (kind == "tensor") {
    out.type = type_field(js, "type");
  } else if (kind == "hf-packed") {
    out.kind = bitnet::SourceKind::kHfPacked;
  } else if (kind == "random") {
    out.kind = bitnet::SourceKind::kRandom;
  } else {
    throw to_js(js.Env(), ErrorCode::kUsage, "unknown kind of source \"" + kind + "\"");
  }
  out.path = optional_string(js, "file");
  out.offset = static_cast<uint64_t>(integer_field(js, "offset", 0));
  out.n_bytes = static_cast<uint64_t>(integer_field(js, "bytes", 0));
  out.i2s = layout_field(js);
  out.factor = float_field(js, "factor", 1);
  out.seed = static_cast<uint64_t>(integer_field(js, "seed", 0));
  out.mean = float_field(js, "mean", 0);
  out.deviation = float_field(js, "deviation", 0);
  return out;
}

// The elements of an array.
template <class Body>
void for_each_element(const Napi::Value& value, const std::string& what, Body&& body) {
  if (!value.IsArray()) throw to_js(value.Env(), ErrorCode::kUsage, what + " must be an array");
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(value.Env());
    body(array.Get(i));
  }
}

template <class Read>
auto list_of(const Napi::Value& value, const std::string& what, Read&& read) {
  std::vector<decltype(read(value))> out;
  for_each_element(value, what, [&](const Napi::Value& element) { out.push_back(read(element)); });
  return out;
}

std::string text_of(const Napi::Value& value, const std::string& what) {
  if (!value.IsString()) throw to_js(value.Env(), ErrorCode::kUsage, what + " must be a string");
  return value.As<Napi::String>();
}

template <class Int>
Int int_of(const Napi::Value& value, const std::string& what) {
  using Limits = std::numeric_limits<Int>;
  return static_cast<Int>(
      integer_of(value.Env(), value, what.c_str(), Limits::lowest(), Limits::max()));
}

float float_of(const Napi::Value& value, const std::string& what) {
  return static_cast<float>(number_of(value.Env(), value, what.c_str()));
}

// The types of a key, by the names that NativeMetadataEntry has for them.
using WriteKey = void (*)(bitnet::GgufWriter&, const std::string& key, const Napi::Value&);
constexpr std::pair<const char*, WriteKey> kKeyTypes[] = {
    {"u32", [](auto& file, const auto& key,
               const auto& value) { file.u32(key, int_of<uint32_t>(value, key)); }},
    {"f32",
     [](auto& file, const auto& key, const auto& value) { file.f32(key, float_of(value, key)); }},
    {"bool",
     [](auto& file, const auto& key, const auto& value) { file.boolean(key, value.ToBoolean()); }},
    {"string",
     [](auto& file, const auto& key, const auto& value) { file.string(key, text_of(value, key)); }},
    {"strings",
     [](auto& file, const auto& key, const auto& value) {
       file.strings(key, list_of(value, key, [&](const Napi::Value& element) {
                      return text_of(element, key);
                    }));
     }},
    {"i32s",
     [](auto& file, const auto& key, const auto& value) {
       file.i32s(key, list_of(value, key, [&](const Napi::Value& element) {
                   return int_of<int32_t>(element, key);
                 }));
     }},
    {"f32s",
     [](auto& file, const auto& key, const auto& value) {
       file.f32s(key, list_of(value, key,
                              [&](const Napi::Value& element) { return float_of(element, key); }));
     }},
};

// Tile sizes among the keys of a source are for reading it: the plan writes those of the output.
void take_source_tiles(bitnet::ConvertRequest& request, const Napi::Value& source) {
  for (const auto type : {bitnet::TensorType::kTL1, bitnet::TensorType::kTL2})
    request.source_tiles[type] = bitnet::stored_tiles(gguf_of(source), type);
}

// entry: [key, "copy", file, index]; the key is copied by its place, as its bytes may be no text.
void copy_key(bitnet::GgufWriter& file, const Napi::Array& entry) {
  const auto& keys = gguf_of(entry.Get(2u)).metadata();
  const int64_t i = integer_of(entry.Env(), entry.Get(3u), "the index of a key", 0,
                               static_cast<double>(keys.size()) - 1);
  const auto& [key, value] = keys[static_cast<size_t>(i)];
  file.copy(key, value);
}

// entry: [key, type, value]; a key whose value is undefined is left out.
void write_key(bitnet::ConvertRequest& request, const Napi::Array& entry) {
  const Napi::Value value = entry.Get(2u);
  if (value.IsUndefined()) return;
  const std::string key = text_of(entry.Get(0u), "a key"), type = text_of(entry.Get(1u), key);
  if (bitnet::is_tiles_key(key)) return take_source_tiles(request, value);
  if (type == "copy") return copy_key(request.file, entry);
  for (const auto& [name, write] : kKeyTypes) {
    if (type == name) return write(request.file, key, value);
  }
  throw to_js(entry.Env(), ErrorCode::kUsage, key + " has the unknown type " + type);
}

bitnet::ConvertJob job_of(const Napi::Object& js) {
  bitnet::ConvertJob out;
  out.name = optional_string(js, "name");
  out.ne = list_of(js.Get("shape"), "shape", [&](const Napi::Value& n) {
    return integer_of(js.Env(), n, "a dimension", 0, kMaxSafeInteger);
  });
  out.source = source_of(js.Get("source").ToObject());
  out.out_type = type_field(js, "type");
  out.ternary = bool_field(js, "ternary");
  out.declared = bool_field(js, "declared");
  out.rope_heads = integer_field(js, "ropeHeads", 0);
  out.add = float_field(js, "add", 0);
  return out;
}

std::vector<bitnet::TlConfig> read_tl_configs(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw bitnet::Error(ErrorCode::kNotFound, path + ": cannot read the kernel config");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return bitnet::parse_tl_config(text, path);
}

}  // namespace

bitnet::ConvertRequest request_of(const Napi::Object& js) {
  bitnet::ConvertRequest out;
  for_each_element(js.Get("metadata"), "metadata",
                   [&](const Napi::Value& entry) { write_key(out, entry.As<Napi::Array>()); });
  out.jobs = list_of(js.Get("tensors"), "tensors",
                     [](const Napi::Value& job) { return job_of(job.ToObject()); });
  out.tl_configs = read_tl_configs(optional_string(js, "kernelConfig"));
  out.n_threads = static_cast<int>(integer_field(js, "threads", 0));
  if (out.n_threads > 1024)
    throw to_js(js.Env(), ErrorCode::kUsage, "threads must be at most 1024");
  return out;
}

namespace {

Napi::Value result_object(Napi::Env env, const bitnet::ConvertResult& result) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("ternary", result.ternary);
  if (!result.ternary) return out;
  out.Set("rounded", result.rounded);
  out.Set("scale", result.scale);
  out.Set("minus", result.n_negative);
  out.Set("zero", result.n_zero);
  out.Set("plus", result.n_positive);
  out.Set("relativeError", result.relative_error);
  return out;
}

Napi::Array results_array(Napi::Env env, const std::vector<bitnet::ConvertResult>& results) {
  Napi::Array out = Napi::Array::New(env, results.size());
  for (size_t i = 0; i < results.size(); ++i)
    out.Set(static_cast<uint32_t>(i), result_object(env, results[i]));
  return out;
}

struct Conversion {
  bitnet::ConvertPlan plan;
  bitnet::ConvertProgress progress;
  std::vector<bitnet::ConvertResult> results;
};

Napi::Value run_conversion(const std::shared_ptr<Conversion>& conversion,
                           const Napi::CallbackInfo& info) {
  const std::string outfile = string_arg(info, 0, "the output");
  return ThreadTask::start(
      info.Env(),
      [=] {
        conversion->results = bitnet::convert(conversion->plan, outfile, conversion->progress);
      },
      [=](Napi::Env env) -> Napi::Value { return results_array(env, conversion->results); },
      [=] { conversion->progress.abort = true; });
}

Napi::Object tiles_object(Napi::Env env, bitnet::TensorType type, const bitnet::TlConfig& tl) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("type", bitnet::tensor_type_name(type));
  out.Set("rows", tl.rows);
  out.Set("cols", tl.cols);
  out.Set("BM", tl.BM);
  out.Set("BK", tl.BK);
  out.Set("bm", tl.bm);
  return out;
}

Napi::Array tiles_array(Napi::Env env, const bitnet::ConvertPlan& plan) {
  Napi::Array out = Napi::Array::New(env);
  for (const auto& [type, tiles] : plan.tiles) {
    for (const bitnet::TlConfig& tl : tiles) out.Set(out.Length(), tiles_object(env, type, tl));
  }
  return out;
}

Napi::Value conversion_object(Napi::Env env, const std::shared_ptr<Conversion>& conversion) {
  Napi::Object out = Napi::Object::New(env);
  const std::vector<bitnet::PlannedTensor>& tensors = conversion->plan.tensors;
  Napi::Array bytes = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    bytes.Set(static_cast<uint32_t>(i), tensors[i].n_bytes);
  out.Set("fileBytes", conversion->plan.file_bytes);
  out.Set("tiles", tiles_array(env, conversion->plan));
  out.Set("hasOwnTiles", conversion->plan.has_own_tiles);
  out.Set("tensorBytes", bytes);
  out.Set("run", Napi::Function::New(env, [conversion](const Napi::CallbackInfo& call) {
            return run_conversion(conversion, call);
          }));
  out.Set("progress", Napi::Function::New(env, [conversion](const Napi::CallbackInfo& call) {
            Napi::Object now = Napi::Object::New(call.Env());
            now.Set("tensor", conversion->progress.tensor.load());
            now.Set("doneBytes", conversion->progress.done_bytes.load());
            return now;
          }));
  out.Set("abort", Napi::Function::New(env, [conversion](const Napi::CallbackInfo&) {
            conversion->progress.abort = true;
          }));
  return out;
}

Napi::Value plan_conversion(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto conversion = std::make_shared<Conversion>();
    conversion->plan = bitnet::plan_conversion(request_of(options_arg(info, 0)));
    return conversion_object(info.Env(), conversion);
  });
}

}  // namespace

void define_convert(Napi::Env env, Napi::Object exports) {
  exports.Set("planConversion", Napi::Function::New<plan_conversion>(env));
}

}  // namespace addon
