// Float and block-quantized types -> f32, one row at a time, portable C++. Used for embedding
// look-up and as the definition of what the fast dot products must compute.
#pragma once

#include <cstdint>

#include "formats/tensor_type.h"

namespace bitnet {

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);  // round to nearest even; overflow to infinity; NaN stays NaN
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);

// Types with Format::dequantize (is_dequantizable()). `row` holds n elements; n is a
// multiple of the block.
void dequantize_row(TensorType type, const uint8_t* row, float* out, int64_t n);

}  // namespace bitnet
