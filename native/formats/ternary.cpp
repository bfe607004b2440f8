// The way to the ternary layouts, and the checks that they share.
#include "formats/ternary.h"

#include <cmath>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "formats/dequantize.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

// The row of a ternary type. Throws kUnsupported for others.
const TernaryFormat& ternary_format(TensorType type) {
  const Format* format = find_format(type);
  if (format && format->ternary) return *format->ternary;
  throw Error(ErrorCode::kUnsupported,
              std::string(tensor_type_name(type)) + " is not a ternary type");
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

std::optional<uint64_t> bytes_of(const TernaryLayout& out) {
  if (out.rows <= 0 || out.cols <= 0 || !is_ternary(out.type)) return std::nullopt;
  return tensor_bytes(out.type, static_cast<uint64_t>(out.cols), static_cast<uint64_t>(out.rows));
}

std::string shape_of(const TernaryLayout& out) {
  return std::to_string(out.rows) + " x " + std::to_string(out.cols);
}

// Why the type cannot hold the shape, for a message; empty if it can.
std::string shape_problem(const TernaryLayout& out) {
  const Format* format = find_format(out.type);
  if (!format || !format->ternary) return "not a ternary type";
  const bool counts = out.rows > 0 && out.cols > 0 && out.cols <= (int64_t{1} << 60) / out.rows;
  if (!counts) return "the shape is not possible";
  if (out.cols % format->block_elems != 0)
    return "columns must be a multiple of " + std::to_string(format->block_elems);
  const auto known = format->ternary->shape_problem;
  if (const char* problem = known ? known(out.rows, out.cols) : nullptr) return problem;
  return bytes_of(out) ? "" : "the shape is not possible";
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

bool has_row_scales(TensorType type) {
  return is_ternary(type) && ternary_format(type).scale != ScalePlace::kTail;
}

float stored_scale(TensorType type, float scale) {
  const bool rounds = is_ternary(type) && ternary_format(type).scale == ScalePlace::kRowF16;
  return rounds ? f16_to_f32(f32_to_f16(scale)) : scale;
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
  const float scale = ternary_format(tensor.type).unpack_row(tensor, row, codes);
  if (!std::isfinite(scale)) {
    throw Error(ErrorCode::kBadFile, std::string(tensor_type_name(tensor.type)) + " row " +
                                         std::to_string(row) + " has a scale that is not finite");
  }
  return scale;
}

void check_ternary_layout(const TernaryLayout& out) {
  const std::string problem = shape_problem(out);
  if (problem.empty()) return check_tiles(out);
  throw Error(ErrorCode::kUnsupported, std::string(tensor_type_name(out.type)) +
                                           " cannot hold a matrix of " + shape_of(out) + ": " +
                                           problem);
}

int64_t ternary_row_granularity(const TernaryLayout& out) {
  const auto granularity = ternary_format(out.type).granularity;
  return granularity ? granularity(out.cols) : 1;
}

void pack_ternary_rows(const TernaryLayout& out, int64_t row_begin, int64_t row_end,
                       const uint8_t* codes, float scale, uint8_t* tensor_data) {
  check_range(out, row_begin, row_end);
  check_codes(codes, (row_end - row_begin) * out.cols);
  check_scale(out, scale);
  ternary_format(out.type).pack_rows({out, row_begin, row_end, codes, scale, tensor_data});
}

void write_ternary_tail(const TernaryLayout& out, float scale, uint8_t* tensor_data) {
  const TernaryFormat& format = ternary_format(out.type);
  if (format.scale != ScalePlace::kTail) return;
  check_scale(out, scale);
  const auto n_bytes = bytes_of(out).value();
  const auto packed = static_cast<uint64_t>(format.packed_bytes(out));
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
