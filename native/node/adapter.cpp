#include "node/adapter.h"

#include <cstdio>
#include <map>
#include <string>
#include <utility>

#include "base/file_map.h"
#include "convert/source_rows.h"
#include "formats/format.h"
#include "node/object.h"
#include "node/support.h"

namespace addon {
namespace {

constexpr uint32_t kMaxMatrices = 1u << 20;

class AdapterObject : public Wrapped<AdapterObject> {
 public:
  static constexpr const char* kName = "Adapter";
  using Wrapped::Wrapped;

  struct Parts {
    std::weak_ptr<const bitnet::Model> model;
    std::shared_ptr<const bitnet::Adapter> adapter;
  };
  void init(Napi::Object object, Parts parts) {
    parts_ = std::move(parts);
    const bitnet::Adapter& adapter = *parts_.adapter;
    char hash[17];
    std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(adapter.hash()));
    object.Set("hash", hash);
    object.Set("parameters", adapter.n_parameters());
    object.Set("bytes", adapter.n_bytes());
    object.Set("type", bitnet::tensor_type_name(adapter.type()));
  }
  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&AdapterObject::close>("close")});
  }
  const Parts& parts() const { return parts_; }

 private:
  // Sessions that use it keep it.
  Napi::Value close(const Napi::CallbackInfo& info) {
    parts_ = {};
    return info.Env().Undefined();
  }

  Parts parts_;
};

// One tensor of an adapter's file.
struct Source {
  bitnet::PlannedTensor tensor;
  std::string path;
};

Source source_of(const Napi::Object& js, int64_t rope_heads) {
  Napi::Env env = js.Env();
  Source out;
  bitnet::ConvertJob& job = out.tensor.job;
  job.name = optional_string(js, "name");
  const std::string type = optional_string(js, "type");
  const bitnet::Format* format = bitnet::find_format(type);
  if (!format || bitnet::is_ternary(format->type)) {
    throw to_js(env, ErrorCode::kUnsupported,
                "tensor " + job.name + ": its type " + type + " cannot be that of an adapter");
  }
  out.path = optional_string(js, "file");
  job.source.type = format->type;
  job.source.offset =
      static_cast<uint64_t>(integer_of(env, js.Get("offset"), "offset", 0, kMaxSafeInteger));
  job.source.n_bytes =
      static_cast<uint64_t>(integer_of(env, js.Get("bytes"), "bytes", 0, kMaxSafeInteger));
  job.rope_heads = rope_heads;
  out.tensor.rows = integer_of(env, js.Get("rows"), "rows", 1, INT32_MAX);
  out.tensor.cols = integer_of(env, js.Get("cols"), "cols", 1, INT32_MAX);
  return out;
}

struct Matrix {
  int64_t layer, rank;
  std::string name;
  float scale;
  Source a, b;
};

Matrix matrix_of(const Napi::Object& js) {
  Napi::Env env = js.Env();
  Matrix out;
  out.layer = integer_of(env, js.Get("layer"), "layer", 0, INT32_MAX);
  out.rank = integer_of(env, js.Get("rank"), "rank", 1, bitnet::kMaxAdapterRank);
  out.name = optional_string(js, "name");
  out.scale = static_cast<float>(number_of(env, js.Get("scale"), "scale"));
  const int64_t rope_heads = integer_of(env, js.Get("ropeHeads"), "ropeHeads", 0, INT32_MAX);
  out.a = source_of(js.Get("a").ToObject(), 0);
  out.b = source_of(js.Get("b").ToObject(), rope_heads);
  return out;
}

// What is read while an adapter is loaded: the matrices, and the mappings of their files.
class Sources {
 public:
  explicit Sources(const std::vector<Matrix>& matrices) {
    for (const Matrix& matrix : matrices) {
      const auto a = rows_of(matrix.a), b = rows_of(matrix.b);
      if (a->tensor().rows != matrix.rank || b->tensor().cols != matrix.rank)
        a->fail(ErrorCode::kBadFile, "its rank is not that of its second matrix");
      targets_.push_back({matrix.layer, matrix.name, matrix.rank, b->tensor().rows,
                          a->tensor().cols, matrix.scale,
                          [a](int64_t row, float* out) { a->floats(row, out); },
                          [b](int64_t row, float* out) { b->floats(row, out); }, type_of(matrix)});
    }
  }
  const std::vector<bitnet::AdapterTarget>& targets() const { return targets_; }

 private:
  std::shared_ptr<bitnet::SourceRows> rows_of(const Source& source) {
    const bitnet::FileMap& map = maps_.try_emplace(source.path, source.path).first->second;
    return std::make_shared<bitnet::SourceRows>(source.tensor, &map);
  }
  static bitnet::TensorType type_of(const Matrix& matrix) {
    const bitnet::TensorType a = matrix.a.tensor.job.source.type;
    return a == matrix.b.tensor.job.source.type ? a : bitnet::TensorType::kF32;
  }

  std::map<std::string, bitnet::FileMap> maps_;
  std::vector<bitnet::AdapterTarget> targets_;
};

}  // namespace

Napi::Value load_adapter(const Napi::CallbackInfo& info,
                         std::shared_ptr<const bitnet::Model> model) {
  Napi::Env env = info.Env();
  if (!info[0].IsArray()) throw to_js(env, ErrorCode::kUsage, "matrices must be an array");
  const auto list = info[0].As<Napi::Array>();
  if (list.Length() > kMaxMatrices)
    throw to_js(env, ErrorCode::kBadFile, "an adapter of too many matrices");
  auto matrices = std::make_shared<std::vector<Matrix>>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::HandleScope scope(env);
    matrices->push_back(matrix_of(list.Get(i).ToObject()));
  }
  const bool scaled_by_weights = options_arg(info, 1).Get("scaledByWeights").ToBoolean();
  auto adapter = std::make_shared<std::shared_ptr<const bitnet::Adapter>>();
  return Task::start(
      env,
      [=] {
        const Sources sources(*matrices);
        *adapter = bitnet::Adapter::load(*model, sources.targets(), scaled_by_weights);
      },
      [=](Napi::Env e) -> Napi::Value {
        return AdapterObject::make(e, AdapterObject::Parts{model, std::move(*adapter)});
      });
}

std::vector<bitnet::AdapterSet::Use> adapters_of(const Napi::Value& value,
                                                 const bitnet::Model& model) {
  std::vector<bitnet::AdapterSet::Use> out;
  if (value.IsUndefined()) return out;
  Napi::Env env = value.Env();
  if (!value.IsArray()) throw to_js(env, ErrorCode::kUsage, "adapters must be an array");
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object js = list.Get(i).ToObject();
    const AdapterObject* object = AdapterObject::find(js.Get("adapter"));
    if (!object) throw to_js(env, ErrorCode::kUsage, "an adapter must come from loadAdapter");
    const AdapterObject::Parts& parts = object->parts();
    if (!parts.adapter) throw to_js(env, ErrorCode::kUsage, "the adapter is closed");
    if (parts.model.lock().get() != &model)
      throw to_js(env, ErrorCode::kUsage, "the adapter was loaded for another model");
    out.push_back({parts.adapter, static_cast<float>(number_of(env, js.Get("scale"), "scale"))});
  }
  return out;
}

void define_adapter(Napi::Env env) { AdapterObject::define(env); }

}  // namespace addon
