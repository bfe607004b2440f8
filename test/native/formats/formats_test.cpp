// Tensor types, float conversions, block quantization and every ternary layout. The packers here
// follow the published index formulas element by element; the unpackers under test do not.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <random>

#include "base/error.h"
#include "check.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "formats/ternary.h"
#include "gguf/gguf.h"

using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Gguf;
using bitnet::GgufTensor;
using bitnet::TensorType;
using bitnet::TernaryTensor;
using bitnet::TlConfig;

namespace {

using Codes = std::vector<uint8_t>;

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

TernaryTensor view(const GgufTensor& tensor, const std::vector<TlConfig>& configs = {}) {
  TernaryTensor out{tensor.type,
                    static_cast<int64_t>(tensor.rows()),
                    static_cast<int64_t>(tensor.cols()),
                    tensor.data,
                    tensor.n_bytes,
                    {}};
  for (const TlConfig& config : configs) {
    if (config.rows == out.rows && config.cols == out.cols) out.tl = config;
  }
  return out;
}

struct Unpacked {
  Codes codes;                // [rows][cols]
  std::vector<float> scales;  // [rows]
};

Unpacked unpack(const TernaryTensor& tensor) {
  Unpacked out{Codes(static_cast<size_t>(tensor.rows * tensor.cols), 99), {}};
  for (int64_t row = 0; row < tensor.rows; ++row) {
    uint8_t* codes = out.codes.data() + row * tensor.cols;
    out.scales.push_back(bitnet::unpack_ternary_row(tensor, row, codes));
  }
  return out;
}

Codes random_codes(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  Codes codes(static_cast<size_t>(n));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 3);
  return codes;
}

template <typename T>
void store(std::vector<uint8_t>& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

// A packed matrix and the view of it.
struct Packed {
  std::vector<uint8_t> bytes;
  TernaryTensor tensor;

  Packed(TensorType type, int64_t rows, int64_t cols, TlConfig tl = {})
      : bytes(bitnet::tensor_bytes(type, static_cast<uint64_t>(cols), static_cast<uint64_t>(rows))
                  .value_or(0)),
        tensor{type, rows, cols, nullptr, bytes.size(), tl} {
    tensor.data = bytes.data();
  }
  Packed(const Packed&) = delete;
};

void check_unpacks(const Packed& packed, const Codes& codes, float scale) {
  const Unpacked out = unpack(packed.tensor);
  CHECK(out.codes == codes);
  for (const float s : out.scales) CHECK_EQ(s, scale);
}

void pack_i2_s(Packed& packed, const Codes& codes, float scale) {
  for (size_t i = 0; i < codes.size(); ++i) {
    packed.bytes[32 * (i / 128) + i % 32] |=
        static_cast<uint8_t>(codes[i] << (6 - 2 * (i % 128 / 32)));
  }
  store(packed.bytes, codes.size() / 4, scale);
}

void pack_tl1(Packed& packed, const Codes& codes, float scale) {
  const auto [M, K, BM, BK, bm] = packed.tensor.tl;
  const size_t by = 256 / bm;
  for (size_t m = 0; m < M; ++m) {
    for (size_t g = 0; g < K / 2; ++g) {
      const size_t t = m / BM, mi = m % BM, b = mi / bm, r = mi % bm, c16 = r / 16, lane = r % 16;
      const size_t kt = g / (BK / 2), gi = g % (BK / 2), kb = gi / (by / 2), gj = gi % (by / 2);
      const size_t tile = (t * (K / BK) + kt) * (BM / bm) + b;
      const size_t index =
          (((tile * (BK / by) + kb) * (bm / 16) + c16) * (by / 4) + gj / 2) * 16 + lane;
      const int nibble = 3 * codes[m * K + 2 * g] + codes[m * K + 2 * g + 1];
      packed.bytes[index] |= static_cast<uint8_t>(gj % 2 == 0 ? nibble << 4 : nibble);
    }
  }
  store(packed.bytes, size_t{M} * K / 4, scale);
}

size_t tl2_lane(size_t r) {
  constexpr size_t kPerm[] = {0, 2, 1, 3};
  return 8 * kPerm[r / 8] + r % 8;
}

void pack_tl2(Packed& packed, const Codes& codes, float scale) {
  const auto [M, K, BM, BK, bm] = packed.tensor.tl;
  const size_t k3 = K / BK * BK, k2 = K - k3, signs = M * k3 / 6, pairs = signs + M * k3 / 24;
  for (size_t m = 0; m < M; ++m) {
    const uint8_t* row = codes.data() + m * K;
    const size_t t = m / BM, b = m % BM / 32, r = m % 32;
    for (size_t g = 0; g < k3 / 3; ++g) {
      const int v = 9 * (row[3 * g] - 1) + 3 * (row[3 * g + 1] - 1) + row[3 * g + 2] - 1;
      const size_t kt = g / (BK / 3), gi = g % (BK / 3);
      const size_t tile = (t * (k3 / BK) + kt) * (BM / bm) + b;
      const int nibble = std::abs(v) << (gi % 2 == 0 ? 4 : 0);
      packed.bytes[(tile * (BK / 6) + gi / 2) * 32 + tl2_lane(r)] |= static_cast<uint8_t>(nibble);
      const size_t bit = 15 - (gi % 8 * 2 + r / 16);
      packed.bytes[signs + (tile * (BK / 24) + gi / 8) * 32 + r % 16 * 2 + bit / 8] |=
          static_cast<uint8_t>((v < 0) << bit % 8);
    }
    for (size_t g = 0; g < k2 / 2; ++g) {
      const int code = 3 * row[k3 + 2 * g] + row[k3 + 2 * g + 1];
      const size_t tile = (t * (k2 / 32) + g / 16) * (BM / 32) + b;
      packed.bytes[pairs + (tile * 8 + g % 16 / 2) * 32 + tl2_lane(r)] |=
          static_cast<uint8_t>(code << (g % 2 == 0 ? 4 : 0));
    }
  }
  store(packed.bytes, packed.bytes.size() - 32, scale);
}

int fraction_of(int index) { return (256 * index + 242) / 243; }  // five trits as a base-3 fraction

void pack_tq2_0(Packed& packed, const Codes& codes, uint16_t scale) {
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t block = i / 256 * 66, half = i % 256 / 128, n = i % 128 / 32, m = i % 32;
    packed.bytes[block + 32 * half + m] |= static_cast<uint8_t>(codes[i] << 2 * n);
    store(packed.bytes, block + 64, scale);
  }
}

