#include "node/convert.h"

#include <fstream>
#include <iterator>
#include <memory>

#include "convert/convert.h"
#include "formats/format.h"
#include "node/support.h"

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
  out.file = static_cast<size_t>(integer_field(js, "file", 0));
  out.offset = static_cast<uint64_t>(integer_field(js, "offset", 0));
  out.n_bytes = static_cast<uint64_t>(integer_field(js, "bytes", 0));
  out.i2s = layout_field(js);
  out.factor = float_field(js, "factor", 1);
  out.seed = static_cast<uint64_t>(integer_field(js, "seed", 0));
  out.mean = float_field(js, "mean", 0);
  out.deviation = float_field(js, "deviation", 0);
  return out;
}

bitnet::ConvertJob job_of(const Napi::Object& js) {
  bitnet::ConvertJob out;
  out.name = optional_string(js, "name");
  if (js.Get("source").IsObject()) out.source = source_of(js.Get("source").As<Napi::Object>());
  out.rows = integer_field(js, "rows", 0);
  out.cols = integer_field(js, "cols", 0);
  out.out_type = type_field(js, "type");
  out.out_offset = static_cast<uint64_t>(integer_field(js, "offset", 0));
  out.ternary = bool_field(js, "ternary");
  out.declared = bool_field(js, "declared");
  out.rope_heads = integer_field(js, "ropeHeads", 0);
  out.add = float_field(js, "add", 0);
  return out;
}

std::vector<bitnet::ConvertJob> jobs_of(const Napi::Value& value) {
  std::vector<bitnet::ConvertJob> out;
  if (!value.IsArray()) throw to_js(value.Env(), ErrorCode::kUsage, "jobs must be an array");
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(value.Env());
    out.push_back(job_of(array.Get(i).As<Napi::Object>()));
  }
  return out;
}

std::vector<bitnet::TlConfig> read_tl_configs(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw bitnet::Error(ErrorCode::kNotFound, path + ": cannot read the kernel config");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return bitnet::parse_tl_config(text, path);
}

Napi::Value plan_tensors(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::vector<bitnet::ConvertJob> jobs = jobs_of(info[0]);
  const std::string config = info[1].IsString() ? string_arg(info, 1, "the kernel config") : "";
  return guarded(env, [&] {
    const auto configs = read_tl_configs(config);
    Napi::Array out = Napi::Array::New(env, jobs.size());
    for (size_t i = 0; i < jobs.size(); ++i) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("bytes", bitnet::planned_bytes(jobs[i], configs));
      entry.Set("typeId", static_cast<uint32_t>(jobs[i].out_type));
      out.Set(static_cast<uint32_t>(i), entry);
    }
    return out;
  });
}

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

Napi::Value start_conversion(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Object js = options_arg(info, 0);
  auto plan = std::make_shared<bitnet::ConvertPlan>();
  const Napi::Value files = js.Get("files");
  for (uint32_t i = 0; files.IsArray() && i < files.As<Napi::Array>().Length(); ++i) {
    plan->files.push_back(files.As<Napi::Array>().Get(i).ToString());
  }
  plan->outfile = optional_string(js, "outfile");
  plan->out_bytes = static_cast<uint64_t>(integer_field(js, "outBytes", 0));
  plan->jobs = jobs_of(js.Get("jobs"));
  plan->n_threads = static_cast<int>(integer_field(js, "threads", 0));
  plan->check_tokenizer = bool_field(js, "checkTokenizer");
  const std::string config = optional_string(js, "kernelConfig");
  if (plan->n_threads > 1024) throw to_js(env, ErrorCode::kUsage, "threads must be at most 1024");

  auto progress = std::make_shared<bitnet::ConvertProgress>();
  auto results = std::make_shared<std::vector<bitnet::ConvertResult>>();
  Napi::Object out = Napi::Object::New(env);
  out.Set("done", Task::start(
                      env,
                      [=] {
                        plan->tl_configs = read_tl_configs(config);
                        *results = bitnet::convert(*plan, *progress);
                      },
                      [results](Napi::Env e) -> Napi::Value {
                        Napi::Array array = Napi::Array::New(e, results->size());
                        for (size_t i = 0; i < results->size(); ++i) {
                          array.Set(static_cast<uint32_t>(i), result_object(e, (*results)[i]));
                        }
                        return array;
                      }));
  out.Set("progress", Napi::Function::New(env, [progress](const Napi::CallbackInfo& call) {
            Napi::Object now = Napi::Object::New(call.Env());
            now.Set("tensor", progress->tensor.load());
            now.Set("doneBytes", progress->done_bytes.load());
            return now;
          }));
  out.Set("abort", Napi::Function::New(
                       env, [progress](const Napi::CallbackInfo&) { progress->abort = true; }));
  return out;
}

}  // namespace

void define_convert(Napi::Env env, Napi::Object exports) {
  exports.Set("planTensors", Napi::Function::New<plan_tensors>(env));
  exports.Set("startConversion", Napi::Function::New<start_conversion>(env));
}

}  // namespace addon
