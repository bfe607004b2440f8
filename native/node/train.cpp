#include "node/train.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "node/convert.h"
#include "node/object.h"
#include "node/support.h"
#include "node/thread_task.h"
#include "train/training.h"

namespace addon {
namespace {

using bitnet::ParameterPart;
using bitnet::Training;
using bitnet::TrainMode;
using bitnet::TrainOptions;
using bitnet::TrainRow;

constexpr double kMaxSeed = 4294967295.0;

// What runs on another thread keeps it; the object lets go of it at close().
struct Shared {
  std::unique_ptr<Training> training;
  std::atomic<bool> stop{false};
};

bitnet::AdapterOptions adapter_of(const Napi::Object& js) {
  Napi::Env env = js.Env();
  bitnet::AdapterOptions out;
  out.rank = integer_of(env, js.Get("rank"), "rank", 1, 1024);
  out.alpha = static_cast<float>(number_of(env, js.Get("alpha"), "alpha"));
  out.rslora = js.Get("rslora").ToBoolean();
  out.dropout = static_cast<float>(number_of(env, js.Get("dropout"), "dropout"));
  for (const int32_t i : ids_of(env, js.Get("matrices"))) {
    if (i >= 0 && i < bitnet::kLayerMatrices) out.matrices[i] = true;
  }
  if (js.Get("layers").IsUndefined()) return out;
  for (const int32_t has : ids_of(env, js.Get("layers"))) out.layers.push_back(has != 0);
  return out;
}

TrainOptions options_of(const Napi::Object& js) {
  Napi::Env env = js.Env();
  TrainOptions out;
  const std::string mode = optional_string(js, "mode");
  if (mode != "lora" && mode != "full")
    throw to_js(env, ErrorCode::kUsage, "mode must be \"lora\" or \"full\"");
  out.mode = mode == "full" ? TrainMode::kFull : TrainMode::kLora;
  if (out.mode == TrainMode::kLora) out.adapter = adapter_of(js.Get("adapter").ToObject());
  out.seed = static_cast<uint64_t>(integer_of(env, js.Get("seed"), "seed", 0, kMaxSeed));
  out.max_length = integer_of(env, js.Get("maxLength"), "maxLength", 1, 1 << 20);
  out.checkpointing = js.Get("checkpointing").ToBoolean();
  if (!js.Get("threads").IsUndefined())
    out.n_threads = static_cast<int>(integer_of(env, js.Get("threads"), "threads", 1, 1024));
  out.kernel = optional_string(js, "kernel");
  return out;
}

std::vector<TrainRow> rows_of(const Napi::Value& js) {
  if (!js.IsArray()) throw to_js(js.Env(), ErrorCode::kUsage, "rows must be an array");
  const auto array = js.As<Napi::Array>();
  std::vector<TrainRow> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(js.Env());
    const Napi::Object row = array.Get(i).ToObject();
    const auto ids = [&](const char* name) { return ids_of(js.Env(), row.Get(name)); };
    out.push_back({ids("ids"), ids("labels"), ids("documents")});
  }
  return out;
}

bitnet::OptimizerStep step_of(const Napi::Object& js) {
  const auto number = [&](const char* name) { return number_of(js.Env(), js.Get(name), name); };
  return {number("lr"),    number("weightDecay"), number("beta1"),
          number("beta2"), number("epsilon"),     number("clip")};
}

ParameterPart part_of(Napi::Env env, const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "value";
  if (name == "value") return ParameterPart::kValue;
  if (name == "gradient") return ParameterPart::kGradient;
  if (name == "m") return ParameterPart::kM;
  if (name == "v") return ParameterPart::kV;
  throw to_js(env, ErrorCode::kUsage,
              "a part of a parameter is \"value\", \"gradient\", \"m\" or \"v\"");
}

Napi::Object plan_object(Napi::Env env, const bitnet::MemoryPlan& plan) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("weights", plan.weights);
  out.Set("master", plan.master);
  out.Set("gradients", plan.gradients);
  out.Set("optimizer", plan.optimizer);
  out.Set("activations", plan.activations);
  out.Set("scratch", plan.scratch);
  out.Set("logits", plan.logits);
  out.Set("total", plan.total());
  return out;
}

void set_sum(Napi::Object& out, const bitnet::LossSum& sum) {
  out.Set("lossSum", sum.loss);
  out.Set("labels", sum.labels);
  out.Set("tokens", sum.tokens);
}

Napi::Object step_object(Napi::Env env, const bitnet::StepResult& result) {
  Napi::Object out = Napi::Object::New(env);
  set_sum(out, result.sum);
  out.Set("gradNorm", result.norm);
  if (result.skipped.empty()) return out;
  Napi::Object skipped = Napi::Object::New(env);
  skipped.Set("reason", result.skipped);
  if (!result.tensor.empty()) skipped.Set("tensor", result.tensor);
  out.Set("skipped", skipped);
  return out;
}

