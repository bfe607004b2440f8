// The conversion driver: files of random weights in, files out, read back with the plain readers.
#include "convert/convert.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "check.h"
#include "formats/dequantize.h"
#include "formats/ternarize.h"
#include "gguf/gguf.h"
#include "gguf_builder.h"

using bitnet::ConvertJob;
using bitnet::ConvertPlan;
using bitnet::ConvertProgress;
using bitnet::ConvertRequest;
using bitnet::ConvertResult;
using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Gguf;
using bitnet::GgufTensor;
using bitnet::SourceKind;
using bitnet::TensorType;
using bitnet::TernaryTensor;
using bitnet::TlConfig;

namespace {

constexpr TensorType kTernaryTypes[] = {TensorType::kI2_S,  TensorType::kTL1,   TensorType::kTL2,
                                        TensorType::kTQ1_0, TensorType::kTQ2_0, TensorType::kIQ1_BN,
                                        TensorType::kIQ2_BN};

// A folder of its own, gone at the end.
struct Folder {
  std::filesystem::path path;
  Folder() {
    static int count = 0;
    path = std::filesystem::temp_directory_path() /
           ("bitnet-convert-test-" + std::to_string(std::random_device{}()) + "-" +
            std::to_string(count++));
    std::filesystem::create_directory(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
};

void write_file(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<uint8_t> float_bytes(const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Tile sizes for any shape that TL1 and TL2 can have at all with these small tiles.
std::vector<TlConfig> tiles_for(TensorType type, int64_t rows, int64_t cols) {
  const uint32_t BK = type == TensorType::kTL1 ? 8 : 96;
  return {{static_cast<uint32_t>(rows), static_cast<uint32_t>(cols), 32, BK, 32}};
}

// A conversion and where it writes.
struct Request : ConvertRequest {
  std::string outfile;
};

std::vector<ConvertResult> run(Request request) {
  request.file.string("general.architecture", "test");
  ConvertProgress progress;
  return bitnet::convert(bitnet::plan_conversion(request), request.outfile, progress);
}

struct Matrix {
  int64_t rows, cols;
  std::vector<uint8_t> codes;
  float scale;
  bool operator==(const Matrix&) const = default;
};

Matrix read_ternary(const std::string& path, const std::string& name,
                    const std::vector<TlConfig>& configs) {
  const Gguf gguf = Gguf::open(path);
  const GgufTensor& t = *gguf.find_tensor(name);
  Matrix out{static_cast<int64_t>(t.rows()), static_cast<int64_t>(t.cols()), {}, 0};
  out.codes.resize(static_cast<size_t>(out.rows * out.cols));
  const TernaryTensor tensor{t.type, out.rows,  out.cols,
                             t.data, t.n_bytes, configs.empty() ? TlConfig{} : configs[0]};
  for (int64_t r = 0; r < out.rows; ++r) {
    const float scale = bitnet::unpack_ternary_row(tensor, r, out.codes.data() + r * out.cols);
    if (scale != 0) out.scale = scale;
  }
  return out;
}

ConvertJob matrix_job(int64_t rows, int64_t cols, TensorType out) {
  ConvertJob job;
  job.name = "blk.0.attn_q.weight";
  job.ne = {cols, rows};
  job.out_type = out;
  job.ternary = true;
  job.declared = true;
  return job;
}

// A job that reads what `from` wrote under the same name.
ConvertJob reading(const Request& from, TensorType out) {
  const Gguf gguf = Gguf::open(from.outfile);
  ConvertJob job = from.jobs[0];
  const GgufTensor& t = *gguf.find_tensor(job.name);
  job.source = {};
  job.source.type = t.type;
  job.source.path = from.outfile;
  job.source.offset = gguf.offset_of(t);
  job.source.n_bytes = t.n_bytes;
  job.out_type = out;
  return job;
}

bool can_hold(TensorType type, int64_t rows, int64_t cols) {
  try {
    ConvertRequest request;
    request.jobs = {matrix_job(rows, cols, type)};
    request.tl_configs = tiles_for(type, rows, cols);
    bitnet::plan_conversion(request);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<float> gaussian(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

Request float_request(const Folder& folder, const std::vector<float>& weights, int64_t rows,
                      int64_t cols, TensorType out) {
  Request request;
  request.outfile = folder.file("out");
  ConvertJob job = matrix_job(rows, cols, out);
  job.source.path = folder.file("source");
  write_file(job.source.path, float_bytes(weights));
  job.source.n_bytes = weights.size() * 4;
  request.jobs = {job};
  return request;
}

}  // namespace

TEST("every pair of ternary types converts exactly both ways, in every shape that both can hold") {
  const int64_t shapes[][2] = {{1, 4},    {6, 130},  {3, 256},  {5, 64},   {33, 768},
                               {32, 264}, {64, 768}, {96, 800}, {7, 1000}, {32, 416}};
  int pairs = 0;
  for (const auto& [rows, cols] : shapes) {
    for (const TensorType from : kTernaryTypes) {
      if (!can_hold(from, rows, cols)) continue;
      Folder folder;
      Request first;
      first.outfile = folder.file("first");
      first.tl_configs = tiles_for(from, rows, cols);
      first.jobs = {matrix_job(rows, cols, from)};
      first.jobs[0].source.kind = SourceKind::kRandom;
      first.jobs[0].source.seed = static_cast<uint64_t>(rows * cols);
      first.jobs[0].source.factor = 0.0625f;  // exact as f16
      run(first);
      const Matrix weights = read_ternary(first.outfile, first.jobs[0].name, first.tl_configs);
      for (const TensorType to : kTernaryTypes) {
        if (!can_hold(to, rows, cols)) continue;
        // One plan knows one set of tiles per shape: TL1 <-> TL2 goes through I2_S elsewhere.
        const bool tiles_differ = (from == TensorType::kTL1 && to == TensorType::kTL2) ||
                                  (from == TensorType::kTL2 && to == TensorType::kTL1);
        if (tiles_differ) continue;
        Request second;
        second.outfile = folder.file("second");
        const bool tl_source = from == TensorType::kTL1 || from == TensorType::kTL2;
        second.tl_configs = tl_source ? first.tl_configs : tiles_for(to, rows, cols);
        second.jobs = {reading(first, to)};
        run(second);
        CHECK(read_ternary(second.outfile, first.jobs[0].name, second.tl_configs) == weights);
        ++pairs;
      }
    }
  }
  CHECK(pairs > 100);
}

TEST("any number of threads writes the same bytes") {
  std::vector<uint8_t> expected;
  for (const int threads : {1, 2, 5}) {
    Folder folder;
    Request request = float_request(folder, gaussian(704 * 900, 3), 704, 900, TensorType::kI2_S);
    request.n_threads = threads;
    ConvertJob embedding;
    embedding.name = "token_embd.weight";
    embedding.ne = {320, 3000};
    embedding.out_type = TensorType::kQ8_0;
    embedding.source.kind = SourceKind::kRandom;
    embedding.source.seed = 7;
    embedding.source.deviation = 1;
    request.jobs.push_back(embedding);
    run(request);
    const std::vector<uint8_t> bytes = read_file(request.outfile);
    if (expected.empty()) expected = bytes;
    CHECK(bytes == expected);
  }
}

TEST("float weights become the absmean rule's codes, and the counts are theirs") {
  Folder folder;
  const int64_t rows = 64, cols = 130;
  const std::vector<float> weights = gaussian(static_cast<size_t>(rows * cols), 11);
  Request request = float_request(folder, weights, rows, cols, TensorType::kI2_S);
  const ConvertResult result = run(request)[0];
  double sum = 0;
  for (const float w : weights) sum += std::fabs(w);
  const float mean = static_cast<float>(sum / static_cast<double>(weights.size()));
  CHECK(result.ternary && result.rounded);
  CHECK_NEAR(result.scale, mean, mean * 1e-6);
  const Matrix out = read_ternary(request.outfile, request.jobs[0].name, {});
  CHECK_EQ(out.scale, result.scale);
  int64_t counts[3] = {};
  int wrong = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    ++counts[out.codes[i]];
    const float q = std::clamp(std::nearbyint(weights[i] / mean), -1.0f, 1.0f);
    wrong += out.codes[i] != static_cast<int>(q) + 1;
  }
  CHECK(wrong <= 1);  // one on the edge may round the other way
  CHECK(counts[0] == result.n_negative && counts[1] == result.n_zero &&
        counts[2] == result.n_positive);
  CHECK(result.relative_error > 0.3 && result.relative_error < 0.7);
}

TEST("float weights that nothing declares ternary are refused with their error, ternary ones not") {
  Folder folder;
  std::vector<float> weights = gaussian(64 * 128, 5);
  Request request = float_request(folder, weights, 64, 128, TensorType::kI2_S);
  request.jobs[0].declared = false;
  CHECK_THROWS(run(request), Error, "% off");
  CHECK_THROWS(run(request), Error, "blk.0.attn_q.weight");
  for (float& w : weights) w = w > 0.01f ? 0.5f : w < -0.01f ? -0.5f : 0.0f;
  request = float_request(folder, weights, 64, 128, TensorType::kI2_S);
  request.jobs[0].declared = false;
  const ConvertResult result = run(request)[0];
  CHECK(!result.rounded);
  CHECK_EQ(result.scale, 0.5f);
}

TEST("a float output of declared weights holds the ternary values") {
  Folder folder;
  Request request = float_request(folder, gaussian(64 * 128, 5), 64, 128, TensorType::kF32);
  const ConvertResult result = run(request)[0];
  const Gguf gguf = Gguf::open(request.outfile);
  const GgufTensor& t = gguf.tensors()[0];
  std::vector<float> values(64 * 128);
  std::memcpy(values.data(), t.data, t.n_bytes);
  int64_t zeros = 0;
  for (const float v : values) {
    CHECK(v == 0 || std::fabs(v) == result.scale);
    zeros += v == 0;
  }
  CHECK_EQ(zeros, result.n_zero);
}

TEST("NaN and infinity are refused wherever they are, naming tensor and row") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const TensorType type : {TensorType::kI2_S, TensorType::kF16, TensorType::kF32}) {
      Folder folder;
      std::vector<float> weights = gaussian(40 * 128, 5);
      weights[39 * 128 + 100] = bad;
      Request request = float_request(folder, weights, 40, 128, type);
      CHECK_THROWS(run(request), Error, "blk.0.attn_q.weight: row 39");
      request.jobs[0].ternary = false;
      if (type != TensorType::kI2_S) CHECK_THROWS(run(request), Error, "NaN or infinity");
    }
  }
}

TEST("a value beyond F16 is refused in F16 and kept in BF16") {
  Folder folder;
  std::vector<float> weights = gaussian(4 * 32, 5);
  weights[77] = 70000;
  Request request = float_request(folder, weights, 4, 32, TensorType::kF16);
  request.jobs[0].ternary = false;
  CHECK_THROWS(run(request), Error, "beyond the range of F16");
  request.jobs[0].out_type = TensorType::kBF16;
  run(request);
}

TEST("rows of a packed checkpoint come in the order of NORM RoPE") {
  const int64_t heads = 3, d = 8, rows = heads * d, cols = 128;
  std::mt19937 random(1);
  std::vector<uint8_t> codes(static_cast<size_t>(rows * cols)), packed(codes.size() / 4);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 3);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      packed[static_cast<size_t>(r % (rows / 4) * cols + c)] |=
          static_cast<uint8_t>(codes[static_cast<size_t>(r * cols + c)] << (2 * (r / (rows / 4))));
    }
  }
  Folder folder;
  Request request;
  request.outfile = folder.file("out");
  const std::string source = folder.file("source");
  write_file(source, packed);
  ConvertJob job = matrix_job(rows, cols, TensorType::kTQ2_0);
  job.out_type = TensorType::kI2_S;
  job.source.kind = SourceKind::kHfPacked;
  job.source.path = source;
  job.source.n_bytes = packed.size();
  job.source.factor = 0.25f;
  job.rope_heads = heads;
  request.jobs = {job};
  run(request);
  const Matrix out = read_ternary(request.outfile, job.name, {});
  CHECK_EQ(out.scale, 0.25f);
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < d / 2; ++i) {
      for (int64_t s = 0; s < 2; ++s) {
        const auto* expected = codes.data() + (h * d + s * (d / 2) + i) * cols;
        const auto* actual = out.codes.data() + (h * d + 2 * i + s) * cols;
        CHECK(std::equal(expected, expected + cols, actual));
      }
    }
  }
}

