// The writing side of the formats: packers against golden files and against the unpackers, float
// quantizers against bytes of the reference, ternarization against its definition.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <thread>

#include "base/error.h"
#include "check.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "formats/quantize.h"
#include "formats/ternarize.h"
#include "formats/ternary.h"
#include "gguf/gguf.h"

using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Gguf;
using bitnet::GgufTensor;
using bitnet::HfPackedMatrix;
using bitnet::I2SLayout;
using bitnet::RowError;
using bitnet::RowMagnitude;
using bitnet::TensorType;
using bitnet::TernaryLayout;
using bitnet::TernaryRule;
using bitnet::TernaryStats;
using bitnet::TernaryTensor;
using bitnet::TlConfig;

namespace {

using Bytes = std::vector<uint8_t>;
using Codes = std::vector<uint8_t>;
using Floats = std::vector<float>;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::string golden(const std::string& name) {
  const char* folder = std::getenv("BITNET_GOLDEN");
  return folder != nullptr ? std::string(folder) + "/" + name : check::data("golden/" + name);
}

// False, saying so, if a golden file that is not part of this repository is absent.
bool have(const std::string& name) {
  if (std::filesystem::exists(golden(name))) return true;
  std::printf("     skipped: no %s (set BITNET_GOLDEN)\n", name.c_str());
  return false;
}

std::vector<TlConfig> read_config(const std::string& name) {
  std::ifstream in(golden(name));
  return bitnet::parse_tl_config({std::istreambuf_iterator<char>(in), {}}, name);
}

TernaryLayout layout_of(const GgufTensor& tensor, const std::vector<TlConfig>& configs) {
  TernaryLayout out{tensor.type, static_cast<int64_t>(tensor.rows()),
                    static_cast<int64_t>(tensor.cols())};
  for (const TlConfig& config : configs) {
    if (config.rows == out.rows && config.cols == out.cols) out.tl = config;
  }
  return out;
}

size_t bytes_of(const TernaryLayout& out) {
  return bitnet::tensor_bytes(out.type, static_cast<uint64_t>(out.cols),
                              static_cast<uint64_t>(out.rows))
      .value_or(0);
}

TernaryTensor view(const TernaryLayout& out, const uint8_t* data) {
  return {out.type, out.rows, out.cols, data, bytes_of(out), out.tl};
}

Codes random_codes(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  Codes codes(static_cast<size_t>(n));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 3);
  return codes;
}

// Standard normal, the same on every platform.
struct Normal {
  std::mt19937 random;
  explicit Normal(uint32_t seed) : random(seed) {}
  float operator()() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += random() * 0x1p-32;
    return static_cast<float>(sum);
  }
};

Bytes pack(const TernaryLayout& out, const Codes& codes, float scale) {
  bitnet::check_ternary_layout(out);
  Bytes bytes(bytes_of(out), 0xee);
  bitnet::pack_ternary_rows(out, 0, out.rows, codes.data(), scale, bytes.data());
  bitnet::write_ternary_tail(out, scale, bytes.data());
  return bytes;
}

struct Unpacked {
  Codes codes;    // [rows][cols]
  Floats scales;  // [rows]
};

Unpacked unpack(const TernaryTensor& tensor) {
  Unpacked out{Codes(static_cast<size_t>(tensor.rows * tensor.cols), 99), {}};
  for (int64_t row = 0; row < tensor.rows; ++row) {
    uint8_t* codes = out.codes.data() + row * tensor.cols;
    out.scales.push_back(bitnet::unpack_ternary_row(tensor, row, codes));
  }
  return out;
}

struct Ternarized {
  TernaryStats stats;
  Codes codes;
};

Ternarized ternarize(const Floats& x, int64_t rows, int64_t cols) {
  std::vector<RowMagnitude> magnitudes;
  for (int64_t r = 0; r < rows; ++r) {
    magnitudes.push_back(bitnet::measure_row(x.data() + r * cols, cols));
  }
  const TernaryRule rule = bitnet::choose_ternary_rule(magnitudes, cols);
  Ternarized out{{}, Codes(x.size(), 99)};
  std::vector<RowError> errors;
  for (int64_t r = 0; r < rows; ++r) {
    errors.push_back(
        bitnet::ternarize_row(rule, x.data() + r * cols, cols, out.codes.data() + r * cols));
  }
  out.stats = bitnet::ternary_stats(rule, magnitudes, errors);
  return out;
}

Floats floats_of(const GgufTensor& tensor) {
  Floats out(tensor.rows() * tensor.cols());
  bitnet::dequantize_row(tensor.type, tensor.data, out.data(), static_cast<int64_t>(out.size()));
  return out;
}

