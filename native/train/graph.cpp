#include "train/graph.h"

#include <algorithm>

#include "train/activation.h"
#include "train/norm.h"

namespace bitnet {

namespace {

AlignedArray<float> floats(int64_t rows, int64_t cols) {
  return AlignedArray<float>(static_cast<size_t>(rows * cols));
}

// Columns of what is as wide as a layer gets.
int64_t wide_cols(const Config& c) { return std::max(c.n_ff, c.n_heads * c.head_dim); }
int64_t widest_cols(const Config& c) { return std::max(wide_cols(c), c.n_embd); }

bool wants_spare(const TrainOptions& o) {
  return o.mode == TrainMode::kFull || o.adapter.dropout > 0;
}

}  // namespace

int64_t TrainRow::n_labels() const {
  return std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l != kIgnoredLabel; });
}

TrainGraph::TrainGraph(TrainModel& model, Compute& compute, const TrainOptions& options)
    : model_(model),
      compute_(compute),
      config_(model.config),
      is_full_(options.mode == TrainMode::kFull),
      checkpointing_(options.checkpointing),
      lowest_(lowest_layer(options, config_.n_layers)),
      keeps_logits_(keeps_logits(options, config_, model.own_head.rows > 0)),
      most_tokens_(tokens_at_once(options, config_, model.own_head.rows > 0)),
      head_(compute, model.head(), keeps_logits_ ? most_tokens_ : 0),
      input_(compute, most_tokens_, widest_cols(config_)) {
  const Config& c = config_;
  const int64_t n = most_tokens_;
  const int64_t n_kept = checkpointing_ ? 1 : c.n_layers - lowest_;
  for (int64_t i = 0; i < n_kept; ++i) kept_.push_back(make_kept(options));
  for (int64_t i = lowest_; i < c.n_layers; ++i) inputs_.push_back(floats(n, c.n_embd));
  for (AlignedArray<float>* array : {&stream_, &normed_, &d_normed_, &dx_, &picked_})
    *array = floats(n, c.n_embd);
  for (AlignedArray<float>& array : wide_) array = floats(n, wide_cols(c));
  dk_ = floats(n, model.attention.key_cols());
  dv_ = floats(n, model.attention.key_cols());
  if (wants_spare(options)) spare_ = floats(n, widest_cols(c));
  if (!is_full_) lora_dy_ = floats(n, options.adapter.rank);
}

TrainGraph::Kept TrainGraph::make_kept(const TrainOptions& options) const {
  const Config& c = config_;
  const int64_t n = most_tokens_;
  Kept out;
  out.q = floats(n, model_.attention.query_cols());
  out.k = floats(n, model_.attention.key_cols());
  out.v = floats(n, model_.attention.key_cols());
  out.attended = floats(n, model_.attention.query_cols());
  out.mid = floats(n, c.n_embd);
  out.gate = floats(n, c.n_ff);
  out.up = floats(n, c.n_ff);
  for (int i = 0; i < kLayerMatrices; ++i) {
    if (options.mode == TrainMode::kLora && options.adapter.matrices[i])
      out.lora[i] = floats(n, options.adapter.rank);
  }
  return out;
}

size_t TrainGraph::n_at_once(std::span<const TrainRow> rows) const {
  size_t n = 1;
  if (is_full_ && model_.own_head.rows == 0 && !keeps_logits_) return n;
  int64_t tokens = rows.front().size();
  for (; n < rows.size() && tokens + rows[n].size() <= most_tokens_; ++n) tokens += rows[n].size();
  return n;
}

void TrainGraph::begin(std::span<const TrainRow> rows, const DropoutKey& key) {
  model_.ternarize();
  key_ = key;
  n_ = 0;
  ids_.clear();
  ends_.clear();
  row_ends_.clear();
  for (const TrainRow& row : rows) {
    ids_.insert(ids_.end(), row.ids.begin(), row.ids.end());
    for (size_t i = 1; i < row.documents.size(); ++i) ends_.push_back(n_ + row.documents[i]);
    n_ += row.size();
    ends_.push_back(n_);
    row_ends_.push_back(n_);
  }
  input_.set_rows(row_ends_);
}

// ---- Forward

TrainGraph::Kept& TrainGraph::kept_of(int64_t layer) {
  const bool own = !checkpointing_ && layer >= lowest_;
  return kept_[own ? static_cast<size_t>(layer - lowest_) : 0];
}

float* TrainGraph::input_of(int64_t layer) {
  return inputs_[static_cast<size_t>(layer - lowest_)].data();
}

