// The only GGUF writer: everything of a file but the tensors' data, version 3, little-endian.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_type.h"
#include "gguf/gguf.h"

namespace bitnet {

// A file whose tensors' data is still to be written. Offsets and sizes are in bytes.
struct GgufLayout {
  std::vector<uint8_t> head;      // from the start of the file to the data, padding included
  std::vector<uint64_t> offsets;  // of the data of each tensor, from the start of the file
  uint64_t file_bytes = 0;        // the padding after the last tensor included
};

// Collects keys and tensors in the order in which they are to stand in the file. A key given twice
// stands there twice, which no reader takes: it is for the caller to see to.
class GgufWriter {
 public:
  void u32(std::string_view key, uint32_t value);
  void f32(std::string_view key, float value);
  void boolean(std::string_view key, bool value);
  void string(std::string_view key, std::string_view value);
  void strings(std::string_view key, std::span<const std::string> values);
  void i32s(std::string_view key, std::span<const int32_t> values);
  void f32s(std::string_view key, std::span<const float> values);
  // A value of an opened file as it stands there; but general.alignment becomes this file's.
  void copy(std::string_view key, const GgufValue& value);

  // ne: the dimensions, the fastest first. n_bytes: of the data.
  void tensor(std::string_view name, std::span<const int64_t> ne, TensorType type,
              uint64_t n_bytes);

  GgufLayout layout() const;

 private:
  void begin(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType element, uint64_t count);

  uint64_t n_metadata_ = 0;
  std::vector<uint8_t> metadata_, infos_;  // as they will stand in the file
  std::vector<uint64_t> offsets_;          // of the tensors, from the start of the data
  uint64_t data_bytes_ = 0;                // a multiple of the alignment
};

}  // namespace bitnet
