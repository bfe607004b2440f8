#include "model/adapter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/numbers.h"
#include "formats/dequantize.h"

namespace bitnet {

namespace {

struct Place {
  LayerInput input;
  Linear Layer::*linear;
};

std::optional<Place> place_of(const std::string& name) {
  if (name == "attn_q") return Place{LayerInput::kAttention, &Layer::q};
  if (name == "attn_k") return Place{LayerInput::kAttention, &Layer::k};
  if (name == "attn_v") return Place{LayerInput::kAttention, &Layer::v};
  if (name == "attn_output") return Place{LayerInput::kAttended, &Layer::o};
  if (name == "ffn_gate") return Place{LayerInput::kFfn, &Layer::gate};
  if (name == "ffn_up") return Place{LayerInput::kFfn, &Layer::up};
  if (name == "ffn_down") return Place{LayerInput::kActivated, &Layer::down};
  return std::nullopt;
}

[[noreturn]] void refuse(const AdapterTarget& target, const std::string& what) {
  throw Error(ErrorCode::kUsage,
              "blk." + std::to_string(target.layer) + "." + target.name + ": " + what);
}

std::string shape_text(int64_t rows, int64_t cols) {
  return std::to_string(rows) + " x " + std::to_string(cols);
}

int64_t element_bytes(TensorType type) { return type == TensorType::kF32 ? 4 : 2; }

// As the files have them if they agree, else f32 or, where that is much, f16.
TensorType storage_type(const std::vector<AdapterTarget>& targets, int64_t n_parameters) {
  const auto all = [&](TensorType type) {
    return std::all_of(targets.begin(), targets.end(),
                       [type](const AdapterTarget& target) { return target.type == type; });
  };
  for (const TensorType type : {TensorType::kF16, TensorType::kBF16})
    if (all(type)) return type;
  return n_parameters * 4 <= kMostExactBytes ? TensorType::kF32 : TensorType::kF16;
}

void store(TensorType type, float x, uint8_t* to) {
  if (type == TensorType::kF32) {
    std::memcpy(to, &x, 4);
    return;
  }
  const uint16_t half = type == TensorType::kF16 ? f32_to_f16(x) : f32_to_bf16(x);
  std::memcpy(to, &half, 2);
}

// What the adapter must be divided by so that f16 holds it to its 11 bits: the power of two of its
// largest magnitude. Small weights would be subnormal, and large ones infinite.
float unit_of(TensorType type, const AdapterTarget& target, const std::vector<float>& values) {
  if (type != TensorType::kF16 || target.type == TensorType::kF16) return 1;
  float most = 0;
  for (const float x : values) most = std::max(most, std::fabs(x));
  return most > 0 ? std::exp2(std::floor(std::log2(most))) : 1;
}

struct Values {
  std::vector<float> a, b;
  bool are_zero() const {
    const auto zero = [](float x) { return x == 0; };
    return std::all_of(a.begin(), a.end(), zero) || std::all_of(b.begin(), b.end(), zero);
  }
};

Values read(const AdapterTarget& target, const Linear& linear) {
  Values out;
  out.a.resize(static_cast<size_t>(target.rank * linear.cols));
  out.b.resize(static_cast<size_t>(linear.rows * target.rank));
  for (int64_t r = 0; r < target.rank; ++r) target.read_a(r, out.a.data() + r * linear.cols);
  for (int64_t r = 0; r < linear.rows; ++r) target.read_b(r, out.b.data() + r * target.rank);
  return out;
}

// Programs that multiply last have the scale in a tensor of its own, and weights of 1 beside it.
float weight_scale(const AdapterTarget& target, const Linear& linear) {
  if (linear.output_scale != 1) return linear.output_scale;
  if (!linear.is_ternary) return 1;
  if (linear.ternary.row_scales)
    refuse(target, "each row has a scale of its own, so there is none to multiply an adapter with");
  return linear.ternary.scale;
}

}  // namespace

class AdapterBuilder {
 public:
  AdapterBuilder(const Model& model, const std::vector<AdapterTarget>& targets,
                 bool scaled_by_weights)
      : model_(model), targets_(targets), scaled_by_weights_(scaled_by_weights) {}

  std::shared_ptr<const Adapter> build() {
    check_model();
    for (const AdapterTarget& target : targets_) {
      const Linear& linear = linear_of(target);
      out_->n_parameters_ += target.rank * (linear.rows + linear.cols);
    }
    out_->type_ = storage_type(targets_, out_->n_parameters_);
    out_->inputs_.resize(model_.layers.size() * Adapter::kInputs);
    for (size_t i = 0; i < out_->inputs_.size(); ++i) {
      const size_t layer = i / Adapter::kInputs;
      fill(layer, static_cast<LayerInput>(i % Adapter::kInputs), out_->inputs_[i]);
    }
    out_->hash_ = hash_.value();
    return out_;
  }

 private:
  void check_model() const {
    if (model_.layers[0].q_input_norm) {
      throw Error(ErrorCode::kUnsupported,
                  "the projections of this model have norms of their own; adapters of such models "
                  "are not supported");
    }
  }

  const Linear& linear_of(const AdapterTarget& target) const {
    const std::optional<Place> place = place_of(target.name);
    if (!place || target.layer < 0 || target.layer >= static_cast<int64_t>(model_.layers.size()))
      refuse(target, "the model has no such matrix");
    if (target.rank < 1 || target.rank > kMaxAdapterRank)
      refuse(target, "its rank is not between 1 and " + std::to_string(kMaxAdapterRank));
    const Linear& linear = model_.layers[static_cast<size_t>(target.layer)].*place->linear;
    if (target.rows != linear.rows || target.cols != linear.cols) {
      refuse(target, "is for a matrix of " + shape_text(target.rows, target.cols) +
                         "; that of the model is " + shape_text(linear.rows, linear.cols));
    }
    return linear;
  }