void pack_tq1_0(Packed& packed, const Codes& codes, uint16_t scale) {
  for (size_t b = 0; b < codes.size() / 256; ++b) {
    const uint8_t* c = codes.data() + 256 * b;
    uint8_t* out = packed.bytes.data() + 54 * b;
    const auto encode = [&](size_t byte, size_t first, size_t step, int n_trits) {
      int index = 0;
      for (int n = 0; n < 5; ++n) index = 3 * index + (n < n_trits ? c[first + n * step] : 0);
      out[byte] = static_cast<uint8_t>(fraction_of(index));
    };
    for (size_t m = 0; m < 32; ++m) encode(m, m, 32, 5);
    for (size_t m = 0; m < 16; ++m) encode(32 + m, 160 + m, 16, 5);
    for (size_t m = 0; m < 4; ++m) encode(48 + m, 240 + m, 4, 4);
    store(packed.bytes, 54 * b + 52, scale);
  }
}

void pack_iq2_bn(Packed& packed, const Codes& codes) {
  const size_t cols = static_cast<size_t>(packed.tensor.cols), stride = 4 + cols / 4;
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t row = i / cols, col = i % cols;
    store(packed.bytes, row * stride, 0.5f + static_cast<float>(row));
    packed.bytes[row * stride + 4 + col / 64 * 16 + col % 16] |=
        static_cast<uint8_t>(codes[i] << 2 * (col % 64 / 16));
  }
}

void pack_iq1_bn(Packed& packed, const Codes& codes) {
  const size_t cols = static_cast<size_t>(packed.tensor.cols), stride = 2 + cols / 64 * 13;
  for (size_t i = 0; i < codes.size(); i += 64) {
    const size_t row = i / cols;
    store(packed.bytes, row * stride, bitnet::f32_to_f16(0.5f + static_cast<float>(row)));
    uint8_t* out = packed.bytes.data() + row * stride + 2 + i % cols / 64 * 13;
    const auto encode = [&](size_t first, size_t step, int n_trits) {
      int index = 0;
      for (int j = n_trits - 1; j >= 0; --j) index = 3 * index + codes[i + first + j * step];
      return static_cast<uint8_t>(fraction_of(index));
    };
    for (size_t byte = 0; byte < 12; ++byte) {
      out[byte] = encode(byte / 3 * 16 + byte % 3 * 5, 1, 5);
    }
    out[12] = encode(15, 16, 4);
  }
}

std::vector<float> dequantize(const GgufTensor& tensor) {
  std::vector<float> out(tensor.rows() * tensor.cols());
  const uint64_t stride = tensor.n_bytes / tensor.rows();
  for (uint64_t row = 0; row < tensor.rows(); ++row) {
    bitnet::dequantize_row(tensor.type, tensor.data + row * stride,
                           out.data() + row * tensor.cols(), static_cast<int64_t>(tensor.cols()));
  }
  return out;
}

// Every ternary tensor of `file` against the float tensor of the same name: signs exactly, the
// scale to a relative `tolerance`.
void check_against_floats(const std::string& file, const std::string& floats,
                          const std::vector<TlConfig>& configs, double tolerance) {
  const Gguf gguf = Gguf::open(golden(file)), reference = Gguf::open(golden(floats));
  int n_ternary = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (!bitnet::is_ternary(tensor.type)) continue;
    ++n_ternary;
    const Unpacked out = unpack(view(tensor, configs));
    const std::vector<float> w = dequantize(*reference.find_tensor(tensor.name));
    size_t n_wrong = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double expected = w[i];
      const double actual = (out.codes[i] - 1.0) * out.scales[i / tensor.cols()];
      n_wrong += !(std::fabs(actual - expected) <= tolerance * std::fabs(expected));
    }
    CHECK_EQ(n_wrong, 0u);
  }
  CHECK_EQ(n_ternary, 28);
}

float half(uint16_t bits) { return bitnet::f16_to_f32(bits); }

}  // namespace

TEST("sizes of tensors follow their type") {
  const auto bytes = [](TensorType type, uint64_t cols, uint64_t rows) {
    return bitnet::tensor_bytes(type, cols, rows).value_or(0);
  };
  CHECK_EQ(bytes(TensorType::kF32, 3, 5), 60u);
  CHECK_EQ(bytes(TensorType::kF64, 3, 5), 120u);
  CHECK_EQ(bytes(TensorType::kQ6_K, 2560, 128256), 2560ull / 256 * 210 * 128256);
  CHECK_EQ(bytes(TensorType::kI2_S, 2560, 640), 2560ull * 640 / 4 + 32);
  CHECK_EQ(bytes(TensorType::kTL1, 4096, 1024), 4096ull * 1024 / 4 + 32);
  CHECK_EQ(bytes(TensorType::kTL2, 4096, 1536), 1327136u);
  CHECK_EQ(bytes(TensorType::kTL2, 8640, 3200), 5794176u);
  CHECK_EQ(bytes(TensorType::kTL2, 14336, 4096), 12277120u);
  CHECK_EQ(bytes(TensorType::kTL2, 4096, 14336), 12386336u);
  CHECK_EQ(bytes(TensorType::kIQ1_BN, 128, 3), (2u + 26) * 3);
  CHECK_EQ(bytes(TensorType::kIQ2_BN, 128, 3), (4u + 32) * 3);
  CHECK_EQ(bytes(TensorType::kTQ1_0, 512, 2), 54u * 4);
}

