#include "train/model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "convert/row_loop.h"
#include "convert/rule_choice.h"
#include "formats/ternarize.h"
#include "formats/ternary.h"
#include "kernels/packing.h"
#include "train/random.h"

namespace bitnet {

namespace {

constexpr int64_t kMaxRank = 1024, kMaxLength = 1 << 20;
constexpr int64_t kMostTokens = 1024, kEnoughElements = 1 << 19;
constexpr int64_t kMostKeptLogits = 1 << 24;
constexpr float kLeastScale = 1e-5f;          // of ternary weights, as BitNet defines it
constexpr uint64_t kInitialKey = 0x6c6f7261;  // of adapters, beside the keys of dropout

void size_all(Parameter& p) {
  const auto n = static_cast<size_t>(p.size());
  for (AlignedArray<float>* array : {&p.value, &p.gradient, &p.m, &p.v}) {
    *array = AlignedArray<float>(n);
    std::fill_n(array->data(), n, 0.0f);
  }
}

// Products of a pass are large enough with so many tokens.
int64_t enough_tokens(const Config& config) {
  return std::min(kMostTokens, kEnoughElements / config.n_embd);
}

[[noreturn]] void fail_usage(const std::string& what) { throw Error(ErrorCode::kUsage, what); }

}  // namespace

bool has_adapter(const TrainOptions& options, int64_t layer, int matrix) {
  const AdapterOptions& adapter = options.adapter;
  return options.mode == TrainMode::kLora && adapter.matrices[matrix] &&
         (adapter.layers.empty() || adapter.layers[static_cast<size_t>(layer)]);
}

int64_t lowest_layer(const TrainOptions& options, int64_t n_layers) {
  const std::vector<bool>& layers = options.adapter.layers;
  if (options.mode == TrainMode::kFull || layers.empty()) return 0;
  const auto first = std::find(layers.begin(), layers.end(), true);
  return std::min<int64_t>(first - layers.begin(), n_layers - 1);
}

int64_t tokens_at_once(const TrainOptions& options, const Config& config, bool has_head) {
  const bool is_tied = options.mode == TrainMode::kFull && !has_head;
  if (is_tied && !keeps_logits(options, config, has_head)) return options.max_length;
  return std::max(options.max_length, enough_tokens(config));
}

bool keeps_logits(const TrainOptions& options, const Config& config, bool has_head) {
  const int64_t tokens = std::max(options.max_length, enough_tokens(config));
  return options.mode == TrainMode::kFull && !has_head &&
         tokens * config.n_vocab <= kMostKeptLogits;
}

void check_options(const TrainOptions& options, const Config& config) {
  if (options.max_length < 1 || options.max_length > kMaxLength)
    fail_usage("maxLength must be from 1 to " + std::to_string(kMaxLength));
  if (options.mode == TrainMode::kFull) return;
  const AdapterOptions& a = options.adapter;
  if (a.rank < 1 || a.rank > kMaxRank)
    fail_usage("the rank of an adapter must be from 1 to " + std::to_string(kMaxRank));
  if (!std::isfinite(a.alpha) || a.alpha <= 0) fail_usage("alpha of an adapter must be above 0");
  if (!(a.dropout >= 0 && a.dropout < 1)) fail_usage("dropout must be from 0 to below 1");
  if (!a.layers.empty() && static_cast<int64_t>(a.layers.size()) != config.n_layers)
    fail_usage("layers must lie below " + std::to_string(config.n_layers));
  const bool any_layer =
      a.layers.empty() || std::find(a.layers.begin(), a.layers.end(), true) != a.layers.end();
  if (!any_layer ||
      std::find(a.matrices, a.matrices + kLayerMatrices, true) == a.matrices + kLayerMatrices)
    fail_usage("no matrix gets an adapter: name targets and layers");
}

// Fills a TrainModel.
class ModelReader {
 public:
  ModelReader(TrainModel& model, TrainSource& source, const TrainOptions& options)
      : model_(model),
        source_(source),
        options_(options),
        loop_(model.compute_.pool, abort_),
        is_full_(options.mode == TrainMode::kFull) {}

  void read() {
    const Config& c = model_.config;
    read_rows("token_embd.weight", model_.embedding);
    model_.layers.resize(static_cast<size_t>(c.n_layers));
    if (is_full_) check_master();
    if (!is_full_) choose_rules();
    for (int64_t i = 0; i < c.n_layers; ++i) read_layer(i);
    read_norm("output_norm.weight", c.n_embd, model_.output_norm);
    if (source_.has_head()) read_rows("output.weight", model_.own_head);
  }

