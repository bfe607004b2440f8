// Where the weights of a model lie: in the file's pages wherever the file holds what the kernels
// read, otherwise in memory of the store's own, converted or on huge pages. What the store returns
// is valid as long as the store and the file are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/threads.h"
#include "formats/ternary.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"

namespace bitnet {

struct StoreOptions {
  // Of ternary weights: a name that find_layout() knows, or "auto", the fastest. Empty: what
  // BITNET_LAYOUT says, else "auto".
  std::string layout;
  std::string kernel_config;  // path of a kernel_config.ini with the tile sizes of TL1 and TL2
  bool in_place = false;      // never copy only for huge pages
};

class WeightStore {
 public:
  // Chooses the layout and takes one piece of memory for all ternary weights that are not used in
  // place. gguf, kernels and pool outlive the store. Throws kUsage (layout), kNotFound (kernel
  // config), std::bad_alloc.
  WeightStore(const Gguf& gguf, const Kernels& kernels, ThreadPool& pool,
              const StoreOptions& options);

  WeightLayout layout() const { return layout_; }
  // Memory of weights that are not used in place.
  int64_t copied_bytes() const { return copied_bytes_; }

  // The weights of a ternary tensor in layout(). Throws kBadFile, kUnsupported.
  TernaryMatrix ternary(const GgufTensor& tensor);
  // Values of a tensor of any type but the ternary ones, as f32 [cols]: always copied, for what is
  // small. One row. Throws kBadFile if one is not finite, likewise rows().
  const float* floats(const GgufTensor& tensor);
  // The rows of a tensor as the file has them, on a multiple of 4 bytes.
  const uint8_t* rows(const GgufTensor& tensor);
  // The same bytes on huge pages if that is worth a copy: for what is read whole for every token.
  const uint8_t* on_huge_pages(const uint8_t* data, int64_t n_bytes);

 private:
  WeightLayout select_layout(std::string name) const;
  TlConfig tl_config(const GgufTensor& tensor) const;
  void require_finite(const GgufTensor& tensor) const;
  bool is_canonical(const GgufTensor& tensor) const;
  int64_t packed_bytes(const GgufTensor& tensor) const;
  void reserve_ternary();
  void repack(const TernaryTensor& source, const GgufTensor& tensor, uint8_t* data,
              int64_t row_bytes, float* scales);
  void fill(uint8_t* to, const uint8_t* from, int64_t n_bytes);
  uint8_t* allocate(int64_t n_bytes);
  uint8_t* carve(int64_t n_bytes);
  uint8_t* allocate_huge(int64_t n_bytes);
  uint8_t* counted(uint8_t* memory, int64_t n_bytes);

  const Gguf& gguf_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  std::vector<TlConfig>
      tl_configs_;  // of the kernel config, for shapes that the file says nothing of
  WeightLayout layout_ = WeightLayout::kI2S;
  bool in_place_ = false;
  bool copy_canonical_ = false;  // also what could be used in place, for the huge pages
  HugeArray ternary_memory_;
  int64_t carved_ = 0;  // bytes of ternary_memory_ in use
  std::vector<HugeArray> huge_;
  std::vector<std::unique_ptr<uint8_t[]>> small_;
  int64_t copied_bytes_ = 0;
};

}  // namespace bitnet
