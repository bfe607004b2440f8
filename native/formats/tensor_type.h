// The tensor types of GGUF: ids, names, block sizes, and how many bytes a tensor takes.
#pragma once

#include <cstdint>
#include <optional>

namespace bitnet {

// Ids as in ggml; 36, 38, 39 as in bitnet.cpp (39 is MXFP4 elsewhere), 134 and 135 as in
// ik_llama.cpp.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kI2_S = 36,
  kTL1 = 38,
  kTL2 = 39,
  kTL2_V2 = 42,
  kIQ1_BN = 134,
  kIQ2_BN = 135,
};

struct TensorTypeInfo {
  TensorType type;
  const char* name;      // as printed: "I2_S", "Q6_K"
  uint32_t block_elems;  // elements per block; 1 for plain types
  uint32_t block_bytes;  // bytes per block; 0 for I2_S, TL1, TL2, IQ1_BN, IQ2_BN, which
                         // tensor_bytes() knows
};

// nullptr for an id that this project does not know.
const TensorTypeInfo* tensor_type_info(uint32_t id);
const char* tensor_type_name(TensorType type);

// Bytes of a whole tensor of `rows` rows of `cols` elements, scales included. nullopt if the shape
// is not possible for the type (cols not a multiple of the block, TL2 with cols < 256, ...) or
// overflows 2^60 bytes.
std::optional<uint64_t> tensor_bytes(TensorType type, uint64_t cols, uint64_t rows);

// Types that hold ternary weights by definition.
bool is_ternary(TensorType type);
// Types that dequantize_row() reads.
bool is_dequantizable(TensorType type);

}  // namespace bitnet
