#include "node/model.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "measure/measure.h"
#include "model/fingerprint.h"
#include "model/model.h"
#include "node/adapter.h"
#include "node/events.h"
#include "node/gguf.h"
#include "node/object.h"
#include "node/session.h"
#include "node/support.h"
#include "node/tokenizer.h"
#include "run/engine.h"

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
  out.Set("pooling", bitnet::pooling_name(c.pooling));
  out.Set("embedsOnly", c.embeds_only);
  out.Set("fileSize", m.gguf.file_size());
  out.Set("copiedBytes", m.copied_bytes());
  out.Set("kernel", m.kernels.name);
  out.Set("threads", m.pool.size());
  out.Set("prefetchBytes", m.tuning.prefetch_bytes);
  out.Set("warnings", string_array(env, m.tokenizer.warnings()));
  return out;
}

template <class Histogram>
Napi::Object histogram(Napi::Env env, const Histogram& of) {
  Napi::Array buckets = Napi::Array::New(env);
  int64_t count = 0;  // up to a bound
  for (size_t i = 0; i < of.counts.size(); ++i) {
    count += of.counts[i];
    if (i == Histogram::kBounds.size()) break;
    Napi::Object bucket = Napi::Object::New(env);
    bucket.Set("most", Histogram::kBounds[i]);
    bucket.Set("count", count);
    buckets.Set(static_cast<uint32_t>(i), bucket);
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("buckets", buckets);
  out.Set("count", count);
  out.Set("sum", of.sum);
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

  void init(Napi::Object object, std::shared_ptr<bitnet::Engine> engine) {
    Napi::Env env = object.Env();
    const std::shared_ptr<bitnet::Model>& model = engine->shared_model();
    object.Set("info", model_info(env, *model));
    // They keep the file open, not the weights in memory.
    const std::shared_ptr<const bitnet::ModelFile>& file = model->file;
    object.Set("gguf", make_gguf(env, std::shared_ptr<const bitnet::Gguf>(file, &file->gguf)));
    object.Set("tokenizer", make_tokenizer(env, std::shared_ptr<const bitnet::Tokenizer>(
                                                    file, &file->tokenizer)));
    runtime_ = std::make_shared<Runtime>(Runtime{EventBridge::create(env), std::move(engine)});
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&ModelObject::create_session>("createSession"),
                          InstanceMethod<&ModelObject::cost>("cost"),
                          InstanceMethod<&ModelObject::set_tuning>("setTuning"),
                          InstanceMethod<&ModelObject::stats>("stats"),
                          InstanceMethod<&ModelObject::load_adapter>("loadAdapter"),
                          InstanceMethod<&ModelObject::fingerprint>("fingerprint"),
                          InstanceMethod<&ModelObject::base_hash>("baseHash"),
                          InstanceMethod<&ModelObject::share_beginning>("shareBeginning"),
                          InstanceMethod<&ModelObject::close>("close")});
  }

 private:
  bitnet::Engine& open(Napi::Env env) const {
    if (!runtime_) throw to_js(env, ErrorCode::kUsage, "the model is closed");
    return *runtime_->engine;
  }

  Napi::Value create_session(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    bitnet::Engine& engine = open(env);
    const Napi::Object js = options_arg(info, 0);
    bitnet::SequenceOptions options;
    options.n_ctx = integer_of(env, js.Get("contextSize"), "contextSize", 1, 1 << 24);
    options.cache_type = cache_type_of(env, js.Get("cacheType"));
    if (js.Get("sharePrompts").IsBoolean()) options.share = js.Get("sharePrompts").ToBoolean();
    options.salt = optional_string(js, "salt");
    options.adapters = adapters_of(js.Get("adapters"), engine.model());
    bitnet::Urgency urgency;
    urgency.background = js.Get("background").ToBoolean();
    urgency.client = optional_string(js, "client");
    if (!js.Get("weight").IsUndefined())
      urgency.weight = number_of(env, js.Get("weight"), "weight");
    return guarded(env, [&] {
      return make_session(env, runtime_, engine.create_sequence(options), std::move(urgency));
    });
  }
  Napi::Value cost(const Napi::CallbackInfo& info) {
    const bitnet::CacheType cache_type = cache_type_of(info.Env(), info[0]);
    const bitnet::ModelCost cost = bitnet::model_cost(open(info.Env()).model(), cache_type);
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("weightBytes", cost.weight_bytes);
    out.Set("headBytes", cost.head_bytes);
    out.Set("kvBytes", cost.kv_bytes);
    out.Set("ternaryOperations", cost.ternary_operations);
    out.Set("batchTokens", cost.batch_tokens);
    return out;
  }
  Napi::Value set_tuning(const Napi::CallbackInfo& info) {
    bitnet::Engine& engine = open(info.Env());
    const bitnet::Tuning tuning = tuning_of(options_arg(info, 0));
    guarded(info.Env(), [&] { engine.set_tuning(tuning); });
    return info.Env().Undefined();
  }
  Napi::Value stats(const Napi::CallbackInfo& info) {
    const bitnet::EngineStats stats = open(info.Env()).stats();
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("steps", stats.steps);
    out.Set("rows", stats.rows);
    out.Set("decoding", stats.decoding);
    out.Set("running", stats.running);
    out.Set("waiting", stats.waiting);
    out.Set("promptTokens", stats.prompt_tokens);
    out.Set("reusedTokens", stats.reused_tokens);
    out.Set("sampledTokens", stats.sampled_tokens);
    out.Set("preemptions", stats.preemptions);
    out.Set("stepSeconds", histogram(info.Env(), stats.step_seconds));
    out.Set("stepRows", histogram(info.Env(), stats.step_rows));
    out.Set("maskSeconds", histogram(info.Env(), stats.mask_seconds));
    out.Set("kvUsage", stats.kv_usage);
    int64_t held = 0, cached = 0;
    for (const bitnet::KvPool::Usage& usage : stats.cache) {
      held += usage.held_blocks * usage.block_bytes;
      cached += usage.cached_blocks * usage.block_bytes;
    }
    out.Set("heldBytes", held);
    out.Set("cachedBytes", cached);
    out.Set("msSinceProgress", stats.seconds_since_progress * 1000);
    return out;
  }
  Napi::Value share_beginning(const Napi::CallbackInfo& info) {
    const std::vector<int32_t> ids = ids_arg(info, 0);
    guarded(info.Env(), [&] { open(info.Env()).publish(ids); });
    return info.Env().Undefined();
  }
  Napi::Value load_adapter(const Napi::CallbackInfo& info) {
    return addon::load_adapter(info, open(info.Env()).shared_model());
  }
  static Napi::Value hexadecimal(Napi::Env env, uint64_t value) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return Napi::String::New(env, text);
  }
  Napi::Value fingerprint(const Napi::CallbackInfo& info) {
    return hexadecimal(info.Env(), open(info.Env()).fingerprint());
  }
  Napi::Value base_hash(const Napi::CallbackInfo& info) {
    return hexadecimal(info.Env(), bitnet::base_hash_of(open(info.Env()).model()));
  }
  Napi::Value close(const Napi::CallbackInfo& info) {
    runtime_.reset();
    return info.Env().Undefined();
  }

  std::shared_ptr<Runtime> runtime_;
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
  if (js.Get("tuning").IsObject()) {
    const auto tuning = js.Get("tuning").As<Napi::Object>();
    options.tuning = tuning_of(tuning);
    options.measure_prefetch = tuning.Get("prefetchBytes").IsUndefined();
  }
  if (js.Get("inPlace").IsBoolean()) options.in_place = js.Get("inPlace").ToBoolean();
  if (js.Get("fastHead").IsBoolean()) options.head.compact = js.Get("fastHead").ToBoolean();
  return options;
}

