// The border between JavaScript and the core: values in, values out, long work on worker threads,
// exceptions turned into Error objects with a code. Only the addon's files know napi.h: this one
// for everything that runs models, addon_convert.cpp for what makes files, addon_support.h for
// both. Its surface is described in src/native.ts.
#include <napi.h>

#include <cmath>
#include <memory>
#include <string>

#include "addon_bench.h"
#include "addon_convert.h"
#include "addon_support.h"
#include "bench.h"
#include "gguf.h"
#include "model.h"
#include "sampler.h"
#include "session.h"
#include "tokenizer/tokenizer.h"

namespace {

using namespace addon;
using bitnet::ErrorCode;

// ---- results

Napi::Value int32_array(Napi::Env env, const std::vector<int32_t>& ids) {
  Napi::Int32Array array = Napi::Int32Array::New(env, ids.size());
  std::copy(ids.begin(), ids.end(), array.Data());
  return array;
}

Napi::String js_string(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

const char* gguf_type_name(bitnet::GgufType type) {
  static const char* const kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                       "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(type)];
}

Napi::Value element(Napi::Env env, const bitnet::GgufValue& value, uint64_t i) {
  using bitnet::GgufType;
  switch (value.element) {
    case GgufType::kString:
      return js_string(env, value.string(i));
    case GgufType::kBool:
      return Napi::Boolean::New(env, value.integer(i) != 0);
    case GgufType::kU64:
    case GgufType::kI64: {
      const int64_t n = value.integer(i);
      constexpr int64_t kSafe = int64_t{1} << 53;
      if (n > -kSafe && n < kSafe) return Napi::Number::New(env, static_cast<double>(n));
      if (value.element == GgufType::kU64) return Napi::BigInt::New(env, static_cast<uint64_t>(n));
      return Napi::BigInt::New(env, n);
    }
    default:
      return Napi::Number::New(env, value.number(i));
  }
}

template <class T>
class Wrapped : public Napi::ObjectWrap<T> {
 public:
  using Napi::ObjectWrap<T>::ObjectWrap;

  // Creates the JavaScript object for `value`.
  template <class Value>
  static Napi::Object make(Napi::Env env, Value value) {
    Napi::FunctionReference& constructor = constructors(env)[T::kName];
    Napi::Object object = constructor.New({});
    T::Unwrap(object)->init(env, object, std::move(value));
    return object;
  }

  static void define(Napi::Env env,
                     const std::vector<Napi::ClassPropertyDescriptor<T>>& properties) {
    constructors(env)[T::kName] =
        Napi::Persistent(Napi::ObjectWrap<T>::DefineClass(env, T::kName, properties));
  }

 private:
  using Constructors = std::unordered_map<std::string, Napi::FunctionReference>;
  static Constructors& constructors(Napi::Env env) {
    Constructors* data = env.GetInstanceData<Constructors>();
    if (!data) env.SetInstanceData(data = new Constructors);
    return *data;
  }
};

// ---- GGUF

class GgufObject : public Wrapped<GgufObject> {
 public:
  static constexpr const char* kName = "Gguf";
  using Wrapped::Wrapped;

  void init(Napi::Env env, Napi::Object object, std::shared_ptr<const bitnet::Gguf> gguf) {
    gguf_ = std::move(gguf);
    object.Set("path", gguf_->name());
    object.Set("version", gguf_->version());
    object.Set("fileSize", Napi::Number::New(env, static_cast<double>(gguf_->file_size())));
    object.Set("dataOffset", Napi::Number::New(env, static_cast<double>(gguf_->data_offset())));
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&GgufObject::metadata>("metadata"),
                          InstanceMethod<&GgufObject::metadata_array>("metadataArray"),
                          InstanceMethod<&GgufObject::metadata_bytes>("metadataBytes"),
                          InstanceMethod<&GgufObject::tensors>("tensors")});
  }

