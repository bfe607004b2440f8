#include "formats/format.h"

#include <array>
#include <string>

#include "base/error.h"

namespace bitnet {

// Each in the file of its format.
extern const Format kF32Format, kF16Format, kBF16Format;
extern const Format kI2SFormat, kTl1Format, kTl2Format, kTq1Format, kTq2Format;
extern const Format kIq1BnFormat, kIq2BnFormat;
extern const Format kQ8_0Format, kQ5_0Format, kQ5_1Format, kQ4_0Format, kQ4_1Format;
extern const Format kQ6KFormat, kQ5KFormat, kQ4KFormat, kQ3KFormat, kQ2KFormat;

namespace {

// Only their sizes are known: a file may hold such tensors, and a conversion copies them.
constexpr Format kI8{TensorType::kI8, "I8", 1, 1};
constexpr Format kI16{TensorType::kI16, "I16", 1, 2};
constexpr Format kI32{TensorType::kI32, "I32", 1, 4};
constexpr Format kI64{TensorType::kI64, "I64", 1, 8};
constexpr Format kF64{TensorType::kF64, "F64", 1, 8};

constexpr const Format* kFormats[] = {
    &kF32Format,  &kF16Format,  &kBF16Format, &kI2SFormat,   &kTl1Format,
    &kTl2Format,  &kTq1Format,  &kTq2Format,  &kIq1BnFormat, &kIq2BnFormat,
    &kQ8_0Format, &kQ6KFormat,  &kQ5KFormat,  &kQ5_0Format,  &kQ5_1Format,
    &kQ4KFormat,  &kQ4_0Format, &kQ4_1Format, &kQ3KFormat,   &kQ2KFormat,
    &kI8,         &kI16,        &kI32,        &kI64,         &kF64,
};

constexpr uint64_t kMaxBytes = uint64_t{1} << 60;
constexpr uint32_t kMaxId = 255;

}  // namespace

std::span<const Format* const> all_formats() { return kFormats; }

const Format* find_format(uint32_t id) {
  static const auto by_id = [] {
    std::array<const Format*, kMaxId + 1> table{};
    for (const Format* format : kFormats) table.at(static_cast<uint32_t>(format->type)) = format;
    return table;
  }();
  return id <= kMaxId ? by_id[id] : nullptr;
}

const Format* find_format(std::string_view name) {
  for (const Format* format : kFormats) {
    if (name == format->name) return format;
  }
  return nullptr;
}

const Format& format_of(TensorType type) {
  if (const Format* format = find_format(type)) return *format;
  throw Error(ErrorCode::kInternal,
              "no tensor type has the id " + std::to_string(static_cast<uint32_t>(type)));
}

const char* tensor_type_name(TensorType type) {
  const Format* format = find_format(type);
  return format ? format->name : "unknown";
}

std::optional<uint64_t> tensor_bytes(TensorType type, uint64_t cols, uint64_t rows) {
  const Format* format = find_format(type);
  if (!format || cols == 0 || rows == 0) return std::nullopt;
  if (cols > kMaxBytes / rows || cols % format->block_elems != 0) return std::nullopt;
  // At most 8 bytes per element and a few per row: far from overflow.
  const auto bytes = format->n_bytes ? format->n_bytes(cols, rows)
                                     : cols * rows / format->block_elems * format->block_bytes;
  return bytes && *bytes <= kMaxBytes ? bytes : std::nullopt;
}

bool is_ternary(TensorType type) {
  const Format* format = find_format(type);
  return format && format->ternary;
}

bool is_dequantizable(TensorType type) {
  const Format* format = find_format(type);
  return format && format->dequantize;
}

bool is_quantizable(TensorType type) {
  const Format* format = find_format(type);
  return format && format->quantize;
}

}  // namespace bitnet
