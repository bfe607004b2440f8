#include "run/ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/numbers.h"
#include "formats/dequantize.h"

namespace bitnet {

namespace {

// Floats of the partial results of a tile.
constexpr int64_t kTilePartials = kAttentionRows * attention_partial(kAttentionMaxHeadDim);
constexpr int64_t kThreadScratch =
    kMatmulScratch + (kTilePartials + kAttentionScratch) * static_cast<int64_t>(sizeof(float));

constexpr int64_t segments(int64_t n_keys) {
  return (n_keys + kAttentionSegment - 1) / kAttentionSegment;
}

bool is_look_up(WeightLayout layout) {
  return layout == WeightLayout::kPairs || layout == WeightLayout::kTriples;
}

// Rows per chunk of work that is light: with fewer, one thread is faster than two that must meet.
constexpr int64_t kLightRows = 8;
// Rows of an adapter's A and of its B per chunk.
constexpr int64_t kReduceRows = 16, kExpandRows = 16 * kLowRankRows;

}  // namespace

Products::Products(const Model& model, size_t of_layer, LayerInput of_input,
                   std::initializer_list<const Linear*> list)
    : layer(of_layer), input(of_input), matrices(list) {
  for (const Linear* w : matrices) {
    quantized |= w->is_ternary;
    integers |= takes_integers(*w);
  }
  tables = quantized && is_look_up(model.layout) && model.kernels.lut_tables;
}

Ops::Ops(Model& model, int64_t most_rows)
    : model_(model), config_(model.config), kernels_(model.kernels), pool_(model.pool) {
  const Config& c = config_;
  const int64_t widest = std::max({c.n_embd, c.n_ff, c.n_heads * c.head_dim});
  const int64_t stride = round_up(widest, kActivationPad);
  const auto rows = [most_rows](int64_t n) { return static_cast<size_t>(most_rows * n); };
  cos_ = AlignedArray<float>(rows(c.head_dim / 2));
  sin_ = AlignedArray<float>(rows(c.head_dim / 2));
  normed_ = AlignedArray<float>(rows(widest));
  quantized_ = AlignedArray<int8_t>(rows(stride));
  scales_ = AlignedArray<float>(rows(1));
  sums_ = AlignedArray<int32_t>(rows(1));
  if (kernels_.find_pairs) pairs_ = AlignedArray<TokenPairs>(rows(1));
  if (is_look_up(model.layout)) {
    const int64_t n_bytes = std::min(most_rows, kFewTokens) * lut_table_bytes(model.layout, stride);
    tables_ = AlignedArray<uint8_t>(static_cast<size_t>(n_bytes));
  }
  thread_scratch_ = AlignedArray<uint8_t>(static_cast<size_t>(kThreadScratch * pool_.size()));
}

uint8_t* Ops::scratch(int thread) const { return thread_scratch_.data() + thread * kThreadScratch; }

void Ops::embed(std::span<const int32_t> tokens, float* x) {
  const Linear& embd = model_.token_embd;
  const FileMap* map = model_.gguf.map_of(embd.data);
  const auto n_bytes = static_cast<uint64_t>(embd.row_bytes);
  pool_.parallel_for(
      static_cast<int64_t>(tokens.size()), kLightRows, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t t = begin; t < end; ++t) {
          const uint8_t* row = embd.data + tokens[static_cast<size_t>(t)] * embd.row_bytes;
          if (map && embd.row_bytes <= kMatmulScratch)
            row = map->read(row, n_bytes, scratch(thread));
          float* to = x + t * config_.n_embd;
          dequantize_row(embd.type, row, to, config_.n_embd);
          if (config_.embedding_scale == 1) continue;
          for (int64_t i = 0; i < config_.n_embd; ++i) to[i] *= config_.embedding_scale;
        }
      });
}

// ---- Products