Bytes quantize(TensorType type, const Floats& x) {
  Bytes out(bitnet::tensor_bytes(type, x.size(), 1).value_or(0), 0xee);
  bitnet::quantize_row(type, x.data(), out.data(), static_cast<int64_t>(x.size()));
  return out;
}

bool same_tensor(const Bytes& ours, const GgufTensor& theirs) {
  // bitnet.cpp leaves whatever was in memory in the last 28 bytes of an I2_S tensor.
  const size_t unused = theirs.type == TensorType::kI2_S ? 28 : 0;
  return ours.size() == theirs.n_bytes &&
         std::equal(ours.begin(), ours.end() - static_cast<ptrdiff_t>(unused), theirs.data);
}

// Makes every tensor of `file` from the floats of `source`, and expects the same bytes.
void check_conversion(const std::string& source, const std::string& file,
                      const std::vector<TlConfig>& configs, int n_expected) {
  if (!have(source) || !have(file)) return;
  const Gguf floats = Gguf::open(golden(source)), target = Gguf::open(golden(file));
  int n_same = 0;
  for (const GgufTensor& tensor : target.tensors()) {
    const Floats x = floats_of(*floats.find_tensor(tensor.name));
    Bytes ours;
    if (bitnet::is_ternary(tensor.type)) {
      const TernaryLayout out = layout_of(tensor, configs);
      const Ternarized t = ternarize(x, out.rows, out.cols);
      CHECK(t.stats.rule.already_ternary && t.stats.relative_error == 0);
      ours = pack(out, t.codes, t.stats.rule.scale);
    } else {
      ours = quantize(tensor.type, x);
    }
    CHECK(same_tensor(ours, tensor));
    ++n_same;
  }
  CHECK_EQ(n_same, n_expected);
}

// Layouts that hold rows x cols, every type that can.
std::vector<TernaryLayout> layouts_for(uint32_t rows, uint32_t cols) {
  std::vector<TernaryLayout> out;
  const auto add = [&](TensorType type, TlConfig tl) {
    const TernaryLayout layout{type, rows, cols, tl};
    try {
      bitnet::check_ternary_layout(layout);
    } catch (const Error& error) {
      CHECK(error.code == ErrorCode::kUnsupported);
      return;
    }
    out.push_back(layout);
  };
  for (const bitnet::Format* format : bitnet::all_formats()) {
    if (!format->ternary) continue;
    if (!bitnet::is_tiled(format->type)) {
      add(format->type, {});
      continue;
    }
    for (const uint32_t BM : {32u, 64u, 128u, 160u, rows}) {
      for (const uint32_t BK : {8u, 64u, 96u, 128u, 192u, cols}) {
        for (const uint32_t bm : {32u, 64u}) add(format->type, {rows, cols, BM, BK, bm});
      }
    }
  }
  return out;
}

bool scale_is_f16(TensorType type) {
  return type == TensorType::kTQ1_0 || type == TensorType::kTQ2_0 || type == TensorType::kIQ1_BN;
}

// One row of the types that dequantize_row() reads back.
Floats dequantize(TensorType type, const Bytes& bytes, size_t n) {
  Floats out(n);
  bitnet::dequantize_row(type, bytes.data(), out.data(), static_cast<int64_t>(n));
  return out;
}

}  // namespace

TEST("float models become the very bytes that bitnet.cpp makes of them") {
  check_conversion("b158-f32.gguf", "b158-small.gguf", {}, 46);
  check_conversion("b158-f32.gguf", "b158-tl1.gguf", read_config("tl1-kernel_config.ini"), 46);
  check_conversion("b158-f32.gguf", "b158-tl2.gguf", read_config("tl2-kernel_config.ini"), 46);
}

TEST("float models become the very bytes that llama.cpp makes of them") {
  for (const char* file :
       {"llama-TQ1_0.gguf", "llama-TQ2_0.gguf", "llama-TQ2_0-q8_0.gguf", "llama-TQ2_0-q6_k.gguf",
        "llama-TQ2_0-q5_0.gguf", "llama-TQ2_0-q4_0.gguf", "llama-small.gguf"}) {
    check_conversion("llama-f32.gguf", file, {}, 39);
  }
}

