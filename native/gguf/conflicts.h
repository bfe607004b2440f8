// What the type ids of a file's tensors mean. Projects number their own types, and some ids got two
// meanings; the file itself must tell which.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "formats/tensor_type.h"
#include "gguf/gguf.h"

namespace bitnet {

// A tensor as the file describes it; the type id is still to be interpreted.
struct RawTensor {
  std::string_view name;
  uint32_t n_dims;
  uint64_t ne[4] = {1, 1, 1, 1};
  uint32_t type;
  uint64_t offset;  // from the start of the tensor data

  // Rows of ne[0] elements. The product of all ne fits into 2^60.
  uint64_t rows() const { return ne[1] * ne[2] * ne[3]; }
};

class TypeIds {
 public:
  // gguf: with its metadata read. tensors: all of the file, whose data takes data_bytes.
  TypeIds(const Gguf& gguf, const std::vector<RawTensor>& tensors, uint64_t data_bytes,
          uint64_t alignment);

  // nullopt: a type without a row in formats/format.h.
  std::optional<TensorType> type_of(const RawTensor& tensor) const;

 private:
  bool is_tl2(const RawTensor& tensor) const;
  bool fits(uint64_t bytes, uint64_t span) const;

  uint64_t alignment_;
  std::vector<uint64_t> offsets_;  // ascending, with the end of the data
  bool says_bitnet_ = false;
};

// The name of a type that nothing here reads, for a message; nullptr for an id that nobody uses.
const char* foreign_type_name(uint32_t id);

}  // namespace bitnet
