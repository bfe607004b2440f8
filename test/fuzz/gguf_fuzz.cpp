// Any bytes as a GGUF file: parse, touch every value, unpack and dequantize the first rows of every
// tensor. The only ways out are success and bitnet::Error.
//
//   cmake -S . -B build-fuzz -DCMAKE_CXX_COMPILER=clang++ -DBITNET_FUZZ=ON -DBITNET_SANITIZE=ON
//   cmake --build build-fuzz --target gguf_fuzz
//   build-fuzz/gguf_fuzz -max_total_time=60 -max_len=16384 CORPUS
// An empty CORPUS folder is enough: the first inputs are made by the mutator below.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "formats/ternary.h"
#include "gguf/gguf.h"
#include "gguf_builder.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using bitnet::Gguf;
using bitnet::GgufTensor;
using bitnet::GgufValue;
using bitnet::TernaryTensor;
using bitnet::TlConfig;

void touch_value(const GgufValue& value) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i <= value.count; ++i) {  // one too far: an error, not a read
    try {
      for (const char c : value.string(i)) sum += static_cast<uint8_t>(c);
    } catch (const bitnet::Error&) {
    }
    try {
      sum += value.number(i) > 0;
      sum += value.integer(i) > 0;
    } catch (const bitnet::Error&) {
    }
  }
  [[maybe_unused]] volatile uint64_t sink = sum;
}

template <typename Accessor>
void attempt(Accessor accessor) {
  try {
    accessor();
  } catch (const bitnet::Error&) {
  }
}

void unpack_rows(const GgufTensor& tensor, const TlConfig& config) {
  const auto rows = static_cast<int64_t>(tensor.rows()), cols = static_cast<int64_t>(tensor.cols());
  std::vector<uint8_t> codes(tensor.cols());
  const TernaryTensor view{tensor.type, rows, cols, tensor.data, tensor.n_bytes, config};
  for (const int64_t row : {int64_t{0}, int64_t{1}, rows / 2, rows - 1, rows}) {
    attempt([&] {
      const float scale = bitnet::unpack_ternary_row(view, row, codes.data());
      if (!std::isfinite(scale)) std::abort();
      if (std::any_of(codes.begin(), codes.end(), [](uint8_t c) { return c > 2; })) std::abort();
      std::vector<uint8_t> packed((codes.size() + 127) / 128 * 32);
      bitnet::pack_i2_s_row(codes.data(), cols, packed.data());
    });
  }
}

void touch_tensor(const GgufTensor& tensor) {
  if (bitnet::is_dequantizable(tensor.type)) {
    std::vector<float> out(tensor.cols());
    const uint64_t stride = tensor.n_bytes / tensor.rows();
    for (const uint64_t row : {uint64_t{0}, tensor.rows() - 1}) {
      bitnet::dequantize_row(tensor.type, tensor.data + row * stride, out.data(),
                             static_cast<int64_t>(tensor.cols()));
    }
  }
  if (!bitnet::is_ternary(tensor.type)) return;
  const auto rows = static_cast<uint32_t>(tensor.rows()),
             cols = static_cast<uint32_t>(tensor.ne[0]);
  for (const TlConfig& config :
       {TlConfig{rows, cols, 32, 96, 32}, TlConfig{rows, cols, rows, 24, 32},
        TlConfig{rows, cols, 64, 64, 64}, TlConfig{rows, cols, 32, 8, 32},
        // Tile sizes from the file: any numbers.
        TlConfig{rows, cols, tensor.data[0], tensor.data[tensor.n_bytes - 1], 32}}) {
    unpack_rows(tensor, config);
  }
}

Bytes seed(unsigned kind) {
  GgufBuilder b;
  b.string("general.architecture", kind % 2 == 0 ? "bitnet-b1.58" : "llama");
  b.strings("tokens", {"a", "bc", ""}).array<int32_t>("types", 5, {1, 2}).f32("eps", 1e-5f);
  b.u32("general.alignment", 32).boolean("yes", true);
  if (kind % 3 == 0) b.u32("split.no", 0).u32("split.count", 2).u32("split.tensors.count", 3);
  // Every type that there is, and the other id of TL2.
  const auto formats = bitnet::all_formats();
  for (const size_t i : {kind % (formats.size() + 1), kind / 64 % (formats.size() + 1)}) {
    const auto type = i < formats.size() ? formats[i]->type : bitnet::TensorType::kTL2;
    const uint32_t id = i < formats.size() ? static_cast<uint32_t>(type) : 42;
    const uint64_t rows = bitnet::is_tiled(type) ? 32 : 2;
    const auto bytes = bitnet::tensor_bytes(type, 256, rows);
    b.tensor("t" + std::to_string(b.n_tensors), id, {256, rows}, std::vector<uint8_t>(*bytes));
  }
  return b.finish();
}

// The bytes as the first part of a model in two files, whose second part is right.
void join_with_second_part(const std::vector<uint8_t>& bytes) {
  GgufBuilder b;
  b.u32("split.no", 1).u32("split.count", 2).u32("split.tensors.count", 3);
  b.tensor("second", 0, {1}, {0, 0, 0, 0});
  const Bytes second = b.finish();
  attempt([&] {
    std::vector<Gguf> parts;
    parts.push_back(Gguf::parse(bytes, "fuzz"));
    parts.push_back(Gguf::parse(second, "second"));
    const Gguf whole = Gguf::join(std::move(parts));
    if (whole.n_parts() != 2 || !whole.find_tensor("second")) std::abort();
    for (const GgufTensor& tensor : whole.tensors()) {
      if (whole.find_tensor(tensor.name) != &tensor) std::abort();
      const uint64_t size = tensor.part == 0 ? bytes.size() : second.size();
      if (whole.offset_of(tensor) + tensor.n_bytes > size) std::abort();
    }
  });
}

}  // namespace

// Now and then starts again from a valid file, so that the fuzzer need not find one by itself.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned random) {
  if (random % 64 == 0 || size < 24) {
    const Bytes bytes = seed(random / 64);
    if (bytes.size() <= max_size) {
      std::copy(bytes.begin(), bytes.end(), data);
      return bytes.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> bytes(data, data + size);  // exact, so that ASan sees its end
  attempt([&] {
    const Gguf gguf = Gguf::parse(bytes, "fuzz");
    for (const auto& [key, value] : gguf.metadata()) {
      touch_value(value);
      if (gguf.find(key) != &value) std::abort();
      attempt([&, k = key] { (void)gguf.require_u32(k); });
      attempt([&, k = key] { (void)gguf.f32(k); });
      attempt([&, k = key] { (void)gguf.boolean(k); });
      attempt([&, k = key] { (void)gguf.require_string(k); });
    }
    for (const GgufTensor& tensor : gguf.tensors()) {
      if (gguf.find_tensor(tensor.name) != &tensor) std::abort();
      touch_tensor(tensor);
    }
  });
  join_with_second_part(bytes);
  attempt([&] {
    const std::string text(bytes.begin(), bytes.end());
    for (const TlConfig& config : bitnet::parse_tl_config(text, "fuzz")) {
      bitnet::check_tl_config(bitnet::TensorType::kTL2, config);
    }
  });
  return 0;
}