TEST("I2_S, TL1 and TL2 turn into each other byte for byte") {
  const Gguf files[] = {Gguf::open(golden("b158-small.gguf")), Gguf::open(golden("b158-tl1.gguf")),
                        Gguf::open(golden("b158-tl2.gguf"))};
  const std::vector<TlConfig> configs[] = {
      {}, read_config("tl1-kernel_config.ini"), read_config("tl2-kernel_config.ini")};
  int n_same = 0;
  for (int from = 0; from < 3; ++from) {
    for (const GgufTensor& tensor : files[from].tensors()) {
      if (!bitnet::is_ternary(tensor.type)) continue;
      const Unpacked plain = unpack(view(layout_of(tensor, configs[from]), tensor.data));
      for (int to = 0; to < 3; ++to) {
        const GgufTensor& target = *files[to].find_tensor(tensor.name);
        const Bytes ours = pack(layout_of(target, configs[to]), plain.codes, plain.scales[0]);
        CHECK(same_tensor(ours, target));
        ++n_same;
      }
    }
  }
  CHECK_EQ(n_same, 28 * 9);
}

TEST("llama.cpp's TQ2_0 tensors are packed again to the same bytes") {
  const Gguf gguf = Gguf::open(golden("llama-TQ2_0-q6_k.gguf"));
  int n_same = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (tensor.type != TensorType::kTQ2_0) continue;
    const TernaryLayout out = layout_of(tensor, {});
    const Unpacked plain = unpack(view(out, tensor.data));
    CHECK(same_tensor(pack(out, plain.codes, plain.scales[0]), tensor));
    ++n_same;
  }
  CHECK_EQ(n_same, 28);
}

TEST("quantizers write the reference's bytes for hard cases, too") {
  const Gguf gguf = Gguf::open(check::data("quantized-rows.gguf"));
  const GgufTensor& source = *gguf.find_tensor("F32");
  const Floats x = floats_of(source);
  int n_types = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    const uint64_t row_bytes = tensor.n_bytes / tensor.rows();
    for (uint64_t r = 0; r < tensor.rows(); ++r) {
      const auto begin = x.begin() + static_cast<ptrdiff_t>(r * tensor.cols());
      const Bytes ours =
          quantize(tensor.type, Floats(begin, begin + static_cast<ptrdiff_t>(tensor.cols())));
      CHECK(std::equal(ours.begin(), ours.end(), tensor.data + r * row_bytes));
    }
    ++n_types;
  }
  CHECK_EQ(n_types, 9);
}

TEST("whatever is packed unpacks to the same codes and scale, for every layout and shape") {
  const std::pair<uint32_t, uint32_t> shapes[] = {
      {128, 1},  {1, 128},   {128, 31}, {64, 34},   {8, 864},  {2, 64},   {5, 64},
      {3, 128},  {7, 256},   {3, 768},  {2, 320},   {32, 256}, {64, 320}, {160, 288},
      {96, 416}, {256, 256}, {64, 72},  {128, 512}, {96, 384}, {64, 768}, {320, 640}};
  int n_tl1 = 0, n_tl2 = 0, n_all = 0;
  for (const auto& [rows, cols] : shapes) {
    const Codes codes = random_codes(int64_t{rows} * cols, rows * 1000 + cols);
    for (const TernaryLayout& out : layouts_for(rows, cols)) {
      const float scale = scale_is_f16(out.type) ? 0.75f : 0.7654321f;
      const Bytes bytes = pack(out, codes, scale);
      const Unpacked back = unpack(view(out, bytes.data()));
      CHECK(back.codes == codes);
      for (const float s : back.scales) CHECK_EQ(s, scale);
      n_tl1 += out.type == TensorType::kTL1;
      n_tl2 += out.type == TensorType::kTL2;
      ++n_all;
    }
  }
  CHECK(n_tl1 > 20 && n_tl2 > 10 && n_all > 80);
}

TEST("every ternary type turns into every other without a loss") {
  const uint32_t rows = 128, cols = 768;
  const Codes codes = random_codes(rows * cols, 5);
  const auto layouts = layouts_for(rows, cols);
  std::vector<Bytes> packed;
  for (const TernaryLayout& out : layouts) packed.push_back(pack(out, codes, 1.5f));
  for (size_t from = 0; from < layouts.size(); ++from) {
    const Unpacked plain = unpack(view(layouts[from], packed[from].data()));
    for (size_t to = 0; to < layouts.size(); ++to) {
      CHECK(pack(layouts[to], plain.codes, plain.scales[0]) == packed[to]);
    }
  }
  CHECK(layouts.size() > 12);
}

