// F32, F16 and BF16.
#include <cstring>

#include "formats/block.h"

namespace bitnet {
namespace {

void copy_in(const uint8_t* row, float* out, int64_t n) {
  std::memcpy(out, row, static_cast<size_t>(n) * 4);
}

void copy_out(const float* x, uint8_t* row, int64_t n) {
  std::memcpy(row, x, static_cast<size_t>(n) * 4);
}

template <float (*widen)(uint16_t)>
void widen_row(const uint8_t* row, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = widen(load_unaligned<uint16_t>(row + 2 * i));
}

template <uint16_t (*narrow)(float)>
void narrow_row(const float* x, uint8_t* row, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store_unaligned(row + 2 * i, narrow(x[i]));
}

// kExponent: the bits that are all set in infinity and NaN, and in no finite number.
template <class Bits, Bits kExponent>
bool finite_floats(const uint8_t* row, int64_t n) {
  bool is_finite = true;
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = load_unaligned<Bits>(row + i * static_cast<int64_t>(sizeof(Bits)));
    is_finite &= (bits & kExponent) != kExponent;
  }
  return is_finite;
}

}  // namespace

extern constinit const Format kF32Format{
    .type = TensorType::kF32,
    .name = "F32",
    .block_elems = 1,
    .block_bytes = 4,
    .dequantize = copy_in,
    .quantize = copy_out,
    .is_finite = finite_floats<uint32_t, 0x7f800000>,
    .matmul = Matmul::kFloats,
    .file_type = 0,
};

extern constinit const Format kF16Format{
    .type = TensorType::kF16,
    .name = "F16",
    .block_elems = 1,
    .block_bytes = 2,
    .dequantize = widen_row<f16_to_f32>,
    .quantize = narrow_row<f32_to_f16>,
    .is_finite = finite_floats<uint16_t, 0x7c00>,
    .matmul = Matmul::kFloats,
    .file_type = 1,
};

extern constinit const Format kBF16Format{
    .type = TensorType::kBF16,
    .name = "BF16",
    .block_elems = 1,
    .block_bytes = 2,
    .dequantize = widen_row<bf16_to_f32>,
    .quantize = narrow_row<f32_to_bf16>,
    .is_finite = finite_floats<uint16_t, 0x7f80>,
    .matmul = Matmul::kFloats,
    .file_type = 32,
};

}  // namespace bitnet
