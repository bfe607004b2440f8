#include "node/events.h"

#include <utility>

#include "node/support.h"

namespace addon {

using bitnet::Event;

std::shared_ptr<EventBridge> EventBridge::create(Napi::Env env) {
  const auto bridge = std::make_shared<EventBridge>(Private{}, env);
  Gate& gate = *bridge->gate_;
  gate.channel = Channel::New(env, "bitnet", 0, 1, new Context(bridge),
                              [](Napi::Env, void*, Context* context) { delete context; });
  gate.channel.Unref(env);
  // Hooks run in the reverse order: this one before that of the channel.
  napi_add_env_cleanup_hook(env, at_end, bridge.get());
  bridge->sink_ = std::make_shared<const bitnet::EventSink>(
      [gate = bridge->gate_](std::vector<Event>&& events) {
        std::lock_guard<std::mutex> lock(gate->mutex);
        if (!gate->is_open) return;
        auto* data = new std::vector<Event>(std::move(events));
        if (gate->channel.NonBlockingCall(data) != napi_ok) delete data;
      });
  return bridge;
}

EventBridge::~EventBridge() {
  napi_remove_env_cleanup_hook(env_, at_end, this);
  close();
}

void EventBridge::at_end(void* self) { static_cast<EventBridge*>(self)->close(); }

// Nobody is told anything any more.
void EventBridge::close() {
  {
    std::lock_guard<std::mutex> lock(gate_->mutex);
    if (!gate_->is_open) return;
    gate_->is_open = false;
    gate_->channel.Release();
  }
  // Handlers hold the engine, and with it this bridge.
  const auto handlers = std::move(handlers_);
  handlers_.clear();
}

void EventBridge::hold(Napi::Env env) {
  if (n_holds_++ == 0) gate_->channel.Ref(env);
}

void EventBridge::release(Napi::Env env) {
  if (--n_holds_ == 0) gate_->channel.Unref(env);
}

void EventBridge::expect(const bitnet::Operation& operation, Handler handler) {
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
    try {
      guarded(env, [&] { handle(env, id, std::move(by_operation[id])); });
    } catch (const Napi::Error& error) {
      // Uncaught, as there is no JavaScript below. An environment at its end hears nothing of it.
      napi_fatal_exception(env, error.Value());
    }
  }
}

void EventBridge::handle(Napi::Env env, uint64_t operation, std::vector<Event> events) {
  const auto found = handlers_.find(operation);
  if (found == handlers_.end()) return;
  if (events.back().kind != Event::Kind::kDone) return found->second(env, std::move(events));
  const Handler handler = std::move(found->second);
  handlers_.erase(found);
  handler(env, std::move(events));
}

}  // namespace addon