TEST("rows packed in any ranges, in any order and by several threads, give the same bytes") {
  std::mt19937 random(9);
  for (const auto& [rows, cols] : std::vector<std::pair<uint32_t, uint32_t>>{
           {128, 256}, {128, 31}, {64, 34}, {10, 320}, {7, 256}, {96, 384}, {32, 4}}) {
    const Codes codes = random_codes(int64_t{rows} * cols, rows + cols);
    for (const TernaryLayout& out : layouts_for(rows, cols)) {
      const Bytes whole = pack(out, codes, 0.5f);
      std::vector<int64_t> cuts{0, out.rows};
      const int64_t step = bitnet::ternary_row_granularity(out);
      for (int64_t r = step; r < out.rows; r += step) {
        if (random() % 2) cuts.push_back(r);
      }
      std::sort(cuts.begin(), cuts.end());
      std::vector<size_t> order;
      for (size_t i = 0; i + 1 < cuts.size(); ++i) order.push_back(i);
      std::shuffle(order.begin(), order.end(), random);
      Bytes pieces(whole.size(), 0x77);
      bitnet::write_ternary_tail(out, 0.5f, pieces.data());
      const auto write = [&](size_t i) {
        bitnet::pack_ternary_rows(out, cuts[i], cuts[i + 1], codes.data() + cuts[i] * out.cols,
                                  0.5f, pieces.data());
      };
      std::thread other([&] {
        for (size_t i = 0; i < order.size(); i += 2) write(order[i]);
      });
      for (size_t i = 1; i < order.size(); i += 2) write(order[i]);
      other.join();
      CHECK(pieces == whole);
    }
  }
}

TEST("ranges may be as short as no two rows share a byte") {
  const auto granularity = [](TensorType type, int64_t cols) {
    return bitnet::ternary_row_granularity({type, 1280, cols});
  };
  CHECK_EQ(granularity(TensorType::kI2_S, 2560), 1);
  CHECK_EQ(granularity(TensorType::kI2_S, 8640), 2);
  CHECK_EQ(granularity(TensorType::kI2_S, 864), 4);
  CHECK_EQ(granularity(TensorType::kI2_S, 31), 128);
  CHECK_EQ(granularity(TensorType::kTL1, 256), 1);
  CHECK_EQ(granularity(TensorType::kTL2, 256), 32);
  CHECK_EQ(granularity(TensorType::kTQ1_0, 256), 1);
}

TEST("the tail holds the scale and zeros, whatever was in the buffer") {
  const float scale = 3.25f;
  for (const TernaryLayout& out : layouts_for(64, 320)) {
    const Bytes bytes = pack(out, Codes(64 * 320, 1), scale);
    if (out.type == TensorType::kIQ1_BN || out.type == TensorType::kIQ2_BN) continue;
    float stored;
    std::memcpy(&stored, bytes.data() + bytes.size() - 32, 4);
    CHECK_EQ(stored, scale);
    CHECK(std::all_of(bytes.end() - 28, bytes.end(), [](uint8_t b) { return b == 0; }));
    if (out.type != TensorType::kTL2) continue;
    const uint32_t k2 = 320 % out.tl.BK, k3 = 320 - k2;
    const auto used = static_cast<ptrdiff_t>(64 * k3 / 24 * 5 + 64 * k2 / 4);
    CHECK(std::all_of(bytes.begin() + used, bytes.end() - 32, [](uint8_t b) { return b == 0; }));
  }
}

TEST("TQ blocks of zero weights store scale 0, as llama.cpp does") {
  Codes codes = random_codes(512, 3);
  std::fill(codes.begin(), codes.begin() + 256, uint8_t{1});
  for (const TensorType type : {TensorType::kTQ1_0, TensorType::kTQ2_0}) {
    const Bytes bytes = pack({type, 1, 512}, codes, 1.0f);
    const size_t half = bytes.size() / 2;
    CHECK(bytes[half - 2] == 0 && bytes[half - 1] == 0);
    CHECK(bytes[2 * half - 2] == 0 && bytes[2 * half - 1] == 0x3c);
  }
}

TEST("shapes that a type cannot hold are refused with the reason") {
  const auto refuse = [](const TernaryLayout& out, const std::string& text) {
    CHECK_THROWS(bitnet::check_ternary_layout(out), Error, text);
  };
  refuse({TensorType::kI2_S, 3, 100}, "I2_S cannot hold a matrix of 3 x 100: rows * columns must");
  refuse({TensorType::kI2_S, 3, 101}, "rows * columns must be a multiple of 128");
  refuse({TensorType::kTQ1_0, 4, 128}, "TQ1_0 cannot hold a matrix of 4 x 128: columns must be");
  refuse({TensorType::kTQ2_0, 4, 255}, "columns must be a multiple of 256");
  refuse({TensorType::kIQ2_BN, 4, 96}, "columns must be a multiple of 64");
  refuse({TensorType::kTL1, 33, 256, {33, 256, 33, 64, 32}}, "TL1 cannot hold a matrix of 33 x");
  refuse({TensorType::kTL1, 64, 256, {64, 256, 64, 60, 32}}, "bk must divide the columns");
  refuse({TensorType::kTL2, 64, 192, {64, 192, 64, 96, 32}}, "TL2 cannot hold a matrix of 64 x");
  refuse({TensorType::kTL2, 64, 320, {64, 256, 64, 96, 32}}, "another shape");
  refuse({TensorType::kQ8_0, 64, 256}, "not a ternary type");
  refuse({TensorType::kI2_S, 0, 128}, "cannot hold a matrix of 0 x 128");
  refuse({TensorType::kI2_S, 128, -1}, "cannot hold");
  refuse({TensorType::kI2_S, int64_t{1} << 40, int64_t{1} << 40}, "cannot hold");
}