template <class Before>
void Ops::prepare_rows(const float* x, const float* weight, int64_t cols, int64_t n,
                       const Products& next, Before&& before) {
  float_input_.x = normed_.data();
  float_input_.n = n;
  float_input_.stride = cols;
  activations_ = {n, round_up(cols, kActivationPad), quantized_.data(), scales_.data(),
                  sums_.data()};
  const bool paired = next.quantized && kernels_.find_pairs && n >= model_.tuning.tile_tokens;
  if (paired) activations_.pairs = pairs_.data();
  activations_.block_bytes = model_.tuning.block_bytes;
  activations_.tile_tokens = model_.tuning.tile_tokens;
  activations_.prefetch_bytes = model_.tuning.prefetch_bytes;
  pool_.parallel_for(n, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      before(t);
      float* row = &normed_[static_cast<size_t>(t * cols)];
      if (weight) {
        kernels_.rms_norm(x + t * cols, weight, config_.rms_eps, row, cols);
      } else {
        std::memcpy(row, x + t * cols, static_cast<size_t>(cols) * sizeof(float));
      }
      if (!next.quantized) continue;
      int8_t* q = activations_.q + t * activations_.stride;
      kernels_.quantize(row, cols, activations_.stride, q, &activations_.scale[t],
                        &activations_.sum[t]);
      if (!paired) continue;
      kernels_.find_pairs(q, activations_.stride, &activations_.scale[t], &activations_.sum[t],
                          &pairs_[static_cast<size_t>(t)]);
    }
  });
  if (next.integers) float_input_.quantize(cols);
  if (next.tables && n <= kFewTokens) make_tables();
}

void Ops::prepare(const float* x, const float* weight, int64_t cols, int64_t n,
                  const Products& next) {
  prepare_rows(x, weight, cols, n, next, [](int64_t) {});
}

void Ops::prepare_activated(float* gate, const float* up, const float* weight, int64_t cols,
                            int64_t n, const Products& next) {
  const Activate act = activation();
  prepare_rows(gate, weight, cols, n, next,
               [=](int64_t t) { act(gate + t * cols, up + t * cols, cols); });
}

// The tables of a few quantized tokens, shared by all rows of the matrices.
void Ops::make_tables() {
  const WeightLayout layout = model_.layout;
  const int64_t stride = activations_.stride, blocks = lut_blocks(layout, stride);
  pool_.parallel_for(activations_.n_tokens * blocks, 64, [&](int64_t begin, int64_t end, int) {
    while (begin < end) {
      const int64_t t = begin / blocks, last = std::min(end, (t + 1) * blocks);
      uint8_t* tables = tables_.data() + t * lut_table_bytes(layout, stride);
      kernels_.lut_tables(layout, activations_.q + t * stride, stride, begin - t * blocks,
                          last - t * blocks, tables);
      begin = last;
    }
  });
  activations_.tables = tables_.data();
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

// The matrices' rows as one range, each matrix rounded up so that a chunk lies within one. What
// adapters make of the input is computed in the same job, what they add in one that follows.
void Ops::multiply(const Products& products, std::initializer_list<float*> out) {
  const int64_t n = activations_.n_tokens;
  const int64_t grain = n == 1 ? model_.tuning.decode_rows : model_.tuning.batch_rows;
  int64_t total = 0;
  for (const Linear* w : products.matrices) total += round_up(w->rows, grain);
  const int64_t n_reduced = adapted_.empty() ? 0 : plan_low_rank(products);
  pool_.parallel_for(n_reduced + total / grain, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      if (chunk < n_reduced) {
        reduce(chunk);
      } else {
        multiply_chunk(products, out, chunk - n_reduced, grain, scratch(thread));
      }
    }
  });
  if (n_reduced > 0) expand(products, out);
}

void Ops::multiply_chunk(const Products& products, std::initializer_list<float*> out, int64_t chunk,
                         int64_t grain, uint8_t* memory) {
  int64_t begin = chunk * grain;
  size_t i = 0;
  while (begin >= round_up(products.matrices[i]->rows, grain))
    begin -= round_up(products.matrices[i++]->rows, grain);
  const Linear& w = *products.matrices[i];
  float* to = out.begin()[i];
  const int64_t end = std::min(begin + grain, w.rows);
  if (w.is_ternary) {
    matmul_of(kernels_, model_.layout)(w.ternary, activations_, to, w.rows, begin, end, memory);
  } else {
    multiply_float(kernels_, w, float_input_, to, begin, end, memory);
  }
  scale_and_bias(w, to, activations_.n_tokens, begin, end);
}

