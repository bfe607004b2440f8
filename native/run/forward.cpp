#include "run/forward.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"
#include "formats/dequantize.h"

namespace bitnet {

namespace {

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
// Floats of the partial results of a tile.
constexpr int64_t kTilePartials = kAttentionRows * attention_partial(kAttentionMaxHeadDim);
constexpr int64_t kThreadScratch =
    kMatmulScratch + (kTilePartials + kAttentionScratch) * static_cast<int64_t>(sizeof(float));
constexpr int64_t segments(int64_t n_keys) {
  return (n_keys + kAttentionSegment - 1) / kAttentionSegment;
}

}  // namespace

KvCache::KvCache(const Config& config, int64_t n_ctx, CacheType type)
    : type_(type),
      n_heads_(config.n_kv_heads),
      head_dim_(config.head_dim),
      v_stride_(round_up(config.head_dim, 16)),
      positions_(round_up(n_ctx, kAttentionChunk)),
      head_bytes_(positions_ *
                  (type == CacheType::kF16
                       ? 2 * (head_dim_ + v_stride_)
                       : head_dim_ + v_stride_ + 2 * static_cast<int64_t>(sizeof(float)))),
      n_bytes_(config.n_layers * n_heads_ * head_bytes_) {
  try {
    data_ = HugeArray(static_cast<size_t>(n_bytes_));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kNoMemory,
                "not enough memory for a context of " + std::to_string(n_ctx) + " tokens (" +
                    std::to_string(n_bytes_ >> 20) + " MiB of keys and values)");
  }
}

template <class T>
KvCache::Head<T> KvCache::head(int64_t layer, int64_t index) const {
  T* k = reinterpret_cast<T*>(data_.data() + (layer * n_heads_ + index) * head_bytes_);
  T* v = k + positions_ * head_dim_;
  if (type_ == CacheType::kF16) return {k, v, nullptr, nullptr};
  float* scales = reinterpret_cast<float*>(v + positions_ * v_stride_);
  return {k, v, scales, scales + positions_};
}

void KvCache::fill(AttentionTile& tile, int64_t layer, int64_t index) const {
  const Head<uint8_t> at = head<uint8_t>(layer, index);
  tile.k = at.k;
  tile.v = type_ == CacheType::kF16 ? at.k + 2 * positions_ * head_dim_ : at.v;
  tile.k_scale = at.k_scale;
  tile.v_scale = at.v_scale;
  tile.head_dim = static_cast<int>(head_dim_);
  tile.v_stride = static_cast<int>(v_stride_);
}

namespace {

// to[i * step] = x[i] / factor to the nearest integer, half to even; returns factor = max|x| / 127.
float quantize_vector(const float* x, int64_t n, int8_t* to, int64_t step) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(x[i]));
  const float inverse = most > 0 ? 127 / most : 0;
  for (int64_t i = 0; i < n; ++i) {
    // The low mantissa bits of 1.5 * 2^23 + v hold the integer, whatever a NaN turns into.
    const float shifted = x[i] * inverse + 12582912.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    to[i * step] = static_cast<int8_t>((bits & 0x007fffff) - 0x00400000);
  }
  return most / 127;
}

}  // namespace

void KvCache::store(int64_t layer, int64_t index, int64_t position, const float* k,
                    const float* v) {
  const int64_t key_at = position / 16 * 16 * head_dim_ + position % 16;
  if (type_ == CacheType::kQ8) {
    const Head<int8_t> to = head<int8_t>(layer, index);
    to.k_scale[position] = quantize_vector(k, head_dim_, to.k + key_at, 16);
    to.v_scale[position] = quantize_vector(v, head_dim_, to.v + position * v_stride_, 1);
    return;
  }
  const Head<uint16_t> to = head<uint16_t>(layer, index);
  for (int64_t d = 0; d < head_dim_; ++d) to.k[key_at + d * 16] = f32_to_f16(k[d]);
  for (int64_t d = 0; d < head_dim_; ++d) to.v[position * v_stride_ + d] = f32_to_f16(v[d]);
}

