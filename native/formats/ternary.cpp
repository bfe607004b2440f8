// Dispatch over the ternary layouts, and the checks that they share.
#include "formats/ternary.h"

#include <cmath>
#include <cstdio>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "formats/dequantize.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

constexpr int64_t kScaleTail = 32;  // bytes: the f32 scale of I2_S, TL1, TL2 and 28 zeros

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

void pack_rows(const PackRange& range) {
  switch (range.out.type) {
    case TensorType::kI2_S:
      return pack_i2_s_rows(range);
    case TensorType::kTL1:
      return pack_tl1_rows(range);
    case TensorType::kTL2:
    case TensorType::kTL2_V2:
      return pack_tl2_rows(range);
    case TensorType::kTQ1_0:
      return pack_tq1_0_rows(range);
    case TensorType::kTQ2_0:
      return pack_tq2_0_rows(range);
    case TensorType::kIQ1_BN:
      return pack_iq1_bn_rows(range);
    case TensorType::kIQ2_BN:
      return pack_iq2_bn_rows(range);
    default:
      throw Error(ErrorCode::kUnsupported,
                  std::string(tensor_type_name(range.out.type)) + " is not a ternary type");
  }
}

// Tensor: TernaryTensor or TernaryLayout.
template <class Tensor>
void check_tiles(const Tensor& tensor) {
  if (!is_tiled(tensor.type)) return;
  if (tensor.tl.rows != tensor.rows || tensor.tl.cols != tensor.cols) {
    throw Error(ErrorCode::kInternal, "tile sizes are for another shape than the tensor has");
  }
  check_tl_config(tensor.type, tensor.tl);
}

bool is_tl2(TensorType type) { return type == TensorType::kTL2 || type == TensorType::kTL2_V2; }

std::optional<uint64_t> bytes_of(const TernaryLayout& out) {
  if (out.rows <= 0 || out.cols <= 0 || !is_ternary(out.type)) return std::nullopt;
  return tensor_bytes(out.type, static_cast<uint64_t>(out.cols), static_cast<uint64_t>(out.rows));
}

std::string shape_of(const TernaryLayout& out) {
  return std::to_string(out.rows) + " x " + std::to_string(out.cols);
}

// Why the type cannot hold the shape, for a message; nullptr if nothing is known against it.
const char* shape_problem(const TernaryLayout& out) {
  switch (out.type) {
    case TensorType::kI2_S:
      // The partial block at the end would reach into the scale, and other programs drop it.
      return out.rows * out.cols % 128 != 0 ? "rows * columns must be a multiple of 128" : nullptr;
    case TensorType::kTQ1_0:
    case TensorType::kTQ2_0:
      return out.cols % 256 != 0 ? "columns must be a multiple of 256" : nullptr;
    case TensorType::kIQ1_BN:
    case TensorType::kIQ2_BN:
      return out.cols % 64 != 0 ? "columns must be a multiple of 64" : nullptr;
    default:
      return nullptr;
  }
}

void check_range(const TernaryLayout& out, int64_t begin, int64_t end) {
  const int64_t granularity = ternary_row_granularity(out);
  if (begin >= 0 && begin <= end && end <= out.rows && begin % granularity == 0 &&
      (end % granularity == 0 || end == out.rows)) {
    return;
  }
  throw Error(ErrorCode::kInternal, "rows " + std::to_string(begin) + " to " + std::to_string(end) +
                                        " of a " + tensor_type_name(out.type) + " tensor of " +
                                        shape_of(out) + " cannot be written by themselves");
}

void check_codes(const uint8_t* codes, int64_t n) {
  uint8_t bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= codes[i] > 2;
  if (bad != 0) throw Error(ErrorCode::kInternal, "a ternary code above 2 cannot be packed");
}

void check_scale(const TernaryLayout& out, float scale) {
  if (std::isfinite(scale)) return;
  throw Error(ErrorCode::kBadFile, std::string("the scale of a ") + tensor_type_name(out.type) +
                                       " tensor is not finite");
}

}  // namespace

bool is_tiled(TensorType type) {
  return type == TensorType::kTL1 || type == TensorType::kTL2 || type == TensorType::kTL2_V2;
}

bool has_row_scales(TensorType type) {
  return type == TensorType::kTQ1_0 || type == TensorType::kTQ2_0 || type == TensorType::kIQ1_BN ||
         type == TensorType::kIQ2_BN;
}

float stored_scale(TensorType type, float scale) {
  const bool f16 =
      type == TensorType::kTQ1_0 || type == TensorType::kTQ2_0 || type == TensorType::kIQ1_BN;
  return f16 ? f16_to_f32(f32_to_f16(scale)) : scale;
}

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

void check_ternary_layout(const TernaryLayout& out) {
  const char* problem = is_ternary(out.type) ? "the shape is not possible" : "not a ternary type";
  if (const auto bytes = bytes_of(out); bytes && is_tiled(out.type)) {
    check_tiles(out);
    problem = nullptr;
  } else if (out.rows > 0 && out.cols > 0 && out.cols <= (int64_t{1} << 60) / out.rows) {
    if (const char* known = shape_problem(out); known != nullptr || bytes) problem = known;
  }
  if (problem == nullptr) return;
  throw Error(ErrorCode::kUnsupported, std::string(tensor_type_name(out.type)) +
                                           " cannot hold a matrix of " + shape_of(out) + ": " +
                                           problem);
}

int64_t ternary_row_granularity(const TernaryLayout& out) {
  if (out.type == TensorType::kI2_S) return 128 / std::gcd(out.cols, int64_t{128});
  return is_tl2(out.type) ? 32 : 1;
}

void pack_ternary_rows(const TernaryLayout& out, int64_t row_begin, int64_t row_end,
                       const uint8_t* codes, float scale, uint8_t* tensor_data) {
  check_range(out, row_begin, row_end);
  check_codes(codes, (row_end - row_begin) * out.cols);
  check_scale(out, scale);
  pack_rows({out, row_begin, row_end, codes, scale, tensor_data});
}

void write_ternary_tail(const TernaryLayout& out, float scale, uint8_t* tensor_data) {
  if (out.type != TensorType::kI2_S && !is_tiled(out.type)) return;
  check_scale(out, scale);
  const int64_t packed = is_tl2(out.type) ? tl2_packed_bytes(out) : out.rows * out.cols / 4;
  const int64_t n_bytes = static_cast<int64_t>(bytes_of(out).value());
  std::memset(tensor_data + packed, 0, static_cast<size_t>(n_bytes - packed));
  store_unaligned(tensor_data + n_bytes - kScaleTail, scale);
}

uint16_t f16_scale(TensorType type, float scale) {
  const uint16_t stored = f32_to_f16(scale);
  const float back = f16_to_f32(stored);
  if (std::isfinite(back) && (back != 0 || scale == 0)) return stored;
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(scale));
  throw Error(ErrorCode::kUnsupported, std::string(tensor_type_name(type)) +
                                           " stores scales as f16, which cannot hold " + text);
}

}  // namespace bitnet