TEST("ranges that share bytes, impossible codes and scales that do not fit are refused") {
  Bytes bytes(1 << 16);
  Codes codes(64 * 320, 1);
  const auto refuse = [&](const TernaryLayout& out, int64_t begin, int64_t end, float scale,
                          const std::string& text) {
    CHECK_THROWS(bitnet::pack_ternary_rows(out, begin, end, codes.data(), scale, bytes.data()),
                 Error, text);
  };
  const TernaryLayout i2s{TensorType::kI2_S, 64, 320};
  const TernaryLayout tl2{TensorType::kTL2, 64, 320, {64, 320, 64, 96, 32}};
  const TernaryLayout tq2{TensorType::kTQ2_0, 64, 256};
  refuse(i2s, 1, 2, 1.0f, "rows 1 to 2 of a I2_S tensor of 64 x 320 cannot be written");
  refuse(i2s, 0, 3, 1.0f, "cannot be written by themselves");
  refuse(tl2, 16, 64, 1.0f, "cannot be written by themselves");
  refuse(i2s, -2, 2, 1.0f, "rows -2 to 2");
  refuse(i2s, 62, 66, 1.0f, "rows 62 to 66");
  refuse(i2s, 4, 2, 1.0f, "rows 4 to 2");
  refuse(i2s, 0, 2, kNaN, "the scale of a I2_S tensor is not finite");
  refuse(tq2, 0, 2, kInf, "the scale of a TQ2_0 tensor is not finite");
  refuse(tq2, 0, 2, 1e6f, "TQ2_0 stores scales as f16, which cannot hold 1e+06");
  refuse(tq2, 0, 2, 1e-9f, "cannot hold 1e-09");
  CHECK_THROWS(bitnet::write_ternary_tail(i2s, kNaN, bytes.data()), Error, "not finite");
  for (const uint8_t bad : {3, 128, 255}) {
    codes[639] = bad;
    refuse(i2s, 0, 2, 1.0f, "a ternary code above 2");
    codes[639] = 1;
  }
  bitnet::pack_ternary_rows(i2s, 6, 6, nullptr, 1.0f, bytes.data());  // no rows, no bytes
}

TEST("the I2_S layouts of some bitnet.cpp builds unpack by their own formulas") {
  for (const auto& [rows, cols] :
       std::vector<std::pair<int64_t, int64_t>>{{4, 128}, {8, 320}, {64, 31}, {12, 864}, {4, 16}}) {
    const Codes codes = random_codes(rows * cols, static_cast<uint32_t>(rows * cols));
    for (const I2SLayout layout :
         {I2SLayout::kArm64, I2SLayout::kRowGroup, I2SLayout::kSequential}) {
      Bytes bytes(static_cast<size_t>(rows * cols / 4 + 32));
      for (int64_t i = 0; i < rows * cols; ++i) {
        const int64_t row = i / cols, col = i % cols;
        int64_t byte = 0, group = 0;
        if (layout == I2SLayout::kArm64) {
          byte = 16 * (i / 64) + i % 16, group = i % 64 / 16;
        } else if (layout == I2SLayout::kRowGroup) {
          byte = row / 4 * cols + col, group = row % 4;
        } else {
          byte = i / 4, group = i % 4;
        }
        bytes[static_cast<size_t>(byte)] |=
            static_cast<uint8_t>(codes[static_cast<size_t>(i)] << (6 - 2 * group));
      }
      const float scale = 1.25f;
      std::memcpy(bytes.data() + rows * cols / 4, &scale, 4);
      TernaryTensor tensor{TensorType::kI2_S, rows, cols, bytes.data(), bytes.size(), {}, layout};
      const Unpacked out = unpack(tensor);
      CHECK(out.codes == codes);
      CHECK(out.scales == Floats(static_cast<size_t>(rows), scale));
      bytes[0] |= 0xc0;
      CHECK_THROWS(unpack(tensor), Error, "I2_S row 0 holds a code");
    }
  }
}

