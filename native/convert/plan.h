// What a conversion is to do and what came of it. A request names the tensors of the output and
// their sources; the plan made of it says where every byte of the file goes, once for whoever
// writes and whoever verifies.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "formats/tensor_type.h"
#include "formats/ternary.h"
#include "gguf/writer.h"

namespace bitnet {

enum class SourceKind : uint8_t {
  kTensor,    // a float, block-quantized or ternary tensor, laid out as GGUF has it
  kHfPacked,  // uint8 of a packed checkpoint
  kRandom,    // nothing to read: dummy models
};

struct ConvertSource {
  SourceKind kind = SourceKind::kTensor;
  TensorType type = TensorType::kF32;  // kTensor
  std::string path;                    // of the file that it lies in; not of kRandom
  uint64_t offset = 0, n_bytes = 0;    // of the data in that file
  I2SLayout i2s = I2SLayout::kCanonical;
  float factor = 1;   // multiplies the scale of ternary sources; kHfPacked, kRandom: is the scale
  uint64_t seed = 0;  // kRandom
  float mean = 0, deviation = 0;  // kRandom, floats
};

// One tensor of the output.
struct ConvertJob {
  std::string name;         // in GGUF
  std::vector<int64_t> ne;  // the fastest dimension first
  ConvertSource source;
  TensorType out_type = TensorType::kF32;
  bool ternary = false;    // holds ternary weights: floats are ternarized, whatever the output type
  bool declared = false;   // ... even if that rounds them
  int64_t rope_heads = 0;  // > 0: rows are reordered within so many heads, from NEOX to NORM RoPE
  float add = 0;           // to every float
};

struct ConvertRequest {
  GgufWriter file;  // holds the metadata; the plan adds the tensors
  std::vector<ConvertJob> jobs;
  // Tile sizes of a kernel_config.ini. For sources only what the source itself does not say.
  std::vector<TlConfig> tl_configs;
  std::map<TensorType, std::vector<TlConfig>> source_tiles;  // what the source says
  int n_threads = 0;                                         // 0: physical_cores()
};

// A job with what follows from it.
struct PlannedTensor {
  ConvertJob job;
  int64_t rows = 0, cols = 0;        // a vector is one row; one to be reordered, one column
  TernaryLayout layout{};            // of the output, if its type is ternary
  TlConfig source_tl{};              // tile sizes of a source of type TL1 or TL2
  uint64_t offset = 0, n_bytes = 0;  // in the output, from the start of the file
};

struct ConvertPlan {
  std::vector<PlannedTensor> tensors;
  std::vector<uint8_t> head;  // what stands before the data
  // Of every shape that is written in TL1 or TL2. The head has them if one is not bitnet.cpp's own.
  std::map<TensorType, std::vector<TlConfig>> tiles;
  bool has_own_tiles = false;  // not bitnet.cpp's
  uint64_t file_bytes = 0;
  int n_threads = 0;
};

// Throws kUnsupported, naming the tensor, if a type cannot hold its shape, if no tiles of TL1 or
// TL2 fit it, or if nothing says which tiles a source has. Reads no file.
ConvertPlan plan_conversion(ConvertRequest request);

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

}  // namespace bitnet
