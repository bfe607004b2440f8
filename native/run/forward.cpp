#include "run/forward.h"

namespace bitnet {

Forward::Forward(Model& model) : model_(model), config_(model.config), ops_(model, kBatchTokens) {
  for (const Layer& l : model.layers) {
    products_.push_back({Products(model, {&l.q, &l.k, &l.v}), Products(model, {&l.o}),
                         Products(model, {&l.gate, &l.up}), Products(model, {&l.down})});
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

// x += post_norm(o(sub_norm(attention(rope(q_norm(q)), rope(k_norm(k)), v)))), of norm(x).
void Forward::attention_block(size_t layer, int64_t n) {
  const Config& c = config_;
  const Layer& l = model_.layers[layer];
  const LayerProducts& w = products_[layer];
  const int64_t index = static_cast<int64_t>(layer);

  ops_.prepare(x_.data(), l.attn_norm, c.n_embd, n, w.qkv);
  ops_.multiply(w.qkv, {q_.data(), k_.data(), v_.data()});
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

  ops_.prepare(x_.data(), l.ffn_norm, c.n_embd, n, w.gate_up);
  ops_.multiply(w.gate_up, {gate_.data(), up_.data()});
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
