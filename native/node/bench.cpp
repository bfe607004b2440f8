#include "node/bench.h"

#include <memory>
#include <string>

#include "measure/measure.h"
#include "node/support.h"

namespace addon {
namespace {

constexpr double kMaxBytes = 1e12;

int64_t integer_field(const Napi::Object& object, const char* key, double least, double most) {
  return integer_of(object.Env(), object.Get(key), key, least, most);
}

double seconds_field(const Napi::Object& object) {
  const double seconds = number_of(object.Env(), object.Get("seconds"), "seconds");
  if (!(seconds >= 0 && seconds <= 3600)) {
    throw to_js(object.Env(), ErrorCode::kUsage, "seconds must be a number from 0 to 3600");
  }
  return seconds;
}

const bitnet::Kernels& kernels_field(const Napi::Object& object) {
  return guarded(object.Env(), [&]() -> const bitnet::Kernels& {
    return bitnet::select_kernels(optional_string(object, "kernel"));
  });
}

bitnet::WeightLayout layout_field(const Napi::Object& object) {
  const std::string name = optional_string(object, "layout");
  if (const auto layout = bitnet::find_layout(name)) return *layout;
  throw to_js(object.Env(), ErrorCode::kUsage,
              "layout must be one of " + bitnet::layout_names() + ", not \"" + name + "\"");
}

Napi::Value measure_limits(const Napi::CallbackInfo& info) {
  const Napi::Object js = options_arg(info, 0);
  const bitnet::Kernels& kernels = kernels_field(js);
  const int n_threads = static_cast<int>(integer_field(js, "threads", 1, 1024));
  const int64_t n_bytes = integer_field(js, "bytes", 1, kMaxBytes);
  const double seconds = seconds_field(js);
  auto limits = std::make_shared<bitnet::MachineLimits>();
  return Task::start(
      info.Env(),
      [=, &kernels] { *limits = bitnet::measure_limits(kernels, n_threads, n_bytes, seconds); },
      [limits](Napi::Env env) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        out.Set("readBandwidth", limits->read_bandwidth);
        out.Set("int8Peak", limits->int8_peak);
        return out;
      });
}

Napi::Value time_kernel(const Napi::CallbackInfo& info) {
  const Napi::Object js = options_arg(info, 0);
  const bitnet::Kernels& kernels = kernels_field(js);
  bitnet::KernelCase test{};
  test.layout = layout_field(js);
  test.rows = integer_field(js, "rows", 1, 1 << 20);
  test.cols = integer_field(js, "cols", 1, 1 << 17);
  test.n_tokens = integer_field(js, "tokens", 1, 1 << 16);
  test.n_threads = static_cast<int>(integer_field(js, "threads", 1, 1024));
  test.n_bytes = integer_field(js, "bytes", 0, kMaxBytes);
  test.repetitions = static_cast<int>(integer_field(js, "repetitions", 1, 1 << 20));
  test.seconds = seconds_field(js);
  auto times = std::make_shared<bitnet::KernelTimes>();
  return Task::start(
      info.Env(), [=, &kernels] { *times = bitnet::time_ternary_matmul(kernels, test); },
      [times](Napi::Env env) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        Napi::Array seconds = Napi::Array::New(env, times->seconds.size());
        for (size_t i = 0; i < times->seconds.size(); ++i)
          seconds.Set(static_cast<uint32_t>(i), times->seconds[i]);
        out.Set("seconds", seconds);
        out.Set("weightBytes", times->weight_bytes);
        out.Set("operations", times->operations);
        return out;
      });
}

// What tuning can set: the bounds and the default of each value.
Napi::Value tuning_parameters(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  const bitnet::Tuning defaults;
  for (const bitnet::TuningParameter& p : bitnet::kTuningParameters) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("name", p.name);
    entry.Set("least", p.least);
    entry.Set("most", p.most);
    entry.Set("step", p.step);
    entry.Set("standard", defaults.*p.field);
    out.Set(out.Length(), entry);
  }
  return out;
}

}  // namespace

void define_bench(Napi::Env env, Napi::Object exports) {
  exports.Set("measureLimits", Napi::Function::New<measure_limits>(env));
  exports.Set("tuningParameters", Napi::Function::New<tuning_parameters>(env));
  exports.Set("timeKernel", Napi::Function::New<time_kernel>(env));
}

}  // namespace addon