TEST("impossible shapes have no size, and no shape overflows") {
  const auto none = [](TensorType type, uint64_t cols, uint64_t rows) {
    return !bitnet::tensor_bytes(type, cols, rows).has_value();
  };
  CHECK(none(TensorType::kF32, 0, 1) && none(TensorType::kF32, 1, 0));
  CHECK(none(TensorType::kQ8_0, 33, 1) && none(TensorType::kTQ2_0, 128, 1));
  CHECK(none(TensorType::kI2_S, 3, 3) && none(TensorType::kTL1, 30, 32));
  CHECK(none(TensorType::kTL2, 255, 32) && none(TensorType::kTL2, 512, 31));
  CHECK(none(TensorType::kIQ2_BN, 96, 1));
  CHECK(none(static_cast<TensorType>(5), 256, 1));
  const uint64_t big = uint64_t{1} << 59;
  for (uint32_t id = 0; id < 200; ++id) {
    if (bitnet::find_format(id) == nullptr) continue;
    const auto type = static_cast<TensorType>(id);
    CHECK(none(type, ~uint64_t{0}, 2) && none(type, big * 2, big));
    CHECK(bitnet::tensor_bytes(type, big, 2).value_or(0) <= uint64_t{1} << 60);
  }
}

TEST("types have names and ids that match") {
  for (uint32_t id = 0; id < 400; ++id) {
    const auto* info = bitnet::find_format(id);
    if (info == nullptr) continue;
    CHECK_EQ(static_cast<uint32_t>(info->type), id);
    CHECK(std::string(bitnet::tensor_type_name(info->type)) == info->name);
    CHECK(!bitnet::is_ternary(info->type) || !bitnet::is_dequantizable(info->type));
  }
  CHECK(std::string(bitnet::tensor_type_name(TensorType::kI2_S)) == "I2_S");
  CHECK(std::string(bitnet::tensor_type_name(static_cast<TensorType>(999))) == "unknown");
}

TEST("every row of the list is found by its id and by its name, and none is there twice") {
  for (const bitnet::Format* format : bitnet::all_formats()) {
    CHECK(bitnet::find_format(format->type) == format);
    CHECK(bitnet::find_format(format->name) == format);
    CHECK(&bitnet::format_of(format->type) == format);
  }
  CHECK(bitnet::find_format("Q9_Z") == nullptr && bitnet::find_format(uint32_t{5}) == nullptr);
  CHECK(bitnet::find_format(~uint32_t{0}) == nullptr);
  CHECK_THROWS(bitnet::format_of(static_cast<TensorType>(5)), Error, "no tensor type has the id 5");
}

TEST("what is written can be read, and rows of any length find a type in the end") {
  for (const bitnet::Format* format : bitnet::all_formats()) {
    CHECK(!format->quantize || format->dequantize);
    CHECK(!format->ternary || !format->dequantize);
    if (!format->quantize) continue;
    const bitnet::Format* type = format;
    while (type->substitute) {
      const bitnet::Format& next = bitnet::format_of(*type->substitute);
      CHECK(next.quantize && next.block_elems < type->block_elems);
      if (next.block_elems >= type->block_elems) break;
      type = &next;
    }
    CHECK_EQ(type->block_elems, 1u);
  }
}

TEST("all 65536 half floats convert exactly and back") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<uint16_t>(bits);
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const float f = half(h);
    if (exponent == 31 && mantissa != 0) {
      CHECK(std::isnan(f) && std::isnan(half(bitnet::f32_to_f16(f))));
      continue;
    }
    const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                             : exponent == 0 ? std::ldexp(mantissa, -24)
                                             : std::ldexp(1024 + mantissa, exponent - 25);
    CHECK_EQ(static_cast<double>(f), h & 0x8000 ? -magnitude : magnitude);
    CHECK_EQ(std::signbit(f), h >= 0x8000);
    CHECK_EQ(bitnet::f32_to_f16(f), h);
  }
}

TEST("floats round to the nearest half, ties to even") {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {  // every pair of neighbours
    const auto low = static_cast<uint16_t>(bits), high = static_cast<uint16_t>(bits + 1);
    const float middle = (half(low) + half(high)) / 2;
    for (const uint16_t sign : {0, 0x8000}) {
      const float m = sign ? -middle : middle;
      CHECK_EQ(bitnet::f32_to_f16(m), (bits % 2 == 0 ? low : high) | sign);
      CHECK_EQ(bitnet::f32_to_f16(std::nextafter(m, 0.0f)), low | sign);
      CHECK_EQ(bitnet::f32_to_f16(std::nextafter(m, m * 2)), high | sign);
    }
  }
  CHECK_EQ(bitnet::f32_to_f16(65519.996f), 0x7bff);
  CHECK_EQ(bitnet::f32_to_f16(65520.0f), 0x7c00);
  CHECK_EQ(bitnet::f32_to_f16(-1e30f), 0xfc00);
  CHECK_EQ(bitnet::f32_to_f16(1e-30f), 0);
}