// ---- Adapters

// Parts that follow each other and have the same adapters are one run of rows.
void Ops::plan_adapters() {
  adapted_.clear();
  const std::vector<Batch::Part>& parts = batch_->parts;
  for (size_t i = 0; i < parts.size();) {
    const AdapterSet* set = parts[i].adapters;
    const int64_t first_row = parts[i].first_row;
    int64_t n = 0;
    const auto is_same = [&](const AdapterSet* other) {
      return other == set || (other && set && other->key() == set->key());
    };
    for (; i < parts.size() && is_same(parts[i].adapters); ++i) n += parts[i].n;
    if (!set) continue;
    for (const AdapterSet::Use& use : set->uses())
      adapted_.push_back({use.adapter.get(), use.scale, first_row, n});
  }
}

// Returns the chunks of reduce().
int64_t Ops::plan_low_rank(const Products& products) {
  low_rank_.clear();
  int64_t n_chunks = 0, n_reduced = 0;
  for (const Adapted& rows : adapted_) {
    const LowRank* of = rows.adapter->of(products.layer, products.input);
    if (!of) continue;
    const int64_t n = (of->rank + kReduceRows - 1) / kReduceRows;
    low_rank_.push_back({&rows, of, n_reduced, n_chunks, n});
    n_chunks += n;
    n_reduced += rows.n * of->rank;
  }
  if (n_reduced > static_cast<int64_t>(reduced_.size()))
    reduced_.resize(static_cast<size_t>(n_reduced));
  return n_chunks;
}

// Some rows of an adapter's A times its rows of the prepared input, scaled.
void Ops::reduce(int64_t chunk) {
  size_t i = 0;
  while (chunk >= low_rank_[i].first_chunk + low_rank_[i].n_chunks) ++i;
  const LowRankRows& job = low_rank_[i];
  const LowRank& of = *job.of;
  const int64_t begin = (chunk - job.first_chunk) * kReduceRows;
  const int64_t end = std::min(begin + kReduceRows, of.rank), n = job.rows->n;
  float* to = reduced_.data() + job.at;
  kernels_.float_matmul(job.rows->adapter->type(), of.a, of.row_bytes, of.cols,
                        float_input_.x + job.rows->first_row * float_input_.stride,
                        float_input_.stride, n, to, of.rank, begin, end);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t r = begin; r < end; ++r)
      to[t * of.rank + r] *= of.scales[static_cast<size_t>(r)] * job.rows->scale;
  }
}

// out += B times that, adapter by adapter for each row.
void Ops::expand(const Products& products, std::initializer_list<float*> out) {
  int64_t total = 0;
  for (const Linear* w : products.matrices) total += round_up(w->rows, kExpandRows);
  pool_.parallel_for(total / kExpandRows, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      int64_t begin = chunk * kExpandRows;
      size_t i = 0;
      while (begin >= round_up(products.matrices[i]->rows, kExpandRows))
        begin -= round_up(products.matrices[i++]->rows, kExpandRows);
      const Linear& w = *products.matrices[i];
      const int64_t end = std::min(begin + kExpandRows, w.rows);
      for (const LowRankRows& job : low_rank_) {
        for (const LowRank::Output& output : job.of->outputs) {
          if (output.linear != &w) continue;
          kernels_.add_low_rank(job.rows->adapter->type(), output.b, output.rank,
                                reduced_.data() + job.at + output.first, job.of->rank, job.rows->n,
                                out.begin()[i] + job.rows->first_row * w.rows, w.rows, begin, end);
        }
      }
    }
  });
}

// ---- What goes row by row

void Ops::norm(const float* x, const float* weight, float* out, int64_t cols, int64_t n) {
  pool_.parallel_for(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      kernels_.rms_norm(x + t * cols, weight, config_.rms_eps, out + t * cols, cols);
  });
}

void Ops::norm(float* x, const float* weight, int64_t cols, int64_t n) {
  if (weight) norm(x, weight, x, cols, n);
}

