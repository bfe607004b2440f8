// Dispatch over the ternary layouts, and the checks that they share.
#include "formats/ternary.h"

#include <cmath>

#include "error.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

float unpack_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  switch (tensor.type) {
    case TensorType::kI2_S:
      return unpack_i2_s_row(tensor, row, codes);
    case TensorType::kTL1:
      return unpack_tl1_row(tensor, row, codes);
    case TensorType::kTL2:
    case TensorType::kTL2_V2:
      return unpack_tl2_row(tensor, row, codes);
    case TensorType::kTQ1_0:
      return unpack_tq1_0_row(tensor, row, codes);
    case TensorType::kTQ2_0:
      return unpack_tq2_0_row(tensor, row, codes);
    case TensorType::kIQ1_BN:
      return unpack_iq1_bn_row(tensor, row, codes);
    case TensorType::kIQ2_BN:
      return unpack_iq2_bn_row(tensor, row, codes);
    default:
      throw Error(ErrorCode::kUnsupported,
                  std::string(tensor_type_name(tensor.type)) + " is not a ternary type");
  }
}

void check_tiles(const TernaryTensor& tensor) {
  if (tensor.type != TensorType::kTL1 && tensor.type != TensorType::kTL2 &&
      tensor.type != TensorType::kTL2_V2) {
    return;
  }
  if (tensor.tl.rows != tensor.rows || tensor.tl.cols != tensor.cols) {
    throw Error(ErrorCode::kInternal, "tile sizes are for another shape than the tensor has");
  }
  check_tl_config(tensor.type, tensor.tl);
}

}  // namespace

float unpack_ternary_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const auto bytes = tensor.rows > 0 && tensor.cols > 0
                         ? tensor_bytes(tensor.type, static_cast<uint64_t>(tensor.cols),
                                        static_cast<uint64_t>(tensor.rows))
                         : std::nullopt;
  if (!bytes || *bytes != tensor.n_bytes || row < 0 || row >= tensor.rows) {
    throw Error(ErrorCode::kInternal, "row " + std::to_string(row) + " of a " +
                                          tensor_type_name(tensor.type) + " tensor of " +
                                          std::to_string(tensor.rows) + " x " +
                                          std::to_string(tensor.cols) + " does not exist");
  }
  check_tiles(tensor);
  const float scale = unpack_row(tensor, row, codes);
  if (!std::isfinite(scale)) {
    throw Error(ErrorCode::kBadFile, std::string(tensor_type_name(tensor.type)) + " row " +
                                         std::to_string(row) + " has a scale that is not finite");
  }
  return scale;
}

}  // namespace bitnet