Napi::Array parameter_list(Napi::Env env, const Training& training) {
  Napi::Array out = Napi::Array::New(env);
  for (const auto& p : training.model().parameters) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", p->name);
    entry.Set("rows", p->rows);
    entry.Set("cols", p->cols);
    entry.Set("decays", p->decays);
    out.Set(out.Length(), entry);
  }
  return out;
}

Napi::Object info_object(Napi::Env env, const Training& training) {
  const bitnet::Config& c = training.model().config;
  Napi::Object out = Napi::Object::New(env);
  out.Set("architecture", c.family->architecture);
  out.Set("layers", c.n_layers);
  out.Set("embeddingLength", c.n_embd);
  out.Set("feedForwardLength", c.n_ff);
  out.Set("headCount", c.n_heads);
  out.Set("headCountKv", c.n_kv_heads);
  out.Set("headDim", c.head_dim);
  out.Set("vocabSize", c.n_vocab);
  out.Set("contextLength", c.n_ctx_train);
  out.Set("kernel", training.kernels().name);
  out.Set("threads", training.n_threads());
  out.Set("trainedParameters", training.model().n_trained());
  out.Set("totalParameters", training.model().n_total());
  out.Set("memory", plan_object(env, training.plan()));
  return out;
}

class TrainingObject : public Wrapped<TrainingObject> {
 public:
  static constexpr const char* kName = "Training";
  using Wrapped::Wrapped;

  ~TrainingObject() override { let_go(); }

