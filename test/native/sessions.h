// Sessions of a model for tests that have no engine of their own.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "run/session.h"

// The engine of a model, while any session of it lives.
inline std::shared_ptr<bitnet::Engine> engine_of(const std::shared_ptr<bitnet::Model>& model) {
  static std::mutex mutex;
  static std::map<bitnet::Model*, std::weak_ptr<bitnet::Engine>> engines;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<bitnet::Engine> engine = engines[model.get()].lock();
  if (!engine) engines[model.get()] = engine = std::make_shared<bitnet::Engine>(model);
  return engine;
}

// Each computes everything itself: engine_test.cpp has those that share.
class Session : public bitnet::Session {
 public:
  Session(const std::shared_ptr<bitnet::Model>& model, int64_t n_ctx,
          bitnet::CacheType type = bitnet::CacheType::kF16)
      : bitnet::Session(engine_of(model), {n_ctx, type, false, {}}) {}
};
