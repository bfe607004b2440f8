#include "node/results.h"

#include <algorithm>
#include <cmath>

#include "node/support.h"

namespace addon {

using bitnet::Event;

namespace {

Napi::Object step_of(Napi::Env env, const bitnet::Sample& sample) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("id", sample.id);
  const auto list = [env](const auto& entries, const char* name, auto field) {
    Napi::Array array = Napi::Array::New(env, entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("id", entries[i].id);
      entry.Set(name, entries[i].*field);
      array.Set(static_cast<uint32_t>(i), entry);
    }
    return array;
  };
  if (!std::isnan(sample.logprob)) {
    out.Set("logprob", sample.logprob);
    out.Set("top", list(sample.top, "logprob", &bitnet::TokenLogprob::logprob));
  }
  if (!std::isnan(sample.probability)) {
    out.Set("prob", sample.probability);
    out.Set("topProbs", list(sample.candidates, "prob", &bitnet::TokenProbability::probability));
  }
  return out;
}

const char* finish_name(Event::Finish finish) {
  return finish == Event::Finish::kEog       ? "eog"
         : finish == Event::Finish::kContext ? "context"
                                             : "length";
}

// What NativeGeneration.done has.
Napi::Object outcome_of(Napi::Env env, const Event& done) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("finish", finish_name(done.finish));
  out.Set("reused", done.n_reused);
  out.Set("evaluated", done.n_evaluated);
  out.Set("queueMs", done.queue_seconds * 1000);
  out.Set("promptMs", done.prompt_seconds * 1000);
  out.Set("generateMs", done.decode_seconds * 1000);
  return out;
}

}  // namespace

Napi::Object progress_of(Napi::Env env, const std::vector<Event>& events) {
  Napi::Object out = Napi::Object::New(env);
  Napi::Array steps = Napi::Array::New(env);
  for (const Event& event : events) {
    switch (event.kind) {
      case Event::Kind::kToken:
        steps.Set(steps.Length(), step_of(env, event.sample));
        break;
      case Event::Kind::kStarted:
        out.Set("queueMs", event.queue_seconds * 1000);
        [[fallthrough]];
      case Event::Kind::kProgress:
        out.Set("reused", event.n_reused);
        out.Set("evaluated", event.n_evaluated);
        break;
      case Event::Kind::kDone:
        if (event.finish == Event::Finish::kFailed) {
          out.Set("error", to_js(env, event.code, event.message).Value());
        } else {
          out.Set("done", outcome_of(env, event));
        }
        break;
    }
  }
  out.Set("steps", steps);
  return out;
}

Napi::Object scores_of(Napi::Env env, const bitnet::Sequence& sequence, int64_t n_top) {
  const size_t n = sequence.logprobs.size();
  Napi::Float64Array logprobs = Napi::Float64Array::New(env, n);
  std::copy(sequence.logprobs.begin(), sequence.logprobs.end(), logprobs.Data());
  Napi::Uint8Array likeliest = Napi::Uint8Array::New(env, n);
  std::copy(sequence.is_likeliest.begin(), sequence.is_likeliest.end(), likeliest.Data());
  Napi::Object out = Napi::Object::New(env);
  out.Set("logprobs", logprobs);
  out.Set("likeliest", likeliest);
  if (n_top == 0) return out;
  // Rows of n_top; a vocabulary that has fewer leaves -1.
  Napi::Int32Array ids = Napi::Int32Array::New(env, n * static_cast<size_t>(n_top));
  Napi::Float64Array values = Napi::Float64Array::New(env, n * static_cast<size_t>(n_top));
  std::fill(ids.Data(), ids.Data() + ids.ElementLength(), -1);
  for (size_t t = 0; t < n; ++t) {
    for (size_t i = 0; i < sequence.score_top[t].size(); ++i) {
      ids[t * static_cast<size_t>(n_top) + i] = sequence.score_top[t][i].id;
      values[t * static_cast<size_t>(n_top) + i] = sequence.score_top[t][i].logprob;
    }
  }
  out.Set("topIds", ids);
  out.Set("topLogprobs", values);
  return out;
}

}  // namespace addon
