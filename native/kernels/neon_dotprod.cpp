// NEON with the dot product instructions of ARMv8.2 (most cores since 2018).
#include <arm_neon.h>

#include <utility>

#include "kernels.h"

namespace bitnet {
namespace {

#include "kernels/arm.inl"

constexpr int kTileRows = 4,
              kTileTokens =
                  6;  // 24 accumulators, 4 weight vectors, one of activations: 32 registers

#include "kernels/arm_dotprod.inl"

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  dot_tile<R, T>(codes, q, stride, n, out);
}

#include "kernels/ternary_matmul.inl"

}  // namespace

extern const Kernels kNeonDotprod = {"neon_dotprod",
                                     kCpuNeon | kCpuDotprod,
                                     quantize,
                                     ternary_matmul,
                                     float_matmul,
                                     dot,
                                     compress_row,
                                     coarse_matvec,
                                     block_matvec,
                                     attention,
                                     merge_attention,
                                     rms_norm,
                                     silu_mul,
                                     relu2_mul,
                                     add};

}  // namespace bitnet