TEST("a packed checkpoint with an impossible code or the wrong size is refused") {
  Folder folder;
  Request request;
  request.outfile = folder.file("out");
  const std::string source = folder.file("source");
  std::vector<uint8_t> packed(8 * 64);
  packed[300] = 0x0c;  // code 3
  write_file(source, packed);
  ConvertJob job = matrix_job(32, 64, TensorType::kI2_S);
  job.source.kind = SourceKind::kHfPacked;
  job.source.path = source;
  job.source.n_bytes = packed.size();
  request.jobs = {job};
  CHECK_THROWS(run(request), Error, "blk.0.attn_q.weight");
  request.jobs[0].source.n_bytes = packed.size() - 64;
  CHECK_THROWS(run(request), Error, "do not fit its shape");
  request.jobs[0].source.n_bytes = packed.size();
  request.jobs[0].source.offset = 1;
  CHECK_THROWS(run(request), Error, "beyond the end of the file");
}

TEST("the other layouts of I2_S are read when they are named") {
  const int64_t rows = 8, cols = 256;
  std::mt19937 random(9);
  std::vector<uint8_t> codes(static_cast<size_t>(rows * cols));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 3);
  const float scale = 1.5f;
  for (const auto layout :
       {bitnet::I2SLayout::kArm64, bitnet::I2SLayout::kRowGroup, bitnet::I2SLayout::kSequential}) {
    std::vector<uint8_t> bytes(codes.size() / 4 + 32);
    for (size_t i = 0; i < codes.size(); ++i) {
      const size_t row = i / cols, col = i % cols;
      size_t at = i / 4, shift = 6 - 2 * (i % 4);
      if (layout == bitnet::I2SLayout::kArm64) {
        at = 16 * (i / 64) + i % 16;
        shift = 6 - 2 * (i % 64 / 16);
      } else if (layout == bitnet::I2SLayout::kRowGroup) {
        at = row / 4 * cols + col;
        shift = 6 - 2 * (row % 4);
      }
      bytes[at] |= static_cast<uint8_t>(codes[i] << shift);
    }
    std::memcpy(bytes.data() + codes.size() / 4, &scale, 4);
    Folder folder;
    Request request;
    request.outfile = folder.file("out");
    const std::string source = folder.file("source");
    write_file(source, bytes);
    ConvertJob job = matrix_job(rows, cols, TensorType::kI2_S);
    job.source.type = TensorType::kI2_S;
    job.source.path = source;
    job.source.n_bytes = bytes.size();
    job.source.i2s = layout;
    request.jobs = {job};
    run(request);
    CHECK(read_ternary(request.outfile, job.name, {}) == (Matrix{rows, cols, codes, scale}));
  }
}