 private:
  Napi::Value metadata(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env);
    for (const auto& [key, value] : gguf_->metadata()) {
      if (value.type != bitnet::GgufType::kArray) {
        out.Set(js_string(env, key), element(env, value, 0));
        continue;
      }
      Napi::Object summary = Napi::Object::New(env);
      summary.Set("arrayOf", gguf_type_name(value.element));
      summary.Set("length", Napi::Number::New(env, static_cast<double>(value.count)));
      out.Set(js_string(env, key), summary);
    }
    return out;
  }

  Napi::Value metadata_array(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const std::string key = string_arg(info, 0, "the key");
    const uint64_t start =
        static_cast<uint64_t>(integer_of(env, info[1], "start", 0, 9007199254740991.0));
    const uint64_t count =
        static_cast<uint64_t>(integer_of(env, info[2], "count", 0, 9007199254740991.0));
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

  // A value as it stands in the file after its key: type and content.
  Napi::Value metadata_bytes(const Napi::CallbackInfo& info) {
    const std::string key = string_arg(info, 0, "the key");
    const bitnet::GgufValue* value = gguf_->find(key);
    if (!value) throw to_js(info.Env(), ErrorCode::kNotFound, gguf_->name() + ": no key " + key);
    const uint64_t header =
        value->type == bitnet::GgufType::kArray ? 16 : 4;  // type; element type and count
    return Napi::Buffer<uint8_t>::Copy(info.Env(), value->data - header,
                                       static_cast<size_t>(header + value->n_bytes()));
  }

  Napi::Value tensors(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Array out = Napi::Array::New(env, gguf_->tensors().size());
    uint32_t i = 0;
    for (const bitnet::GgufTensor& t : gguf_->tensors()) {
      Napi::Object tensor = Napi::Object::New(env);
      Napi::Array shape = Napi::Array::New(env, t.n_dims);
      for (uint32_t d = 0; d < t.n_dims; ++d)
        shape.Set(d, Napi::Number::New(env, static_cast<double>(t.ne[d])));
      tensor.Set("name", js_string(env, t.name));
      tensor.Set("type", bitnet::tensor_type_name(t.type));
      tensor.Set("shape", shape);
      tensor.Set("offset", Napi::Number::New(env, static_cast<double>(gguf_->offset_of(t))));
      tensor.Set("bytes", Napi::Number::New(env, static_cast<double>(t.n_bytes)));
      out.Set(i++, tensor);
    }
    return out;
  }

  std::shared_ptr<const bitnet::Gguf> gguf_;
};

// ---- tokenizer

class DecoderObject : public Wrapped<DecoderObject> {
 public:
  static constexpr const char* kName = "Decoder";
  using Wrapped::Wrapped;

  void init(Napi::Env, Napi::Object,
            std::pair<std::shared_ptr<const bitnet::Tokenizer>, bool> value) {
    tokenizer_ = std::move(value.first);
    decoder_ = std::make_unique<bitnet::StreamDecoder>(*tokenizer_, value.second);
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&DecoderObject::push>("push"),
                          InstanceMethod<&DecoderObject::flush>("flush")});
  }

 private:
  Napi::Value push(const Napi::CallbackInfo& info) {
    return guarded(info.Env(),
                   [&] { return js_string(info.Env(), decoder_->push(id_arg(info, 0))); });
  }
  Napi::Value flush(const Napi::CallbackInfo& info) {
    return js_string(info.Env(), decoder_->flush());
  }

  std::shared_ptr<const bitnet::Tokenizer> tokenizer_;
  std::unique_ptr<bitnet::StreamDecoder> decoder_;
};

class TokenizerObject : public Wrapped<TokenizerObject> {
 public:
  static constexpr const char* kName = "Tokenizer";
  using Wrapped::Wrapped;

