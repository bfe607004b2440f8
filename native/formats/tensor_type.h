// The tensor types of GGUF files by their ids, and what the core asks about them most. All that is
// known of a type stands in its row: format.h.
#pragma once

#include <cstdint>
#include <optional>

namespace bitnet {

// Ids as in ggml; 36, 38, 39 as in bitnet.cpp, 134 and 135 as in ik_llama.cpp. Ids that mean
// something else in other files: gguf/conflicts.h.
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
  kIQ1_BN = 134,
  kIQ2_BN = 135,
};

// As printed: "I2_S"; "unknown" for an id without a row.
const char* tensor_type_name(TensorType type);

// Bytes of a whole tensor of `rows` rows of `cols` elements, scales included. nullopt if the shape
// is not possible for the type (cols not a multiple of the block, TL2 with cols < 256, ...) or
// overflows 2^60 bytes.
std::optional<uint64_t> tensor_bytes(TensorType type, uint64_t cols, uint64_t rows);

// Types that hold ternary weights by definition.
bool is_ternary(TensorType type);
// Types that dequantize_row() reads: of embeddings, heads, vectors and matrices that are not
// ternary.
bool is_dequantizable(TensorType type);
// Types that quantize_row() writes.
bool is_quantizable(TensorType type);

}  // namespace bitnet
