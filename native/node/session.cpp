#include "node/session.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "measure/measure.h"
#include "node/object.h"
#include "node/sampling.h"
#include "node/support.h"

namespace addon {
namespace {

class SessionObject : public Wrapped<SessionObject> {
 public:
  static constexpr const char* kName = "Session";
  using Wrapped::Wrapped;

  void init(Napi::Object object, std::shared_ptr<bitnet::Session> session) {
    session_ = std::move(session);
    object.Set("contextSize", session_->n_ctx());
    object.Set("kvBytes", session_->kv_bytes());
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
          out.Set("reused", done->reused);
          out.Set("evaluated", done->evaluated);
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
          out.Set("evaluated", times->evaluated);
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

}  // namespace

Napi::Object make_session(Napi::Env env, std::shared_ptr<bitnet::Session> session) {
  return SessionObject::make(env, std::move(session));
}

void define_session(Napi::Env env) { SessionObject::define(env); }

}  // namespace addon