// Leaves the last layer's result in stream_; keeps: also the inputs of the layers from lowest_ on.
bool TrainGraph::run_layers(const Stopped& stopped, bool keeps) {
  const auto place = [&](int64_t layer) {
    return keeps && layer >= lowest_ && layer < config_.n_layers ? input_of(layer) : stream_.data();
  };
  embed(compute_, model_.embedding, ids_, place(0));
  for (int64_t i = 0; i < config_.n_layers; ++i) {
    if (stopped()) return false;
    forward_layer(model_.layers[static_cast<size_t>(i)], place(i), kept_of(i), place(i + 1));
  }
  return true;
}

const float* TrainGraph::normalize(const NormWeight& weight, const float* x, int64_t cols,
                                   float* out) {
  if (!weight) return x;
  norm_forward(compute_, x, weight.data(), config_.rms_eps, out, cols, n_);
  return out;
}

// Of the input that was set.
void TrainGraph::multiply(const TrainLinear& w, Kept& kept, float* y) {
  linear_forward(compute_, w, input_, key_, y, kept.lora[w.id % kLayerMatrices].data(),
                 spare_.data());
}

// out may be x.
void TrainGraph::forward_layer(const TrainLayer& layer, const float* x, Kept& kept, float* out) {
  forward_attention(layer, x, kept);
  forward_ffn(layer, kept, out);
}

// mid = x + o(sub_norm(attention(rope(q), rope(k), v))), of norm(x).
void TrainGraph::forward_attention(const TrainLayer& layer, const float* x, Kept& kept) {
  const AttentionShape& shape = model_.attention;
  const int64_t cols = config_.n_embd;
  input_.set(normalize(layer.attn_norm, x, cols, normed_.data()), cols);
  multiply(layer.linear[kQuery], kept, kept.q.data());
  multiply(layer.linear[kKey], kept, kept.k.data());
  multiply(layer.linear[kValue], kept, kept.v.data());
  rope(compute_, shape, ends_, false, shape.n_heads, kept.q.data());
  rope(compute_, shape, ends_, false, shape.n_kv_heads, kept.k.data());
  attention_forward(compute_, shape, ends_, kept.q.data(), kept.k.data(), kept.v.data(),
                    kept.attended.data());
  const int64_t wide = shape.query_cols();
  input_.set(normalize(layer.attn_sub_norm, kept.attended.data(), wide, wide_[0].data()), wide);
  multiply(layer.linear[kOutput], kept, normed_.data());
  add_rows(x, normed_.data(), kept.mid.data(), cols);
}

// out [n, cols] = x + y; out may be x.
void TrainGraph::add_rows(const float* x, const float* y, float* out, int64_t cols) {
  compute_.each(n_, kLightRows, [&](int64_t begin, int64_t end, int) {
    if (out != x) std::copy(x + begin * cols, x + end * cols, out + begin * cols);
    compute_.kernels.add(out + begin * cols, y + begin * cols, (end - begin) * cols);
  });
}

// out = mid + down(sub_norm(act(gate) * up)), of norm(mid).
void TrainGraph::forward_ffn(const TrainLayer& layer, Kept& kept, float* out) {
  const int64_t cols = config_.n_embd, wide = config_.n_ff;
  input_.set(normalize(layer.ffn_norm, kept.mid.data(), cols, normed_.data()), cols);
  multiply(layer.linear[kGate], kept, kept.gate.data());
  multiply(layer.linear[kUp], kept, kept.up.data());
  activation_forward(compute_, config_.activation, kept.gate.data(), kept.up.data(),
                     wide_[0].data(), n_ * wide);
  input_.set(normalize(layer.ffn_sub_norm, wide_[0].data(), wide, wide_[1].data()), wide);
  multiply(layer.linear[kDown], kept, normed_.data());
  add_rows(kept.mid.data(), normed_.data(), out, cols);
}

// ---- The head

// The positions whose next token counts, document by document.
void TrainGraph::pick_positions(std::span<const TrainRow> rows) {
  positions_.clear();
  targets_.clear();
  picked_ends_.clear();
  picked_row_ends_.clear();
  int64_t begin = 0;  // of the row
  auto document = ends_.begin();
  for (const TrainRow& row : rows) {
    for (int64_t t = 0; t < row.size(); ++t) {
      const int32_t label = row.labels[static_cast<size_t>(t)];
      if (label != kIgnoredLabel) {
        positions_.push_back(begin + t - 1);
        targets_.push_back(label);
      }
      if (begin + t + 1 < *document) continue;
      picked_ends_.push_back(static_cast<int64_t>(positions_.size()));
      ++document;
    }
    begin += row.size();
    picked_row_ends_.push_back(static_cast<int64_t>(positions_.size()));
  }
}