TEST("bfloat16 is the upper half of a float, rounded to even") {
  CHECK_EQ(bitnet::bf16_to_f32(0x3f80), 1.0f);
  CHECK_EQ(bitnet::bf16_to_f32(0xc040), -3.0f);
  CHECK_EQ(bitnet::f32_to_bf16(1.0f), 0x3f80);
  CHECK_EQ(bitnet::f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);  // tie: to even
  CHECK_EQ(bitnet::f32_to_bf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
  CHECK_EQ(bitnet::f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);  // tie: to even
  CHECK_EQ(bitnet::f32_to_bf16(3.4e38f), 0x7f80);
  CHECK(std::isnan(bitnet::bf16_to_f32(bitnet::f32_to_bf16(std::nanf("1")))));
}

TEST("block formats dequantize to values computed by hand") {
  const auto row = [](TensorType type, const std::vector<uint8_t>& bytes, int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    bitnet::dequantize_row(type, bytes.data(), out.data(), n);
    return out;
  };
  // d = 0.5 (0x3800), m = -1 (0xbc00)
  std::vector<uint8_t> q4_0(18), q4_1(20), q5_0(22), q5_1(24), q8_0(34), q6_k(210);
  q4_0[1] = 0x38, q4_0[2] = 0x1f, q4_0[17] = 0xe0;
  std::vector<float> out = row(TensorType::kQ4_0, q4_0, 32);
  CHECK(out[0] == 3.5f && out[16] == -3.5f && out[15] == -4.0f && out[31] == 3.0f);
  q4_1[1] = 0x38, q4_1[3] = 0xbc, q4_1[4] = 0x1f;
  out = row(TensorType::kQ4_1, q4_1, 32);
  CHECK(out[0] == 6.5f && out[16] == -0.5f && out[1] == -1.0f);
  q5_0[1] = 0x38, q5_0[2] = 0x01, q5_0[5] = 0x80, q5_0[6] = 0x32, q5_0[21] = 0xf4;
  out = row(TensorType::kQ5_0, q5_0, 32);  // fifth bits of elements 0 and 31
  CHECK(out[0] == 1.0f && out[16] == -6.5f && out[15] == -6.0f && out[31] == 7.5f);
  q5_1[1] = 0x38, q5_1[3] = 0xbc, q5_1[6] = 0x01, q5_1[8] = 0x32;  // fifth bit of element 16
  out = row(TensorType::kQ5_1, q5_1, 32);
  CHECK(out[0] == 0.0f && out[16] == 8.5f && out[1] == -1.0f);
  q8_0[1] = 0x38, q8_0[2] = 0x80, q8_0[33] = 127;
  out = row(TensorType::kQ8_0, q8_0, 32);
  CHECK(out[0] == -64.0f && out[1] == 0.0f && out[31] == 63.5f);

  q6_k[209] = 0x38;
  for (int i = 0; i < 16; ++i) q6_k[192 + i] = static_cast<uint8_t>(i - 8);  // scales -8..7
  q6_k[0] = 0x5a, q6_k[128] = 0x93;             // ql and qh of l = 0: elements 0 and 64, upper bits
  q6_k[64 + 63] = 0xc7, q6_k[160 + 31] = 0x60;  // second half, l = 31: elements 191 and 255
  out = row(TensorType::kQ6_K, q6_k, 256);
  CHECK_EQ(out[0], 0.5f * -8 * (0x3a - 32));   // low 0xa, bits 0-1 of qh: 3
  CHECK_EQ(out[32], 0.5f * -6 * (0x00 - 32));  // bits 2-3: 0
  CHECK_EQ(out[64], 0.5f * -4 * (0x15 - 32));  // low 0x5, bits 4-5: 1
  CHECK_EQ(out[96], 0.5f * -2 * (0x20 - 32));  // bits 6-7: 2
  CHECK_EQ(out[16], 0.5f * -7 * -32);          // the second scale
  CHECK_EQ(out[128 + 63], 0.5f * 3 * (0x07 - 32));
  CHECK_EQ(out[255], 0.5f * 7 * (0x1c - 32));  // low 0xc, bits 6-7: 1
  CHECK_THROWS(row(TensorType::kI2_S, q6_k, 32), Error, "I2_S rows cannot");
}

TEST("the K types with minima dequantize to llama.cpp's very floats") {
  const Gguf gguf = Gguf::open(check::data("dequantized-rows.gguf"));
  int n_types = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (tensor.type == TensorType::kF32) continue;
    const std::vector<float> ours = dequantize(tensor);
    const GgufTensor& reference = *gguf.find_tensor(std::string(tensor.name) + ".f32");
    CHECK_EQ(ours.size() * sizeof(float), reference.n_bytes);
    CHECK(std::memcmp(ours.data(), reference.data, reference.n_bytes) == 0);
    ++n_types;
  }
  CHECK_EQ(n_types, 3);
}

TEST("quantized embeddings are as close to the float ones as their format allows") {
  // max |error| / max |block|, with the scale rounded to f16 (2^-11 of the largest value):
  // Q8_0 half a step of 1/127. Q4_0, Q5_0 a whole step of 1/8, 1/16, since the value opposite to
  // the largest is clipped. Q6_K (per 256) a step of 1/32, its scale known to 1/128 of the largest.
  struct Case {
    const char* file;
    int64_t block;
    double bound;
  };
  const Case cases[] = {{"llama-TQ2_0-q8_0.gguf", 32, 0.5 / 127 + 0x1p-11},
                        {"llama-TQ2_0-q6_k.gguf", 256, 1.0 / 32 + 1.0 / 128 + 0x1p-11},
                        {"llama-TQ2_0-q5_0.gguf", 32, 1.0 / 16 + 0x1p-11},
                        {"llama-TQ2_0-q4_0.gguf", 32, 1.0 / 8 + 0x1p-11}};
  if (!have("llama-f32.gguf")) return;
  const Gguf reference = Gguf::open(golden("llama-f32.gguf"));
  for (const auto& [file, block, bound] : cases) {
    if (!have(file)) continue;
    const Gguf gguf = Gguf::open(golden(file));
    for (const char* name : {"token_embd.weight", "output.weight"}) {
      const std::vector<float> a = dequantize(*gguf.find_tensor(name));
      const std::vector<float> b = dequantize(*reference.find_tensor(name));
      double worst = 0;
      for (size_t i = 0; i < a.size(); i += static_cast<size_t>(block)) {
        double largest = 0, error = 0;
        for (size_t j = i; j < i + static_cast<size_t>(block); ++j) {
          largest = std::max(largest, std::fabs(double{b[j]}));
          error = std::max(error, std::fabs(double{a[j]} - b[j]));
        }
        worst = std::max(worst, error / largest);
      }
      CHECK(worst <= bound && worst > bound / 20);
    }
  }
}

