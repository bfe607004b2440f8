// AVX-512 (F, BW, DQ, VL) with VNNI.
#include <immintrin.h>

#include <utility>

#include "kernels.h"

namespace bitnet {
namespace {

#include "kernels/avx512.inl"

}  // namespace

extern const Kernels kAvx512Vnni = {"avx512vnni",
                                    kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni,
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