Ops::Activate Ops::activation() const {
  switch (config_.activation) {
    case Activation::kSilu:
      return kernels_.silu_mul;
    case Activation::kRelu2:
      return kernels_.relu2_mul;
    case Activation::kGeluTanh:
      break;
  }
  return kernels_.gelu_mul;
}

void Ops::activate(float* gate, const float* up, int64_t cols, int64_t n) {
  const Activate act = activation();
  pool_.parallel_for(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) act(gate + t * cols, up + t * cols, cols);
  });
}

void Ops::add(float* x, const float* y, int64_t cols, int64_t n) {
  pool_.parallel_for(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    kernels_.add(x + begin * cols, y + begin * cols, (end - begin) * cols);
  });
}

void Ops::rope(float* x, int64_t n_heads, int64_t n) {
  const int64_t half = config_.head_dim / 2, width = n_heads * config_.head_dim;
  const int64_t step = config_.rope_neox ? 1 : 2, other = config_.rope_neox ? half : 1;
  pool_.parallel_for(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* cos = &cos_[static_cast<size_t>(t * half)];
      const float* sin = &sin_[static_cast<size_t>(t * half)];
      for (float* head = x + t * width; head < x + (t + 1) * width; head += config_.head_dim) {
        for (int64_t i = 0; i < half; ++i) {
          float *a = head + i * step, *b = a + other;
          const float re = *a, im = *b;
          *a = re * cos[i] - im * sin[i];
          *b = re * sin[i] + im * cos[i];
        }
      }
    }
  });
}

// ---- Attention

void Ops::set_batch(const Batch& batch) {
  batch_ = &batch;
  plan_adapters();
  const int64_t half = config_.head_dim / 2;
  pool_.parallel_for(batch.size(), kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const double position = static_cast<double>(batch.positions[static_cast<size_t>(t)]);
      for (int64_t i = 0; i < half; ++i) {
        const double angle = position * model_.rope_freqs[static_cast<size_t>(i)];
        cos_[static_cast<size_t>(t * half + i)] = static_cast<float>(std::cos(angle));
        sin_[static_cast<size_t>(t * half + i)] = static_cast<float>(std::sin(angle));
      }
    }
  });
  plan_tiles();
}

void Ops::store(int64_t layer, const float* k, const float* v) {
  const int64_t n_heads = config_.n_kv_heads, dim = config_.head_dim;
  pool_.parallel_for(batch_->size(), kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const KvTable& table = *batch_->parts[batch_->part_of[static_cast<size_t>(t)]].table;
      const int64_t position = batch_->positions[static_cast<size_t>(t)], row = t * n_heads;
      uint8_t* block = table.block_of(position);
      for (int64_t h = 0; h < n_heads; ++h) {
        table.layout().store(block, layer, h, position % kBlockPositions, k + (row + h) * dim,
                             v + (row + h) * dim);
      }
    }
  });
}

// Long parts are cut into tiles of rows that take all their keys. Where there are few rows in all,
// as when one sequence decodes, the threads share the segments of keys instead; the results are the
// same bits.
void Ops::plan_tiles() {
  tiles_.clear();
  merges_.clear();
  partials_.clear();
  int64_t n_short = 0;
  for (const Batch::Part& part : batch_->parts) {
    if (part.n * group() > kAttentionRows) {
      add_tiles(part);
    } else {
      ++n_short;
    }
  }
  const bool share_segments = n_short * config_.n_kv_heads < 4 * pool_.size();
  for (const Batch::Part& part : batch_->parts) {
    if (part.n * group() > kAttentionRows) continue;
    if (share_segments && segments(part.position + part.n) > 1) {
      add_segments(part);
    } else {
      add_tiles(part);
    }
  }
}

// The last tiles see the most keys: they go first, so that no thread is left with a long one at
// the end.
void Ops::add_tiles(const Batch::Part& part) {
  const int64_t rows = part.n * group();
  for (int64_t first = (rows - 1) / kAttentionRows * kAttentionRows; first >= 0;
       first -= kAttentionRows) {
    const int64_t last_row = std::min(first + kAttentionRows, rows) - 1;
    const int64_t n_keys = part.position + last_row / group() + 1;
    for (int64_t head = 0; head < config_.n_kv_heads; ++head)
      tiles_.push_back({&part, head, first, 0, segments(n_keys), -1});
  }
}

