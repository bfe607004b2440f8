// Brings what the engine of a model tells to JavaScript's thread: one call for all events of a
// step.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "run/engine.h"

namespace addon {

class EventBridge {
  struct Private {};  // create() alone makes them

 public:
  EventBridge(Private, Napi::Env env) : env_(env) {}
  // On JavaScript's thread, with all of an operation's events of a step; the last has kDone.
  using Handler = std::function<void(Napi::Env, std::vector<bitnet::Event>)>;

  static std::shared_ptr<EventBridge> create(Napi::Env env);
  ~EventBridge();
  EventBridge(const EventBridge&) = delete;
  EventBridge& operator=(const EventBridge&) = delete;

  const std::shared_ptr<const bitnet::EventSink>& sink() const { return sink_; }
  // From JavaScript's thread, in the turn in which the operation was submitted.
  void expect(const bitnet::Operation& operation, Handler handler);
  // The process does not end by itself while there are more holds than releases: somebody waits.
  void hold(Napi::Env env);
  void release(Napi::Env env);

 private:
  void handle(Napi::Env env, std::vector<bitnet::Event> events);
  void handle(Napi::Env env, uint64_t operation, std::vector<bitnet::Event> events);
  // Events may still be on their way when the bridge is gone.
  using Context = std::weak_ptr<EventBridge>;
  static void on_events(Napi::Env env, Napi::Function, Context* bridge,
                        std::vector<bitnet::Event>* events);
  using Channel = Napi::TypedThreadSafeFunction<Context, std::vector<bitnet::Event>, on_events>;

  // What the engine's thread calls; closed before the environment takes the channel away.
  struct Gate {
    std::mutex mutex;
    bool is_open = true;
    Channel channel;
  };
  void close();
  static void at_end(void* self);  // of the environment

  const Napi::Env env_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::shared_ptr<const bitnet::EventSink> sink_;
  std::unordered_map<uint64_t, Handler> handlers_;  // by operation
  int n_holds_ = 0;
};

// A model that runs. Its engine ends before the bridge that it calls.
struct Runtime {
  std::shared_ptr<EventBridge> bridge;
  std::shared_ptr<bitnet::Engine> engine;
};

}  // namespace addon
