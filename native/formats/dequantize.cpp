// The layouts are those of ggml. Every block begins with its f16 scale d, the K types end with it.
//   Q4_0 (18 bytes): d, 16 bytes; low nibbles are elements 0-15, high nibbles 16-31; (q - 8) d
//   Q4_1 (20): d, m, 16 bytes; q d + m
//   Q5_0 (22): d, u32 with the fifth bit of each element, 16 bytes; (q - 16) d
//   Q5_1 (24): d, m, u32, 16 bytes; q d + m
//   Q8_0 (34): d, 32 int8; q d
//   Q6_K (210): 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 int8 scales, d
//   Q3_K (110): 32 bytes of upper bits, 64 bytes of lower bit pairs, 16 scales of 6 bits, d
#include "formats/dequantize.h"

#include <bit>
#include <string>

#include "base/error.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

float load_f16(const uint8_t* p) { return f16_to_f32(load_unaligned<uint16_t>(p)); }

// Q4 and Q5, symmetric (offset, no minimum) and not.
template <bool kFive, bool kMinimum>
void dequantize_nibbles(const uint8_t* block, float* out, int64_t n) {
  constexpr int kHeader = kMinimum ? 4 : 2;
  constexpr int kOffset = kMinimum ? 0 : kFive ? 16 : 8;
  for (int64_t i = 0; i < n; i += 32, out += 32) {
    const float d = load_f16(block);
    const float m = kMinimum ? load_f16(block + 2) : 0.0f;
    const uint32_t fifth = kFive ? load_unaligned<uint32_t>(block + kHeader) : 0;
    const uint8_t* q = block + kHeader + (kFive ? 4 : 0);
    for (int j = 0; j < 16; ++j) {
      const int low = (q[j] & 15) | (kFive ? static_cast<int>(fifth >> j & 1) << 4 : 0);
      const int high = q[j] >> 4 | (kFive ? static_cast<int>(fifth >> (j + 16) & 1) << 4 : 0);
      out[j] = static_cast<float>(low - kOffset) * d + m;
      out[j + 16] = static_cast<float>(high - kOffset) * d + m;
    }
    block = q + 16;
  }
}

void dequantize_q8_0(const uint8_t* block, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 32, block += 34, out += 32) {
    const float d = load_f16(block);
    for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(static_cast<int8_t>(block[2 + j])) * d;
  }
}

// Two halves of 128 elements. Element 32s + l of a half (s = 0..3) has its low nibble in
// ql[32 (s & 1) + l], low half of the byte for s < 2, its upper bits in qh[l] at bit 2s, and the
// scale sc[2s + l / 16].
void dequantize_q6_k(const uint8_t* block, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 256, block += 210) {
    const float d = load_f16(block + 208);
    for (int half = 0; half < 2; ++half) {
      const uint8_t* ql = block + 64 * half;
      const uint8_t* qh = block + 128 + 32 * half;
      const uint8_t* sc = block + 192 + 8 * half;
      for (int s = 0; s < 4; ++s, out += 32) {
        for (int l = 0; l < 32; ++l) {
          const int low = ql[32 * (s & 1) + l] >> (s < 2 ? 0 : 4) & 15;
          const int q = (low | (qh[l] >> 2 * s & 3) << 4) - 32;
          const float scale = d * static_cast<float>(static_cast<int8_t>(sc[2 * s + l / 16]));
          out[l] = scale * static_cast<float>(q);
        }
      }
    }
  }
}

// Element i has its upper bit in byte i % 32, bit i / 32, and its lower two in byte i % 32 of its
// half of 128, at bit 2 (i % 128 / 32). Scale g, of elements 16g to 16g + 15, has its lower four
// bits in byte g % 8, low nibble for g < 8, its upper two in byte 8 + g % 4 at bit 2 (g / 4).
void dequantize_q3_k(const uint8_t* block, float* out, int64_t n) {
  for (int64_t b = 0; b < n; b += 256, block += 110, out += 256) {
    const uint8_t* sc = block + 96;
    const float d = load_f16(block + 108);
    for (int g = 0; g < 16; ++g) {
      const int low = sc[g % 8] >> (g < 8 ? 0 : 4) & 15;
      const int scale = (low | (sc[8 + g % 4] >> 2 * (g / 4) & 3) << 4) - 32;
      const float step = d * static_cast<float>(scale);
      for (int i = 16 * g; i < 16 * (g + 1); ++i) {
        const int pair = block[32 + i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
        const int q = (pair | (block[i % 32] >> i / 32 & 1) << 2) - 4;
        out[i] = step * static_cast<float>(q);
      }
    }
  }
}

}  // namespace

float f16_to_f32(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t f32_to_f16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00 | (magnitude >> 13 & 0x1ff);  // quiet NaN
  } else if (magnitude >= 0x477ff000) {
    half = 0x7c00;  // 65520 and above round to infinity
  } else if (magnitude >= 0x38800000) {
    // Normal: rebias from 127 to 15 and round half to even; a carry runs into the exponent.
    half = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  } else {
    // Subnormal: adding 0.5 leaves multiples of 2^-24, rounded to even, in the low mantissa bits.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
  }
  return static_cast<uint16_t>(sign | half);
}

float bf16_to_f32(uint16_t h) { return std::bit_cast<float>(uint32_t{h} << 16); }

uint16_t f32_to_bf16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // quiet
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void dequantize_row(TensorType type, const uint8_t* row, float* out, int64_t n) {
  switch (type) {
    case TensorType::kF32:
      std::memcpy(out, row, static_cast<size_t>(n) * 4);
      return;
    case TensorType::kF16:
      for (int64_t i = 0; i < n; ++i) out[i] = load_f16(row + 2 * i);
      return;
    case TensorType::kBF16:
      for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load_unaligned<uint16_t>(row + 2 * i));
      return;
    case TensorType::kQ4_0:
      return dequantize_nibbles<false, false>(row, out, n);
    case TensorType::kQ4_1:
      return dequantize_nibbles<false, true>(row, out, n);
    case TensorType::kQ5_0:
      return dequantize_nibbles<true, false>(row, out, n);
    case TensorType::kQ5_1:
      return dequantize_nibbles<true, true>(row, out, n);
    case TensorType::kQ8_0:
      return dequantize_q8_0(row, out, n);
    case TensorType::kQ6_K:
      return dequantize_q6_k(row, out, n);
    case TensorType::kQ3_K:
      return dequantize_q3_k(row, out, n);
    default:
      throw Error(ErrorCode::kUnsupported,
                  std::string(tensor_type_name(type)) + " rows cannot be turned into floats");
  }
}

}  // namespace bitnet