// One tile for each segment; partial results are [segment, row] for each head.
void Ops::add_segments(const Batch::Part& part) {
  const int64_t n_segments = segments(part.position + part.n), n_q = part.n * group();
  const int64_t stride = attention_partial(static_cast<int>(part.table->layout().v_stride()));
  const int64_t start = static_cast<int64_t>(partials_.size()),
                head_size = n_segments * n_q * stride;
  partials_.resize(static_cast<size_t>(start + config_.n_kv_heads * head_size));
  for (int64_t segment = 0; segment < n_segments; ++segment) {
    for (int64_t head = 0; head < config_.n_kv_heads; ++head) {
      tiles_.push_back({&part, head, 0, segment, segment + 1,
                        start + head * head_size + segment * n_q * stride});
      if (segment == 0) merges_.push_back(tiles_.back());
    }
  }
}

struct Ops::Queries {
  const float* q[kAttentionRows];
  float* out[kAttentionRows];
  int32_t n_keys[kAttentionRows];
  AttentionTile tile;
};

void Ops::fill_queries(const Tile& tile, int64_t layer, const float* q, float* out,
                       Queries& to) const {
  const Config& c = config_;
  const int64_t width = c.n_heads * c.head_dim;
  const int64_t n_q = std::min<int64_t>(kAttentionRows, tile.part->n * group() - tile.first);
  for (int64_t i = 0; i < n_q; ++i) {
    const int64_t token = (tile.first + i) / group();
    const int64_t head = tile.head * group() + (tile.first + i) % group();
    const int64_t offset = (tile.part->first_row + token) * width + head * c.head_dim;
    to.q[i] = q + offset;
    to.out[i] = out + offset;
    to.n_keys[i] = static_cast<int32_t>(tile.part->position + token + 1);
  }
  to.tile = {};
  to.tile.q = to.q;
  to.tile.n_keys = to.n_keys;
  to.tile.n_q = static_cast<int>(n_q);
  to.tile.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  to.tile.blocks = tile.part->table->blocks();
  tile.part->table->layout().fill(to.tile, layer, tile.head);
}

void Ops::attend(int64_t layer, const float* q, float* out) {
  pool_.parallel_for(static_cast<int64_t>(tiles_.size()), 1,
                     [&](int64_t begin, int64_t end, int thread) {
                       for (int64_t i = begin; i < end; ++i)
                         attend_tile(tiles_[static_cast<size_t>(i)], layer, q, out, thread);
                     });
  for (const Tile& tile : merges_) merge(tile, out);
}

void Ops::attend_tile(const Tile& tile, int64_t layer, const float* q, float* out, int thread) {
  Queries queries;
  fill_queries(tile, layer, q, out, queries);
  float* memory = reinterpret_cast<float*>(scratch(thread) + kMatmulScratch);
  float* partials =
      tile.partials < 0 ? memory : partials_.data() + static_cast<size_t>(tile.partials);
  kernels_.attention(queries.tile, static_cast<int>(tile.first_segment),
                     static_cast<int>(tile.last_segment), partials, memory + kTilePartials);
  if (tile.partials >= 0) return;
  const int v_stride = queries.tile.v_stride, stride = attention_partial(v_stride);
  for (int i = 0; i < queries.tile.n_q; ++i) {
    kernels_.merge_attention(partials + i * stride, 0, 1, queries.tile.head_dim, v_stride,
                             queries.out[i]);
  }
}

// The partial results of a head's rows together, in the order of the keys.
void Ops::merge(const Tile& first, float* out) {
  Queries queries;
  fill_queries(first, 0, nullptr, out, queries);
  const int v_stride = queries.tile.v_stride, stride = attention_partial(v_stride);
  for (int i = 0; i < queries.tile.n_q; ++i) {
    kernels_.merge_attention(partials_.data() + first.partials + i * stride,
                             int64_t{queries.tile.n_q} * stride,
                             static_cast<int>(segments(queries.n_keys[i])), queries.tile.head_dim,
                             v_stride, queries.out[i]);
  }
}

}  // namespace bitnet