TEST("I2_S holds element 32g + p of 128 in byte p, top bits first") {
  Packed p(TensorType::kI2_S, 2, 256);
  std::fill(p.bytes.begin(), p.bytes.end() - 32, uint8_t{0x55});
  p.bytes[0] = 0x92;   // +1, 0, -1, +1 for columns 0, 32, 64, 96
  p.bytes[31] = 0x54;  // column 127: -1
  p.bytes[32] = 0x95;  // column 128: +1
  p.bytes[64] = 0x15;  // row 1, column 0: -1
  store(p.bytes, 128, 1.5f);
  Codes expected(512, 1);
  expected[0] = 2, expected[64] = 0, expected[96] = 2;
  expected[127] = 0, expected[128] = 2, expected[256] = 0;
  check_unpacks(p, expected, 1.5f);
}

TEST("I2_S rows of any length unpack, sharing blocks with their neighbours") {
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{1, 128},
                                                                           {3, 128},
                                                                           {2, 320},
                                                                           {32, 4},
                                                                           {128, 1},
                                                                           {128, 31},
                                                                           {64, 34},
                                                                           {8, 864},
                                                                           {2, 64}}) {
    Packed p(TensorType::kI2_S, rows, cols);
    const Codes codes = random_codes(rows * cols, 1);
    pack_i2_s(p, codes, 0.75f);
    check_unpacks(p, codes, 0.75f);
  }
  Packed partial(TensorType::kI2_S, 3, 100);  // the last 44 weights would be missing
  Codes row(100);
  CHECK_THROWS(bitnet::unpack_ternary_row(partial.tensor, 0, row.data()), Error, "multiple of 128");
}

TEST("packing a row for the kernels and reading it back gives the same codes, padded with zeros") {
  for (int64_t cols : {1,   2,   31,  32,  33,  63,  64,  65,   100,  127,  128,
                       129, 160, 255, 256, 257, 320, 864, 1000, 2560, 6912, 8640}) {
    const int64_t padded = (cols + 127) / 128 * 128;
    Codes codes = random_codes(cols, static_cast<uint32_t>(cols));
    Packed p(TensorType::kI2_S, 1, padded);
    std::vector<uint8_t> guarded(static_cast<size_t>(padded / 4 + 1), 0xee);
    bitnet::pack_i2_s_row(codes.data(), cols, guarded.data());
    CHECK_EQ(guarded.back(), 0xee);
    std::copy(guarded.begin(), guarded.end() - 1, p.bytes.begin());
    store(p.bytes, static_cast<size_t>(padded / 4), 1.0f);
    codes.resize(static_cast<size_t>(padded), 1);
    check_unpacks(p, codes, 1.0f);
  }
}

TEST("TL1 holds the weights of the worked example where it says") {
  Packed p(TensorType::kTL1, 256, 128, {256, 128, 128, 64, 64});
  std::fill(p.bytes.begin(), p.bytes.end() - 32, uint8_t{0x44});
  Codes expected(256 * 128, 1);
  const auto set = [&](size_t row, size_t col, size_t byte, bool high) {
    p.bytes[byte] =
        static_cast<uint8_t>((p.bytes[byte] & (high ? 0x0f : 0xf0)) | (high ? 0x50 : 5));
    expected[row * 128 + col + 1] = 2;  // nibble 5: weights 0, +1
  };
  set(0, 0, 0, true), set(0, 2, 0, false), set(1, 0, 1, true), set(16, 0, 16, true);
  set(0, 4, 64, true), set(64, 0, 1024, true), set(0, 64, 2048, true), set(128, 0, 4096, true);
  store(p.bytes, 256 * 128 / 4, 2.5f);
  check_unpacks(p, expected, 2.5f);
}

TEST("TL1 unpacks random weights for every kind of tile") {
  for (const TlConfig& tl : {TlConfig{768, 256, 256, 128, 32}, TlConfig{256, 768, 128, 64, 64},
                             TlConfig{64, 256, 64, 256, 64}, TlConfig{64, 16, 32, 8, 32},
                             TlConfig{320, 128, 320, 64, 32}, TlConfig{160, 64, 160, 64, 32}}) {
    Packed p(TensorType::kTL1, tl.rows, tl.cols, tl);
    const Codes codes = random_codes(int64_t{tl.rows} * tl.cols, 2);
    pack_tl1(p, codes, 0.125f);
    check_unpacks(p, codes, 0.125f);
  }
}

TEST("TL2 holds the triples of the worked example where it says") {
  // 64 x 288 with BM 64, BK 96: three column tiles; the example is the first.
  Packed p(TensorType::kTL2, 64, 288, {64, 288, 64, 96, 32});
  const size_t signs = 64 * 288 / 6;
  Codes expected(64 * 288, 1);
  const auto set = [&](size_t row, size_t col, size_t byte, bool high, int lane, int bit) {
    p.bytes[byte] = static_cast<uint8_t>(p.bytes[byte] | (high ? 0x50 : 0x05));
    std::fill_n(expected.begin() + static_cast<ptrdiff_t>(row * 288 + col), 3, uint8_t{2});
    expected[row * 288 + col] = bit < 0 ? 2 : 0;  // 5 = 9 - 3 - 1, -5 = -9 + 3 + 1
    for (size_t i = 1; i < 3; ++i) expected[row * 288 + col + i] = bit < 0 ? 0 : 2;
    if (bit >= 0) {
      p.bytes[signs + static_cast<size_t>(2 * lane + bit / 8)] |=
          static_cast<uint8_t>(1 << bit % 8);
    }
  };
  set(0, 0, 0, true, 0, 15);
  set(0, 3, 0, false, 0, 13);
  set(8, 0, 16, true, 0, -1);
  set(16, 0, 8, true, 0, 14);
  set(24, 0, 24, true, 8, 14);
  set(0, 6, 32, true, 0, -1);
  store(p.bytes, p.bytes.size() - 32, 0.5f);
  check_unpacks(p, expected, 0.5f);
}