Forward::Forward(Model& model, int64_t n_ctx, CacheType cache_type)
    : model_(model),
      config_(model.config),
      kernels_(model.kernels),
      cache_(model.config, n_ctx, cache_type) {
  const Config& c = config_;
  const int64_t batch = n_ctx < kBatchTokens ? n_ctx : kBatchTokens;
  const int64_t width = c.n_heads * c.head_dim, kv_width = c.n_kv_heads * c.head_dim;
  const int64_t widest = std::max({c.n_embd, c.n_ff, width});
  auto floats = [batch](int64_t n) { return static_cast<size_t>(batch * n); };
  x_ = AlignedArray<float>(floats(c.n_embd));
  normed_ = AlignedArray<float>(floats(widest));
  q_ = AlignedArray<float>(floats(width));
  k_ = AlignedArray<float>(floats(kv_width));
  v_ = AlignedArray<float>(floats(kv_width));
  attended_ = AlignedArray<float>(floats(std::max(width, c.n_embd)));
  gate_ = AlignedArray<float>(floats(c.n_ff));
  up_ = AlignedArray<float>(floats(c.n_ff));
  cos_ = AlignedArray<float>(floats(c.head_dim / 2));
  sin_ = AlignedArray<float>(floats(c.head_dim / 2));
  quantized_ = AlignedArray<int8_t>(floats(round_up(widest, kActivationPad)));
  scales_ = AlignedArray<float>(floats(1));
  sums_ = AlignedArray<int32_t>(floats(1));
  if (kernels_.find_pairs) pairs_ = AlignedArray<TokenPairs>(floats(1));
  if (model.layout == WeightLayout::kPairs || model.layout == WeightLayout::kTriples) {
    const int64_t stride = round_up(widest, kActivationPad);
    const int64_t n_bytes = std::min(batch, kFewTokens) * lut_table_bytes(model.layout, stride);
    tables_ = AlignedArray<uint8_t>(static_cast<size_t>(n_bytes));
  }
  thread_scratch_ = AlignedArray<uint8_t>(static_cast<size_t>(kThreadScratch * model.pool.size()));
  partials_ =
      HugeArray(static_cast<size_t>(segments(n_ctx) * c.n_kv_heads * kAttentionRows *
                                    attention_partial(static_cast<int>(cache_.v_stride()))) *
                sizeof(float));
}

uint8_t* Forward::scratch(int thread) const {
  return thread_scratch_.data() + thread * kThreadScratch;
}

bool Forward::run(std::span<const int32_t> tokens, int64_t position, Hidden wanted,
                  std::vector<float>& hidden, const std::atomic<bool>& abort) {
  std::lock_guard<std::mutex> lock(model_.compute);
  const int64_t n = static_cast<int64_t>(tokens.size());
  embed(tokens);
  rope_tables(n, position);
  for (int64_t i = 0; i < config_.n_layers; ++i) {
    if (abort.load(std::memory_order_relaxed)) return false;
    attention_block(model_.layers[i], i, n, position);
    ffn_block(model_.layers[i], n);
  }
  if (wanted == Hidden::kLast) final_norm(n - 1, 1, hidden);
  if (wanted == Hidden::kAll) final_norm(0, n, hidden);
  return true;
}

void Forward::embed(std::span<const int32_t> tokens) {
  const Linear& embd = model_.token_embd;
  const FileMap* map = model_.gguf.map();
  const auto n_bytes = static_cast<uint64_t>(embd.row_bytes);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const uint8_t* row = embd.data + tokens[t] * embd.row_bytes;
    if (map && embd.row_bytes <= kMatmulScratch) row = map->read(row, n_bytes, scratch(0));
    dequantize_row(embd.type, row, &x_[t * config_.n_embd], config_.n_embd);
  }
}

