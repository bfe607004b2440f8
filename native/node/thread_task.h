// Work that may take minutes, on a thread of its own: those of libuv are few, and serve files and
// names.
#pragma once

#include <napi.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "node/support.h"

namespace addon {

class ThreadTask {
 public:
  using Work = std::function<void()>;
  using Result = std::function<Napi::Value(Napi::Env)>;

  // As Task::start(). At the end of the environment `work` is waited for: see that it ends.
  static Napi::Promise start(
      Napi::Env env, Work work, Result result, std::function<void()> finished = [] {}) {
    auto* task = new ThreadTask(env, std::move(work), std::move(result), std::move(finished));
    const Napi::Promise promise = task->deferred_.Promise();
    Channel channel = Channel::New(env, "bitnet", 0, 1, task, [](Napi::Env, void*, ThreadTask* t) {
      t->thread_.join();
      delete t;
    });
    task->thread_ = std::thread([task, channel]() mutable {
      task->run();
      if (channel.BlockingCall() == napi_ok) channel.Release();  // else it is closed
    });
    return promise;
  }

 private:
  static void on_done(Napi::Env env, Napi::Function, ThreadTask* task, void*) {
    if (env != nullptr) task->settle(env);
  }
  using Channel = Napi::TypedThreadSafeFunction<ThreadTask, void, on_done>;

  ThreadTask(Napi::Env env, Work work, Result result, std::function<void()> finished)
      : deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        result_(std::move(result)),
        finished_(std::move(finished)) {}

  void run() {
    try {
      work_();
    } catch (const bitnet::Error& error) {
      fail(error.code, error.what());
    } catch (const std::bad_alloc&) {
      fail(ErrorCode::kNoMemory, "out of memory");
    } catch (const std::exception& error) {
      fail(ErrorCode::kInternal, error.what());
    }
  }
  void fail(ErrorCode code, const std::string& message) {
    has_failed_ = true;
    code_ = code;
    message_ = message;
  }

  void settle(Napi::Env env) {
    finished_();
    if (has_failed_) return deferred_.Reject(to_js(env, code_, message_).Value());
    try {
      deferred_.Resolve(guarded(env, [&] { return result_(env); }));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

  Napi::Promise::Deferred deferred_;
  Work work_;
  Result result_;
  std::function<void()> finished_;
  bool has_failed_ = false;
  ErrorCode code_ = ErrorCode::kInternal;
  std::string message_;
  std::thread thread_;
};

}  // namespace addon