TEST("TL2 unpacks random weights with and without columns left over for pairs") {
  for (const TlConfig& tl : {TlConfig{768, 256, 128, 96, 32}, TlConfig{256, 768, 128, 96, 32},
                             TlConfig{64, 256, 64, 96, 32}, TlConfig{320, 416, 160, 192, 32},
                             TlConfig{32, 288, 32, 96, 32}, TlConfig{128, 320, 64, 24, 32},
                             TlConfig{64, 384, 32, 192, 32}}) {
    if (tl.cols % tl.BK % 32 != 0) continue;
    Packed p(TensorType::kTL2, tl.rows, tl.cols, tl);
    const Codes codes = random_codes(int64_t{tl.rows} * tl.cols, 3);
    pack_tl2(p, codes, 0.25f);
    check_unpacks(p, codes, 0.25f);
  }
}

TEST("TQ1_0, TQ2_0, IQ1_BN and IQ2_BN unpack what their formulas pack") {
  const Codes codes = random_codes(3 * 768, 4);
  Packed tq1(TensorType::kTQ1_0, 3, 768), tq2(TensorType::kTQ2_0, 3, 768);
  pack_tq1_0(tq1, codes, 0x3a00);  // 0.75
  pack_tq2_0(tq2, codes, 0x3a00);
  check_unpacks(tq1, codes, 0.75f);
  check_unpacks(tq2, codes, 0.75f);

  Packed iq1(TensorType::kIQ1_BN, 3, 768), iq2(TensorType::kIQ2_BN, 3, 768);
  pack_iq1_bn(iq1, codes);
  pack_iq2_bn(iq2, codes);
  for (const Packed* p : {&iq1, &iq2}) {
    const Unpacked out = unpack(p->tensor);
    CHECK(out.codes == codes);
    CHECK((out.scales == std::vector<float>{0.5f, 1.5f, 2.5f}));  // each row has its own
  }
}

TEST("a TQ block of scale zero is zero weights; blocks that differ are refused") {
  const Codes codes = random_codes(512, 5);
  Packed tq1(TensorType::kTQ1_0, 1, 512), tq2(TensorType::kTQ2_0, 1, 512);
  pack_tq1_0(tq1, codes, 0x3c00);
  pack_tq2_0(tq2, codes, 0x3c00);
  Codes expected = codes;
  std::fill(expected.begin(), expected.begin() + 256, uint8_t{1});
  for (Packed* p : {&tq1, &tq2}) {
    const size_t first_scale = p->bytes.size() / 2 - 2;
    for (const uint16_t zero : {0x0000, 0x8000}) {
      store(p->bytes, first_scale, zero);
      check_unpacks(*p, expected, 1.0f);
    }
    store<uint16_t>(p->bytes, first_scale, 0x3c01);
    CHECK_THROWS(unpack(p->tensor), Error, "blocks of different scales: this is not a BitNet");
    store<uint16_t>(p->bytes, first_scale, 0);
    store<uint16_t>(p->bytes, p->bytes.size() - 2, 0);
    check_unpacks(*p, Codes(512, 1), 0.0f);
  }
}

TEST("codes and scales that stand for nothing are refused, naming type and row") {
  const auto refuse = [](Packed& p, size_t at, const std::vector<uint8_t>& bytes,
                         const std::string& text) {
    std::copy(bytes.begin(), bytes.end(), p.bytes.begin() + static_cast<ptrdiff_t>(at));
    CHECK_THROWS(unpack(p.tensor), Error, text);
  };
  const std::vector<uint8_t> nan32 = {0, 0, 0xc0, 0x7f}, nan16 = {0, 0x7e}, infinite16 = {0, 0x7c};
  Packed i2s(TensorType::kI2_S, 2, 128);
  refuse(i2s, 64, nan32, "I2_S row 0 has a scale that is not finite");
  refuse(i2s, 32, {0x0c}, "I2_S row 0");
  store(i2s.bytes, 64, 1.0f);
  refuse(i2s, 32, {0x0c}, "I2_S row 1 holds a code");
  Packed tl1(TensorType::kTL1, 64, 16, {64, 16, 64, 16, 64});
  refuse(tl1, 5, {0x90}, "TL1 row 5 holds a code");
  refuse(tl1, 5, {0x09}, "TL1 row 5 holds a code");
  const TlConfig tl{32, 320, 32, 96, 32};
  Packed tl2(TensorType::kTL2, 32, 320, tl);
  refuse(tl2, 3, {0xe0}, "TL2 row 3 holds a code");
  refuse(tl2, 3, {0x0f}, "TL2 row 3 holds a code");
  tl2.bytes[3] = 0;
  refuse(tl2, 32 * 288 / 24 * 5 + 1, {0x90}, "TL2 row 1 holds a code");
  Packed tq2(TensorType::kTQ2_0, 1, 256), tq1(TensorType::kTQ1_0, 1, 256);
  refuse(tq2, 64, nan16, "TQ2_0 row 0 has a scale that is not finite");
  refuse(tq1, 52, infinite16, "TQ1_0 row 0 has a scale that is not finite");
  store<uint16_t>(tq2.bytes, 64, 0x3c00);
  refuse(tq2, 9, {0x30}, "TQ2_0 row 0 holds a code");
  Packed iq2(TensorType::kIQ2_BN, 2, 64), iq1(TensorType::kIQ1_BN, 2, 64);
  refuse(iq2, 20 + 4, {0xc0}, "IQ2_BN row 1 holds a code");
  refuse(iq1, 15, nan16, "IQ1_BN row 1 has a scale that is not finite");
}

TEST("rows, sizes and types that cannot be are refused before any byte is read") {
  Packed p(TensorType::kI2_S, 2, 128);
  Codes codes(128);
  const auto attempt = [&](TernaryTensor tensor, int64_t row) {
    return bitnet::unpack_ternary_row(tensor, row, codes.data());
  };
  CHECK_THROWS(attempt(p.tensor, 2), Error, "row 2 of a I2_S tensor of 2 x 128");
  CHECK_THROWS(attempt(p.tensor, -1), Error, "row -1");
  TernaryTensor changed = p.tensor;
  changed.n_bytes -= 1;
  CHECK_THROWS(attempt(changed, 0), Error, "does not exist");
  changed = p.tensor;
  changed.rows = -2;
  CHECK_THROWS(attempt(changed, 0), Error, "does not exist");
  Packed floats(TensorType::kF32, 2, 128);
  CHECK_THROWS(attempt(floats.tensor, 0), Error, "F32 is not a ternary type");
  Packed tl(TensorType::kTL1, 64, 16);
  CHECK_THROWS(attempt(tl.tensor, 0), Error, "tile sizes are for another shape");
  tl.tensor.tl = {64, 16, 64, 16, 48};
  CHECK_THROWS(attempt(tl.tensor, 0), Error, "bmm must be 32 or 64");
}