 private:
  Parameter* add_parameter(const std::string& name, int64_t rows, int64_t cols, bool decays) {
    auto parameter = std::make_unique<Parameter>();
    parameter->name = name;
    parameter->rows = rows;
    parameter->cols = cols;
    parameter->decays = decays;
    size_all(*parameter);
    model_.parameters.push_back(std::move(parameter));
    return model_.parameters.back().get();
  }

  // All rows of a tensor as floats, [rows, cols].
  void read_floats(const SourceRows& rows, float* out) {
    const int64_t cols = rows.tensor().cols;
    loop_.for_each_row(
        rows.tensor().rows, cols, [&](int64_t r, int) { rows.floats(r, out + r * cols); },
        [&](int64_t begin, int64_t end) { rows.release(begin, end); });
  }

  void read_norm(const std::string& name, int64_t n, NormWeight& to) {
    float* out = nullptr;
    if (is_full_) {
      to.parameter = add_parameter(name, 1, n, false);
      out = to.parameter->value.data();
    } else {
      to.frozen = AlignedArray<float>(static_cast<size_t>(n));
      out = to.frozen.data();
    }
    source_.open(name).floats(0, out);
  }

  // An embedding or a head: trained, or frozen as the file has it.
  void read_rows(const std::string& name, EmbeddingRows& to) {
    const SourceRows rows = source_.open(name);
    const PlannedTensor& tensor = rows.tensor();
    to.rows = tensor.rows;
    to.cols = tensor.cols;
    if (is_full_) {
      to.parameter = add_parameter(name, to.rows, to.cols, false);
      return read_floats(rows, to.parameter->value.data());
    }
    if (tensor.job.source.kind == SourceKind::kRandom) {
      to.row_bytes = to.cols * static_cast<int64_t>(sizeof(float));
      to.data = AlignedArray<uint8_t>(static_cast<size_t>(to.rows * to.row_bytes));
      return read_floats(rows, reinterpret_cast<float*>(to.data.data()));
    }
    to.type = tensor.job.source.type;
    to.row_bytes = static_cast<int64_t>(rows.row_bytes());
    if (rows.holds_codes() || to.row_bytes == 0)
      rows.fail(ErrorCode::kUnsupported, "an embedding of this type cannot be trained with");
    to.data = AlignedArray<uint8_t>(static_cast<size_t>(to.rows * to.row_bytes));
    auto floats = loop_.make_buffers<float>(to.cols);  // which are checked to be finite
    loop_.for_each_row(to.rows, to.cols, [&](int64_t r, int thread) {
      rows.floats(r, floats[static_cast<size_t>(thread)].data());
      std::memcpy(to.data.data() + r * to.row_bytes, rows.bytes(r),
                  static_cast<size_t>(to.row_bytes));
    });
    rows.release_all();
  }

  std::string matrix_name(int64_t layer, int matrix) const {
    return layer_prefix(layer) + kMatrixNames[matrix] + ".weight";
  }

  // f(layer, matrix, rows) for the matrices of all layers.
  template <class Body>
  void for_matrices(Body&& body) {
    for (int64_t layer = 0; layer < model_.config.n_layers; ++layer)
      for (int i = 0; i < kLayerMatrices; ++i) body(layer, i, source_.open(matrix_name(layer, i)));
  }

  // A ternary model has no master: trained on, its weights would be ternarized once more, by a
  // scale that is not theirs.
  void check_master() {
    bool is_ternary = true;
    for_matrices([&](int64_t, int, const SourceRows& rows) {
      if (rows.holds_codes()) refuse_ternary();
      if (!is_ternary || rows.tensor().job.source.kind == SourceKind::kRandom) {
        is_ternary = false;
        return;
      }
      std::vector<RowMagnitude> magnitudes(static_cast<size_t>(rows.tensor().rows));
      auto floats = loop_.make_buffers<float>(rows.tensor().cols);
      loop_.for_each_row(rows.tensor().rows, rows.tensor().cols, [&](int64_t r, int thread) {
        float* x = floats[static_cast<size_t>(thread)].data();
        rows.floats(r, x);
        magnitudes[static_cast<size_t>(r)] = measure_row(x, rows.tensor().cols);
      });
      is_ternary = choose_ternary_rule(magnitudes, rows.tensor().cols).already_ternary;
    });
    if (is_ternary) refuse_ternary();
  }
  [[noreturn]] static void refuse_ternary() {
    throw Error(ErrorCode::kUnsupported,
                "the weights are ternary already: training all of them needs the master that they "
                "were rounded from; adapters can be trained beside them");
  }