TEST("rows with different scales are refused by types that hold one, and stay where they can") {
  const int64_t rows = 4, cols = 64;
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * (4 + cols / 4)), 0xaa);  // all +1
  for (int64_t r = 0; r < rows; ++r) {
    const float scale = r == 2 ? 2.0f : 1.0f;
    std::memcpy(bytes.data() + r * (4 + cols / 4), &scale, 4);
  }
  Folder folder;
  Request request;
  request.outfile = folder.file("out");
  const std::string source = folder.file("source");
  write_file(source, bytes);
  ConvertJob job = matrix_job(rows, cols, TensorType::kI2_S);
  job.source.type = TensorType::kIQ2_BN;
  job.source.path = source;
  job.source.n_bytes = bytes.size();
  request.jobs = {job};
  CHECK_THROWS(run(request), Error, "different scales");
}

TEST("a tensor that overwrites another one is found when the file is read back") {
  Folder folder;
  Request request = float_request(folder, gaussian(64 * 128, 5), 64, 128, TensorType::kI2_S);
  request.jobs.push_back(request.jobs[0]);
  request.jobs[1].name = "blk.0.attn_k.weight";
  request.jobs[1].source.kind = SourceKind::kRandom;
  ConvertPlan plan = bitnet::plan_conversion(request);
  const uint64_t right = plan.tensors[1].offset;
  ConvertProgress progress;
  plan.tensors[1].offset = plan.tensors[0].offset;
  CHECK_THROWS(bitnet::convert(plan, request.outfile, progress), Error, "was written wrongly");
  plan.tensors[1].offset = right;
  bitnet::convert(plan, request.outfile, progress);
}

