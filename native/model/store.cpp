#include "model/store.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>

#include "base/float_range.h"
#include "base/numbers.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "gguf/tiles.h"
#include "kernels/packing.h"
#include "model/refuse.h"

namespace bitnet {

namespace {

constexpr int64_t kCacheLine = 64;
// Less may be read from the caches, where I2_S wins almost everywhere (docs/layouts.md).
constexpr int64_t kBeyondCaches = 64 << 20;  // bytes of weights
// Less is not worth the time of a copy and memory that no other process can share.
constexpr int64_t kWorthHugePages = 64 << 20;  // bytes
constexpr int64_t kCheckBytes = 1 << 20;       // that one thread looks through at a time

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kNotFound, path + ": cannot read the kernel config");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

WeightStore::WeightStore(const Gguf& gguf, const Kernels& kernels, ThreadPool& pool,
                         const StoreOptions& options)
    : gguf_(gguf),
      kernels_(kernels),
      pool_(pool),
      in_place_(options.in_place || !HugeArray::available()) {
  if (!options.kernel_config.empty())
    tl_configs_ = parse_tl_config(read_text(options.kernel_config), options.kernel_config);
  layout_ = select_layout(options.layout);
  reserve_ternary();
}

WeightLayout WeightStore::select_layout(std::string name) const {
  if (name.empty()) {
    const char* forced = std::getenv("BITNET_LAYOUT");
    name = forced && *forced ? forced : "auto";
  }
  bool tl1 = false, tl2 = false;
  int64_t n_bytes = 0;
  for (const GgufTensor& t : gguf_.tensors()) {
    tl1 |= t.type == TensorType::kTL1;
    tl2 |= t.type == TensorType::kTL2;
    if (is_ternary(t.type)) n_bytes += static_cast<int64_t>(t.n_bytes);
  }
  if (const auto named = find_layout(name)) return *named;
  // An earlier name: by look-ups, in the way that is the file's own.
  if (name == "lut") return tl1 ? WeightLayout::kPairs : WeightLayout::kTriples;
  if (name != "auto") {
    throw Error(ErrorCode::kUsage,
                "no layout of weights is named '" + name + "'; there are: auto, " + layout_names());
  }
  return tl2 && n_bytes >= kBeyondCaches ? kernels_.fastest_tl2 : WeightLayout::kI2S;
}

// Whether the file holds exactly what the kernels read.
bool WeightStore::is_canonical(const GgufTensor& t) const {
  return layout_ == WeightLayout::kI2S && t.type == TensorType::kI2_S && t.cols() % 128 == 0;
}

int64_t WeightStore::packed_bytes(const GgufTensor& t) const {
  return bitnet::packed_bytes(layout_, static_cast<int64_t>(t.rows()),
                              static_cast<int64_t>(t.cols()));
}

// Weights that could be used in place are copied too when that puts them on huge pages, unless they
// are few.
void WeightStore::reserve_ternary() {
  int64_t canonical = 0, others = 0;
  for (const GgufTensor& t : gguf_.tensors()) {
    if (is_ternary(t.type)) (is_canonical(t) ? canonical : others) += packed_bytes(t) + kCacheLine;
  }
  copy_canonical_ = !in_place_ && canonical >= kWorthHugePages;
  const int64_t n_bytes = others + (copy_canonical_ ? canonical : 0);
  if (n_bytes > 0) ternary_memory_ = HugeArray(static_cast<size_t>(n_bytes));
}

uint8_t* WeightStore::counted(uint8_t* memory, int64_t n_bytes) {
  copied_bytes_ += n_bytes;
  return memory;
}

// Memory of its own, on a cache line.
uint8_t* WeightStore::allocate(int64_t n_bytes) {
  small_.push_back(
      std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(n_bytes + kCacheLine)));
  const uintptr_t address = reinterpret_cast<uintptr_t>(small_.back().get());
  return counted(
      reinterpret_cast<uint8_t*>((address + kCacheLine - 1) & ~uintptr_t{kCacheLine - 1}), n_bytes);
}

// The next part of what is reserved for ternary weights, on a cache line.
uint8_t* WeightStore::carve(int64_t n_bytes) {
  uint8_t* out = ternary_memory_.data() + carved_;
  carved_ += round_up(n_bytes, kCacheLine);
  return counted(out, n_bytes);
}

uint8_t* WeightStore::allocate_huge(int64_t n_bytes) {
  huge_.emplace_back(static_cast<size_t>(n_bytes));
  return counted(huge_.back().data(), n_bytes);
}