TEST("I2_S shapes whose last block is not in the file are refused in every layout") {
  Codes codes(256);
  Bytes bytes(256);
  const auto refuse = [&](int64_t rows, int64_t cols, I2SLayout layout, const std::string& text) {
    const auto n_bytes = static_cast<uint64_t>(rows * cols / 4 + 32);
    const TernaryTensor tensor{TensorType::kI2_S, rows, cols, bytes.data(), n_bytes, {}, layout};
    CHECK_THROWS(bitnet::unpack_ternary_row(tensor, 0, codes.data()), Error, text);
  };
  refuse(1, 64, I2SLayout::kCanonical, "multiple of 128");
  refuse(1, 96, I2SLayout::kArm64, "multiple of 64");
  refuse(2, 128, I2SLayout::kRowGroup, "multiple of 4");
}

TEST("packed checkpoints unpack: bits 2i of byte row r are row i * rows / 4 + r") {
  const int64_t packed_rows = 5, cols = 37;
  const Codes codes = random_codes(4 * packed_rows * cols, 8);
  Bytes bytes(static_cast<size_t>(packed_rows * cols));
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t at = 0; at < packed_rows * cols; ++at) {
      bytes[static_cast<size_t>(at)] |=
          static_cast<uint8_t>(codes[static_cast<size_t>(i * packed_rows * cols + at)] << 2 * i);
    }
  }
  HfPackedMatrix matrix{bytes.data(), bytes.size(), packed_rows, cols};
  Codes out(codes.size(), 99);
  for (int64_t row = 0; row < 4 * packed_rows; ++row) {
    bitnet::unpack_hf_row(matrix, row, out.data() + row * cols);
  }
  CHECK(out == codes);

  bytes[static_cast<size_t>(2 * cols)] |= 0x30;  // field 2 of byte row 2
  CHECK_THROWS(bitnet::unpack_hf_row(matrix, 12, out.data()), Error, "packed row 12 holds a code");
  for (const int64_t row : {int64_t{-1}, 4 * packed_rows}) {
    CHECK_THROWS(bitnet::unpack_hf_row(matrix, row, out.data()), Error, "does not exist");
  }
  matrix.n_bytes -= 1;
  CHECK_THROWS(bitnet::unpack_hf_row(matrix, 0, out.data()), Error, "does not exist");
  matrix = {bytes.data(), 0, int64_t{1} << 40, int64_t{1} << 40};
  CHECK_THROWS(bitnet::unpack_hf_row(matrix, 0, out.data()), Error, "does not exist");
}

TEST("weights become the nearest of -1, 0, +1 times their mean magnitude") {
  const int64_t rows = 9, cols = 131;
  Normal normal(4);
  Floats x(static_cast<size_t>(rows * cols));
  for (float& v : x) v = 0.03f * normal();
  const Ternarized t = ternarize(x, rows, cols);
  CHECK(!t.stats.rule.already_ternary);
  double mean = 0, error = 0, squares = 0;
  for (const float v : x) mean += std::fabs(double{v}) / static_cast<double>(x.size());
  CHECK_NEAR(t.stats.rule.scale, mean, mean * 1e-7);
  const float inverse = 1.0f / t.stats.rule.scale;
  int64_t counts[3] = {};
  for (size_t i = 0; i < x.size(); ++i) {
    const double q = std::clamp(std::nearbyint(x[i] * inverse), -1.0f, 1.0f);
    CHECK_EQ(t.codes[i], static_cast<uint8_t>(q + 1));
    ++counts[t.codes[i]];
    error += (x[i] - q * t.stats.rule.scale) * (x[i] - q * t.stats.rule.scale);
    squares += double{x[i]} * x[i];
  }
  CHECK(t.stats.n_negative == counts[0] && t.stats.n_zero == counts[1]);
  CHECK_EQ(t.stats.n_positive, counts[2]);
  CHECK_NEAR(t.stats.relative_error, std::sqrt(error / squares), 1e-12);
  CHECK(t.stats.relative_error > 0.3 && t.stats.relative_error < 0.7);  // of a normal distribution
}

TEST("halves round to even: half the scale is zero, one and a half is one") {
  const Ternarized t = ternarize({0.5f, -0.5f, 1.5f, -1.5f}, 2, 2);
  CHECK_EQ(t.stats.rule.scale, 1.0f);
  CHECK((t.codes == Codes{1, 1, 2, 0}));
  const float above = std::nextafter(0.5f, 1.0f);
  const Floats x = {above, -above, std::nextafter(0.5f, 0.0f), 2.5f, -1e30f};
  Codes codes(x.size());
  bitnet::ternarize_row({1.0f, false}, x.data(), static_cast<int64_t>(x.size()), codes.data());
  CHECK((codes == Codes{2, 0, 1, 2, 0}));
}

