// What a session samples does not depend on whether its head has a compact copy: the sampler asks
// for all that decides, and the head computes all that was asked for.
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "run/session.h"
#include "sessions.h"

namespace bitnet {
namespace {

// A float head with few rows; the smallest copy is worth it.
std::shared_ptr<Model> load(bool compact) {
  LoadOptions options;
  options.n_threads = 1;
  options.head.compact = compact;
  options.head.worth_a_copy = 1;
  return Model::load(check::data("golden/b158-small.gguf"), options);
}

std::vector<int32_t> sampled(const std::shared_ptr<Model>& model, const SamplerParams& params,
                             int n_steps) {
  ::Session session(model, 128);
  const std::vector<int32_t> prompt = {1, 300, 65, 1000, 7, 42};
  session.prefill(prompt, false);
  session.set_sampling(params);
  std::vector<int32_t> ids;
  for (int i = 0; i < n_steps; ++i) ids.push_back(session.step().id);
  return ids;
}

void check_same(const std::string& what, SamplerParams params) {
  static const std::shared_ptr<Model> compact = load(true), full = load(false);
  CHECK(compact->head->is_compact() && !full->head->is_compact());
  for (params.seed = 1; params.seed <= (params.temperature > 0 ? 6 : 1); ++params.seed) {
    if (sampled(compact, params, 40) == sampled(full, params, 40)) continue;
    check::fail(__FILE__, __LINE__,
                what + ", seed " + std::to_string(params.seed) + ": other tokens");
  }
}

SamplerParams greedy() {
  SamplerParams params;
  params.temperature = 0;
  return params;
}

// Flat, so that the last of the k is drawn as often as the first.
SamplerParams flat(int32_t top_k) {
  SamplerParams params;
  params.temperature = 100;
  params.top_k = top_k;
  params.top_p = 1;
  params.min_p = 0;
  return params;
}

TEST("greedy and top-k sampling draw the same tokens from a compact head as from a full one") {
  check_same("greedy", greedy());
  for (const int32_t k : {1, 2, 3, 40, 500, 600, 0}) check_same(std::to_string(k), flat(k));
  SamplerParams usual;
  check_same("usual", usual);
}

TEST("penalties on tokens change what is drawn from a compact head as from a full one") {
  for (SamplerParams params : {greedy(), flat(2), flat(5)}) {
    params.repeat_penalty = 3;
    check_same("repeat penalty", params);
    params.repeat_penalty = 1;
    params.presence_penalty = 4;
    check_same("presence penalty", params);
    params.presence_penalty = 0;
    params.frequency_penalty = -4;  // makes a repeated token likelier than it looks to the head
    check_same("frequency penalty", params);
  }
}

TEST("a logit bias raises and bans tokens of a compact head as of a full one") {
  for (SamplerParams params : {greedy(), flat(3)}) {
    for (int32_t id = 0; id < 1700; id += 100) params.logit_bias.push_back({id, 12.0f});
    check_same("raised", params);
    const int32_t first = sampled(load(false), greedy(), 1)[0];
    params.logit_bias = {{first, -std::numeric_limits<float>::infinity()}, {first + 1, -2.0f}};
    check_same("banned", params);
  }
}

}  // namespace
}  // namespace bitnet