  // A master counts as ternary if every matrix is; else all are rounded by their mean.
  void choose_rules() {
    bool all_ternary = true;
    for_matrices([&](int64_t, int, const SourceRows& rows) {
      rules_.emplace_back();
      if (rows.holds_codes()) return;
      rules_.back() = choose_rule(rows, loop_);
      all_ternary &= rules_.back().rule.already_ternary;
    });
    if (all_ternary) return;
    size_t i = 0;
    for_matrices([&](int64_t, int, const SourceRows& rows) {
      RuleChoice& choice = rules_[i++];
      if (!choice.rule.already_ternary || rows.holds_codes()) return;
      double sum = 0;
      for (const RowMagnitude& row : choice.magnitudes) sum += row.sum;
      const double n = static_cast<double>(rows.tensor().rows * rows.tensor().cols);
      choice.rule = {std::max(static_cast<float>(sum / n), kLeastScale), false};
    });
  }

  void read_layer(int64_t layer) {
    const Config& c = model_.config;
    TrainLayer& to = model_.layers[static_cast<size_t>(layer)];
    const std::string prefix = layer_prefix(layer);
    read_norm(prefix + "attn_norm.weight", c.n_embd, to.attn_norm);
    for (int i = 0; i < kLayerMatrices; ++i) read_matrix(layer, i, to.linear[i]);
    read_norm(prefix + "ffn_norm.weight", c.n_embd, to.ffn_norm);
    if (!c.family->norms.sub) return;
    read_norm(prefix + "attn_sub_norm.weight", c.n_heads * c.head_dim, to.attn_sub_norm);
    read_norm(prefix + "ffn_sub_norm.weight", c.n_ff, to.ffn_sub_norm);
  }

  void read_matrix(int64_t layer, int matrix, TrainLinear& w) {
    const Config& c = model_.config;
    w.rows = matrix_rows(c, matrix);
    w.cols = matrix_cols(c, matrix);
    w.id = static_cast<uint64_t>(layer * kLayerMatrices + matrix);
    const int64_t row_bytes = packed_row_bytes(WeightLayout::kI2S, w.cols);
    w.codes = AlignedArray<uint8_t>(static_cast<size_t>(w.rows * row_bytes));
    w.weights = {w.codes.data(), w.rows, w.cols, row_bytes};
    const int64_t heads = matrix == kQuery ? c.n_heads : matrix == kKey ? c.n_kv_heads : 0;
    const int64_t rope_heads = c.rope_neox ? 0 : heads;
    const std::string name = matrix_name(layer, matrix);
    if (is_full_) {
      w.master = add_parameter(name, w.rows, w.cols, true);
      w.master->rope_heads = rope_heads;
      return read_floats(source_.open(name), w.master->value.data());
    }
    read_codes(source_.open(name), rules_[static_cast<size_t>(w.id)].rule, w);
    if (has_adapter(options_, layer, matrix)) add_adapter(name, rope_heads, w);
  }

  void read_codes(const SourceRows& rows, const TernaryRule& rule, TrainLinear& w) {
    auto codes = loop_.make_buffers<uint8_t>(w.cols);
    auto floats = loop_.make_buffers<float>(rows.holds_codes() ? 0 : w.cols);
    std::vector<float> scales(static_cast<size_t>(w.rows), rule.scale);
    loop_.for_each_row(w.rows, w.cols, [&](int64_t r, int thread) {
      uint8_t* row = codes[static_cast<size_t>(thread)].data();
      if (rows.holds_codes()) {
        scales[static_cast<size_t>(r)] = rows.codes(r, row);
      } else {
        float* x = floats[static_cast<size_t>(thread)].data();
        rows.floats(r, x);
        ternarize_row(rule, x, w.cols, row);
      }
      pack_i2_s_row(row, w.cols, w.codes.data() + r * w.weights.row_bytes);
    });
    rows.release_all();
    w.weights.scale = scales.front();
    if (std::all_of(scales.begin(), scales.end(), [&](float s) { return s == scales.front(); }))
      return;
    w.row_scales = AlignedArray<float>(scales.size());
    std::copy(scales.begin(), scales.end(), w.row_scales.data());
    w.weights.row_scales = w.row_scales.data();
  }

  // A uniform in +-1 / sqrt(cols), B zero: the model begins as its base.
  void add_adapter(const std::string& name, int64_t rope_heads, TrainLinear& w) {
    const AdapterOptions& o = options_.adapter;
    const std::string module = name.substr(0, name.rfind('.'));
    TrainAdapter& adapter = w.adapter;
    adapter.rank = o.rank;
    adapter.dropout = o.dropout;
    const double r = static_cast<double>(o.rank), root = o.rslora ? std::sqrt(r) : r;
    adapter.scaling = static_cast<float>(static_cast<double>(o.alpha) / root);
    adapter.a = add_parameter(module + ".lora_a", o.rank, w.cols, true);
    adapter.b = add_parameter(module + ".lora_b", w.rows, o.rank, true);
    adapter.b->rope_heads = rope_heads;
    const KeyedRandom random({options_.seed, kInitialKey, w.id});
    const float bound = 1.0f / std::sqrt(static_cast<float>(w.cols));
    for (int64_t i = 0; i < adapter.a->size(); ++i)
      adapter.a->value[static_cast<size_t>(i)] =
          (2 * random.at(static_cast<uint64_t>(i)) - 1) * bound;
  }