void Forward::rope_tables(int64_t n, int64_t position) {
  const int64_t half = config_.head_dim / 2;
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position + t) * model_.rope_freqs[i];
      cos_[t * half + i] = static_cast<float>(std::cos(angle));
      sin_[t * half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

template <class Before>
void Forward::prepare(const float* x, const float* weight, int64_t cols, int64_t n, bool quantized,
                      Before&& before) {
  normed_stride_ = cols;
  activations_ = {n, round_up(cols, kActivationPad), quantized_.data(), scales_.data(),
                  sums_.data()};
  const bool paired = quantized && kernels_.find_pairs && n >= model_.tuning.tile_tokens;
  if (paired) activations_.pairs = pairs_.data();
  activations_.block_bytes = model_.tuning.block_bytes;
  activations_.tile_tokens = model_.tuning.tile_tokens;
  activations_.prefetch_bytes = model_.tuning.prefetch_bytes;
  model_.pool.parallel_for(n, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      before(t);
      float* row = &normed_[t * cols];
      if (weight) {
        kernels_.rms_norm(x + t * cols, weight, config_.rms_eps, row, cols);
      } else {
        std::memcpy(row, x + t * cols, static_cast<size_t>(cols) * sizeof(float));
      }
      if (!quantized) continue;
      int8_t* q = activations_.q + t * activations_.stride;
      kernels_.quantize(row, cols, activations_.stride, q, &activations_.scale[t],
                        &activations_.sum[t]);
      if (!paired) continue;
      kernels_.find_pairs(q, activations_.stride, &activations_.scale[t], &activations_.sum[t],
                          &pairs_[t]);
    }
  });
}

// x += o(sub_norm(attention(q, k, v)))
void Forward::attention_block(const Layer& layer, int64_t index, int64_t n, int64_t position) {
  const Config& c = config_;
  const int64_t width = c.n_heads * c.head_dim, kv_width = c.n_kv_heads * c.head_dim;
  prepare(x_.data(), layer.attn_norm, c.n_embd, n,
          layer.q.is_ternary || layer.k.is_ternary || layer.v.is_ternary, [](int64_t) {});
  const Product qkv[] = {{&layer.q, q_.data()}, {&layer.k, k_.data()}, {&layer.v, v_.data()}};
  multiply(qkv, n);
  model_.pool.parallel_for(n, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < c.n_heads; ++h) rotate(&q_[t * width + h * c.head_dim], t);
      for (int64_t h = 0; h < c.n_kv_heads; ++h) {
        float* k = &k_[t * kv_width + h * c.head_dim];
        rotate(k, t);
        cache_.store(index, h, position + t, k, &v_[t * kv_width + h * c.head_dim]);
      }
    }
  });
  attend(index, n, position);
  prepare(attended_.data(), layer.attn_sub_norm, width, n, layer.o.is_ternary, [](int64_t) {});
  const Product o[] = {{&layer.o, attended_.data()}};
  multiply(o, n);
  kernels_.add(x_.data(), attended_.data(), n * c.n_embd);
}

// x += down(sub_norm(act(gate) * up))
void Forward::ffn_block(const Layer& layer, int64_t n) {
  const Config& c = config_;
  prepare(x_.data(), layer.ffn_norm, c.n_embd, n, layer.gate.is_ternary || layer.up.is_ternary,
          [](int64_t) {});
  const Product gate_up[] = {{&layer.gate, gate_.data()}, {&layer.up, up_.data()}};
  multiply(gate_up, n);
  const auto act = c.activation == Activation::kSilu ? kernels_.silu_mul : kernels_.relu2_mul;
  prepare(gate_.data(), layer.ffn_sub_norm, c.n_ff, n, layer.down.is_ternary,
          [&](int64_t t) { act(&gate_[t * c.n_ff], &up_[t * c.n_ff], c.n_ff); });
  const Product down[] = {{&layer.down, attended_.data()}};
  multiply(down, n);
  kernels_.add(x_.data(), attended_.data(), n * c.n_embd);
}