TEST("tile sizes are built in for the models of bitnet.cpp, and all of them fit") {
  const std::pair<uint32_t, uint32_t> shapes[] = {
      {1536, 4096}, {1536, 1536}, {4096, 1536},  {3200, 8640},  {3200, 3200},
      {8640, 3200}, {4096, 4096}, {14336, 4096}, {4096, 14336}, {1024, 4096}};
  for (const TensorType type : {TensorType::kTL1, TensorType::kTL2}) {
    for (const auto& [rows, cols] : shapes) {
      const TlConfig config = bitnet::known_tl_config(type, rows, cols, {});
      CHECK(config.rows == rows && config.cols == cols);
      CHECK(bitnet::is_builtin_tl_config(type, config));
      CHECK(bitnet::choose_tl_config(type, rows, cols, {}) == config);
      bitnet::check_tl_config(type, config);
    }
    CHECK_THROWS(bitnet::known_tl_config(type, 2560, 2560, {}), Error,
                 "tile sizes for a matrix of 2560 x 2560; give the kernel_config.ini");
  }
  CHECK_EQ(bitnet::known_tl_config(TensorType::kTL2, 1536, 1536, {}).BK, 192u);
  CHECK_EQ(bitnet::known_tl_config(TensorType::kTL1, 3200, 3200, {}).BM, 320u);
}

TEST("the rule finds tiles for other shapes, and those of a kernel config go before") {
  using Choice = std::tuple<TensorType, TlConfig>;
  for (const auto& [type, expected] : {
           Choice{TensorType::kTL1, {2560, 6912, 256, 128, 32}},
           Choice{TensorType::kTL1, {640, 2560, 160, 128, 32}},
           Choice{TensorType::kTL1, {256, 720, 64, 80, 32}},
           Choice{TensorType::kTL1, {32, 16, 32, 16, 32}},
           Choice{TensorType::kTL2, {6912, 2560, 256, 96, 32}},
           Choice{TensorType::kTL2, {96, 320, 32, 96, 32}},
           Choice{TensorType::kTL2, {64, 264, 32, 168, 32}},  // 264 = 168 + 3 * 32
           Choice{TensorType::kTL2, {64, 280, 32, 216, 32}},  // 280 = 216 + 2 * 32
       }) {
    CHECK(bitnet::choose_tl_config(type, expected.rows, expected.cols, {}) == expected);
    const TlConfig given{expected.rows, expected.cols, 32, 48, 32};
    CHECK(bitnet::choose_tl_config(type, expected.rows, expected.cols, {given}) == given);
  }
}

TEST("the rule's tiles fit every shape that it does not refuse, and bitnet.cpp's 16-bit sums") {
  for (const TensorType type : {TensorType::kTL1, TensorType::kTL2}) {
    const int64_t step = type == TensorType::kTL1 ? 16 : 32;
    for (int64_t cols = 256; cols <= 4096; cols += step) {
      for (const int64_t rows : {32, 160, 5472, 32 * 31, 8192}) {
        const TlConfig tl = bitnet::choose_tl_config(type, rows, cols, {});
        bitnet::check_tl_config(type, tl);
        CHECK(tl.BM <= 256 && tl.BK <= 240 && tl.BK * 127 <= 32767);
      }
    }
  }
}

TEST("a shape that no tiles fit is refused with the reason") {
  const auto refuse = [](TensorType type, int64_t rows, int64_t cols, const std::string& text) {
    CHECK_THROWS(bitnet::choose_tl_config(type, rows, cols, {}), Error, text);
  };
  refuse(TensorType::kTL1, 5460, 2048,
         "no TL1 tiles fit a matrix of 5460 x 2048: its rows are no multiple of 32");
  refuse(TensorType::kTL1, 2048, 5460, "its columns are no multiple of 16");
  refuse(TensorType::kTL2, 48, 2048, "its rows are no multiple of 32");
  refuse(TensorType::kTL2, 64, 224, "it has fewer than 256 columns");
  refuse(TensorType::kTL2, 2048, 5460, "its columns are no multiple of 24 and some 32 more");
  refuse(TensorType::kTL2, int64_t{1} << 40, 4096, "it is too large");
}

TEST("tile sizes that do not fit the shape are refused") {
  const auto refuse = [](TensorType type, const TlConfig& config, const std::string& text) {
    CHECK_THROWS(bitnet::check_tl_config(type, config), Error, text);
  };
  refuse(TensorType::kTL1, {256, 256, 0, 64, 32}, "all must be positive");
  refuse(TensorType::kTL1, {256, 256, 96, 64, 32}, "bm must divide the rows");
  refuse(TensorType::kTL1, {256, 256, 128, 96, 32}, "bk must divide the columns");
  refuse(TensorType::kTL1, {256, 256, 128, 64, 16}, "bmm must be 32 or 64");
  refuse(TensorType::kTL1, {96, 256, 96, 64, 64}, "bmm must divide bm");
  refuse(TensorType::kTL1, {64, 36, 64, 12, 32}, "256 / bmm must divide bk");
  refuse(TensorType::kTL2, {256, 256, 128, 96, 64}, "bmm must be 32");
  refuse(TensorType::kTL2, {48, 288, 48, 96, 32}, "bm must be a multiple of 32");
  refuse(TensorType::kTL2, {64, 288, 64, 100, 32}, "bk must be a multiple of 24");
  refuse(TensorType::kTL2, {64, 300, 64, 96, 32}, "must be a multiple of 32");
  refuse(TensorType::kTL2, {64, 192, 64, 96, 32}, "cannot hold this shape");
  refuse(TensorType::kTL2, {64, 1024, 64, 1032 / 24 * 24, 32}, "no room");
  refuse(TensorType::kTL2, {0xffffffe0u, 0xffffffe0u, 32, 96, 32}, "");
}