// Copies in parallel and gives the file's pages back to the OS, so that memory does not grow.
void WeightStore::fill(uint8_t* to, const uint8_t* from, int64_t n_bytes) {
  pool_.parallel_for(n_bytes, 1 << 20, [&](int64_t begin, int64_t end, int) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
  gguf_.dont_need(from, static_cast<uint64_t>(n_bytes));
}

const float* WeightStore::floats(const GgufTensor& t) {
  const auto n = static_cast<int64_t>(t.cols());
  float* out = reinterpret_cast<float*>(allocate(n * static_cast<int64_t>(sizeof(float))));
  dequantize_row(t.type, t.data, out, n);
  if (!all_finite(out, n)) refuse(gguf_, t, " holds a value that is not a number");
  return out;
}

const uint8_t* WeightStore::rows(const GgufTensor& t) {
  require_finite(t);
  if (reinterpret_cast<uintptr_t>(t.data) % 4 == 0) return t.data;
  uint8_t* copy = allocate(static_cast<int64_t>(t.n_bytes));  // a file with an odd alignment
  std::memcpy(copy, t.data, t.n_bytes);
  return copy;
}

// Reads the whole tensor once. The pages of a large one are given back: of an embedding only some
// rows are ever read, and a head is copied.
void WeightStore::require_finite(const GgufTensor& t) const {
  const Format& format = format_of(t.type);
  const auto cols = static_cast<int64_t>(t.cols()), rows = static_cast<int64_t>(t.rows());
  const auto row_bytes = static_cast<int64_t>(t.n_bytes) / rows;
  std::atomic<int64_t> bad{rows};  // the first row that is not finite
  pool_.parallel_for(rows, std::max<int64_t>(1, kCheckBytes / row_bytes),
                     [&](int64_t begin, int64_t end, int) {
                       for (int64_t r = begin; r < end; ++r) {
                         if (format.is_finite(t.data + r * row_bytes, cols)) continue;
                         int64_t first = bad.load();
                         while (r < first && !bad.compare_exchange_weak(first, r)) {
                         }
                         return;
                       }
                     });
  if (bad < rows) {
    refuse(gguf_, t, " holds a value that is not a number, in row " + std::to_string(bad.load()));
  }
  if (static_cast<int64_t>(t.n_bytes) >= kWorthHugePages) gguf_.dont_need(t.data, t.n_bytes);
}

const uint8_t* WeightStore::on_huge_pages(const uint8_t* data, int64_t n_bytes) {
  if (in_place_ || n_bytes < kWorthHugePages) return data;
  uint8_t* copy = allocate_huge(n_bytes);
  fill(copy, data, n_bytes);
  return copy;
}

TlConfig WeightStore::tl_config(const GgufTensor& t) const {
  std::vector<TlConfig> configs = stored_tiles(gguf_, t.type);  // the file knows best
  configs.insert(configs.end(), tl_configs_.begin(), tl_configs_.end());
  try {
    const TlConfig config = known_tl_config(t.type, static_cast<int64_t>(t.rows()),
                                            static_cast<int64_t>(t.cols()), configs);
    check_tl_config(t.type, config);
    return config;
  } catch (const Error& error) {
    refuse(gguf_, t, std::string(": ") + error.what(), error.code);
  }
}

TernaryMatrix WeightStore::ternary(const GgufTensor& t) {
  TernaryTensor source{
      t.type, static_cast<int64_t>(t.rows()), static_cast<int64_t>(t.cols()), t.data, t.n_bytes,
      {}};
  if (is_tiled(t.type)) source.tl = tl_config(t);
  TernaryMatrix out;
  out.rows = source.rows;
  out.cols = source.cols;
  out.layout = layout_;
  out.row_bytes = packed_row_bytes(layout_, source.cols);
  if (is_canonical(t)) {
    const int64_t n_bytes = out.rows * out.row_bytes;
    std::memcpy(&out.scale, t.data + n_bytes, sizeof out.scale);
    if (!std::isfinite(out.scale)) refuse(gguf_, t, " has a scale that is not a number");
    out.data = t.data;
    if (copy_canonical_) {
      uint8_t* copy = carve(n_bytes);
      fill(copy, t.data, n_bytes);
      out.data = copy;
    }
    return out;
  }
  uint8_t* data = carve(packed_bytes(t));
  float* scales =
      reinterpret_cast<float*>(allocate(out.rows * static_cast<int64_t>(sizeof(float))));
  repack(source, t, data, out.row_bytes, scales);
  out.data = data;
  out.row_scales = scales;
  return out;
}

// Unpacks rows to codes and packs them in the layout, kLutRows at a time, which is what the
// look-up layouts group.
void WeightStore::repack(const TernaryTensor& source, const GgufTensor& t, uint8_t* data,
                         int64_t row_bytes, float* scales) {
  std::mutex mutex;
  std::optional<Error> failure;
  pool_.parallel_for(source.rows, kLutRows, [&](int64_t begin, int64_t end, int) {
    try {
      std::vector<uint8_t> codes(static_cast<size_t>(kLutRows * source.cols));
      for (int64_t first = begin; first < end; first += kLutRows) {
        const int64_t n = std::min(kLutRows, end - first);
        for (int64_t r = 0; r < n; ++r)
          scales[first + r] = unpack_ternary_row(source, first + r, &codes[r * source.cols]);
        pack_layout(kernels_, layout_, codes.data(), n, source.cols, data + first * row_bytes);
      }
    } catch (const Error& error) {
      std::lock_guard<std::mutex> lock(mutex);
      failure.emplace(error);
    }
  });
  if (failure) refuse(gguf_, t, std::string(": ") + failure->what(), failure->code);
  gguf_.dont_need(t.data, t.n_bytes);
}

}  // namespace bitnet
