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
  using Hook = std::function<void()>;  // on JavaScript's thread

  // `finished` comes before the promise settles, whatever the outcome. At the end of the
  // environment `work` is waited for, after `stop`, which asks it to end soon.
  static Napi::Promise start(
      Napi::Env env, PromisedWork::Work work, PromisedWork::Result result, Hook stop = [] {},
      Hook finished = [] {}) {
    auto* task = new ThreadTask(env, std::move(work), std::move(result), std::move(stop),
                                std::move(finished));
    const Napi::Promise promise = task->work_.promise();
    Channel channel = Channel::New(env, "bitnet", 0, 1, task, [](Napi::Env, void*, ThreadTask* t) {
      t->thread_.join();
      delete t;
    });
    // Hooks run in the reverse order: this one before that of the channel, which waits.
    napi_add_env_cleanup_hook(env, at_end, task);
    task->thread_ = std::thread([task, channel]() mutable {
      task->work_.run();
      if (channel.BlockingCall() == napi_ok) channel.Release();  // else it is closed
    });
    return promise;
  }

 private:
  static void on_done(Napi::Env env, Napi::Function, ThreadTask* task, void*) {
    if (env == nullptr) return;
    napi_remove_env_cleanup_hook(env, at_end, task);
    task->finished_();
    task->work_.settle(env);
  }
  static void at_end(void* task) { static_cast<ThreadTask*>(task)->stop_(); }
  using Channel = Napi::TypedThreadSafeFunction<ThreadTask, void, on_done>;

  ThreadTask(Napi::Env env, PromisedWork::Work work, PromisedWork::Result result, Hook stop,
             Hook finished)
      : work_(env, std::move(work), std::move(result)),
        stop_(std::move(stop)),
        finished_(std::move(finished)) {}

  PromisedWork work_;
  const Hook stop_, finished_;
  std::thread thread_;
};

}  // namespace addon
