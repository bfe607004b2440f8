#include "gguf/tiles.h"

#include <iterator>
#include <string>

#include "base/error.h"

namespace bitnet {
namespace {

constexpr std::pair<TensorType, std::string_view> kKeys[] = {
    {TensorType::kTL1, "bitnet.tl1.tiles"},
    {TensorType::kTL2, "bitnet.tl2.tiles"},
};
constexpr uint64_t kFields = 5;       // of a shape
constexpr uint64_t kMaxShapes = 256;  // a model has about four

std::string_view key_of(TensorType type) {
  for (const auto& [known, key] : kKeys) {
    if (known == type) return key;
  }
  return {};
}

}  // namespace

bool is_tiles_key(std::string_view key) {
  for (const auto& known : kKeys) {
    if (known.second == key) return true;
  }
  return false;
}

std::vector<TlConfig> stored_tiles(const Gguf& gguf, TensorType type) {
  const std::string_view key = key_of(type);
  const GgufValue* value = key.empty() ? nullptr : gguf.find(key);
  if (!value) return {};
  const auto fail = [&](const char* what) {
    throw Error(ErrorCode::kBadFile, gguf.name() + ": " + std::string(key) + " " + what);
  };
  if (value->type != GgufType::kArray || value->element != GgufType::kI32)
    fail("is no array of i32");
  if (value->count % kFields != 0 || value->count > kFields * kMaxShapes)
    fail("does not have five numbers for each shape");
  std::vector<uint32_t> numbers;
  for (uint64_t i = 0; i < value->count; ++i) {
    const int64_t number = value->integer(i);
    if (number <= 0) fail("has a number that is not positive");
    numbers.push_back(static_cast<uint32_t>(number));
  }
  std::vector<TlConfig> tiles;
  for (size_t i = 0; i < numbers.size(); i += kFields) {
    const uint32_t* n = &numbers[i];
    tiles.push_back({n[0], n[1], n[2], n[3], n[4]});
  }
  return tiles;
}

void store_tiles(GgufWriter& file, TensorType type, const std::vector<TlConfig>& tiles) {
  std::vector<int32_t> numbers;
  for (const TlConfig& tl : tiles) {
    for (const uint32_t n : {tl.rows, tl.cols, tl.BM, tl.BK, tl.bm})
      numbers.push_back(static_cast<int32_t>(n));
  }
  file.i32s(key_of(type), numbers);
}

}  // namespace bitnet
