// Tile sizes in a file's own metadata, of good and of bad files.
#include "gguf/tiles.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "gguf_builder.h"

using bitnet::Error;
using bitnet::Gguf;
using bitnet::TensorType;
using bitnet::TlConfig;

namespace {

constexpr uint32_t kI32 = 5, kU32 = 4;

std::vector<TlConfig> read(const std::vector<int32_t>& numbers, TensorType type,
                           uint32_t element = kI32) {
  GgufBuilder builder;
  builder.array("bitnet.tl2.tiles", element, numbers);
  const std::vector<uint8_t> file = builder.finish();
  return bitnet::stored_tiles(Gguf::parse(file, "a.gguf"), type);
}

}  // namespace

TEST("tile sizes come back as they were stored, and only for their type") {
  const std::vector<int32_t> numbers = {640, 2560, 160, 96, 32, 2560, 640, 256, 96, 32};
  const std::vector<TlConfig> tiles = read(numbers, TensorType::kTL2);
  CHECK_EQ(tiles.size(), 2u);
  CHECK(tiles[0] == (TlConfig{640, 2560, 160, 96, 32}));
  CHECK(tiles[1] == (TlConfig{2560, 640, 256, 96, 32}));
  CHECK(read(numbers, TensorType::kTL1).empty());
  CHECK(read(numbers, TensorType::kI2_S).empty());
  CHECK(bitnet::is_tiles_key("bitnet.tl1.tiles") && !bitnet::is_tiles_key("bitnet.tl3.tiles"));
}

TEST("tile sizes that cannot be are refused with the name of their key") {
  const auto refuse = [](const std::vector<int32_t>& numbers, uint32_t element,
                         const std::string& text) {
    CHECK_THROWS(read(numbers, TensorType::kTL2, element), Error,
                 "a.gguf: bitnet.tl2.tiles " + text);
  };
  refuse({640, 2560, 160, 96}, kI32, "does not have five numbers");
  refuse({640, 2560, 160, 96, 0}, kI32, "has a number that is not positive");
  refuse({640, 2560, -160, 96, 32}, kI32, "has a number that is not positive");
  refuse({640, 2560, 160, 96, 32}, kU32, "is no array of i32");
  refuse(std::vector<int32_t>(5 * 257, 1), kI32, "does not have five numbers");
}