TEST("weights of one magnitude keep it as their scale, exactly") {
  const float scale = 0.7442139983177185f;
  const Codes codes = random_codes(4 * 130, 12);
  Floats x;
  for (const uint8_t code : codes) x.push_back((static_cast<float>(code) - 1) * scale);
  x[0] = -0.0f;
  Codes expected = codes;
  expected[0] = 1;
  Ternarized t = ternarize(x, 4, 130);
  CHECK(t.stats.rule.already_ternary && t.stats.rule.scale == scale);
  CHECK(t.codes == expected && t.stats.relative_error == 0);

  for (float& v : x) {
    if (v > 0) v = scale * (1 - 0.9e-6f);  // rounding of another exporter
  }
  t = ternarize(x, 4, 130);
  CHECK(t.stats.rule.already_ternary && t.codes == expected);
  CHECK(t.stats.relative_error > 0 && t.stats.relative_error < 1e-6);
  x[7] = scale * (1 - 2e-6f);
  CHECK(!ternarize(x, 4, 130).stats.rule.already_ternary);
}

TEST("matrices of zeros and of tiny weights have the smallest scale of the definition") {
  Ternarized t = ternarize(Floats(256), 2, 128);
  CHECK(t.stats.rule.scale == 1e-5f && t.stats.n_zero == 256 && t.stats.relative_error == 0);
  Floats tiny(256, 1e-7f);
  tiny[3] = 2e-7f;
  t = ternarize(tiny, 2, 128);
  CHECK(t.stats.rule.scale == 1e-5f && t.stats.n_zero == 256);
  CHECK_NEAR(t.stats.relative_error, 1.0, 1e-12);
  tiny.assign(256, 1e-7f);  // one magnitude: a scale like any other
  t = ternarize(tiny, 2, 128);
  CHECK(t.stats.rule.scale == 1e-7f && t.stats.n_positive == 256);
}

TEST("weights that are not finite are refused, naming the row") {
  for (const float bad : {kNaN, kInf, -kInf}) {
    for (const size_t at : {0u, 70u, 389u}) {
      Floats x(390, 0.5f);
      x[at] = bad;
      CHECK_THROWS(ternarize(x, 3, 130), Error,
                   "row " + std::to_string(at / 130) + " has a weight");
    }
  }
  const Floats huge(256, std::numeric_limits<float>::max());
  CHECK_EQ(ternarize(huge, 2, 128).stats.rule.scale, std::numeric_limits<float>::max());
}

TEST("float types keep their values: F32 all, F16 and BF16 what they hold") {
  Floats x = {0.0f, -0.0f, 1.0f, -2.5f, 65504.0f, 1e-7f, 3e38f, kInf, -kInf};
  CHECK(dequantize(TensorType::kF32, quantize(TensorType::kF32, x), x.size()) == x);
  for (const TensorType type : {TensorType::kF16, TensorType::kBF16}) {
    const Floats back = dequantize(type, quantize(type, x), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK_EQ(back[i], type == TensorType::kF16 ? bitnet::f16_to_f32(bitnet::f32_to_f16(x[i]))
                                                 : bitnet::bf16_to_f32(bitnet::f32_to_bf16(x[i])));
      CHECK_EQ(std::signbit(back[i]), std::signbit(x[i]));
    }
  }
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    CHECK(std::isnan(dequantize(type, quantize(type, {kNaN}), 1)[0]));
  }
}

TEST("quantized rows are as near to the floats as their type allows") {
  // Worst error over the largest value of a block, and RMS error over RMS, for normal weights.
  struct Case {
    TensorType type;
    size_t block;
    double worst, rms;
  };
  const Case cases[] = {{TensorType::kQ8_0, 32, 0.5 / 127 + 0x1p-11, 0.006},
                        {TensorType::kQ6_K, 256, 1.0 / 32 + 1.0 / 128 + 0x1p-11, 0.025},
                        {TensorType::kQ5_0, 32, 1.0 / 16 + 0x1p-11, 0.05},
                        {TensorType::kQ4_0, 32, 1.0 / 8 + 0x1p-11, 0.1},
                        {TensorType::kQ5_K, 256, 1.0 / 16, 0.05},
                        {TensorType::kQ4_K, 256, 1.0 / 8, 0.1},
                        {TensorType::kQ3_K, 256, 1.0 / 3, 0.2},
                        {TensorType::kQ2_K, 256, 2.0 / 3, 0.4}};
  Normal normal(6);
  Floats x(4096);
  for (float& v : x) v = 0.02f * normal();
  for (const auto& [type, block, worst_bound, rms_bound] : cases) {
    const Floats back = dequantize(type, quantize(type, x), x.size());
    double worst = 0, error = 0, squares = 0;
    for (size_t i = 0; i < x.size(); i += block) {
      double largest = 0, block_worst = 0;
      for (size_t j = i; j < i + block; ++j) {
        const double e = std::fabs(double{back[j]} - x[j]);
        largest = std::max(largest, std::fabs(double{x[j]}));
        block_worst = std::max(block_worst, e);
        error += e * e;
        squares += double{x[j]} * x[j];
      }
      worst = std::max(worst, block_worst / largest);
    }
    CHECK(worst <= worst_bound);
    CHECK(std::sqrt(error / squares) <= rms_bound && std::sqrt(error / squares) > rms_bound / 4);
  }
}

