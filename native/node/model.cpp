#include "node/model.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "measure/measure.h"
#include "model/model.h"
#include "node/gguf.h"
#include "node/object.h"
#include "node/session.h"
#include "node/support.h"
#include "node/tokenizer.h"
#include "run/session.h"

namespace addon {
namespace {

Napi::Value nullable(Napi::Env env, std::optional<std::string_view> text) {
  if (!text) return env.Null();
  return js_string(env, *text);
}

Napi::Object model_info(Napi::Env env, const bitnet::Model& m) {
  const bitnet::Config& c = m.config;
  Napi::Object out = Napi::Object::New(env);
  out.Set("architecture", c.family->architecture);
  out.Set("name", nullable(env, m.gguf.string("general.name")));
  out.Set("chatTemplate", nullable(env, m.gguf.string("tokenizer.chat_template")));
  out.Set("contextLength", c.n_ctx_train);
  out.Set("embeddingLength", c.n_embd);
  out.Set("blockCount", c.n_layers);
  out.Set("feedForwardLength", c.n_ff);
  out.Set("headCount", c.n_heads);
  out.Set("headCountKv", c.n_kv_heads);
  out.Set("headDim", c.head_dim);
  out.Set("vocabSize", c.n_vocab);
  out.Set("parameterCount", m.n_parameters());
  out.Set("weightType", bitnet::tensor_type_name(m.layers[0].gate.type));
  out.Set("embeddingType", bitnet::tensor_type_name(m.token_embd.type));
  out.Set("fileSize", m.gguf.file_size());
  out.Set("copiedBytes", m.copied_bytes());
  out.Set("kernel", m.kernels.name);
  out.Set("threads", m.pool.size());
  return out;
}

bitnet::CacheType cache_type_of(Napi::Env env, Napi::Value value) {
  if (value.IsUndefined()) return bitnet::CacheType::kF16;
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "f16") return bitnet::CacheType::kF16;
  if (name == "q8") return bitnet::CacheType::kQ8;
  throw to_js(env, ErrorCode::kUsage, "cacheType must be \"f16\" or \"q8\"");
}

class ModelObject : public Wrapped<ModelObject> {
 public:
  static constexpr const char* kName = "Model";
  using Wrapped::Wrapped;

  void init(Napi::Object object, std::shared_ptr<bitnet::Model> model) {
    Napi::Env env = object.Env();
    model_ = std::move(model);
    object.Set("info", model_info(env, *model_));
    // Aliases that keep the whole model alive.
    object.Set("gguf", make_gguf(env, std::shared_ptr<const bitnet::Gguf>(model_, &model_->gguf)));
    object.Set("tokenizer", make_tokenizer(env, std::shared_ptr<const bitnet::Tokenizer>(
                                                    model_, &model_->tokenizer)));
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&ModelObject::create_session>("createSession"),
                          InstanceMethod<&ModelObject::cost>("cost"),
                          InstanceMethod<&ModelObject::set_tuning>("setTuning"),
                          InstanceMethod<&ModelObject::close>("close")});
  }

 private:
  std::shared_ptr<bitnet::Model> open(Napi::Env env) const {
    if (!model_) throw to_js(env, ErrorCode::kUsage, "the model is closed");
    return model_;
  }

  Napi::Value create_session(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    auto model = open(env);
    const int64_t n_ctx =
        integer_of(env, options_arg(info, 0).Get("contextSize"), "contextSize", 1, 1 << 24);
    const bitnet::CacheType cache_type = cache_type_of(env, options_arg(info, 0).Get("cacheType"));
    return guarded(env, [&] {
      return make_session(env, std::make_shared<bitnet::Session>(model, n_ctx, cache_type));
    });
  }
  Napi::Value cost(const Napi::CallbackInfo& info) {
    const bitnet::CacheType cache_type = cache_type_of(info.Env(), info[0]);
    const bitnet::ModelCost cost = bitnet::model_cost(*open(info.Env()), cache_type);
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("weightBytes", cost.weight_bytes);
    out.Set("headBytes", cost.head_bytes);
    out.Set("kvBytes", cost.kv_bytes);
    out.Set("ternaryOperations", cost.ternary_operations);
    out.Set("batchTokens", cost.batch_tokens);
    return out;
  }
  Napi::Value set_tuning(const Napi::CallbackInfo& info) {
    auto model = open(info.Env());
    const bitnet::Tuning tuning = tuning_of(options_arg(info, 0));
    guarded(info.Env(), [&] { model->set_tuning(tuning); });
    return info.Env().Undefined();
  }
  Napi::Value close(const Napi::CallbackInfo& info) {
    model_.reset();
    return info.Env().Undefined();
  }

  std::shared_ptr<bitnet::Model> model_;
};

bitnet::LoadOptions load_options_of(const Napi::Object& js) {
  bitnet::LoadOptions options;
  if (!js.Get("threads").IsUndefined()) {
    options.n_threads =
        static_cast<int>(integer_of(js.Env(), js.Get("threads"), "threads", 1, 1024));
  }
  options.kernel = optional_string(js, "kernel");
  options.tokenizer_pre = optional_string(js, "tokenizerPre");
  options.kernel_config = optional_string(js, "kernelConfig");
  options.layout = optional_string(js, "layout");
  if (js.Get("tuning").IsObject()) options.tuning = tuning_of(js.Get("tuning").As<Napi::Object>());
  if (js.Get("inPlace").IsBoolean()) options.in_place = js.Get("inPlace").ToBoolean();
  if (js.Get("fastHead").IsBoolean()) options.head.compact = js.Get("fastHead").ToBoolean();
  return options;
}

Napi::Value load_model(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = string_arg(info, 0, "the path");
  const bitnet::LoadOptions options = load_options_of(options_arg(info, 1));
  auto model = std::make_shared<std::shared_ptr<bitnet::Model>>();
  return Task::start(
      env, [=] { *model = bitnet::Model::load(path, options); },
      [model](Napi::Env e) -> Napi::Value { return ModelObject::make(e, *model); });
}

}  // namespace

void define_model(Napi::Env env, Napi::Object exports) {
  ModelObject::define(env);
  exports.Set("loadModel", Napi::Function::New<load_model>(env));
}

}  // namespace addon