bitnet::EngineOptions engine_options_of(const Napi::Object& js) {
  bitnet::EngineOptions options;
  const auto read = [&](const char* name, double least, double most, int64_t& option) {
    const Napi::Value value = js.Get(name);
    if (!value.IsUndefined()) option = integer_of(js.Env(), value, name, least, most);
  };
  read("promptCacheBytes", 0, kMaxSafeInteger, options.cache_bytes);
  read("parallel", 0, kMaxSafeInteger, options.parallel);
  read("kvBytes", 0, kMaxSafeInteger, options.kv_bytes);
  read("stepRows", 2, bitnet::kBatchTokens, options.step_rows);
  int64_t milliseconds = static_cast<int64_t>(options.step_seconds * 1000);
  read("stepMs", 0, kMaxSafeInteger, milliseconds);
  options.step_seconds = static_cast<double>(milliseconds) / 1000;
  return options;
}

// What keys and values of a context take in a model of this shape, as the engine keeps them.
Napi::Value kv_bytes(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Object js = options_arg(info, 0);
  const auto count = [&](const char* name) {
    return integer_of(env, js.Get(name), name, 1, 1 << 24);
  };
  const bitnet::KvLayout layout(count("layers"), count("heads"), count("headDim"),
                                cache_type_of(env, js.Get("cacheType")));
  return Napi::Number::New(env, static_cast<double>(layout.context_bytes(count("contextSize"))));
}

Napi::Value load_model(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = string_arg(info, 0, "the path");
  const bitnet::LoadOptions options = load_options_of(options_arg(info, 1));
  const bitnet::EngineOptions engine_options = engine_options_of(options_arg(info, 1));
  auto engine = std::make_shared<std::shared_ptr<bitnet::Engine>>();
  return Task::start(
      env,
      [=] {
        std::shared_ptr<bitnet::Model> model = bitnet::Model::load(path, options);
        *engine = std::make_shared<bitnet::Engine>(std::move(model), engine_options);
      },
      [engine](Napi::Env e) -> Napi::Value { return ModelObject::make(e, std::move(*engine)); });
}

}  // namespace

void define_model(Napi::Env env, Napi::Object exports) {
  ModelObject::define(env);
  exports.Set("loadModel", Napi::Function::New<load_model>(env));
  exports.Set("kvBytes", Napi::Function::New<kv_bytes>(env));
}

}  // namespace addon
