// What a model is trained from: its hyper-parameters and where its tensors lie, checked. It comes
// as the request of a conversion, whose keys and sources say all of that, whatever they were read
// from.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/file_map.h"
#include "convert/plan.h"
#include "convert/source_rows.h"
#include "model/config.h"

namespace bitnet {

// The matrices of a layer, in the order in which a pass meets them.
enum LayerMatrix : int { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown, kLayerMatrices };
extern const char* const kMatrixNames[kLayerMatrices];  // in GGUF: "attn_q"

// [rows, cols] of a matrix.
int64_t matrix_rows(const Config& config, int matrix);
int64_t matrix_cols(const Config& config, int matrix);

class TrainSource {
 public:
  // Throws kUnsupported (family, tensor), kBadFile (missing, another shape).
  explicit TrainSource(ConvertRequest request);
  TrainSource(const TrainSource&) = delete;

  const Config& config() const { return config_; }
  bool has_head() const { return find("output.weight") != nullptr; }
  // Null if there is none of this name.
  const PlannedTensor* find(const std::string& name) const;
  // Its rows; opens its file.
  SourceRows open(const std::string& name);
  // The factors of RoPE's frequencies, empty if there are none.
  std::vector<float> rope_factors();

 private:
  void require(const std::string& name, int64_t rows, int64_t cols);
  void allow(const std::string& name, int64_t rows, int64_t cols);
  void check_layer(int64_t layer);

  Config config_{};
  std::vector<PlannedTensor> tensors_;
  std::map<std::string, size_t> index_;
  size_t n_known_ = 0;                   // tensors that the family has
  std::map<std::string, FileMap> maps_;  // by path
};

// "blk.N."
std::string layer_prefix(int64_t layer);

}  // namespace bitnet
