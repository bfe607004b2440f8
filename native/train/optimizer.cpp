#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "run/portable_math.h"

namespace bitnet {

namespace {

constexpr int64_t kChunk = 1 << 15;  // elements; sums of squares are added chunk by chunk
constexpr double kNormFloor = 1e-6;  // as in PyTorch's clip_grad_norm_

// body(begin, end) of chunks that begin at multiples of kChunk.
template <class Body>
void for_chunks(Compute& compute, int64_t n, Body&& body) {
  compute.each(n, kChunk, [&](int64_t begin, int64_t end, int) {
    for (; begin < end; begin += kChunk) body(begin, std::min(begin + kChunk, end));
  });
}

}  // namespace

double gradient_norm(Compute& compute, const Parameters& parameters, const Parameter** bad) {
  double total = 0;
  *bad = nullptr;
  for (const auto& parameter : parameters) {
    const float* g = parameter->gradient.data();
    std::vector<double> sums(static_cast<size_t>((parameter->size() + kChunk - 1) / kChunk));
    for_chunks(compute, parameter->size(), [&](int64_t begin, int64_t end) {
      sums[static_cast<size_t>(begin / kChunk)] =
          compute.kernels.dot_f64(g + begin, g + begin, end - begin);
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    if (!*bad && !std::isfinite(sum)) *bad = parameter.get();  // squares of floats fit a double
    total += sum;
  }
  return std::sqrt(total);
}

void optimize(Compute& compute, const Parameters& parameters, const OptimizerStep& step,
              double norm, int64_t t) {
  AdamStep adam{};
  const double scale = step.clip > 0 ? std::min(1.0, step.clip / (norm + kNormFloor)) : 1.0;
  adam.gradient_scale = static_cast<float>(scale);
  adam.beta1 = static_cast<float>(step.beta1);
  adam.beta2 = static_cast<float>(step.beta2);
  adam.epsilon = static_cast<float>(step.epsilon);
  adam.lr = static_cast<float>(step.lr);
  adam.m_correction = static_cast<float>(1 / (1 - power(step.beta1, t)));
  adam.v_correction = static_cast<float>(1 / (1 - power(step.beta2, t)));
  for (const auto& p : parameters) {
    adam.decay = p->decays ? static_cast<float>(1 - step.lr * step.weight_decay) : 1.0f;
    for_chunks(compute, p->size(), [&](int64_t begin, int64_t end) {
      compute.kernels.adamw(adam, p->value.data() + begin, p->m.data() + begin, p->v.data() + begin,
                            p->gradient.data() + begin, end - begin);
    });
  }
}

void clear_gradients(Compute& compute, const Parameters& parameters) {
  for (const auto& p : parameters) {
    for_chunks(compute, p->size(), [&](int64_t begin, int64_t end) {
      std::fill(p->gradient.data() + begin, p->gradient.data() + end, 0.0f);
    });
  }
}

}  // namespace bitnet
