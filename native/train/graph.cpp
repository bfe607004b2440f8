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
      head_(compute, model.head()),
      input_(compute, options.max_length, widest_cols(config_)) {
  const Config& c = config_;
  const int64_t n = options.max_length;
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
  const int64_t n = options.max_length;
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

void TrainGraph::begin(const TrainRow& row, const DropoutKey& key) {
  model_.ternarize();
  n_ = row.size();
  key_ = key;
  ids_ = row.ids;
  ends_.assign(row.documents.begin() + 1, row.documents.end());
  ends_.push_back(n_);
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
  input_.set(normalize(layer.attn_norm, x, cols, normed_.data()), cols, n_);
  multiply(layer.linear[kQuery], kept, kept.q.data());
  multiply(layer.linear[kKey], kept, kept.k.data());
  multiply(layer.linear[kValue], kept, kept.v.data());
  rope(compute_, shape, ends_, false, shape.n_heads, kept.q.data());
  rope(compute_, shape, ends_, false, shape.n_kv_heads, kept.k.data());
  attention_forward(compute_, shape, ends_, kept.q.data(), kept.k.data(), kept.v.data(),
                    kept.attended.data());
  const int64_t wide = shape.query_cols();
  input_.set(normalize(layer.attn_sub_norm, kept.attended.data(), wide, wide_[0].data()), wide, n_);
  multiply(layer.linear[kOutput], kept, normed_.data());
  std::copy(x, x + n_ * cols, kept.mid.data());
  compute_.each(n_, kLightRows, [&](int64_t begin, int64_t end, int) {
    compute_.kernels.add(kept.mid.data() + begin * cols, normed_.data() + begin * cols,
                         (end - begin) * cols);
  });
}

// out = mid + down(sub_norm(act(gate) * up)), of norm(mid).
void TrainGraph::forward_ffn(const TrainLayer& layer, Kept& kept, float* out) {
  const int64_t cols = config_.n_embd, wide = config_.n_ff;
  input_.set(normalize(layer.ffn_norm, kept.mid.data(), cols, normed_.data()), cols, n_);
  multiply(layer.linear[kGate], kept, kept.gate.data());
  multiply(layer.linear[kUp], kept, kept.up.data());
  activation_forward(compute_, config_.activation, kept.gate.data(), kept.up.data(),
                     wide_[0].data(), n_ * wide);
  input_.set(normalize(layer.ffn_sub_norm, wide_[0].data(), wide, wide_[1].data()), wide, n_);
  multiply(layer.linear[kDown], kept, normed_.data());
  const float* mid = kept.mid.data();
  compute_.each(n_, kLightRows, [&](int64_t begin, int64_t end, int) {
    std::copy(mid + begin * cols, mid + end * cols, out + begin * cols);
    compute_.kernels.add(out + begin * cols, normed_.data() + begin * cols, (end - begin) * cols);
  });
}

// ---- The head

// The positions whose next token counts, document by document.
void TrainGraph::pick_positions(const TrainRow& row) {
  positions_.clear();
  targets_.clear();
  picked_ends_.clear();
  int64_t t = 0;
  for (const int64_t end : ends_) {
    for (; t < end; ++t) {
      const int32_t label = row.labels[static_cast<size_t>(t)];
      if (label == kIgnoredLabel) continue;
      positions_.push_back(t - 1);
      targets_.push_back(label);
    }
    picked_ends_.push_back(static_cast<int64_t>(positions_.size()));
  }
}

void TrainGraph::head_losses(const TrainRow& row, float weight, bool with_gradients,
                             DocumentLosses& losses) {
  pick_positions(row);
  const int64_t cols = config_.n_embd, n = static_cast<int64_t>(positions_.size());
  for (int64_t i = 0; i < n; ++i) {
    const float* from = stream_.data() + positions_[static_cast<size_t>(i)] * cols;
    std::copy(from, from + cols, picked_.data() + i * cols);
  }
  norm_forward(compute_, picked_.data(), model_.output_norm.data(), config_.rms_eps, normed_.data(),
               cols, n);
  losses_.resize(targets_.size());
  head_.run(normed_.data(), targets_, weight, losses_.data(),
            with_gradients ? d_normed_.data() : nullptr);
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
  zero(dx_.data(), cols);
  for (int64_t i = 0; i < n; ++i) {
    const float* from = d_normed_.data() + i * cols;
    std::copy(from, from + cols, dx_.data() + positions_[static_cast<size_t>(i)] * cols);
  }
}

// ---- Backward

void TrainGraph::zero(float* x, int64_t cols) { std::fill_n(x, n_ * cols, 0.0f); }

bool TrainGraph::trains(const TrainLayer& layer, std::initializer_list<int> matrices) const {
  return std::any_of(matrices.begin(), matrices.end(),
                     [&](int i) { return layer.linear[i].master || layer.linear[i].adapter.a; });
}

void TrainGraph::multiply_backward(const TrainLinear& w, const Kept& kept, const float* dy,
                                   float* dx) {
  linear_backward(
      compute_, w, input_, key_,
      {dy, kept.lora[w.id % kLayerMatrices].data(), dx, spare_.data(), lora_dy_.data()});
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
  input_.set(normalize(layer.ffn_sub_norm, act, wide, d_gate), wide, n_, is_full_);
  if (below) zero(d, wide);
  multiply_backward(layer.linear[kDown], kept, dx_.data(), below ? d : nullptr);
  if (!below) return;
  if (layer.ffn_sub_norm) norm_gradients(layer.ffn_sub_norm, act, d, d, false, wide);
  activation_backward(compute_, config_.activation, kept.gate.data(), kept.up.data(), d, d_gate, d,
                      n_ * wide);
  input_.set(normalize(layer.ffn_norm, kept.mid.data(), cols, normed_.data()), cols, n_, is_full_);
  float* d_normed = is_wanted ? d_normed_.data() : nullptr;
  if (d_normed) zero(d_normed, cols);
  multiply_backward(layer.linear[kGate], kept, d_gate, d_normed);
  multiply_backward(layer.linear[kUp], kept, d, d_normed);
  if (d_normed) norm_gradients(layer.ffn_norm, kept.mid.data(), d_normed, dx_.data(), true, cols);
}

void TrainGraph::backward_attention(const TrainLayer& layer, const float* x, const Kept& kept,
                                    bool is_wanted) {
  const AttentionShape& shape = model_.attention;
  const int64_t cols = config_.n_embd, wide = shape.query_cols();
  float *d = wide_[1].data(), *dq = wide_[2].data();
  const bool below = is_wanted || trains(layer, {kQuery, kKey, kValue});
  const float* attended = kept.attended.data();
  input_.set(normalize(layer.attn_sub_norm, attended, wide, wide_[0].data()), wide, n_, is_full_);
  if (below) zero(d, wide);
  multiply_backward(layer.linear[kOutput], kept, dx_.data(), below ? d : nullptr);
  if (!below) return;
  if (layer.attn_sub_norm) norm_gradients(layer.attn_sub_norm, attended, d, d, false, wide);
  attention_backward(compute_, shape, ends_, kept.q.data(), kept.k.data(), kept.v.data(), d,
                     {dq, dk_.data(), dv_.data(), wide_[0].data(), wide_[3].data()});
  rope(compute_, shape, ends_, true, shape.n_heads, dq);
  rope(compute_, shape, ends_, true, shape.n_kv_heads, dk_.data());
  input_.set(normalize(layer.attn_norm, x, cols, normed_.data()), cols, n_, is_full_);
  float* d_normed = is_wanted ? d_normed_.data() : nullptr;
  if (d_normed) zero(d_normed, cols);
  multiply_backward(layer.linear[kQuery], kept, dq, d_normed);
  multiply_backward(layer.linear[kKey], kept, dk_.data(), d_normed);
  multiply_backward(layer.linear[kValue], kept, dv_.data(), d_normed);
  if (d_normed) norm_gradients(layer.attn_norm, x, d_normed, dx_.data(), true, cols);
}

// ---- Whole passes

bool TrainGraph::backward(const TrainRow& row, const DropoutKey& key, float weight,
                          const Stopped& stopped, DocumentLosses& losses) {
  begin(row, key);
  if (!run_layers(stopped, true)) return false;
  head_losses(row, weight, true, losses);
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
  if (is_full_) embed_backward(compute_, model_.embedding, ids_, dx_.data());
  return true;
}

bool TrainGraph::evaluate(const TrainRow& row, const Stopped& stopped, DocumentLosses& losses) {
  begin(row, {});
  if (!run_layers(stopped, false)) return false;
  head_losses(row, 0, false, losses);
  return true;
}

void TrainGraph::logits(const TrainRow& row, float* out) {
  begin(row, {});
  run_layers([] { return false; }, false);
  norm_forward(compute_, stream_.data(), model_.output_norm.data(), config_.rms_eps, normed_.data(),
               config_.n_embd, n_);
  head_.logits(normed_.data(), n_, out);
}

}  // namespace bitnet