  void init(Napi::Env env, Napi::Object object,
            std::shared_ptr<const bitnet::Tokenizer> tokenizer) {
    tokenizer_ = std::move(tokenizer);
    const bitnet::Tokenizer& t = *tokenizer_;
    Napi::Object out = Napi::Object::New(env);
    out.Set("model", t.model());
    out.Set("pre", t.pre());
    out.Set("vocabSize", t.n_vocab());
    out.Set("bos", t.bos());
    out.Set("eos", t.eos());
    out.Set("eot", t.eot());
    out.Set("pad", t.pad());
    out.Set("unk", t.unk());
    out.Set("addBos", t.add_bos());
    out.Set("addEos", t.add_eos());
    Napi::Array eog = Napi::Array::New(env);
    for (const int32_t id : t.eog()) eog.Set(eog.Length(), id);
    out.Set("eog", eog);
    object.Set("info", out);
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&TokenizerObject::encode>("encode"),
                          InstanceMethod<&TokenizerObject::decode>("decode"),
                          InstanceMethod<&TokenizerObject::piece>("piece"),
                          InstanceMethod<&TokenizerObject::token>("token"),
                          InstanceMethod<&TokenizerObject::create_decoder>("createDecoder")});
  }

 private:
  Napi::Value encode(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      std::string text;
      if (info[0].IsTypedArray()) {
        const auto bytes = info[0].As<Napi::Uint8Array>();
        text.assign(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
      } else {
        text = string_arg(info, 0, "the text");
      }
      return int32_array(info.Env(),
                         tokenizer_->encode(text, bool_arg(info, 1), bool_arg(info, 2)));
    });
  }
  Napi::Value decode(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      return js_string(info.Env(), tokenizer_->decode(ids_arg(info, 0), bool_arg(info, 1)));
    });
  }
  Napi::Value piece(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      return js_string(info.Env(), tokenizer_->piece(id_arg(info, 0), bool_arg(info, 1)));
    });
  }
  Napi::Value token(const Napi::CallbackInfo& info) {
    const int32_t id = id_arg(info, 0);
    if (id >= tokenizer_->n_vocab())
      throw to_js(info.Env(), ErrorCode::kUsage, "token id outside the vocabulary");
    return js_string(info.Env(), tokenizer_->text(id));
  }
  Napi::Value create_decoder(const Napi::CallbackInfo& info) {
    return DecoderObject::make(info.Env(), std::make_pair(tokenizer_, bool_arg(info, 0)));
  }

  std::shared_ptr<const bitnet::Tokenizer> tokenizer_;
};

// ---- session

bitnet::SamplerParams sampling_of(const Napi::Object& options) {
  bitnet::SamplerParams p;
  Napi::Env env = options.Env();
  const auto real = [&](const char* key, float& field) {
    if (!options.Get(key).IsUndefined())
      field = static_cast<float>(number_of(env, options.Get(key), key));
  };
  const auto whole = [&](const char* key, int32_t& field) {
    if (!options.Get(key).IsUndefined()) {
      field = static_cast<int32_t>(integer_of(env, options.Get(key), key, INT32_MIN, INT32_MAX));
    }
  };
  real("temperature", p.temperature);
  whole("topK", p.top_k);
  real("topP", p.top_p);
  real("minP", p.min_p);
  real("typicalP", p.typical_p);
  whole("repeatLastN", p.repeat_last_n);
  real("repeatPenalty", p.repeat_penalty);
  real("presencePenalty", p.presence_penalty);
  real("frequencyPenalty", p.frequency_penalty);
  whole("nProbs", p.n_probs);
  if (!options.Get("seed").IsUndefined()) {
    p.seed =
        static_cast<uint64_t>(integer_of(env, options.Get("seed"), "seed", 0, 9007199254740991.0));
  }
  if (options.Get("logitBias").IsArray()) {
    const auto pairs = options.Get("logitBias").As<Napi::Array>();
    for (uint32_t i = 0; i < pairs.Length(); ++i) {
      if (!pairs.Get(i).IsArray())
        throw to_js(env, ErrorCode::kUsage, "logitBias must be pairs of id and bias");
      const auto pair = pairs.Get(i).As<Napi::Array>();
      p.logit_bias.emplace_back(
          static_cast<int32_t>(
              integer_of(env, pair.Get(0u), "a token id of logitBias", 0, INT32_MAX)),
          static_cast<float>(number_of(env, pair.Get(1u), "a bias of logitBias")));
    }
  }
  return p;
}

bitnet::CacheType cache_type_of(Napi::Env env, Napi::Value value) {
  if (value.IsUndefined()) return bitnet::CacheType::kF16;
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "f16") return bitnet::CacheType::kF16;
  if (name == "q8") return bitnet::CacheType::kQ8;
  throw to_js(env, ErrorCode::kUsage, "cacheType must be \"f16\" or \"q8\"");
}

