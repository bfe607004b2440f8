// What training computes row by row beside its products, written once over the vector primitives of
// float_ops.inl. Nothing is fused but what exp_vf fuses, and sums in f64 have a fixed order:
// element i goes to lane i % 8, the last few to lane 0, and lanes are added in order. So results do
// not depend on the width of vectors.

constexpr int kSumLanes = 8;

BITNET_INLINE inline double sum_in_order(const Double8& lanes) {
  double sum = 0;
  for (int i = 0; i < kSumLanes; ++i) sum += lanes[i];
  return sum;
}

double sum_f64(const float* x, int64_t n) {
  Double8 lanes = {}, a;
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    load8(x + i, a);
    lanes += a;
  }
  for (; i < n; ++i) lanes[0] += static_cast<double>(x[i]);
  return sum_in_order(lanes);
}

double dot_f64(const float* x, const float* y, int64_t n) {
  Double8 lanes = {}, a, b;
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    load8(x + i, a);
    load8(y + i, b);
    lanes += a * b;
  }
  for (; i < n; ++i) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum_in_order(lanes);
}

// With r = 1 / rms and g the weight: dx = r g dy - x r^3 mean(dy g x).
void norm_backward(const float* x, const float* weight, float eps, const float* dy, float* dx,
                   bool adds, int64_t n) {
  Double8 squares = {}, dots = {}, a, b, c;
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    load8(x + i, a);
    load8(dy + i, b);
    load8(weight + i, c);
    squares += a * a;
    dots += b * c * a;
  }
  for (; i < n; ++i) {
    const double at = static_cast<double>(x[i]);
    squares[0] += at * at;
    dots[0] += static_cast<double>(dy[i]) * static_cast<double>(weight[i]) * at;
  }
  const double width = static_cast<double>(n);
  const double r = 1.0 / __builtin_sqrt(sum_in_order(squares) / width + static_cast<double>(eps));
  const float scale = static_cast<float>(r);
  const float pull = static_cast<float>(r * r * r * sum_in_order(dots) / width);
  for (i = 0; i + kWidth <= n; i += kWidth) {
    const vf at = set1(scale) * load(weight + i) * load(dy + i) - set1(pull) * load(x + i);
    store(dx + i, adds ? load(dx + i) + at : at);
  }
  for (; i < n; ++i) {
    const float at = scale * weight[i] * dy[i] - pull * x[i];
    dx[i] = adds ? dx[i] + at : at;
  }
}

void norm_weight_backward(const float* x, const float* dy, double r, double* sums, int64_t n) {
  Double8 a, b, sum;
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    load8(x + i, a);
    load8(dy + i, b);
    __builtin_memcpy(&sum, sums + i, sizeof sum);
    sum += b * a * r;
    __builtin_memcpy(sums + i, &sum, sizeof sum);
  }
  for (; i < n; ++i) sums[i] += static_cast<double>(dy[i]) * static_cast<double>(x[i]) * r;
}

// With s = 1 / (1 + e^-g): silu = g s, its derivative s (1 + g (1 - s)).
void silu_backward(const float* gate, const float* up, const float* dy, float* d_gate, float* d_up,
                   int64_t n) {
  const auto derive = [](auto g, auto u, auto d, auto s, auto one, auto& by_gate, auto& by_up)
                          BITNET_INLINE {
                            by_gate = d * u * (s * (one + g * (one - s)));
                            by_up = d * (g * s);
                          };
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf g = load(gate + i), one = set1(1.0f), s = one / (one + exp_vf(set1(0.0f) - g));
    vf by_gate, by_up;
    derive(g, load(up + i), load(dy + i), s, one, by_gate, by_up);
    store(d_gate + i, by_gate);
    store(d_up + i, by_up);
  }
  for (; i < n; ++i) {
    const float s = 1.0f / (1.0f + exp_one(-gate[i]));
    derive(gate[i], up[i], dy[i], s, 1.0f, d_gate[i], d_up[i]);
  }
}

void relu2_backward(const float* gate, const float* up, const float* dy, float* d_gate, float* d_up,
                    int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf g = vmax(load(gate + i), set1(0.0f)), d = load(dy + i);  // 0 for NaN, too
    store(d_gate + i, d * load(up + i) * (set1(2.0f) * g));
    store(d_up + i, d * (g * g));
  }
  for (; i < n; ++i) {
    const float g = gate[i] > 0 ? gate[i] : 0, d = dy[i];
    d_gate[i] = d * up[i] * (2.0f * g);
    d_up[i] = d * (g * g);
  }
}

double exponentials(float* x, float factor, int64_t n, float* largest) {
  int64_t i = kWidth;
  float most = x[0] * factor;
  if (n >= kWidth) {
    vf lanes = load(x) * set1(factor);
    store(x, lanes);
    for (; i + kWidth <= n; i += kWidth) {
      const vf at = load(x + i) * set1(factor);
      store(x + i, at);
      lanes = vmax(at, lanes);
    }
    most = max_lane(lanes);
  } else {
    i = 0;
  }
  for (; i < n; ++i) {
    x[i] *= factor;
    most = x[i] > most ? x[i] : most;
  }
  exp_shifted(x, most, x, n);
  *largest = most;
  return sum_f64(x, n);
}

void softmax_backward(const float* p, float factor, float* dp, int64_t n) {
  const float mean = static_cast<float>(dot_f64(p, dp, n));
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth)
    store(dp + i, load(p + i) * (load(dp + i) - set1(mean)) * set1(factor));
  for (; i < n; ++i) dp[i] = p[i] * (dp[i] - mean) * factor;
}

void rounded(const float* x, float scale, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf whole = (load(x + i) * set1(scale) + set1(kHalfEven)) - set1(kHalfEven);
    store(out + i, whole / set1(scale));
  }
  for (; i < n; ++i) out[i] = rounded_half_even(x[i] * scale) / scale;
}

void rotate(const float* cos, const float* sin, bool backward, float* a, float* b, int64_t n) {
  const float sign = backward ? -1.0f : 1.0f;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf re = load(a + i), im = load(b + i), c = load(cos + i), s = load(sin + i) * set1(sign);
    store(a + i, re * c - im * s);
    store(b + i, re * s + im * c);
  }
  for (; i < n; ++i) {
    const float re = a[i], im = b[i], s = sin[i] * sign;
    a[i] = re * cos[i] - im * s;
    b[i] = re * s + im * cos[i];
  }
}
