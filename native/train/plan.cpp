#include "train/plan.h"

#include <algorithm>

#include "base/cores.h"
#include "kernels/packing.h"
#include "train/loss.h"

namespace bitnet {

namespace {

constexpr int64_t kFloat = sizeof(float);

class Planner {
 public:
  Planner(const TrainSource& source, const TrainOptions& options)
      : source_(source),
        options_(options),
        kernels_(select_kernels(options.kernel)),
        n_threads_(options.n_threads > 0 ? options.n_threads : physical_cores()),
        c_(source.config()),
        is_full_(options.mode == TrainMode::kFull) {}

  MemoryPlan plan() {
    add_rows("token_embd.weight");
    add_rows("output.weight");
    add_floats(c_.n_embd);
    for (int64_t layer = 0; layer < c_.n_layers; ++layer) add_layer(layer);
    out_.master = kFloat * n_trained_;
    out_.gradients = kFloat * n_trained_;
    out_.optimizer = 2 * kFloat * n_trained_;
    plan_passes();
    return out_;
  }

 private:
  int64_t query_cols() const { return c_.n_heads * c_.head_dim; }
  int64_t key_cols() const { return c_.n_kv_heads * c_.head_dim; }
  int64_t wide_cols() const { return std::max(c_.n_ff, query_cols()); }

  // Floats that are trained or frozen.
  void add_floats(int64_t n) {
    if (is_full_) {
      n_trained_ += n;
    } else {
      out_.weights += kFloat * n;
    }
  }

  void add_rows(const char* name) {
    const PlannedTensor* tensor = source_.find(name);
    if (!tensor) return;
    if (is_full_) return add_floats(tensor->rows * tensor->cols);
    const ConvertSource& source = tensor->job.source;
    out_.weights += source.kind == SourceKind::kRandom ? kFloat * tensor->rows * tensor->cols
                                                       : static_cast<int64_t>(source.n_bytes);
  }

  void add_layer(int64_t layer) {
    add_floats(2 * c_.n_embd);
    if (c_.family->norms.sub) add_floats(query_cols() + c_.n_ff);
    for (int i = 0; i < kLayerMatrices; ++i) {
      const int64_t rows = matrix_rows(c_, i), cols = matrix_cols(c_, i);
      out_.weights += packed_bytes(WeightLayout::kI2S, rows, cols);
      if (is_full_) n_trained_ += rows * cols;
      if (has_adapter(options_, layer, i)) n_trained_ += options_.adapter.rank * (rows + cols);
    }
  }

  // Of a layer and a token, beside its input.
  int64_t kept_floats() const {
    int64_t n = 2 * query_cols() + 2 * key_cols() + c_.n_embd + 2 * c_.n_ff;
    if (is_full_) return n;
    for (const bool has : options_.adapter.matrices) n += has ? options_.adapter.rank : 0;
    return n;
  }

  void plan_passes() {
    const int64_t n = tokens_at_once(options_, c_, source_.has_head());
    const int64_t n_layers = c_.n_layers - lowest_layer(options_, c_.n_layers);
    const int64_t widest = std::max(wide_cols(), c_.n_embd);
    const int64_t kept = options_.checkpointing ? 1 : n_layers;
    out_.activations = n * kFloat * (kept * kept_floats() + n_layers * c_.n_embd);
    int64_t floats = 5 * c_.n_embd + 4 * wide_cols() + 2 * key_cols();
    if (is_full_ || options_.adapter.dropout > 0) floats += widest;
    if (!is_full_) floats += options_.adapter.rank;
    const int64_t longest = options_.max_length;
    out_.scratch = n * kFloat * floats + LinearInput::bytes(kernels_, n, widest) +
                   longest * kFloat * c_.head_dim +  // RoPE
                   Compute::scratch_bytes(n_threads_, attention_floats(longest));
    plan_head();
  }

  void plan_head() {
    const PlannedTensor* own = source_.find("output.weight");
    const PlannedTensor* head = own ? own : source_.find("token_embd.weight");
    const bool keeps = keeps_logits(options_, c_, own != nullptr);
    const int64_t n_kept = keeps ? tokens_at_once(options_, c_, own != nullptr) : 0;
    const bool in_floats = is_full_ || head->job.source.type == TensorType::kF32;
    out_.logits = LossHead::logits_bytes(head->rows, n_kept) +
                  LossHead::rows_bytes(head->rows, head->cols, in_floats);
  }

  const TrainSource& source_;
  const TrainOptions& options_;
  const Kernels& kernels_;
  const int n_threads_;
  const Config& c_;
  const bool is_full_;
  int64_t n_trained_ = 0;
  MemoryPlan out_;
};

}  // namespace

MemoryPlan plan_memory(const TrainSource& source, const TrainOptions& options) {
  check_options(options, source.config());
  return Planner(source, options).plan();
}

}  // namespace bitnet