TEST("the plan refuses shapes that no file or type can hold, naming the tensor") {
  const std::vector<int64_t> impossible[] = {
      {}, {0}, {4, -1}, {1, 1, 1, 1, 1}, {1ll << 32, 1ll << 32}};
  for (const std::vector<int64_t>& ne : impossible) {
    ConvertRequest request;
    request.jobs = {matrix_job(4, 4, TensorType::kF32)};
    request.jobs[0].ne = ne;
    CHECK_THROWS(bitnet::plan_conversion(request), Error, "blk.0.attn_q.weight: impossible shape");
  }
  ConvertRequest request;
  request.jobs = {matrix_job(3, 100, TensorType::kTQ2_0)};
  CHECK_THROWS(bitnet::plan_conversion(request), Error, "blk.0.attn_q.weight: TQ2_0 cannot hold");
  request.jobs = std::vector<ConvertJob>(5, matrix_job(1ll << 28, 1ll << 28, TensorType::kF32));
  CHECK_THROWS(bitnet::plan_conversion(request), Error, "more than 2^60 bytes");
}

#ifdef __linux__
TEST("a full disk is told as one") {
  Folder folder;
  Request request = float_request(folder, gaussian(64 * 128, 5), 64, 128, TensorType::kI2_S);
  request.outfile = "/dev/full";
  try {
    run(request);
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.code == ErrorCode::kNoSpace);
    CHECK_EQ(std::string(error.what()), "/dev/full: cannot write: No space left on device");
  }
}
#endif