  TrainModel& model_;
  TrainSource& source_;
  const TrainOptions& options_;
  std::atomic<bool> abort_{false};
  RowLoop loop_;
  const bool is_full_;
  std::vector<RuleChoice> rules_;  // by TrainLinear::id, of frozen weights
};

TrainModel::TrainModel(TrainSource& source, const TrainOptions& options, Compute& compute)
    : config(source.config()), compute_(compute), is_changed_(options.mode == TrainMode::kFull) {
  const std::vector<float> factors = source.rope_factors();
  rope_ = std::make_unique<RopeTable>(
      rope_frequencies(config, factors.empty() ? nullptr : factors.data()), options.max_length);
  attention = {config.n_heads, config.n_kv_heads, config.head_dim, config.rope_neox, rope_.get()};
  ModelReader(*this, source, options).read();
}

namespace {

// [byte] -> how many of its four codes are 0, 1 and 2, in fields of 21 bits: enough for the codes
// of a row.
struct CountsOfByte {
  uint64_t of[256] = {};
  constexpr CountsOfByte() {
    for (int byte = 0; byte < 256; ++byte)
      for (int shift = 0; shift < 8; shift += 2)
        if (const int code = byte >> shift & 3; code < 3) of[byte] += uint64_t{1} << 21 * code;
  }
};
constexpr CountsOfByte kCountsOfByte;

}  // namespace

WeightCounts TrainModel::count(const TrainLinear& w) const {
  std::vector<uint64_t> rows(static_cast<size_t>(w.rows));
  const int64_t row_bytes = w.weights.row_bytes;
  compute_.each(w.rows, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t i = 0; i < row_bytes; ++i)
        rows[static_cast<size_t>(r)] += kCountsOfByte.of[w.weights.data[r * row_bytes + i]];
  });
  constexpr uint64_t kField = (uint64_t{1} << 21) - 1;
  WeightCounts out;
  for (const uint64_t row : rows) {
    out.minus += static_cast<int64_t>(row & kField);
    out.zero += static_cast<int64_t>(row >> 21 & kField);
    out.plus += static_cast<int64_t>(row >> 42 & kField);
  }
  out.zero -= w.rows * (4 * row_bytes - w.cols);  // the padding of rows
  return out;
}

int64_t TrainModel::n_trained() const {
  int64_t n = 0;
  for (const auto& p : parameters) n += p->size();
  return n;
}

int64_t TrainModel::n_total() const {
  if (layers.front().linear[0].master) return n_trained();
  int64_t n =
      n_trained() + embedding.rows * embedding.cols + own_head.rows * own_head.cols + config.n_embd;
  for (const TrainLayer& layer : layers) {
    for (const TrainLinear& w : layer.linear) n += w.rows * w.cols;
    n += 2 * config.n_embd;
    if (config.family->norms.sub) n += attention.query_cols() + config.n_ff;
  }
  return n;
}

void TrainModel::ternarize() {
  if (!is_changed_) return;
  for (TrainLayer& layer : layers)
    for (TrainLinear& w : layer.linear)
      if (w.master) ternarize(w);
  is_changed_ = false;
}

// scale = max(mean |W|, 1e-5) over the whole matrix, summed row by row in f64.
void TrainModel::ternarize(TrainLinear& w) {
  const float* values = w.master->value.data();
  std::vector<double> sums(static_cast<size_t>(w.rows));
  compute_.each(w.rows, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      sums[static_cast<size_t>(r)] = measure_row(values + r * w.cols, w.cols).sum;
  });
  double sum = 0;
  for (const double of_row : sums) sum += of_row;
  const double mean = sum / (static_cast<double>(w.rows) * static_cast<double>(w.cols));
  w.weights.scale = std::max(static_cast<float>(mean), kLeastScale);
  const TernaryRule rule{w.weights.scale, false};
  compute_.each(w.rows, kLightRows, [&](int64_t begin, int64_t end, int thread) {
    uint8_t* codes = compute_.matmul_scratch(thread);
    for (int64_t r = begin; r < end; ++r) {
      ternarize_row(rule, values + r * w.cols, w.cols, codes);
      pack_i2_s_row(codes, w.cols, w.codes.data() + r * w.weights.row_bytes);
    }
  });
}

}  // namespace bitnet
