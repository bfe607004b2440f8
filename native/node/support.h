// What the files of the addon share: exceptions to JavaScript errors, work on other threads as
// promises, arguments and results.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/tuning.h"

namespace addon {

using bitnet::ErrorCode;

inline Napi::Error to_js(Napi::Env env, ErrorCode code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", bitnet::error_code_name(code));
  return error;
}

// What a function of the core has thrown.
struct Failure {
  ErrorCode code;
  std::string message;
};

// Within a catch block.
inline Failure current_failure() {
  try {
    throw;
  } catch (const bitnet::Error& error) {
    return {error.code, error.what()};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::kNoMemory, "out of memory"};
  } catch (const std::exception& error) {
    return {ErrorCode::kInternal, error.what()};
  }
}

// Runs `body`; what it throws becomes a JavaScript exception with a code.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception&) {
    const Failure failure = current_failure();
    throw to_js(env, failure.code, failure.message);
  }
}

// Work for another thread and what makes its JavaScript result, as a promise.
class PromisedWork {
 public:
  using Work = std::function<void()>;
  using Result = std::function<Napi::Value(Napi::Env)>;

  PromisedWork(Napi::Env env, Work work, Result result)
      : deferred_(env), work_(std::move(work)), result_(std::move(result)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  // On any thread; keeps what the work throws.
  void run() {
    try {
      work_();
    } catch (const std::exception&) {
      failure_ = current_failure();
    }
  }

  // On JavaScript's thread, after run().
  void settle(Napi::Env env) {
    settle(env, deferred_, [&] {
      if (failure_) throw to_js(env, failure_->code, failure_->message);
      return result_(env);
    });
  }

  // Resolves a promise with what `make` returns, or rejects it with what it throws.
  template <class Make>
  static void settle(Napi::Env env, const Napi::Promise::Deferred& deferred, Make&& make) {
    try {
      Napi::Value value;
      try {
        value = guarded(env, make);
      } catch (const Napi::Error& error) {
        return deferred.Reject(error.Value());
      }
      deferred.Resolve(value);
    } catch (const Napi::Error&) {
      // The environment is at its end and takes no values: nobody waits for this one any more.
    }
  }

 private:
  const Napi::Promise::Deferred deferred_;
  const Work work_;
  const Result result_;
  std::optional<Failure> failure_;
};

// Work for a libuv thread.
class Task : public Napi::AsyncWorker {
 public:
  static Napi::Promise start(Napi::Env env, PromisedWork::Work work, PromisedWork::Result result) {
    Task* task = new Task(env, std::move(work), std::move(result));
    const Napi::Promise promise = task->work_.promise();
    task->Queue();
    return promise;
  }

 protected:
  void Execute() override { work_.run(); }
  void OnOK() override { work_.settle(Env()); }

 private:
  Task(Napi::Env env, PromisedWork::Work work, PromisedWork::Result result)
      : Napi::AsyncWorker(env), work_(env, std::move(work), std::move(result)) {}

  PromisedWork work_;
};

// ---- arguments

inline std::string string_arg(const Napi::CallbackInfo& info, size_t i, const char* what) {
  if (!info[i].IsString())
    throw to_js(info.Env(), ErrorCode::kUsage, std::string(what) + " must be a string");
  return info[i].As<Napi::String>();
}

inline double number_of(Napi::Env env, Napi::Value value, const char* what) {
  if (!value.IsNumber())
    throw to_js(env, ErrorCode::kUsage, std::string(what) + " must be a number");
  return value.As<Napi::Number>().DoubleValue();
}

inline int64_t integer_of(Napi::Env env, Napi::Value value, const char* what, double least,
                          double most) {
  const double number = number_of(env, value, what);
  if (!(number >= least && number <= most) || number != std::floor(number)) {
    throw to_js(env, ErrorCode::kUsage,
                std::string(what) + " must be a whole number from " +
                    std::to_string(static_cast<int64_t>(least)) + " to " +
                    std::to_string(static_cast<int64_t>(most)) + ", but got " +
                    value.ToString().Utf8Value());
  }
  return static_cast<int64_t>(number);
}

constexpr double kMaxSafeInteger = 9007199254740991.0;  // 2^53 - 1, as in JavaScript

inline int32_t id_arg(const Napi::CallbackInfo& info, size_t i) {
  return static_cast<int32_t>(integer_of(info.Env(), info[i], "a token id", 0, INT32_MAX));
}

inline std::vector<int32_t> ids_of(Napi::Env env, Napi::Value value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    throw to_js(env, ErrorCode::kUsage, "token ids must be an Int32Array");
  const auto array = value.As<Napi::Int32Array>();
  return std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength());
}

inline std::vector<int32_t> ids_arg(const Napi::CallbackInfo& info, size_t i) {
  return ids_of(info.Env(), info[i]);
}

inline bool bool_arg(const Napi::CallbackInfo& info, size_t i) { return info[i].ToBoolean(); }

inline std::string optional_string(const Napi::Object& options, const char* key) {
  const Napi::Value value = options.Get(key);
  if (value.IsUndefined() || value.IsNull()) return "";
  if (!value.IsString())
    throw to_js(options.Env(), ErrorCode::kUsage, std::string(key) + " must be a string");
  return value.As<Napi::String>();
}

// The values that `options` names; the rest has its default.
inline bitnet::Tuning tuning_of(const Napi::Object& options) {
  bitnet::Tuning tuning;
  for (const bitnet::TuningParameter& p : bitnet::kTuningParameters) {
    const Napi::Value value = options.Get(p.name);
    if (value.IsUndefined()) continue;
    tuning.*p.field = integer_of(options.Env(), value, p.name, static_cast<double>(p.least),
                                 static_cast<double>(p.most));
  }
  return tuning;
}

inline Napi::Object options_arg(const Napi::CallbackInfo& info, size_t i) {
  return info[i].IsObject() ? info[i].As<Napi::Object>() : Napi::Object::New(info.Env());
}

// ---- results

inline Napi::Value int32_array(Napi::Env env, const std::vector<int32_t>& ids) {
  Napi::Int32Array array = Napi::Int32Array::New(env, ids.size());
  std::copy(ids.begin(), ids.end(), array.Data());
  return array;
}

inline Napi::String js_string(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

inline Napi::Value string_array(Napi::Env env, const std::vector<std::string>& texts) {
  Napi::Array array = Napi::Array::New(env, texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    array.Set(static_cast<uint32_t>(i), js_string(env, texts[i]));
  return array;
}

}  // namespace addon