class SessionObject : public Wrapped<SessionObject> {
 public:
  static constexpr const char* kName = "Session";
  using Wrapped::Wrapped;

  void init(Napi::Env env, Napi::Object object, std::shared_ptr<bitnet::Session> session) {
    session_ = std::move(session);
    object.Set("contextSize", Napi::Number::New(env, static_cast<double>(session_->n_ctx())));
    object.Set("kvBytes", Napi::Number::New(env, static_cast<double>(session_->kv_bytes())));
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&SessionObject::tokens>("tokens"),
                          InstanceMethod<&SessionObject::prefill>("prefill"),
                          InstanceMethod<&SessionObject::logits>("logits"),
                          InstanceMethod<&SessionObject::set_sampling>("setSampling"),
                          InstanceMethod<&SessionObject::step>("step"),
                          InstanceMethod<&SessionObject::time_pass>("timePass"),
                          InstanceMethod<&SessionObject::abort>("abort"),
                          InstanceMethod<&SessionObject::close>("close")});
  }

 private:
  // The session, free for a synchronous use or for the next operation.
  std::shared_ptr<bitnet::Session> idle(Napi::Env env) {
    if (!session_) throw to_js(env, ErrorCode::kUsage, "the session is closed");
    if (busy_) throw to_js(env, ErrorCode::kUsage, "the session is busy: one operation at a time");
    return session_;
  }

  Napi::Value run(Napi::Env env, Napi::Object self, Task::Work work, Task::Result result) {
    busy_ = true;
    session_->clear_abort();
    // The reference keeps this object alive until the work is done.
    auto keep = std::make_shared<Napi::ObjectReference>(Napi::Persistent(self));
    return Task::start(env, std::move(work), std::move(result), [this, keep] { busy_ = false; });
  }

  Napi::Value tokens(const Napi::CallbackInfo& info) {
    return int32_array(info.Env(), idle(info.Env())->tokens());
  }

  Napi::Value prefill(const Napi::CallbackInfo& info) {
    auto session = idle(info.Env());
    auto ids = std::make_shared<std::vector<int32_t>>(ids_arg(info, 0));
    const bool all = string_arg(info, 1, "logits") == "all";
    auto done = std::make_shared<bitnet::Session::Prefilled>();
    return run(
        info.Env(), info.This().As<Napi::Object>(),
        [=] {
          *done = session->prefill(*ids, all);
          if (all) session->logits();  // many: computed here, not on the main thread
        },
        [done](Napi::Env env) -> Napi::Value {
          Napi::Object out = Napi::Object::New(env);
          out.Set("reused", Napi::Number::New(env, static_cast<double>(done->reused)));
          out.Set("evaluated", Napi::Number::New(env, static_cast<double>(done->evaluated)));
          return out;
        });
  }

  Napi::Value step(const Napi::CallbackInfo& info) {
    auto session = idle(info.Env());
    auto sample = std::make_shared<bitnet::Sample>();
    return run(
        info.Env(), info.This().As<Napi::Object>(), [=] { *sample = session->step(); },
        [sample](Napi::Env env) -> Napi::Value {
          Napi::Object out = Napi::Object::New(env);
          out.Set("id", sample->id);
          if (std::isnan(sample->logprob)) return out;
          out.Set("logprob", sample->logprob);
          Napi::Array top = Napi::Array::New(env, sample->top.size());
          for (size_t i = 0; i < sample->top.size(); ++i) {
            Napi::Object entry = Napi::Object::New(env);
            entry.Set("id", sample->top[i].id);
            entry.Set("logprob", sample->top[i].logprob);
            top.Set(static_cast<uint32_t>(i), entry);
          }
          out.Set("top", top);
          return out;
        });
  }

  Napi::Value time_pass(const Napi::CallbackInfo& info) {
    auto session = idle(info.Env());
    auto ids = std::make_shared<std::vector<int32_t>>(ids_arg(info, 0));
    const int64_t generate = integer_of(info.Env(), info[1], "generate", 0, 1 << 24);
    auto times = std::make_shared<bitnet::PassTimes>();
    return run(
        info.Env(), info.This().As<Napi::Object>(),
        [=] { *times = bitnet::time_pass(*session, *ids, generate); },
        [times](Napi::Env env) -> Napi::Value {
          Napi::Object out = Napi::Object::New(env);
          out.Set("prefill", times->prefill);
          out.Set("decode", times->decode);
          out.Set("evaluated", Napi::Number::New(env, static_cast<double>(times->evaluated)));
          return out;
        });
  }

  Napi::Value logits(const Napi::CallbackInfo& info) {
    const std::vector<float>& logits = idle(info.Env())->logits();
    Napi::Float32Array out = Napi::Float32Array::New(info.Env(), logits.size());
    std::copy(logits.begin(), logits.end(), out.Data());
    return out;
  }

  Napi::Value set_sampling(const Napi::CallbackInfo& info) {
    auto session = idle(info.Env());
    guarded(info.Env(), [&] { session->set_sampling(sampling_of(options_arg(info, 0))); });
    return info.Env().Undefined();
  }

  Napi::Value abort(const Napi::CallbackInfo& info) {
    if (session_) session_->abort();
    return info.Env().Undefined();
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    if (session_) session_->abort();
    session_.reset();  // a running operation has its own reference
    return info.Env().Undefined();
  }

  std::shared_ptr<bitnet::Session> session_;
  bool busy_ = false;
};

