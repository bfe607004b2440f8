#include "formats/tensor_type.h"

namespace bitnet {
namespace {

constexpr TensorTypeInfo kTypes[] = {
    {TensorType::kF32, "F32", 1, 4},        {TensorType::kF16, "F16", 1, 2},
    {TensorType::kQ4_0, "Q4_0", 32, 18},    {TensorType::kQ4_1, "Q4_1", 32, 20},
    {TensorType::kQ5_0, "Q5_0", 32, 22},    {TensorType::kQ5_1, "Q5_1", 32, 24},
    {TensorType::kQ8_0, "Q8_0", 32, 34},    {TensorType::kQ2_K, "Q2_K", 256, 84},
    {TensorType::kQ3_K, "Q3_K", 256, 110},  {TensorType::kQ4_K, "Q4_K", 256, 144},
    {TensorType::kQ5_K, "Q5_K", 256, 176},  {TensorType::kQ6_K, "Q6_K", 256, 210},
    {TensorType::kI8, "I8", 1, 1},          {TensorType::kI16, "I16", 1, 2},
    {TensorType::kI32, "I32", 1, 4},        {TensorType::kI64, "I64", 1, 8},
    {TensorType::kF64, "F64", 1, 8},        {TensorType::kBF16, "BF16", 1, 2},
    {TensorType::kTQ1_0, "TQ1_0", 256, 54}, {TensorType::kTQ2_0, "TQ2_0", 256, 66},
    {TensorType::kI2_S, "I2_S", 1, 0},      {TensorType::kTL1, "TL1", 1, 0},
    {TensorType::kTL2, "TL2", 1, 0},        {TensorType::kTL2_V2, "TL2", 1, 0},
    {TensorType::kIQ1_BN, "IQ1_BN", 64, 0}, {TensorType::kIQ2_BN, "IQ2_BN", 64, 0},
};

constexpr uint64_t kMaxBytes = uint64_t{1} << 60;
constexpr uint64_t kScaleTail = 32;  // f32 scale and 28 unused bytes, after I2_S, TL1 and TL2 data

constexpr uint64_t round_up_32(uint64_t n) { return (n + 31) / 32 * 32; }

// What bitnet.cpp allocates: 256 is fixed there, whatever part of the columns is stored as pairs.
constexpr uint64_t tl2_bytes(uint64_t cols, uint64_t rows) {
  return round_up_32((cols - 256) * rows / 3 * 5 / 8 + 256 * rows / 2 * 4 / 8) + kScaleTail;
}
static_assert(tl2_bytes(4096, 1536) == 1327136 && tl2_bytes(8640, 3200) == 5794176);

}  // namespace

const TensorTypeInfo* tensor_type_info(uint32_t id) {
  for (const TensorTypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == id) return &info;
  }
  return nullptr;
}

const char* tensor_type_name(TensorType type) {
  const TensorTypeInfo* info = tensor_type_info(static_cast<uint32_t>(type));
  return info != nullptr ? info->name : "unknown";
}

std::optional<uint64_t> tensor_bytes(TensorType type, uint64_t cols, uint64_t rows) {
  const TensorTypeInfo* info = tensor_type_info(static_cast<uint32_t>(type));
  if (info == nullptr || cols == 0 || rows == 0) return std::nullopt;
  if (cols > kMaxBytes / rows || cols % info->block_elems != 0) return std::nullopt;

  const uint64_t n = cols * rows;
  uint64_t bytes = 0;  // at most 8 n + 4 rows + 64, far from overflow
  switch (type) {
    case TensorType::kI2_S:
      if (n % 4 != 0) return std::nullopt;
      bytes = n / 4 + kScaleTail;
      break;
    case TensorType::kTL1:
      if (rows % 32 != 0 || cols % 4 != 0) return std::nullopt;  // the smallest possible tile
      bytes = n / 4 + kScaleTail;
      break;
    case TensorType::kTL2:
    case TensorType::kTL2_V2:
      if (rows % 32 != 0 || cols < 256) return std::nullopt;
      bytes = tl2_bytes(cols, rows);
      break;
    case TensorType::kIQ1_BN:
      bytes = (2 + cols / 64 * 13) * rows;
      break;
    case TensorType::kIQ2_BN:
      bytes = (4 + cols / 64 * 16) * rows;
      break;
    default:
      bytes = n / info->block_elems * info->block_bytes;
  }
  if (bytes > kMaxBytes) return std::nullopt;
  return bytes;
}

bool is_ternary(TensorType type) {
  switch (type) {
    case TensorType::kTQ1_0:
    case TensorType::kTQ2_0:
    case TensorType::kI2_S:
    case TensorType::kTL1:
    case TensorType::kTL2:
    case TensorType::kTL2_V2:
    case TensorType::kIQ1_BN:
    case TensorType::kIQ2_BN:
      return true;
    default:
      return false;
  }
}

bool is_dequantizable(TensorType type) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
    case TensorType::kQ8_0:
    case TensorType::kQ6_K:
    case TensorType::kQ3_K:
    case TensorType::kQ5_0:
    case TensorType::kQ5_1:
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
      return true;
    default:
      return false;
  }
}

}  // namespace bitnet
