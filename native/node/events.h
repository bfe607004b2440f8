// Brings what the engine of a model tells to JavaScript's thread: one call for all events of a
// step.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "run/engine.h"

namespace addon {

class EventBridge {
  struct Private {};  // create() alone makes them

 public:
  explicit EventBridge(Private) {}
  // On JavaScript's thread, with all of an operation's events of a step; the last has kDone.
  using Handler = std::function<void(Napi::Env, std::vector<bitnet::Event>)>;

  static std::shared_ptr<EventBridge> create(Napi::Env env);
  ~EventBridge();
  EventBridge(const EventBridge&) = delete;
  EventBridge& operator=(const EventBridge&) = delete;

  const std::shared_ptr<const bitnet::EventSink>& sink() const { return sink_; }
  // From JavaScript's thread, in the turn in which the operation was submitted. While an operation
  // is expected, the process does not end by itself.
  void expect(Napi::Env env, const bitnet::Operation& operation, Handler handler);

 private:
  void handle(Napi::Env env, std::vector<bitnet::Event> events);
  // Events may still be on their way when the bridge is gone.
  using Context = std::weak_ptr<EventBridge>;
  static void on_events(Napi::Env env, Napi::Function, Context* bridge,
                        std::vector<bitnet::Event>* events);
  using Channel = Napi::TypedThreadSafeFunction<Context, std::vector<bitnet::Event>, on_events>;

  Channel channel_;
  std::shared_ptr<const bitnet::EventSink> sink_;
  std::unordered_map<uint64_t, Handler> handlers_;  // by operation
};

// A model that runs. Its engine ends before the bridge that it calls.
struct Runtime {
  std::shared_ptr<EventBridge> bridge;
  std::shared_ptr<bitnet::Engine> engine;
};

}  // namespace addon
