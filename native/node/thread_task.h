// Work that may take minutes, on a thread of its own: those of libuv are few, and serve files and
// names.
#pragma once

#include <napi.h>

#include <functional>
#include <thread>
#include <utility>

#include "node/support.h"

namespace addon {

class ThreadTask {
 public:
  // `finished` runs on JavaScript's thread before the promise settles, whatever the outcome. At the
  // end of the environment `work` is waited for: see that it ends.
  static Napi::Promise start(
      Napi::Env env, PromisedWork::Work work, PromisedWork::Result result,
      std::function<void()> finished = [] {}) {
    auto* task = new ThreadTask(env, std::move(work), std::move(result), std::move(finished));
    const Napi::Promise promise = task->work_.promise();
    Channel channel = Channel::New(env, "bitnet", 0, 1, task, [](Napi::Env, void*, ThreadTask* t) {
      t->thread_.join();
      delete t;
    });
    task->thread_ = std::thread([task, channel]() mutable {
      task->work_.run();
      if (channel.BlockingCall() == napi_ok) channel.Release();  // else it is closed
    });
    return promise;
  }

 private:
  static void on_done(Napi::Env env, Napi::Function, ThreadTask* task, void*) {
    if (env == nullptr) return;
    task->finished_();
    task->work_.settle(env);
  }
  using Channel = Napi::TypedThreadSafeFunction<ThreadTask, void, on_done>;

  ThreadTask(Napi::Env env, PromisedWork::Work work, PromisedWork::Result result,
             std::function<void()> finished)
      : work_(env, std::move(work), std::move(result)), finished_(std::move(finished)) {}

  PromisedWork work_;
  const std::function<void()> finished_;
  std::thread thread_;
};

}  // namespace addon