void Forward::rotate(float* head, int64_t token) const {
  const int64_t half = config_.head_dim / 2;
  const float *cos = &cos_[token * half], *sin = &sin_[token * half];
  const int64_t step = config_.rope_neox ? 1 : 2, other = config_.rope_neox ? half : 1;
  for (int64_t i = 0; i < half; ++i) {
    float *a = head + i * step, *b = a + other;
    const float x = *a, y = *b;
    *a = x * cos[i] - y * sin[i];
    *b = x * sin[i] + y * cos[i];
  }
}

// Up to kAttentionRows query rows that share a key/value head, as a tile.
struct Forward::Queries {
  const float* q[kAttentionRows];
  float* out[kAttentionRows];
  int32_t n_keys[kAttentionRows];
  AttentionTile tile;
};

// Rows [first, first + kAttentionRows) of the n tokens' rows of a head, [token, head of the group].
void Forward::fill_queries(int64_t index, int64_t head, int64_t first, int64_t n, int64_t position,
                           Queries& to) const {
  const Config& c = config_;
  const int64_t group = c.n_heads / c.n_kv_heads, width = c.n_heads * c.head_dim;
  const int64_t n_q = std::min<int64_t>(kAttentionRows, n * group - first);
  for (int64_t i = 0; i < n_q; ++i) {
    const int64_t token = (first + i) / group;
    const int64_t offset = token * width + (head * group + (first + i) % group) * c.head_dim;
    to.q[i] = &q_[offset];
    to.out[i] = &attended_[offset];
    to.n_keys[i] = static_cast<int32_t>(position + token + 1);
  }
  to.tile = {};
  to.tile.q = to.q;
  to.tile.n_keys = to.n_keys;
  to.tile.n_q = static_cast<int>(n_q);
  to.tile.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  cache_.fill(to.tile, index, head);
}

void Forward::attend(int64_t index, int64_t n, int64_t position) {
  if (n * (config_.n_heads / config_.n_kv_heads) <= kAttentionRows) {
    attend_segments(index, n, position);
  } else {
    attend_tiles(index, n, position);
  }
}

// A batch: the threads share the tiles.
void Forward::attend_tiles(int64_t index, int64_t n, int64_t position) {
  const Config& c = config_;
  const int64_t rows = n * (c.n_heads / c.n_kv_heads);
  const int64_t tiles = (rows + kAttentionRows - 1) / kAttentionRows;
  const int v_stride = static_cast<int>(cache_.v_stride()), stride = attention_partial(v_stride);
  model_.pool.parallel_for(c.n_kv_heads * tiles, 1, [&](int64_t begin, int64_t end, int thread) {
    float* partials = reinterpret_cast<float*>(scratch(thread) + kMatmulScratch);
    for (int64_t item = begin; item < end; ++item) {
      // The last tiles see the most keys: they go first, so that no thread is left with a long one
      // at the end.
      const int64_t first = (tiles - 1 - item / c.n_kv_heads) * kAttentionRows;
      Queries queries;
      fill_queries(index, item % c.n_kv_heads, first, n, position, queries);
      const int n_q = queries.tile.n_q;
      kernels_.attention(queries.tile, 0, static_cast<int>(segments(queries.n_keys[n_q - 1])),
                         partials, partials + kTilePartials);
      for (int i = 0; i < n_q; ++i) {
        kernels_.merge_attention(partials + i * stride, 0, 1, static_cast<int>(c.head_dim),
                                 v_stride, queries.out[i]);
      }
    }
  });
}

