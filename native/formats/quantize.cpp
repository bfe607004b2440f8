#include "formats/quantize.h"

#include <string>

#include "base/error.h"
#include "base/float_range.h"
#include "formats/block.h"

namespace bitnet {

void fail_large(TensorType type) {
  throw Error(ErrorCode::kUnsupported,
              std::string("weights are too large for ") + tensor_type_name(type));
}

void store_scale(TensorType type, uint8_t* p, float d) {
  const uint16_t stored = f32_to_f16(d);
  if ((stored & 0x7c00) == 0x7c00) fail_large(type);
  store_unaligned(p, stored);
}

float extreme_scale(TensorType type, const float* scales, int n) {
  if (!all_finite(scales, n)) fail_large(type);
  return extreme(scales, n);
}

void quantize_row(TensorType type, const float* x, uint8_t* out, int64_t n) {
  const Format* format = find_format(type);
  if (!format || !format->quantize) {
    throw Error(ErrorCode::kUnsupported,
                std::string("floats cannot be turned into ") + tensor_type_name(type));
  }
  if (n % format->block_elems != 0) {
    throw Error(ErrorCode::kUnsupported,
                std::string(format->name) + " rows must be a multiple of " +
                    std::to_string(format->block_elems) + " long, not " + std::to_string(n));
  }
  if (format->block_elems > 1 && !all_finite(x, n)) {
    throw Error(ErrorCode::kUnsupported,
                std::string("a weight that is not finite cannot be ") + format->name);
  }
  format->quantize(x, out, n);
}

}  // namespace bitnet