TEST("Q8_0 rounds halves away from zero, and nothing else up") {
  Floats x(32);
  const Floats first = {127,  0.5f,  -0.5f,       1.5f,         -1.5f,
                        2.5f, -2.5f, 0.49999997f, -0.49999997f, 126.5f};
  std::copy(first.begin(), first.end(), x.begin());
  const Floats back = dequantize(TensorType::kQ8_0, quantize(TensorType::kQ8_0, x), 32);
  const Floats expected = {127, 1, -1, 2, -2, 3, -3, 0, 0, 127};
  CHECK(std::equal(expected.begin(), expected.end(), back.begin()));
}

TEST("what a block type holds exactly survives a second time through it") {
  Normal normal(7);
  Floats x(1024);
  for (float& v : x) v = normal();
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ5_0, TensorType::kQ4_0}) {
    const Bytes once = quantize(type, x);
    const Bytes twice = quantize(type, dequantize(type, once, x.size()));
    const Floats a = dequantize(type, once, x.size()), b = dequantize(type, twice, x.size());
    for (size_t i = 0; i < x.size(); ++i) CHECK_NEAR(b[i], a[i], 0.004);
  }
}

TEST("zeros, denormals and extremes quantize to something finite or are refused") {
  std::mt19937 random(10);
  for (const bitnet::Format* format : bitnet::all_formats()) {
    const TensorType type = format->type;
    if (!format->quantize || format->block_elems == 1) continue;
    for (const Floats& pattern :
         {Floats{0}, Floats{-0.0f, 0}, Floats{1e-45f, 0, -1e-45f}, Floats{1e-39f, -3e-39f, 2e-38f},
          Floats{1e-20f, -2e-20f, 3e-14f}, Floats{1e-12f, 0, 0, -1e-15f}, Floats{1e-7f, 5e-8f}}) {
      Floats x(512);
      for (float& v : x) v = pattern[random() % pattern.size()];
      for (const float v : dequantize(type, quantize(type, x), x.size())) {
        CHECK(std::fabs(v) <= 1.3e-7f);
      }
    }
    CHECK(quantize(type, Floats(512, -0.0f)) == quantize(type, Floats(512, 0.0f)));
    for (const float big : {3e38f, 1e30f, -1e19f, 1e13f}) {
      Floats x(512, 1.0f);
      x[300] = big;
      CHECK_THROWS(quantize(type, x), Error, "weights are too large for ");
    }
    for (const float bad : {kNaN, kInf, -kInf}) {
      for (const size_t at : {0u, 17u, 511u}) {
        Floats x(512, 1.0f);
        x[at] = bad;
        CHECK_THROWS(quantize(type, x), Error, "a weight that is not finite");
      }
    }
  }
}

TEST("types and lengths that cannot be quantized are refused") {
  const Floats x(100, 1.0f);
  Bytes out(1000);
  const auto attempt = [&](TensorType type) {
    bitnet::quantize_row(type, x.data(), out.data(), 100);
  };
  CHECK_THROWS(attempt(TensorType::kQ8_0), Error,
               "Q8_0 rows must be a multiple of 32 long, not 100");
  CHECK_THROWS(attempt(TensorType::kQ6_K), Error, "multiple of 256");
  CHECK_THROWS(attempt(TensorType::kI2_S), Error, "floats cannot be turned into I2_S");
  CHECK_THROWS(attempt(TensorType::kI32), Error, "floats cannot be turned into I32");
  for (uint32_t id = 0; id < 200; ++id) {
    const auto type = static_cast<TensorType>(id);
    if (bitnet::is_quantizable(type)) CHECK(bitnet::is_dequantizable(type));
  }
}
