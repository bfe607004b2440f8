// f32 -> float and block-quantized types, one row at a time: the other direction of dequantize.h,
// byte for byte what llama.cpp's reference quantizers write (no importance matrix), so that
// converted files can be compared.
#pragma once

#include <cstdint>

#include "formats/tensor_type.h"

namespace bitnet {

// Writes n elements, n a multiple of the block; out: n / block elements * block bytes. F32, F16 and
// BF16 take any value; the block types throw kUnsupported on NaN, infinity and a scale beyond f16.
// Thread-safe.
void quantize_row(TensorType type, const float* x, uint8_t* out, int64_t n);

}  // namespace bitnet
