#include "node/session.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "node/grammar.h"
#include "node/object.h"
#include "node/results.h"
#include "node/sampling.h"
#include "node/support.h"

namespace addon {
namespace {

using bitnet::Event;
using bitnet::Request;

constexpr int64_t kMaxLogitRows = 32;  // bounds what a call of logitsOf() takes

class SessionObject : public Wrapped<SessionObject> {
 public:
  static constexpr const char* kName = "Session";
  using Wrapped::Wrapped;

  struct Parts {
    std::shared_ptr<Runtime> runtime;
    std::shared_ptr<bitnet::Sequence> sequence;
    bitnet::Urgency urgency;
  };
  void init(Napi::Object object, Parts parts) {
    parts_ = std::move(parts);
    const bitnet::Sequence& sequence = *parts_.sequence;
    object.Set("contextSize", sequence.n_ctx);
    object.Set("kvBytes", sequence.table.layout().context_bytes(sequence.n_ctx));
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&SessionObject::tokens>("tokens"),
                          InstanceMethod<&SessionObject::prefill>("prefill"),
                          InstanceMethod<&SessionObject::generate>("generate"),
                          InstanceMethod<&SessionObject::acknowledge>("acknowledge"),
                          InstanceMethod<&SessionObject::set_waiting>("setWaiting"),
                          InstanceMethod<&SessionObject::truncate>("truncate"),
                          InstanceMethod<&SessionObject::score>("score"),
                          InstanceMethod<&SessionObject::embed>("embed"),
                          InstanceMethod<&SessionObject::keep_hidden>("keepHidden"),
                          InstanceMethod<&SessionObject::logits_of>("logitsOf"),
                          InstanceMethod<&SessionObject::logits>("logits"),
                          InstanceMethod<&SessionObject::save>("save"),
                          InstanceMethod<&SessionObject::restore>("restore"),
                          InstanceMethod<&SessionObject::time_pass>("timePass"),
                          InstanceMethod<&SessionObject::abort>("abort"),
                          InstanceMethod<&SessionObject::close>("close")});
  }

 private:
  // The sequence, free for a synchronous use or for the next operation.
  bitnet::Sequence& idle(Napi::Env env) {
    if (!parts_.sequence) throw to_js(env, ErrorCode::kUsage, "the session is closed");
    if (running_ || parts_.sequence->busy)
      throw to_js(env, ErrorCode::kUsage, "the session is busy: one operation at a time");
    return *parts_.sequence;
  }

  // Starts an operation. `handler` gets its events; the session is free again with the last ones.
  void start(const Napi::CallbackInfo& info, Request request, EventBridge::Handler handler) {
    idle(info.Env());
    // The reference keeps this object alive until the work is done, the parts keep the engine.
    auto keep =
        std::make_shared<Napi::ObjectReference>(Napi::Persistent(info.This().As<Napi::Object>()));
    const Parts parts = parts_;
    request.urgency = parts.urgency;
    guarded(info.Env(), [&] {
      running_ = parts.runtime->engine->submit(parts.sequence, std::move(request),
                                               parts.runtime->bridge->sink());
    });
    running_in_ = parts.runtime;
    parts.runtime->bridge->expect(*running_, [this, keep, parts, handler = std::move(handler)](
                                                 Napi::Env env, std::vector<Event> events) {
      if (events.back().kind == Event::Kind::kDone) {
        wait(env, false);
        running_in_.reset();
        running_.reset();
      }
      handler(env, std::move(events));
    });
  }

  // Whether somebody waits for the operation that runs: then the process does not end by itself.
  void wait(Napi::Env env, bool waiting) {
    if (!running_in_ || waiting == waiting_) return;
    waiting_ = waiting;
    if (waiting) {
      running_in_->bridge->hold(env);
    } else {
      running_in_->bridge->release(env);
    }
  }

  // The same for one result, as a promise.
  using Result = std::function<Napi::Value(Napi::Env, const Event& done)>;
  Napi::Value promise(const Napi::CallbackInfo& info, Request request, Result result) {
    auto deferred = std::make_shared<Napi::Promise::Deferred>(info.Env());
    start(info, std::move(request),
          [deferred, result = std::move(result)](Napi::Env env, std::vector<Event> events) {
            const Event& last = events.back();
            if (last.kind != Event::Kind::kDone) return;
            PromisedWork::settle(env, *deferred, [&] {
              if (last.finish == Event::Finish::kFailed) throw to_js(env, last.code, last.message);
              return result(env, last);
            });
          });
    wait(info.Env(), true);
    return deferred->Promise();
  }

  Napi::Value tokens(const Napi::CallbackInfo& info) {
    bitnet::Sequence& sequence = idle(info.Env());
    const std::lock_guard<std::mutex> lock(sequence.mutex);
    return int32_array(info.Env(), sequence.table.tokens());
  }