  uint8_t* allocate(int64_t n_bytes) {
    out_->memory_.emplace_back(static_cast<size_t>(n_bytes));
    out_->n_bytes_ += n_bytes;
    return out_->memory_.back().data();
  }

  // In the order of the file; which of them are all zero is known when they are read.
  void fill(size_t layer, LayerInput input, LowRank& to) {
    std::vector<std::pair<const AdapterTarget*, Values>> found;
    for (const AdapterTarget& target : targets_) {
      if (target.layer != static_cast<int64_t>(layer) || place_of(target.name)->input != input)
        continue;
      const Linear& linear = linear_of(target);
      Values values = read(target, linear);
      if (target.scale == 0 || values.are_zero()) continue;
      to.cols = linear.cols;
      to.rank += target.rank;
      found.emplace_back(&target, std::move(values));
    }
    if (found.empty()) return;
    std::sort(found.begin(), found.end(),
              [](const auto& x, const auto& y) { return x.first->name < y.first->name; });
    to.row_bytes = to.cols * element_bytes(out_->type_);
    uint8_t* a = allocate(to.rank * to.row_bytes);
    to.a = a;
    int64_t first = 0;
    for (const auto& [target, values] : found) {
      if (!to.outputs.empty() && to.outputs.back().linear == &linear_of(*target))
        refuse(*target, "is there twice");
      add(*target, values, first, a, to);
      first += target->rank;
    }
  }

  void add(const AdapterTarget& target, const Values& values, int64_t first, uint8_t* a,
           LowRank& to) {
    const TensorType type = out_->type_;
    const Linear& linear = linear_of(target);
    const int64_t size = element_bytes(type);
    const float a_unit = unit_of(type, target, values.a), b_unit = unit_of(type, target, values.b);
    uint8_t* row = a + first * to.row_bytes;
    for (const float x : values.a) {
      store(type, x / a_unit, row);
      row += size;
    }
    const float by_weights = scaled_by_weights_ ? weight_scale(target, linear) : 1.0f;
    const float scale = target.scale * by_weights * a_unit * b_unit;
    to.scales.insert(to.scales.end(), static_cast<size_t>(target.rank), scale);
    const int64_t n_panels = round_up(linear.rows, kLowRankRows) / kLowRankRows;
    const int64_t n_bytes = n_panels * kLowRankRows * target.rank * size;
    uint8_t* b = allocate(n_bytes);
    std::memset(b, 0, static_cast<size_t>(n_bytes));
    for (int64_t r = 0; r < linear.rows; ++r) {
      uint8_t* panel = b + r / kLowRankRows * kLowRankRows * target.rank * size;
      for (int64_t j = 0; j < target.rank; ++j) {
        store(type, values.b[static_cast<size_t>(r * target.rank + j)] / b_unit,
              panel + (j * kLowRankRows + r % kLowRankRows) * size);
      }
    }
    to.outputs.push_back({&linear, first, target.rank, b});
    out_->n_targets_ += 1;
    add_to_hash(target, scale,
                {a + first * to.row_bytes, static_cast<size_t>(target.rank * to.row_bytes)},
                {b, static_cast<size_t>(n_bytes)});
  }

  void add_to_hash(const AdapterTarget& target, float scale, std::span<const uint8_t> a,
                   std::span<const uint8_t> b) {
    uint32_t bits;
    std::memcpy(&bits, &scale, sizeof bits);
    hash_.add(static_cast<uint64_t>(target.layer));
    hash_.add({reinterpret_cast<const uint8_t*>(target.name.data()), target.name.size()});
    hash_.add(uint64_t{bits});
    hash_.add(static_cast<uint64_t>(out_->type_));
    hash_.add(a);
    hash_.add(b);
  }

  const Model& model_;
  const std::vector<AdapterTarget>& targets_;
  const bool scaled_by_weights_;
  std::shared_ptr<Adapter> out_{new Adapter};
  Hash64 hash_;
};

std::shared_ptr<const Adapter> Adapter::load(const Model& model,
                                             const std::vector<AdapterTarget>& targets,
                                             bool scaled_by_weights) {
  return AdapterBuilder(model, targets, scaled_by_weights).build();
}

const LowRank* Adapter::of(size_t layer, LayerInput input) const {
  const LowRank& found = inputs_[layer * kInputs + static_cast<size_t>(input)];
  return found.rank > 0 ? &found : nullptr;
}

AdapterSet::AdapterSet(std::vector<Use> uses) : uses_(std::move(uses)) {
  for (const Use& use : uses_) {
    if (!std::isfinite(use.scale))
      throw Error(ErrorCode::kUsage, "the scale of an adapter must be a number");
  }
  std::erase_if(uses_, [](const Use& use) { return use.scale == 0 || use.adapter->is_zero(); });
  std::sort(uses_.begin(), uses_.end(), [](const Use& a, const Use& b) {
    if (a.adapter->hash() != b.adapter->hash()) return a.adapter->hash() < b.adapter->hash();
    return a.scale < b.scale;
  });
  if (uses_.empty()) return;
  Hash64 hash;
  for (const Use& use : uses_) {
    uint32_t bits;
    std::memcpy(&bits, &use.scale, sizeof bits);
    hash.add(use.adapter->hash());
    hash.add(uint64_t{bits});
  }
  key_ = std::max<uint64_t>(hash.value(), 1);
}

}  // namespace bitnet