void TrainGraph::normalize_picked() {
  norm_forward(compute_, picked_.data(), model_.output_norm.data(), config_.rms_eps, normed_.data(),
               config_.n_embd, static_cast<int64_t>(positions_.size()));
}

void TrainGraph::head_losses(std::span<const TrainRow> rows, float weight, bool with_gradients,
                             DocumentLosses& losses) {
  pick_positions(rows);
  const int64_t cols = config_.n_embd, n = static_cast<int64_t>(positions_.size());
  compute_.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = stream_.data() + positions_[static_cast<size_t>(i)] * cols;
      std::copy(from, from + cols, picked_.data() + i * cols);
    }
  });
  normalize_picked();
  losses_.resize(targets_.size());
  int64_t first = 0;
  for (const int64_t end : picked_row_ends_) {
    const auto targets =
        std::span(targets_).subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
    head_.run(normed_.data() + first * cols, targets, weight, losses_.data() + first,
              with_gradients ? d_normed_.data() + first * cols : nullptr, first);
    first = end;
  }
  size_t i = 0;
  for (const int64_t end : picked_ends_) {
    double sum = 0;
    for (; i < static_cast<size_t>(end); ++i) sum += static_cast<double>(losses_[i]);
    losses.push_back(sum);
  }
}

// dx_ = the gradient by the last layer's result.
void TrainGraph::head_backward() {
  const int64_t cols = config_.n_embd, n = static_cast<int64_t>(positions_.size());
  if (model_.output_norm.parameter) {
    norm_weight_gradient(compute_, picked_.data(), config_.rms_eps, d_normed_.data(), picked_ends_,
                         cols, model_.output_norm.parameter->gradient.data());
  }
  norm_backward(compute_, picked_.data(), model_.output_norm.data(), config_.rms_eps,
                d_normed_.data(), d_normed_.data(), false, cols, n);
  compute_.zero(dx_.data(), n_ * cols);
  compute_.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = d_normed_.data() + i * cols;
      std::copy(from, from + cols, dx_.data() + positions_[static_cast<size_t>(i)] * cols);
    }
  });
}

void TrainGraph::embedding_backward() {
  if (keeps_logits_) normalize_picked();
  const int64_t cols = config_.n_embd;
  int64_t first = 0, picked = 0;
  for (size_t row = 0; row < row_ends_.size(); ++row) {
    const int64_t n = row_ends_[row] - first, n_picked = picked_row_ends_[row] - picked;
    if (keeps_logits_) head_.add_kept(normed_.data() + picked * cols, picked, n_picked);
    embed_backward(compute_, model_.embedding,
                   std::span(ids_).subspan(static_cast<size_t>(first), static_cast<size_t>(n)),
                   dx_.data() + first * cols);
    first += n;
    picked += n_picked;
  }
}

// ---- Backward

bool TrainGraph::trains(const TrainLayer& layer, std::initializer_list<int> matrices) const {
  return std::any_of(matrices.begin(), matrices.end(),
                     [&](int i) { return layer.linear[i].master || layer.linear[i].adapter.a; });
}

void TrainGraph::multiply_backward(const TrainLinear& w, const Kept& kept, const float* dy,
                                   float* dx, bool dx_adds) {
  linear_backward(
      compute_, w, input_, key_,
      {dy, kept.lora[w.id % kLayerMatrices].data(), dx, dx_adds, spare_.data(), lora_dy_.data()});
}

void TrainGraph::norm_gradients(const NormWeight& weight, const float* x, const float* dy,
                                float* dx, bool adds, int64_t cols) {
  if (weight.parameter) {
    norm_weight_gradient(compute_, x, config_.rms_eps, dy, ends_, cols,
                         weight.parameter->gradient.data());
  }
  norm_backward(compute_, x, weight.data(), config_.rms_eps, dy, dx, adds, cols, n_);
}

void TrainGraph::backward_layer(const TrainLayer& layer, const float* x, const Kept& kept,
                                bool is_wanted) {
  const bool below = is_wanted || trains(layer, {kQuery, kKey, kValue, kOutput});
  backward_ffn(layer, kept, below);
  if (below) backward_attention(layer, x, kept, is_wanted);
}