  Napi::Value prefill(const Napi::CallbackInfo& info) {
    Request request;
    request.tokens = prompt_arg(info, 0);
    request.all_logits = string_arg(info, 1, "logits") == "all";
    return promise(info, std::move(request), [](Napi::Env env, const Event& done) -> Napi::Value {
      Napi::Object out = Napi::Object::New(env);
      out.Set("reused", done.n_reused);
      out.Set("evaluated", done.n_evaluated);
      return out;
    });
  }

  // The prompt as ids; empty would mean that the sequence goes on.
  static std::vector<int32_t> prompt_arg(const Napi::CallbackInfo& info, size_t i) {
    std::vector<int32_t> ids = ids_arg(info, i);
    if (ids.empty()) throw to_js(info.Env(), ErrorCode::kUsage, "the prompt has no tokens");
    return ids;
  }

  Napi::Value generate(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const Napi::Object options = options_arg(info, 1);
    Request request;
    request.tokens = prompt_arg(info, 0);
    request.sampling =
        sampling_of(options.Get("sampling").IsObject() ? options.Get("sampling").As<Napi::Object>()
                                                       : Napi::Object::New(env));
    request.max_tokens = integer_of(env, options.Get("maxTokens"), "maxTokens", 0, kMaxSafeInteger);
    request.window = integer_of(env, options.Get("window"), "window", 1, kMaxSafeInteger);
    request.stop_at_eog = true;
    request.anew = options.Get("anew").ToBoolean();
    if (!options.Get("grammar").IsUndefined()) request.grammar = grammar_of(options.Get("grammar"));
    request.starts_text = options.Get("startsText").ToBoolean();
    if (!options.Get("begun").IsUndefined()) request.begun = ids_of(env, options.Get("begun"));
    if (!info[2].IsFunction())
      throw to_js(env, ErrorCode::kUsage, "generate needs a function for its progress");
    auto listener =
        std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[2].As<Napi::Function>()));
    start(info, std::move(request), [listener](Napi::Env e, std::vector<Event> events) {
      listener->Call({progress_of(e, events)});
    });
    return env.Undefined();
  }

  Napi::Value acknowledge(const Napi::CallbackInfo& info) {
    const int64_t n = integer_of(info.Env(), info[0], "a count of tokens", 0, kMaxSafeInteger);
    if (!parts_.runtime) throw to_js(info.Env(), ErrorCode::kUsage, "the session is closed");
    if (running_) parts_.runtime->engine->acknowledge(*running_, n);
    return info.Env().Undefined();
  }

  Napi::Value set_waiting(const Napi::CallbackInfo& info) {
    wait(info.Env(), bool_arg(info, 0));
    return info.Env().Undefined();
  }

  Napi::Value truncate(const Napi::CallbackInfo& info) {
    if (!parts_.sequence) return info.Env().Undefined();  // closed meanwhile
    bitnet::Sequence& sequence = idle(info.Env());
    const int64_t n = integer_of(info.Env(), info[0], "a count of tokens", 0, kMaxSafeInteger);
    guarded(info.Env(), [&] {
      const std::lock_guard<std::mutex> lock(sequence.mutex);
      sequence.truncate(n);
    });
    return info.Env().Undefined();
  }

  Napi::Value score(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Request request;
    request.tokens = prompt_arg(info, 0);
    request.score_from =
        integer_of(env, info[1], "from", 1, static_cast<double>(request.tokens.size()));
    const int64_t n_top = integer_of(env, info[2], "top", 0, bitnet::kMaxScoreTop);
    request.score_top = n_top;
    const auto sequence = parts_.sequence;
    return promise(info, std::move(request),
                   [sequence, n_top](Napi::Env e, const Event& done) -> Napi::Value {
                     Napi::Object out = scores_of(e, *sequence, n_top);
                     out.Set("reused", done.n_reused);
                     out.Set("evaluated", done.n_evaluated);
                     return out;
                   });
  }

  Napi::Value embed(const Napi::CallbackInfo& info) {
    Request request;
    request.tokens = prompt_arg(info, 0);
    request.pooling = bitnet::find_pooling(string_arg(info, 1, "pooling"));
    if (!request.pooling)
      throw to_js(info.Env(), ErrorCode::kUsage, "pooling must be none, mean, cls or last");
    const auto sequence = parts_.sequence;
    return promise(info, std::move(request),
                   [sequence](Napi::Env env, const Event&) -> Napi::Value {
                     const std::vector<float> vector = std::move(sequence->embedding);
                     Napi::Float32Array out = Napi::Float32Array::New(env, vector.size());
                     std::copy(vector.begin(), vector.end(), out.Data());
                     return out;
                   });
  }

  Napi::Value keep_hidden(const Napi::CallbackInfo& info) {
    Request request;
    request.tokens = prompt_arg(info, 0);
    request.hidden_from =
        integer_of(info.Env(), info[1], "from", 0, static_cast<double>(request.tokens.size()) - 1);
    return promise(info, std::move(request), [](Napi::Env env, const Event& done) -> Napi::Value {
      Napi::Object out = Napi::Object::New(env);
      out.Set("reused", done.n_reused);
      out.Set("evaluated", done.n_evaluated);
      return out;
    });
  }

  // Computed on another thread into memory of this side, as JavaScript may take an array away.
  Napi::Value logits_of(const Napi::CallbackInfo& info) {
    idle(info.Env());
    const int64_t first = integer_of(info.Env(), info[0], "the first row", 0, INT32_MAX);
    const int64_t n = integer_of(info.Env(), info[1], "rows", 1, kMaxLogitRows);
    const Napi::Value given = info[2];
    if (!given.IsTypedArray() ||
        given.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
      throw to_js(info.Env(), ErrorCode::kUsage, "logits go to a Float32Array");
    auto out = std::make_shared<Napi::ObjectReference>(Napi::Persistent(given.As<Napi::Object>()));
    auto logits = std::make_shared<std::vector<float>>();
    return Task::start(
        info.Env(),
        [logits, first, n, parts = parts_] {
          bitnet::Engine& engine = *parts.runtime->engine;
          logits->resize(static_cast<size_t>(n * engine.model().tokenizer.n_vocab()));
          engine.logits_of(*parts.sequence, first, n, *logits);
        },
        [logits, out](Napi::Env env) -> Napi::Value {
          auto array = out->Value().As<Napi::Float32Array>();
          if (array.ElementLength() < logits->size())
            throw to_js(env, ErrorCode::kUsage, "the array for logits is too small");
          std::copy(logits->begin(), logits->end(), array.Data());
          return env.Undefined();
        });
  }

  Napi::Value time_pass(const Napi::CallbackInfo& info) {
    Request request;
    request.tokens = prompt_arg(info, 0);
    request.sampling.emplace().temperature = 0;
    request.tell_tokens = false;
    request.max_tokens = 1 + integer_of(info.Env(), info[1], "generate", 0, 1 << 24);
    return promise(info, std::move(request), [](Napi::Env env, const Event& done) -> Napi::Value {
      Napi::Object out = Napi::Object::New(env);
      out.Set("prefill", done.prompt_seconds);
      out.Set("decode", done.decode_seconds);
      out.Set("evaluated", done.n_evaluated);
      return out;
    });
  }

  Napi::Value logits(const Napi::CallbackInfo& info) {
    bitnet::Sequence& sequence = idle(info.Env());
    const std::vector<float>& logits = guarded(info.Env(), [&]() -> const std::vector<float>& {
      return parts_.runtime->engine->logits(sequence);
    });
    Napi::Float32Array out = Napi::Float32Array::New(info.Env(), logits.size());
    std::copy(logits.begin(), logits.end(), out.Data());
    return out;
  }

  // A file is written or read on another thread, while the sequence is busy.
  using Transfer = bitnet::Engine::Slot (bitnet::Engine::*)(bitnet::Sequence&, const std::string&);
  Napi::Value transfer(const Napi::CallbackInfo& info, Transfer transfer) {
    idle(info.Env());
    auto slot = std::make_shared<bitnet::Engine::Slot>();
    return Task::start(
        info.Env(),
        [slot, transfer, parts = parts_, path = string_arg(info, 0, "the path")] {
          *slot = (*parts.runtime->engine.*transfer)(*parts.sequence, path);
        },
        [slot](Napi::Env env) {
          Napi::Object out = Napi::Object::New(env);
          out.Set("tokens", slot->n_tokens);
          out.Set("bytes", slot->n_bytes);
          return out;
        });
  }
  Napi::Value save(const Napi::CallbackInfo& info) { return transfer(info, &bitnet::Engine::save); }
  Napi::Value restore(const Napi::CallbackInfo& info) {
    return transfer(info, &bitnet::Engine::restore);
  }

  Napi::Value abort(const Napi::CallbackInfo& info) {
    if (running_ && parts_.runtime) parts_.runtime->engine->cancel(*running_);
    return info.Env().Undefined();
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    abort(info);
    parts_ = {};  // a running operation has its own
    return info.Env().Undefined();
  }

  Parts parts_;
  std::shared_ptr<bitnet::Operation> running_;
  std::shared_ptr<Runtime> running_in_;  // also when the session is closed meanwhile
  bool waiting_ = false;
};

}  // namespace

Napi::Object make_session(Napi::Env env, std::shared_ptr<Runtime> runtime,
                          std::shared_ptr<bitnet::Sequence> sequence, bitnet::Urgency urgency) {
  return SessionObject::make(
      env, SessionObject::Parts{std::move(runtime), std::move(sequence), std::move(urgency)});
}

void define_session(Napi::Env env) { SessionObject::define(env); }

}  // namespace addon