// ---- model

Napi::Value nullable(Napi::Env env, std::optional<std::string_view> text) {
  if (!text) return env.Null();
  return js_string(env, *text);
}

Napi::Object model_info(Napi::Env env, const bitnet::Model& m) {
  const bitnet::Config& c = m.config;
  Napi::Object out = Napi::Object::New(env);
  const auto number = [&](const char* key, int64_t value) {
    out.Set(key, Napi::Number::New(env, static_cast<double>(value)));
  };
  out.Set("architecture", c.architecture);
  out.Set("name", nullable(env, m.gguf.string("general.name")));
  out.Set("chatTemplate", nullable(env, m.gguf.string("tokenizer.chat_template")));
  number("contextLength", c.n_ctx_train);
  number("embeddingLength", c.n_embd);
  number("blockCount", c.n_layers);
  number("feedForwardLength", c.n_ff);
  number("headCount", c.n_heads);
  number("headCountKv", c.n_kv_heads);
  number("headDim", c.head_dim);
  number("vocabSize", c.n_vocab);
  number("parameterCount", m.n_parameters);
  out.Set("weightType", bitnet::tensor_type_name(m.layers[0].gate.type));
  out.Set("embeddingType", bitnet::tensor_type_name(m.token_embd.type));
  number("fileSize", static_cast<int64_t>(m.gguf.file_size()));
  number("copiedBytes", m.copied_bytes);
  out.Set("kernel", m.kernels.name);
  number("threads", const_cast<bitnet::Model&>(m).pool.size());
  return out;
}

class ModelObject : public Wrapped<ModelObject> {
 public:
  static constexpr const char* kName = "Model";
  using Wrapped::Wrapped;

  void init(Napi::Env env, Napi::Object object, std::shared_ptr<bitnet::Model> model) {
    model_ = std::move(model);
    object.Set("info", model_info(env, *model_));
    // Aliases that keep the whole model alive.
    object.Set("gguf",
               GgufObject::make(env, std::shared_ptr<const bitnet::Gguf>(model_, &model_->gguf)));
    object.Set("tokenizer", TokenizerObject::make(env, std::shared_ptr<const bitnet::Tokenizer>(
                                                           model_, &model_->tokenizer)));
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&ModelObject::create_session>("createSession"),
                          InstanceMethod<&ModelObject::cost>("cost"),
                          InstanceMethod<&ModelObject::set_tuning>("setTuning"),
                          InstanceMethod<&ModelObject::close>("close")});
  }

 private:
  Napi::Value create_session(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    if (!model_) throw to_js(env, ErrorCode::kUsage, "the model is closed");
    const int64_t n_ctx =
        integer_of(env, options_arg(info, 0).Get("contextSize"), "contextSize", 1, 1 << 24);
    const bitnet::CacheType cache_type = cache_type_of(env, options_arg(info, 0).Get("cacheType"));
    return guarded(env, [&] {
      return SessionObject::make(env, std::make_shared<bitnet::Session>(model_, n_ctx, cache_type));
    });
  }
  Napi::Value cost(const Napi::CallbackInfo& info) {
    if (!model_) throw to_js(info.Env(), ErrorCode::kUsage, "the model is closed");
    const bitnet::ModelCost cost = bitnet::model_cost(*model_);
    Napi::Object out = Napi::Object::New(info.Env());
    const auto number = [&](const char* key, int64_t value) {
      out.Set(key, Napi::Number::New(info.Env(), static_cast<double>(value)));
    };
    number("weightBytes", cost.weight_bytes);
    number("headBytes", cost.head_bytes);
    number("kvBytes", cost.kv_bytes);
    number("ternaryOperations", cost.ternary_operations);
    number("batchTokens", cost.batch_tokens);
    return out;
  }
  Napi::Value set_tuning(const Napi::CallbackInfo& info) {
    if (!model_) throw to_js(info.Env(), ErrorCode::kUsage, "the model is closed");
    const bitnet::Tuning tuning = tuning_of(options_arg(info, 0));
    guarded(info.Env(), [&] { model_->set_tuning(tuning); });
    return info.Env().Undefined();
  }
  Napi::Value close(const Napi::CallbackInfo& info) {
    model_.reset();
    return info.Env().Undefined();
  }

  std::shared_ptr<bitnet::Model> model_;
};

