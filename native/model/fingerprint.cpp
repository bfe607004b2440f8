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

}  // namespace bitnet