// One tile per head, as when decoding: the threads share the segments of keys.
void Forward::attend_segments(int64_t index, int64_t n, int64_t position) {
  const Config& c = config_;
  const int v_stride = static_cast<int>(cache_.v_stride()), stride = attention_partial(v_stride);
  const int64_t n_q = n * (c.n_heads / c.n_kv_heads), n_segments = segments(position + n);
  float* partials = reinterpret_cast<float*>(partials_.data());  // [segment, head, row, stride]
  model_.pool.parallel_for(
      n_segments * c.n_kv_heads, 1, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t item = begin; item < end; ++item) {
          Queries queries;
          fill_queries(index, item % c.n_kv_heads, 0, n, position, queries);
          const int segment = static_cast<int>(item / c.n_kv_heads);
          kernels_.attention(queries.tile, segment, segment + 1, partials + item * n_q * stride,
                             reinterpret_cast<float*>(scratch(thread) + kMatmulScratch));
        }
      });
  for (int64_t head = 0; head < c.n_kv_heads; ++head) {
    Queries queries;
    fill_queries(index, head, 0, n, position, queries);
    for (int64_t i = 0; i < n_q; ++i) {
      kernels_.merge_attention(partials + (head * n_q + i) * stride, c.n_kv_heads * n_q * stride,
                               static_cast<int>(segments(queries.n_keys[i])),
                               static_cast<int>(c.head_dim), v_stride, queries.out[i]);
    }
  }
}

namespace {

void scale_and_bias(const Linear& w, float* out, int64_t n, int64_t begin, int64_t end) {
  if (w.output_scale == 1 && !w.bias) return;
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t r = begin; r < end; ++r) {
      out[t * w.rows + r] = out[t * w.rows + r] * w.output_scale + (w.bias ? w.bias[r] : 0.0f);
    }
  }
}

}  // namespace

void Forward::multiply(std::span<const Product> products, int64_t n) {
  float_input_.x = normed_.data();
  float_input_.n = n;
  float_input_.stride = normed_stride_;
  const auto integers = [](const Product& p) { return takes_integers(*p.layer); };
  if (std::any_of(products.begin(), products.end(), integers)) {
    float_input_.quantize(normed_stride_);
  }
  // The layers' rows as one range, each layer rounded up so that a chunk lies within one layer.
  const WeightLayout layout = model_.layout;
  const bool look_ups = layout == WeightLayout::kPairs || layout == WeightLayout::kTriples;
  if (look_ups && products[0].layer->is_ternary) make_tables();
  const int64_t grain = n == 1 ? model_.tuning.decode_rows : model_.tuning.batch_rows;
  int64_t total = 0;
  for (const Product& p : products) total += round_up(p.layer->rows, grain);
  model_.pool.parallel_for(total / grain, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      int64_t begin = chunk * grain;
      const Product* p = products.data();
      while (begin >= round_up(p->layer->rows, grain)) begin -= round_up((p++)->layer->rows, grain);
      const Linear& w = *p->layer;
      const int64_t end = std::min(begin + grain, w.rows);
      if (w.is_ternary) {
        matmul_of(kernels_, layout)(w.ternary, activations_, p->out, w.rows, begin, end,
                                    scratch(thread));
      } else {
        multiply_float(kernels_, w, float_input_, p->out, begin, end, scratch(thread));
      }
      scale_and_bias(w, p->out, n, begin, end);
    }
  });
}

// The tables of a few quantized tokens, shared by all rows.
void Forward::make_tables() {
  if (!kernels_.lut_tables || activations_.n_tokens > kFewTokens) return;
  const WeightLayout layout = model_.layout;
  const int64_t stride = activations_.stride, blocks = lut_blocks(layout, stride);
  model_.pool.parallel_for(
      activations_.n_tokens * blocks, 64, [&](int64_t begin, int64_t end, int) {
        while (begin < end) {
          const int64_t t = begin / blocks, last = std::min(end, (t + 1) * blocks);
          kernels_.lut_tables(layout, activations_.q + t * stride, stride, begin - t * blocks,
                              last - t * blocks, &tables_[t * lut_table_bytes(layout, stride)]);
          begin = last;
        }
      });
  activations_.tables = tables_.data();
}

void Forward::final_norm(int64_t first, int64_t n, std::vector<float>& hidden) {
  const int64_t cols = config_.n_embd;
  const size_t before = hidden.size();
  hidden.resize(before + static_cast<size_t>(n * cols));
  for (int64_t t = 0; t < n; ++t) {
    kernels_.rms_norm(&x_[(first + t) * cols], model_.output_norm, config_.rms_eps,
                      &hidden[before + static_cast<size_t>(t * cols)], cols);
  }
}

}  // namespace bitnet
