// A tensor type in one row: what its bytes are, what it can be, who reads and writes it. The file
// of each format exports its rows and format.cpp lists them; the GGUF reader, the loader, the
// converter, TypeScript (through the addon) and the fuzzer ask the row. What is null cannot be
// done: a row with `dequantize` can be an embedding, a head, a vector or a dense matrix, one with
// `quantize` can also be written as such, one with `ternary` holds ternary matrices.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "formats/tensor_type.h"

namespace bitnet {

struct TernaryFormat;  // formats/layouts.h

// How a head or a dense matrix of the type is multiplied.
enum class Matmul : uint8_t {
  kDequantized,  // row by row with Kernels::dot, as the floats that dequantize() gives
  kFloats,       // Kernels::float_matmul reads the elements
  kIntegers,     // Kernels::block_matmul multiplies the integers of the blocks
};

struct Format {
  TensorType type;   // its id in a file
  const char* name;  // as printed and, in any case, as given: "I2_S", "Q6_K"
  // The columns of a row are a multiple of block_elems. block_bytes 0: n_bytes tells the size.
  uint32_t block_elems, block_bytes;
  // Bytes of a whole tensor where blocks are not all of it; nullopt if the shape is impossible. The
  // columns are whole blocks, neither number is 0, and rows * cols is at most 2^60.
  std::optional<uint64_t> (*n_bytes)(uint64_t cols, uint64_t rows) = nullptr;

  // One row of n elements, n a multiple of the block. quantize() of block types gets finite values
  // only.
  void (*dequantize)(const uint8_t* row, float* out, int64_t n) = nullptr;
  void (*quantize)(const float* x, uint8_t* row, int64_t n) = nullptr;
  // Whether dequantize() gives finite values only; looks at the numbers that decide it, which is
  // much faster. Every row with `dequantize` has it.
  bool (*is_finite)(const uint8_t* row, int64_t n) = nullptr;
  Matmul matmul = Matmul::kDequantized;

  const TernaryFormat* ternary = nullptr;

  // Can be the type of the matrices of a whole model: general.file_type of such a file, as
  // llama.cpp, bitnet.cpp and ik_llama.cpp number them.
  std::optional<uint32_t> file_type = std::nullopt;
  // What an embedding or a head becomes instead if its rows are not whole blocks.
  std::optional<TensorType> substitute = std::nullopt;
};

// In the order in which lists show them.
std::span<const Format* const> all_formats();

const Format* find_format(uint32_t id);            // nullptr: no row has it
const Format* find_format(std::string_view name);  // likewise; as printed
inline const Format* find_format(TensorType type) {
  return find_format(static_cast<uint32_t>(type));
}
// Throws kInternal for a type without a row.
const Format& format_of(TensorType type);

}  // namespace bitnet