TEST("a conversion stops when it is told to") {
  Folder folder;
  Request request = float_request(folder, gaussian(64 * 128, 5), 64, 128, TensorType::kI2_S);
  ConvertProgress progress;
  progress.abort = true;
  try {
    bitnet::convert(bitnet::plan_conversion(request), request.outfile, progress);
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.code == ErrorCode::kAborted);
  }
}

TEST("a constant is added, and a block type that stays is copied bit by bit") {
  Folder folder;
  Request request = float_request(folder, {0.5f, -0.25f, 1.0f}, 1, 3, TensorType::kF32);
  request.jobs[0].ternary = false;
  request.jobs[0].add = 1;
  run(request);
  float values[3];
  std::memcpy(values, Gguf::open(request.outfile).tensors()[0].data, sizeof(values));
  CHECK(values[0] == 1.5f && values[1] == 0.75f && values[2] == 2.0f);

  std::vector<uint8_t> q4(18 * 4);
  std::mt19937 random(2);
  for (size_t i = 0; i < q4.size(); ++i) {
    q4[i] = static_cast<uint8_t>(i % 18 == 1 ? 0x20 : random());  // scales that are finite
  }
  const std::string source = request.jobs[0].source.path;
  write_file(source, q4);
  request.jobs[0] = {};
  request.jobs[0].name = "token_embd.weight";
  request.jobs[0].ne = {64, 2};
  request.jobs[0].source.path = source;
  request.jobs[0].source.type = TensorType::kQ4_0;
  request.jobs[0].source.n_bytes = q4.size();
  request.jobs[0].out_type = TensorType::kQ4_0;
  run(request);
  const Gguf copied = Gguf::open(request.outfile);
  CHECK(std::equal(q4.begin(), q4.end(), copied.tensors()[0].data));
}

TEST("progress ends at twice the bytes of the tensors") {
  Folder folder;
  Request request = float_request(folder, gaussian(64 * 128, 5), 64, 128, TensorType::kTQ2_0);
  request.jobs[0].ne = {256, 32};
  ConvertProgress progress;
  const ConvertPlan plan = bitnet::plan_conversion(request);
  bitnet::convert(plan, request.outfile, progress);
  CHECK_EQ(progress.done_bytes.load(), 2 * plan.tensors[0].n_bytes);
}
