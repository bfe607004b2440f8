// The GGUF writer against files that are put together byte by byte, and against the reader.
#include "gguf/writer.h"

#include "check.h"
#include "gguf_builder.h"

using bitnet::Gguf;
using bitnet::GgufLayout;
using bitnet::GgufWriter;
using bitnet::TensorType;

namespace {

const std::vector<std::string> kWords = {"", "a", "\xc3\xa4 b"};
const std::vector<int32_t> kIds = {-1, 7};
const std::vector<float> kScores = {0.5f, -1000};

}  // namespace

TEST("every type of value is written as the format has it") {
  GgufWriter writer;
  writer.string("s", "text");
  writer.u32("u", 4000000000u);
  writer.f32("f", 1e-5f);
  writer.boolean("b", true);
  writer.strings("words", kWords);
  writer.i32s("ids", kIds);
  writer.f32s("scores", kScores);
  writer.strings("none", {});
  GgufBuilder expected;
  expected.string("s", "text").u32("u", 4000000000u).f32("f", 1e-5f).boolean("b", true);
  expected.strings("words", kWords).array("ids", 5, kIds).array("scores", 6, kScores);
  expected.strings("none", {});
  Bytes bytes = expected.finish();
  bytes.resize((bytes.size() + 31) / 32 * 32);  // a file without tensors is padded, too
  CHECK(writer.layout().head == bytes);
  CHECK_EQ(writer.layout().file_bytes, bytes.size());
}

TEST("tensors lie one after the other at multiples of the alignment") {
  const int64_t shapes[][2] = {{3, 1}, {5, 7}, {64, 2}};
  GgufWriter writer;
  writer.string("general.architecture", "test");
  GgufBuilder expected;
  expected.string("general.architecture", "test");
  for (const auto& [cols, rows] : shapes) {
    const std::string name = std::to_string(cols) + " columns";
    const auto n_bytes = static_cast<uint64_t>(4 * cols * rows);
    const int64_t ne[] = {cols, rows};
    writer.tensor(name, ne, TensorType::kF32, n_bytes);
    expected.tensor(name, 0, {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)},
                    std::vector<uint8_t>(n_bytes));
  }
  const GgufLayout layout = writer.layout();
  Bytes file;
  file.append(layout.head);
  file.resize(layout.file_bytes);
  CHECK(file == expected.finish());
  const Gguf gguf = Gguf::parse(file, "written");
  for (size_t i = 0; i < 3; ++i) CHECK_EQ(gguf.offset_of(gguf.tensors()[i]), layout.offsets[i]);
}

TEST("a value of any type is copied bit by bit, but the alignment is this file's") {
  GgufBuilder source;
  source.u32("general.alignment", 64).string("s", "text").strings("words", kWords);
  source.scalar<uint64_t>("u64", 10, ~uint64_t{0}).scalar<int16_t>("i16", 3, -2);
  source.array<double>("f64s", 12, {0.1, -1}).array<uint8_t>("bools", 7, {1, 0});
  const Bytes bytes = source.finish();
  const Gguf from = Gguf::parse(bytes, "source");
  GgufWriter writer;
  for (const auto& [key, value] : from.metadata()) writer.copy(key, value);
  GgufBuilder expected;
  expected.u32("general.alignment", 32).string("s", "text").strings("words", kWords);
  expected.scalar<uint64_t>("u64", 10, ~uint64_t{0}).scalar<int16_t>("i16", 3, -2);
  expected.array<double>("f64s", 12, {0.1, -1}).array<uint8_t>("bools", 7, {1, 0});
  Bytes wanted = expected.finish();
  wanted.resize((wanted.size() + 31) / 32 * 32);
  CHECK(writer.layout().head == wanted);
}