  void init(Napi::Object object, std::shared_ptr<Shared> shared) {
    Napi::Env env = object.Env();
    object.Set("info", info_object(env, *shared->training));
    object.Set("parameters", parameter_list(env, *shared->training));
    shared_ = std::move(shared);
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&TrainingObject::backward>("backward"),
                          InstanceMethod<&TrainingObject::step>("step"),
                          InstanceMethod<&TrainingObject::evaluate>("evaluate"),
                          InstanceMethod<&TrainingObject::logits>("logits"),
                          InstanceMethod<&TrainingObject::read>("read"),
                          InstanceMethod<&TrainingObject::write>("write"),
                          InstanceMethod<&TrainingObject::matrices>("matrices"),
                          InstanceMethod<&TrainingObject::steps>("steps"),
                          InstanceMethod<&TrainingObject::set_steps>("setSteps"),
                          InstanceMethod<&TrainingObject::abort>("abort"),
                          InstanceMethod<&TrainingObject::close>("close")});
  }

 private:
  // A pass that runs keeps the training until it ends.
  void let_go() {
    if (!shared_) return;
    shared_->stop = true;
    shared_.reset();
  }

  // The training, free for the next operation.
  const std::shared_ptr<Shared>& idle(Napi::Env env) const {
    if (!shared_) throw to_js(env, ErrorCode::kUsage, "the training is closed");
    if (*is_running_)
      throw to_js(env, ErrorCode::kUsage, "the training is busy: one operation at a time");
    return shared_;
  }

  // work(shared) on another thread; result(env, what it returned).
  template <class Work, class Result>
  Napi::Value start(Napi::Env env, Work work, Result result) {
    const std::shared_ptr<Shared> shared = idle(env);
    using Value = decltype(work(*shared));
    const auto value = std::make_shared<Value>();
    *is_running_ = true;
    shared->stop = false;
    return ThreadTask::start(
        env, [=] { *value = work(*shared); },
        [=](Napi::Env e) -> Napi::Value { return result(e, *value); },
        [shared] { shared->stop = true; }, [is_running = is_running_] { *is_running = false; });
  }

  static Napi::Value sum_object(Napi::Env env, const bitnet::LossSum& sum) {
    Napi::Object out = Napi::Object::New(env);
    set_sum(out, sum);
    return out;
  }

  // (rows, { labels, step })
  Napi::Value backward(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const Napi::Object options = options_arg(info, 1);
    const int64_t labels = integer_of(env, options.Get("labels"), "labels", 1, kMaxSafeInteger);
    const int64_t step = integer_of(env, options.Get("step"), "step", 0, kMaxSafeInteger);
    return start(
        env,
        [rows = rows_of(info[0]), labels, step](Shared& shared) {
          return shared.training->backward(rows, labels, step,
                                           [&shared] { return shared.stop.load(); });
        },
        sum_object);
  }

  Napi::Value step(const Napi::CallbackInfo& info) {
    const bitnet::OptimizerStep step = step_of(options_arg(info, 0));
    return start(
        info.Env(), [step](Shared& shared) { return shared.training->step(step); },
        [](Napi::Env env, const bitnet::StepResult& result) -> Napi::Value {
          return step_object(env, result);
        });
  }

  Napi::Value evaluate(const Napi::CallbackInfo& info) {
    return start(
        info.Env(),
        [rows = rows_of(info[0])](Shared& shared) {
          return shared.training->evaluate(rows, [&shared] { return shared.stop.load(); });
        },
        sum_object);
  }

  Napi::Value logits(const Napi::CallbackInfo& info) {
    Napi::Array one = Napi::Array::New(info.Env());
    one.Set(0u, info[0]);
    return start(
        info.Env(),
        [rows = rows_of(one)](Shared& shared) {
          const int64_t n_vocab = shared.training->model().config.n_vocab;
          std::vector<float> out(static_cast<size_t>(rows[0].size() * n_vocab));
          shared.training->logits(rows[0], out.data());
          return out;
        },
        [](Napi::Env env, const std::vector<float>& values) -> Napi::Value {
          Napi::Float32Array out = Napi::Float32Array::New(env, values.size());
          std::copy(values.begin(), values.end(), out.Data());
          return out;
        });
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    return guarded(env, [&]() -> Napi::Value {
      const Training& training = *idle(env)->training;
      const bitnet::Parameter& p = training.parameter(string_arg(info, 0, "the name"));
      Napi::Float32Array out = Napi::Float32Array::New(env, static_cast<size_t>(p.size()));
      training.read(p, part_of(env, info[1]), out.Data());
      return out;
    });
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    return guarded(env, [&] {
      Training& training = *idle(env)->training;
      const bitnet::Parameter& p = training.parameter(string_arg(info, 0, "the name"));
      if (!info[1].IsTypedArray() ||
          info[1].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
        throw to_js(env, ErrorCode::kUsage, "values must be a Float32Array");
      const auto values = info[1].As<Napi::Float32Array>();
      if (values.ElementLength() != static_cast<size_t>(p.size())) {
        throw to_js(env, ErrorCode::kUsage,
                    p.name + " has " + std::to_string(p.size()) + " values, not " +
                        std::to_string(values.ElementLength()));
      }
      training.write(p, part_of(env, info[2]), values.Data());
      return env.Undefined();
    });
  }

  Napi::Value matrices(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Training& training = *idle(env)->training;
    training.ternarize();
    Napi::Array out = Napi::Array::New(env);
    int64_t layer = 0;
    for (const bitnet::TrainLayer& of_layer : training.model().layers) {
      for (int i = 0; i < bitnet::kLayerMatrices; ++i) {
        const bitnet::TrainLinear& w = of_layer.linear[i];
        const bitnet::WeightCounts counts = training.model().count(w);
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("name", bitnet::layer_prefix(layer) + bitnet::kMatrixNames[i] + ".weight");
        entry.Set("scale", w.weights.scale);
        entry.Set("minus", counts.minus);
        entry.Set("zero", counts.zero);
        entry.Set("plus", counts.plus);
        out.Set(out.Length(), entry);
      }
      ++layer;
    }
    return out;
  }

  Napi::Value steps(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(),
                             static_cast<double>(idle(info.Env())->training->n_steps()));
  }

  Napi::Value set_steps(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    idle(env)->training->set_steps(
        integer_of(env, info[0], "a number of steps", 0, kMaxSafeInteger));
    return env.Undefined();
  }

  Napi::Value abort(const Napi::CallbackInfo& info) {
    if (shared_) shared_->stop = true;
    return info.Env().Undefined();
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    let_go();
    return info.Env().Undefined();
  }

  std::shared_ptr<Shared> shared_;
  const std::shared_ptr<bool> is_running_ = std::make_shared<bool>(false);
};

// (request as planConversion takes it, options)
Napi::Value open_training(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&] {
    auto request = std::make_shared<bitnet::ConvertRequest>(request_of(options_arg(info, 0)));
    const auto shared = std::make_shared<Shared>();
    return ThreadTask::start(
        env,
        [request, shared, options = options_of(options_arg(info, 1))] {
          shared->training = Training::open(std::move(*request), options);
        },
        [shared](Napi::Env e) -> Napi::Value { return TrainingObject::make(e, shared); });
  });
}

Napi::Value plan_training(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const bitnet::TrainSource source(request_of(options_arg(info, 0)));
    return plan_object(env, bitnet::plan_memory(source, options_of(options_arg(info, 1))));
  });
}

}  // namespace

void define_train(Napi::Env env, Napi::Object exports) {
  TrainingObject::define(env);
  exports.Set("openTraining", Napi::Function::New<open_training>(env));
  exports.Set("planTraining", Napi::Function::New<plan_training>(env));
}

}  // namespace addon
