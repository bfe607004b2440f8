#include "train/source.h"

#include <set>
#include <utility>

#include "base/error.h"
#include "gguf/gguf.h"

namespace bitnet {

namespace {

constexpr const char* kName = "training";

// The keys alone, as a file.
Config read_keys(const GgufWriter& keys) {
  const GgufLayout layout = keys.layout();
  const Gguf gguf = Gguf::parse(layout.head, kName);
  Config config = read_config(gguf);
  const Family& family = *config.family;
  if (family.norms.qk || family.norms.post || family.norms.input || family.scaled_embedding ||
      config.activation == Activation::kGeluTanh) {
    throw Error(ErrorCode::kUnsupported,
                std::string("models of the family ") + family.architecture +
                    " cannot be trained here; bitnet-b1.58, bitnet, bitnet-25 and llama can");
  }
  return config;
}

}  // namespace

const char* const kMatrixNames[kLayerMatrices] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                  "ffn_gate", "ffn_up", "ffn_down"};

int64_t matrix_rows(const Config& c, int matrix) {
  switch (matrix) {
    case kQuery:
      return c.n_heads * c.head_dim;
    case kKey:
    case kValue:
      return c.n_kv_heads * c.head_dim;
    case kGate:
    case kUp:
      return c.n_ff;
    default:
      return c.n_embd;
  }
}

int64_t matrix_cols(const Config& c, int matrix) {
  return matrix == kOutput ? c.n_heads * c.head_dim : matrix == kDown ? c.n_ff : c.n_embd;
}

std::string layer_prefix(int64_t layer) { return "blk." + std::to_string(layer) + "."; }

TrainSource::TrainSource(ConvertRequest request) : config_(read_keys(request.file)) {
  tensors_ = plan_conversion(std::move(request)).tensors;
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].job.name] = i;
  const PlannedTensor* embedding = find("token_embd.weight");
  if (!embedding) throw Error(ErrorCode::kBadFile, "tensor token_embd.weight is missing");
  config_.n_vocab = embedding->rows;
  require("token_embd.weight", config_.n_vocab, config_.n_embd);
  require("output_norm.weight", 1, config_.n_embd);
  allow("output.weight", config_.n_vocab, config_.n_embd);
  if (config_.family->rope_factors) allow("rope_freqs.weight", 1, config_.head_dim / 2);
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) check_layer(layer);
  if (n_known_ == tensors_.size()) return;
  for (const PlannedTensor& tensor : tensors_) {
    if (tensor.job.name.ends_with(".bias"))
      throw Error(ErrorCode::kUnsupported,
                  "tensor " + tensor.job.name + ": models with biases cannot be trained here");
  }
  throw Error(ErrorCode::kUnsupported,
              std::to_string(tensors_.size() - n_known_) +
                  " tensors are none that training knows; biases and scales of their own are not");
}

void TrainSource::check_layer(int64_t layer) {
  const Config& c = config_;
  const std::string prefix = layer_prefix(layer);
  require(prefix + "attn_norm.weight", 1, c.n_embd);
  require(prefix + "ffn_norm.weight", 1, c.n_embd);
  if (c.family->norms.sub) {
    require(prefix + "attn_sub_norm.weight", 1, c.n_heads * c.head_dim);
    require(prefix + "ffn_sub_norm.weight", 1, c.n_ff);
  }
  for (int i = 0; i < kLayerMatrices; ++i)
    require(prefix + kMatrixNames[i] + ".weight", matrix_rows(c, i), matrix_cols(c, i));
}

const PlannedTensor* TrainSource::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void TrainSource::require(const std::string& name, int64_t rows, int64_t cols) {
  const PlannedTensor* tensor = find(name);
  if (!tensor) throw Error(ErrorCode::kBadFile, "tensor " + name + " is missing");
  if (tensor->rows != rows || tensor->cols != cols) {
    throw Error(ErrorCode::kBadFile, "tensor " + name + " has shape [" +
                                         std::to_string(tensor->rows) + ", " +
                                         std::to_string(tensor->cols) + "], expected [" +
                                         std::to_string(rows) + ", " + std::to_string(cols) + "]");
  }
  ++n_known_;
}

void TrainSource::allow(const std::string& name, int64_t rows, int64_t cols) {
  if (find(name)) require(name, rows, cols);
}

SourceRows TrainSource::open(const std::string& name) {
  const PlannedTensor* tensor = find(name);
  if (!tensor) throw Error(ErrorCode::kInternal, "tensor " + name + " was not asked for");
  const std::string& path = tensor->job.source.path;
  const bool is_random = tensor->job.source.kind == SourceKind::kRandom;
  return {*tensor, is_random ? nullptr : &maps_.try_emplace(path, path).first->second};
}

std::vector<float> TrainSource::rope_factors() {
  if (!find("rope_freqs.weight")) return {};
  std::vector<float> out(static_cast<size_t>(config_.head_dim / 2));
  open("rope_freqs.weight").floats(0, out.data());
  return out;
}

}  // namespace bitnet