void TrainGraph::backward_ffn(const TrainLayer& layer, const Kept& kept, bool is_wanted) {
  const int64_t cols = config_.n_embd, wide = config_.n_ff;
  float *act = wide_[0].data(), *d_gate = wide_[1].data(), *d = wide_[2].data();
  const bool below = is_wanted || trains(layer, {kGate, kUp});
  activation_forward(compute_, config_.activation, kept.gate.data(), kept.up.data(), act,
                     n_ * wide);
  input_.set(normalize(layer.ffn_sub_norm, act, wide, d_gate), wide, is_full_);
  multiply_backward(layer.linear[kDown], kept, dx_.data(), below ? d : nullptr, false);
  if (!below) return;
  if (layer.ffn_sub_norm) norm_gradients(layer.ffn_sub_norm, act, d, d, false, wide);
  activation_backward(compute_, config_.activation, kept.gate.data(), kept.up.data(), d, d_gate, d,
                      n_ * wide);
  input_.set(normalize(layer.ffn_norm, kept.mid.data(), cols, normed_.data()), cols, is_full_);
  float* d_normed = is_wanted ? d_normed_.data() : nullptr;
  multiply_backward(layer.linear[kGate], kept, d_gate, d_normed, false);
  multiply_backward(layer.linear[kUp], kept, d, d_normed, true);
  if (d_normed) norm_gradients(layer.ffn_norm, kept.mid.data(), d_normed, dx_.data(), true, cols);
}

void TrainGraph::backward_attention(const TrainLayer& layer, const float* x, const Kept& kept,
                                    bool is_wanted) {
  const AttentionShape& shape = model_.attention;
  const int64_t cols = config_.n_embd, wide = shape.query_cols();
  float *d = wide_[1].data(), *dq = wide_[2].data();
  const bool below = is_wanted || trains(layer, {kQuery, kKey, kValue});
  const float* attended = kept.attended.data();
  input_.set(normalize(layer.attn_sub_norm, attended, wide, wide_[0].data()), wide, is_full_);
  multiply_backward(layer.linear[kOutput], kept, dx_.data(), below ? d : nullptr, false);
  if (!below) return;
  if (layer.attn_sub_norm) norm_gradients(layer.attn_sub_norm, attended, d, d, false, wide);
  attention_backward(compute_, shape, ends_, kept.q.data(), kept.k.data(), kept.v.data(), d,
                     {dq, dk_.data(), dv_.data(), wide_[0].data(), wide_[3].data()});
  rope(compute_, shape, ends_, true, shape.n_heads, dq);
  rope(compute_, shape, ends_, true, shape.n_kv_heads, dk_.data());
  input_.set(normalize(layer.attn_norm, x, cols, normed_.data()), cols, is_full_);
  float* d_normed = is_wanted ? d_normed_.data() : nullptr;
  multiply_backward(layer.linear[kQuery], kept, dq, d_normed, false);
  multiply_backward(layer.linear[kKey], kept, dk_.data(), d_normed, true);
  multiply_backward(layer.linear[kValue], kept, dv_.data(), d_normed, true);
  if (d_normed) norm_gradients(layer.attn_norm, x, d_normed, dx_.data(), true, cols);
}

// ---- Whole passes

bool TrainGraph::backward(std::span<const TrainRow> rows, const DropoutKey& key, float weight,
                          const Stopped& stopped, DocumentLosses& losses) {
  begin(rows, key);
  if (!run_layers(stopped, true)) return false;
  head_losses(rows, weight, true, losses);
  if (positions_.empty()) return true;
  head_backward();
  for (int64_t i = config_.n_layers - 1; i >= lowest_; --i) {
    if (stopped()) return false;
    const TrainLayer& layer = model_.layers[static_cast<size_t>(i)];
    Kept& kept = kept_of(i);
    // The last layer's are still there.
    if (checkpointing_ && i + 1 < config_.n_layers)
      forward_layer(layer, input_of(i), kept, stream_.data());
    backward_layer(layer, input_of(i), kept, is_full_ || i > lowest_);
  }
  if (is_full_) embedding_backward();
  return true;
}

bool TrainGraph::evaluate(std::span<const TrainRow> rows, const Stopped& stopped,
                          DocumentLosses& losses) {
  begin(rows, {});
  if (!run_layers(stopped, false)) return false;
  head_losses(rows, 0, false, losses);
  return true;
}

void TrainGraph::logits(const TrainRow& row, float* out) {
  begin(std::span(&row, 1), {});
  run_layers([] { return false; }, false);
  norm_forward(compute_, stream_.data(), model_.output_norm.data(), config_.rms_eps, normed_.data(),
               config_.n_embd, n_);
  head_.logits(normed_.data(), n_, out);
}

}  // namespace bitnet
