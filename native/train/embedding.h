// The rows of the embedding or of the head: trained floats, or frozen in the type of their file.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned.h"
#include "formats/tensor_type.h"
#include "train/compute.h"
#include "train/parameter.h"

namespace bitnet {

struct EmbeddingRows {
  int64_t rows = 0, cols = 0;
  Parameter* parameter = nullptr;  // null: frozen
  TensorType type = TensorType::kF32;
  int64_t row_bytes = 0;
  AlignedArray<uint8_t> data;  // [rows, row_bytes], frozen

  // The floats themselves, or null if rows have to be read one by one.
  const float* floats() const;
  void read(int64_t row, float* out) const;
};

// x [n, cols] = the rows of the ids.
void embed(Compute& compute, const EmbeddingRows& table, std::span<const int32_t> ids, float* x);
// Adds dx [n, cols] to the gradients of the rows of the ids, in the order of the ids.
void embed_backward(Compute& compute, const EmbeddingRows& table, std::span<const int32_t> ids,
                    const float* dx);

}  // namespace bitnet
