// What a conversion is to do and what came of it: jobs, one per tensor of the output, and their
// results.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "formats/tensor_type.h"
#include "formats/ternary.h"

namespace bitnet {

enum class SourceKind : uint8_t {
  kTensor,    // a float, block-quantized or ternary tensor, laid out as GGUF has it
  kHfPacked,  // uint8 of a packed checkpoint
  kRandom,    // nothing to read: dummy models
};

struct ConvertSource {
  SourceKind kind = SourceKind::kTensor;
  TensorType type = TensorType::kF32;  // kTensor
  size_t file = 0;                     // in ConvertPlan::files
  uint64_t offset = 0, n_bytes = 0;    // of the data in that file
  I2SLayout i2s = I2SLayout::kCanonical;
  float factor = 1;   // multiplies the scale of ternary sources; kHfPacked, kRandom: is the scale
  uint64_t seed = 0;  // kRandom
  float mean = 0, deviation = 0;  // kRandom, floats
};

struct ConvertJob {
  std::string name;  // of the GGUF tensor
  ConvertSource source;
  int64_t rows = 0, cols = 0;  // rows: everything but the fastest dimension
  TensorType out_type = TensorType::kF32;
  uint64_t out_offset = 0;  // from the start of the file
  bool ternary =
      false;  // a matrix of ternary weights; floats are ternarized, whatever the output type
  bool declared = false;   // ... even if that rounds them
  int64_t rope_heads = 0;  // > 0: rows are reordered within so many heads, from NEOX to NORM RoPE
  float add = 0;           // to every float
};

struct ConvertPlan {
  std::vector<std::string> files;  // sources
  std::string outfile;             // exists, holds the header
  uint64_t out_bytes = 0;          // its final size
  std::vector<ConvertJob> jobs;
  std::vector<TlConfig> tl_configs;  // searched before the built-in ones
  bool check_tokenizer = false;      // the vocabulary must load, too
  int n_threads = 0;                 // 0: physical_cores()
};

struct ConvertResult {
  bool ternary = false;  // scale and counts are set
  bool rounded = false;  // floats that were not ternary already
  float scale = 0;       // as stored
  int64_t n_negative = 0, n_zero = 0, n_positive = 0;
  double relative_error = 0;  // RMS(w - code * scale) / RMS(w)
  uint64_t hash = 0;          // of the codes, or of the bytes of a float tensor
};

// Written by the conversion, read by anyone. Bytes count twice: when written and when verified.
struct ConvertProgress {
  std::atomic<uint64_t> done_bytes{0};
  std::atomic<uint64_t> tensor{0};  // the job being worked on
  std::atomic<bool> abort{false};   // set by others
};

// How a tensor of ternary weights lies in the output. Throws kUnsupported if TL1 or TL2 have no
// tile sizes for its shape.
TernaryLayout output_layout(const ConvertJob& job, const std::vector<TlConfig>& tl_configs);

// Bytes of a tensor in the output. Throws kUnsupported if the type cannot hold the shape, naming
// the tensor.
uint64_t planned_bytes(const ConvertJob& job, const std::vector<TlConfig>& tl_configs);

}  // namespace bitnet
