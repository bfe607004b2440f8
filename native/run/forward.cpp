#include "run/forward.h"

namespace bitnet {

Forward::Forward(Model& model) : model_(model), config_(model.config), ops_(model, kBatchTokens) {
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    using List = std::initializer_list<const Linear*>;
    const auto of = [&](LayerInput input, List list) { return Products(model, i, input, list); };
    constexpr auto kAttention = LayerInput::kAttention, kFfn = LayerInput::kFfn;
    products_.push_back({of(kAttention, {&l.q, &l.k, &l.v}),
                         of(LayerInput::kAttended, {&l.o}),
                         of(kFfn, {&l.gate, &l.up}),
                         of(LayerInput::kActivated, {&l.down}),
                         {},
                         {}});
    if (!l.q_input_norm) continue;
    products_.back().q_k_v = {{l.q_input_norm, of(kAttention, {&l.q})},
                              {l.k_input_norm, of(kAttention, {&l.k})},
                              {l.v_input_norm, of(kAttention, {&l.v})}};
    products_.back().gate_and_up = {{l.gate_input_norm, of(kFfn, {&l.gate})},
                                    {l.up_input_norm, of(kFfn, {&l.up})}};
  }
  const Config& c = config_;
  const auto rows = [](int64_t n) {
    return AlignedArray<float>(static_cast<size_t>(kBatchTokens * n));
  };
  x_ = rows(c.n_embd);
  q_ = rows(c.n_heads * c.head_dim);
  k_ = rows(c.n_kv_heads * c.head_dim);
  v_ = rows(c.n_kv_heads * c.head_dim);
  attended_ = rows(c.n_heads * c.head_dim);
  gate_ = rows(c.n_ff);
  up_ = rows(c.n_ff);
  out_ = rows(c.n_embd);
  if (model.layers[0].q_input_norm) shared_ = rows(c.n_embd);
}

bool Forward::run(const Batch& batch, std::vector<float>& hidden,
                  const std::function<bool()>& stopped) {
  ops_.set_batch(batch);
  ops_.embed(batch.tokens, x_.data());
  for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
    if (stopped()) return false;
    attention_block(layer, batch.size());
    ffn_block(layer, batch.size());
  }
  final_norm(batch, hidden);
  return true;
}

// out = matrices times norm(x), or each times its own norm of that.
void Forward::project(const float* norm, const Products& together,
                      std::span<const Projection> apart, std::initializer_list<float*> out,
                      int64_t n) {
  if (apart.empty()) {
    ops_.prepare(x_.data(), norm, config_.n_embd, n, together);
    return ops_.multiply(together, out);
  }
  ops_.norm(x_.data(), norm, shared_.data(), config_.n_embd, n);
  float* const* to = out.begin();
  for (const Projection& projection : apart) {
    ops_.prepare(shared_.data(), projection.norm, config_.n_embd, n, projection.product);
    ops_.multiply(projection.product, {*to++});
  }
}

// x += post_norm(o(sub_norm(attention(rope(q_norm(q)), rope(k_norm(k)), v)))), of norm(x).
void Forward::attention_block(size_t layer, int64_t n) {
  const Config& c = config_;
  const Layer& l = model_.layers[layer];
  const LayerProducts& w = products_[layer];
  const int64_t index = static_cast<int64_t>(layer);

  project(l.attn_norm, w.qkv, w.q_k_v, {q_.data(), k_.data(), v_.data()}, n);
  ops_.norm(q_.data(), l.q_norm, c.head_dim, n * c.n_heads);
  ops_.norm(k_.data(), l.k_norm, c.head_dim, n * c.n_kv_heads);
  ops_.rope(q_.data(), c.n_heads, n);
  ops_.rope(k_.data(), c.n_kv_heads, n);
  ops_.store(index, k_.data(), v_.data());
  ops_.attend(index, q_.data(), attended_.data());

  ops_.prepare(attended_.data(), l.attn_sub_norm, c.n_heads * c.head_dim, n, w.o);
  ops_.multiply(w.o, {out_.data()});
  ops_.norm(out_.data(), l.attn_post_norm, c.n_embd, n);
  ops_.add(x_.data(), out_.data(), c.n_embd, n);
}

// x += post_norm(down(sub_norm(act(gate) * up))), of norm(x).
void Forward::ffn_block(size_t layer, int64_t n) {
  const Config& c = config_;
  const Layer& l = model_.layers[layer];
  const LayerProducts& w = products_[layer];

  project(l.ffn_norm, w.gate_up, w.gate_and_up, {gate_.data(), up_.data()}, n);
  ops_.prepare_activated(gate_.data(), up_.data(), l.ffn_sub_norm, c.n_ff, n, w.down);
  ops_.multiply(w.down, {out_.data()});
  ops_.norm(out_.data(), l.ffn_post_norm, c.n_embd, n);
  ops_.add(x_.data(), out_.data(), c.n_embd, n);
}

void Forward::final_norm(const Batch& batch, std::vector<float>& hidden) {
  const int64_t cols = config_.n_embd;
  hidden.resize(batch.wanted.size() * static_cast<size_t>(cols));
  float* to = hidden.data();
  for (const int64_t row : batch.wanted) {
    model_.kernels.rms_norm(&x_[static_cast<size_t>(row * cols)], model_.output_norm,
                            config_.rms_eps, to, cols);
    to += cols;
  }
}

}  // namespace bitnet
