#include "node/events.h"

#include <utility>

namespace addon {

using bitnet::Event;

std::shared_ptr<EventBridge> EventBridge::create(Napi::Env env) {
  const auto bridge = std::make_shared<EventBridge>(Private{});
  bridge->channel_ = Channel::New(env, "bitnet", 0, 1, new Context(bridge),
                                  [](Napi::Env, void*, Context* context) { delete context; });
  bridge->channel_.Unref(env);
  bridge->sink_ = std::make_shared<const bitnet::EventSink>(
      [channel = bridge->channel_](std::vector<Event>&& events) mutable {
        auto* data = new std::vector<Event>(std::move(events));
        if (channel.NonBlockingCall(data) != napi_ok) delete data;  // JavaScript is at its end
      });
  return bridge;
}

EventBridge::~EventBridge() { channel_.Release(); }

void EventBridge::expect(Napi::Env env, const bitnet::Operation& operation, Handler handler) {
  if (handlers_.empty()) channel_.Ref(env);
  handlers_.emplace(bitnet::Engine::id_of(operation), std::move(handler));
}

void EventBridge::on_events(Napi::Env env, Napi::Function, Context* context,
                            std::vector<Event>* events) {
  const std::unique_ptr<std::vector<Event>> owner(events);
  if (env == nullptr) return;
  if (const auto bridge = context->lock()) bridge->handle(env, std::move(*events));
}

void EventBridge::handle(Napi::Env env, std::vector<Event> events) {
  std::unordered_map<uint64_t, std::vector<Event>> by_operation;
  std::vector<uint64_t> order;
  for (Event& event : events) {
    std::vector<Event>& of = by_operation[event.operation];
    if (of.empty()) order.push_back(event.operation);
    of.push_back(std::move(event));
  }
  for (const uint64_t id : order) {
    const auto found = handlers_.find(id);
    if (found == handlers_.end()) continue;
    std::vector<Event>& of = by_operation[id];
    if (of.back().kind != Event::Kind::kDone) {
      found->second(env, std::move(of));
      continue;
    }
    const Handler handler = std::move(found->second);
    handlers_.erase(found);
    if (handlers_.empty()) channel_.Unref(env);
    handler(env, std::move(of));
  }
}

}  // namespace addon
