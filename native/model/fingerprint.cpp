#include "model/fingerprint.h"

#include <algorithm>
#include <span>

#include "base/hash.h"

namespace bitnet {

uint64_t fingerprint_of(const Gguf& gguf) {
  constexpr uint64_t kSampleBytes = 64;
  Hash64 hash;
  hash.add(gguf.file_size());
  for (const GgufTensor& tensor : gguf.tensors()) {
    hash.add({reinterpret_cast<const uint8_t*>(tensor.name.data()), tensor.name.size()});
    hash.add(static_cast<uint64_t>(tensor.type));
    for (const uint64_t extent : tensor.ne) hash.add(extent);
    const uint64_t n = std::min(tensor.n_bytes, kSampleBytes);
    hash.add({tensor.data + (tensor.n_bytes - n) / 2, n});
  }
  return hash.value();
}

uint64_t base_hash_of(const Model& model) {
  const Config& c = model.config;
  Hash64 hash;
  for (const int64_t n : {c.n_embd, c.n_layers, c.n_ff, c.n_heads, c.n_kv_heads, c.head_dim})
    hash.add(static_cast<uint64_t>(n));
  const auto add = [&](const float* values, int64_t n) {
    if (!values) return;
    hash.add({reinterpret_cast<const uint8_t*>(values), static_cast<size_t>(n) * sizeof(float)});
  };
  add(model.output_norm, c.n_embd);
  for (const Layer& layer : model.layers) {
    for (const LayerTensor& tensor : layer_tensors(*c.family))
      if (tensor.vector) add(layer.*tensor.vector, extent(c, tensor.cols));
  }
  return hash.value();
}

}  // namespace bitnet
