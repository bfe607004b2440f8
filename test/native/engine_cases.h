// What the tests of the engine share: models, a mailbox for events, and requests with what they get
// when nobody else is there.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "check.h"
#include "run/engine.h"
#include "run/session.h"

namespace engine_cases {

using bitnet::CacheType;
using bitnet::Engine;
using bitnet::EngineOptions;
using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Event;
using bitnet::Model;
using bitnet::Operation;
using bitnet::Request;
using bitnet::SamplerParams;
using bitnet::Sequence;
using bitnet::SequenceOptions;
using bitnet::Session;

using Ids = std::vector<int32_t>;

inline const bool kQuick = std::getenv("BITNET_TEST_QUICK") != nullptr;

inline std::shared_ptr<Model> load(const char* path, int n_threads) {
  bitnet::LoadOptions options;
  options.n_threads = n_threads;
  return Model::load(check::data(path), options);
}

inline std::shared_ptr<Model> bundled(int n_threads = 2) {
  return load("tiny-bitnet/tiny-bitnet.gguf", n_threads);
}

inline std::shared_ptr<Engine> engine_with(const std::shared_ptr<Model>& model,
                                           const EngineOptions& options = {}) {
  return std::make_shared<Engine>(model, options);
}

inline Ids ids_of(int n, int32_t seed) {
  Ids ids;
  for (int i = 0; i < n; ++i) ids.push_back((seed * 97 + 131 * i) % 1500);
  return ids;
}

// Gathers what operations tell, for a thread that waits for them.
class Mailbox {
 public:
  std::shared_ptr<const bitnet::EventSink> sink() {
    return std::make_shared<const bitnet::EventSink>([this](std::vector<Event>&& events) {
      std::lock_guard<std::mutex> lock(mutex_);
      for (Event& event : events) {
        Ids& tokens = tokens_[event.operation];
        if (event.kind == Event::Kind::kStarted) started_.push_back(event.operation);
        if (event.kind == Event::Kind::kToken) tokens.push_back(event.sample.id);
        if (event.kind == Event::Kind::kDone) done_[event.operation] = std::move(event);
      }
      changed_.notify_all();
    });
  }
  Event wait(const Operation& operation) {
    const uint64_t id = Engine::id_of(operation);
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return done_.count(id) > 0; });
    return done_[id];
  }
  // Waits for so many tokens, or the end.
  void wait_for_tokens(const Operation& operation, size_t n) {
    const uint64_t id = Engine::id_of(operation);
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return done_.count(id) > 0 || tokens_[id].size() >= n; });
  }
  // In the order in which they began.
  std::vector<uint64_t> started() {
    std::lock_guard<std::mutex> lock(mutex_);
    return started_;
  }
  Ids tokens(const Operation& operation) {
    std::lock_guard<std::mutex> lock(mutex_);
    return tokens_[Engine::id_of(operation)];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> started_;
  std::map<uint64_t, Ids> tokens_;
  std::map<uint64_t, Event> done_;
};

// A request and what it gets when nobody else is there.
struct Case {
  Ids prompt;
  SamplerParams sampling;
  int64_t max_tokens;
  CacheType cache_type;
  Ids tokens;
  std::vector<float> logits;  // that the last token was sampled from
};

inline std::vector<Case> make_cases(int n) {
  const auto engine = engine_with(bundled(1));
  std::mt19937 random(11);
  const Ids common = ids_of(150, 3);
  std::vector<Case> cases;
  for (int i = 0; i < n; ++i) {
    Case c{};
    // Many begin alike, within a block and beyond it.
    const int n_common = std::array{0, 20, 64, 100, 150}[random() % 5];
    c.prompt.assign(common.begin(), common.begin() + n_common);
    const Ids own = ids_of(1 + static_cast<int>(random() % (kQuick ? 40 : 200)), 100 + i);
    c.prompt.insert(c.prompt.end(), own.begin(), own.end());
    c.sampling.temperature = i % 3 == 0 ? 0.0f : 0.9f;
    c.sampling.seed = static_cast<uint64_t>(i);
    if (i % 4 == 1) c.sampling.repeat_penalty = 1.3f;
    if (i % 5 == 2) c.sampling.n_probs = 3;
    c.max_tokens = 1 + static_cast<int64_t>(random() % 40);
    c.cache_type = i % 4 == 3 ? CacheType::kQ8 : CacheType::kF16;
    Session alone(engine, {512, c.cache_type, false, {}});
    c.tokens = alone.generate(c.prompt, c.sampling, c.max_tokens).tokens;
    c.logits = alone.logits();
    cases.push_back(std::move(c));
  }
  return cases;
}

inline Request request_of(const Case& c) {
  Request request;
  request.tokens = c.prompt;
  request.sampling = c.sampling;
  request.max_tokens = c.max_tokens;
  return request;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && !a.empty() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

}  // namespace engine_cases
