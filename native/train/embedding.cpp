#include "train/embedding.h"

#include <algorithm>

#include "formats/dequantize.h"

namespace bitnet {

namespace {

constexpr int64_t kLeastColumns = 64;  // of a thread

}  // namespace

const float* EmbeddingRows::floats() const {
  if (parameter) return parameter->value.data();
  return type == TensorType::kF32 ? reinterpret_cast<const float*>(data.data()) : nullptr;
}

void EmbeddingRows::read(int64_t row, float* out) const {
  if (const float* all = floats()) {
    std::copy(all + row * cols, all + (row + 1) * cols, out);
  } else {
    dequantize_row(type, data.data() + row * row_bytes, out, cols);
  }
}

void embed(Compute& compute, const EmbeddingRows& table, std::span<const int32_t> ids, float* x) {
  compute.each(static_cast<int64_t>(ids.size()), kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      table.read(ids[static_cast<size_t>(t)], x + t * table.cols);
  });
}

void embed_backward(Compute& compute, const EmbeddingRows& table, std::span<const int32_t> ids,
                    const float* dx) {
  float* gradient = table.parameter->gradient.data();
  const int64_t share = (table.cols + compute.pool.size() - 1) / compute.pool.size();
  compute.each(table.cols, std::max(share, kLeastColumns), [&](int64_t begin, int64_t end, int) {
    for (size_t t = 0; t < ids.size(); ++t) {
      float* to = gradient + ids[t] * table.cols;
      const float* from = dx + static_cast<int64_t>(t) * table.cols;
      for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
  });
}

}  // namespace bitnet