// ---- functions

Napi::Value load_model(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = string_arg(info, 0, "the path");
  const Napi::Object js = options_arg(info, 1);
  bitnet::LoadOptions options;
  if (!js.Get("threads").IsUndefined()) {
    options.n_threads = static_cast<int>(integer_of(env, js.Get("threads"), "threads", 1, 1024));
  }
  options.kernel = optional_string(js, "kernel");
  options.tokenizer_pre = optional_string(js, "tokenizerPre");
  options.kernel_config = optional_string(js, "kernelConfig");
  options.layout = optional_string(js, "layout");
  if (js.Get("tuning").IsObject()) options.tuning = tuning_of(js.Get("tuning").As<Napi::Object>());
  if (js.Get("inPlace").IsBoolean()) options.in_place = js.Get("inPlace").ToBoolean();
  if (js.Get("fastHead").IsBoolean()) options.fast_head = js.Get("fastHead").ToBoolean();
  auto model = std::make_shared<std::shared_ptr<bitnet::Model>>();
  return Task::start(
      env, [=] { *model = bitnet::Model::load(path, options); },
      [model](Napi::Env e) -> Napi::Value { return ModelObject::make(e, *model); });
}

Napi::Value open_gguf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto gguf =
        std::make_shared<const bitnet::Gguf>(bitnet::Gguf::open(string_arg(info, 0, "the path")));
    return GgufObject::make(info.Env(), gguf);
  });
}

Napi::Value open_tokenizer(const Napi::CallbackInfo& info) {
  struct File {
    bitnet::Gguf gguf;
    bitnet::Tokenizer tokenizer;
    File(const std::string& path, const bitnet::TokenizerOptions& options)
        : gguf(bitnet::Gguf::open(path)), tokenizer(gguf, options) {}
  };
  return guarded(info.Env(), [&] {
    const std::string path = string_arg(info, 0, "the path");
    auto file = std::make_shared<File>(
        path, bitnet::TokenizerOptions{optional_string(options_arg(info, 1), "tokenizerPre")});
    return TokenizerObject::make(info.Env(),
                                 std::shared_ptr<const bitnet::Tokenizer>(file, &file->tokenizer));
  });
}

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

Napi::Object init(Napi::Env env, Napi::Object exports) {
  GgufObject::define(env);
  DecoderObject::define(env);
  TokenizerObject::define(env);
  SessionObject::define(env);
  ModelObject::define(env);
  exports.Set("loadModel", Napi::Function::New<load_model>(env));
  exports.Set("openGguf", Napi::Function::New<open_gguf>(env));
  exports.Set("openTokenizer", Napi::Function::New<open_tokenizer>(env));
  exports.Set("kernels", Napi::Function::New<list_kernels>(env));
  exports.Set("physicalCores", Napi::Function::New<physical_cores>(env));
  addon::define_bench(env, exports);
  addon::define_convert(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(bitnet, init)