TEST("reads kernel_config.ini in all the ways that Python's configparser does") {
  const auto configs = bitnet::parse_tl_config(
      "# tiles\r\n[Kernels_0]\r\nm = 768\r\nk: 256\r\nBM=256\n  bk =128 \nbmm = 32\nunroll = x\n"
      "; more\n\n[Kernels_1]\nm=1\nk=2\nbm=3\nbk=4\nbmm=5",
      "a.ini");
  CHECK_EQ(configs.size(), 2u);
  CHECK(configs[0].rows == 768 && configs[0].cols == 256 && configs[0].BM == 256);
  CHECK(configs[0].BK == 128 && configs[0].bm == 32);
  CHECK(configs[1].rows == 1 && configs[1].bm == 5);
  CHECK_EQ(read_config("tl1-kernel_config.ini").size(), 4u);
  CHECK_EQ(read_config("tl2-kernel_config.ini").size(), 8u);
}

TEST("a faulty kernel_config.ini is an error that names file and line") {
  const auto refuse = [](const std::string& text, const std::string& message) {
    CHECK_THROWS(bitnet::parse_tl_config(text, "a.ini"), Error, message);
  };
  refuse("", "a.ini: no [Kernels_...] section");
  refuse("m = 1", "a.ini:1: expected a [section] first");
  refuse("[a]\nm = 1\n", "a.ini:2: [a] has no value for k");
  refuse("[a]\nm = 1\n[b]\n", "a.ini:3: [a] has no value for k");
  refuse("[a]\nm = 1x\n", "a.ini:2: expected a positive number for m");
  refuse("[a]\nm = -1\n", "expected a positive number for m");
  refuse("[a]\nm = 0\n", "expected a positive number for m");
  refuse("[a]\nm =\n", "expected a positive number for m");
  refuse("[a]\nm = 99999999999\n", "expected a positive number for m");
  refuse("[a]\nm = 1\nm = 1\n", "a.ini:3: m is given twice");
  refuse("[a\n", "a.ini:1: expected \"]\"");
  refuse("[a]\nhello\n", "a.ini:2: expected \"key = value\"");
}

TEST("the same model as I2_S, TL1 and TL2 has the same weights and scales") {
  const Gguf small = Gguf::open(golden("b158-small.gguf"));
  const Gguf tl1 = Gguf::open(golden("b158-tl1.gguf")), tl2 = Gguf::open(golden("b158-tl2.gguf"));
  const auto tl1_config = read_config("tl1-kernel_config.ini");
  const auto tl2_config = read_config("tl2-kernel_config.ini");
  int n_ternary = 0, n_floats = 0;
  for (const GgufTensor& tensor : small.tensors()) {
    const GgufTensor* a = tl1.find_tensor(tensor.name);
    const GgufTensor* b = tl2.find_tensor(tensor.name);
    CHECK(a != nullptr && b != nullptr);
    if (!bitnet::is_ternary(tensor.type)) {
      ++n_floats;
      CHECK(dequantize(tensor) == dequantize(*a) && dequantize(tensor) == dequantize(*b));
      continue;
    }
    ++n_ternary;
    CHECK(a->type == TensorType::kTL1 && b->type == TensorType::kTL2);
    const Unpacked expected = unpack(view(tensor));
    const Unpacked from_tl1 = unpack(view(*a, tl1_config));
    const Unpacked from_tl2 = unpack(view(*b, tl2_config));
    CHECK(from_tl1.codes == expected.codes && from_tl1.scales == expected.scales);
    CHECK(from_tl2.codes == expected.codes && from_tl2.scales == expected.scales);
  }
  CHECK_EQ(n_ternary, 28);
  CHECK_EQ(n_floats, 18);
}

TEST("I2_S, TL1 and TL2 weights are those of the float model they were made from") {
  if (!have("b158-f32.gguf")) return;
  check_against_floats("b158-small.gguf", "b158-f32.gguf", {}, 0);
  check_against_floats("b158-tl1.gguf", "b158-f32.gguf", read_config("tl1-kernel_config.ini"), 0);
  check_against_floats("b158-tl2.gguf", "b158-f32.gguf", read_config("tl2-kernel_config.ini"), 0);
}

TEST("TQ1_0 and TQ2_0 weights are those of the float model, their scale rounded to f16") {
  if (!have("llama-f32.gguf")) return;
  check_against_floats("llama-small.gguf", "llama-f32.gguf", {}, 0);
  check_against_floats("llama-TQ1_0.gguf", "llama-f32.gguf", {}, 0x1p-11);
  check_against_floats("llama-TQ2_0.gguf", "llama-f32.gguf", {}, 0x1p-11);
  check_against_floats("llama-TQ2_0-q6_k.gguf", "llama-f32.gguf", {}, 0x1p-11);
}

TEST("a model whose rows are no multiple of 128 unpacks to plausible weights throughout") {
  const Gguf gguf = Gguf::open(golden("odd-b158.gguf"));
  int n_ternary = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (!bitnet::is_ternary(tensor.type)) continue;
    ++n_ternary;
    const Unpacked out = unpack(view(tensor));
    // Of random weights, each value has a share of a quarter to a half; the packing of the flat
    // array gives the same bytes back.
    for (const uint8_t code : {0, 1, 2}) {
      const auto n = static_cast<size_t>(std::count(out.codes.begin(), out.codes.end(), code));
      CHECK(n > out.codes.size() / 5 && n < out.codes.size() / 2);
    }
    Packed again(tensor.type, static_cast<int64_t>(tensor.rows()),
                 static_cast<int64_t>(tensor.cols()));
    pack_i2_s(again, out.codes, out.scales[0]);
    CHECK(std::equal(again.bytes.begin(), again.bytes.end() - 28, tensor.data));
  }
  CHECK_EQ(n_ternary, 21);
}
