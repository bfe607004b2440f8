// The GGUF reader: what it reads, and that hostile files get a clear error and nothing worse.
#include "gguf/gguf.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "base/file_map.h"
#include "check.h"
#include "gguf_builder.h"

using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::FileMap;
using bitnet::Gguf;
using bitnet::GgufType;
using bitnet::GgufValue;
using bitnet::TensorType;

namespace {

Gguf parse(const std::vector<uint8_t>& bytes) { return Gguf::parse(bytes, "test.gguf"); }
Gguf parse(const GgufBuilder& builder) {
  static std::vector<Bytes> kept;  // what the Gguf objects look into
  kept.push_back(builder.finish());
  return parse(kept.back());
}

// Parses, and if that works touches everything that the reader promises to be in the file.
void read_whole(const std::vector<uint8_t>& bytes) {
  const Gguf gguf = parse(bytes);
  uint64_t sum = 0;
  for (const auto& [key, value] : gguf.metadata()) {
    for (uint64_t i = 0; i < value.count; ++i) {
      if (value.element == GgufType::kString) {
        for (const char c : value.string(i)) sum += static_cast<uint8_t>(c);
      } else {
        sum += value.number(i) > 0;
      }
    }
  }
  for (const auto& tensor : gguf.tensors()) {
    CHECK(tensor.data >= bytes.data());
    CHECK(tensor.n_bytes <= static_cast<uint64_t>(bytes.data() + bytes.size() - tensor.data));
    sum += tensor.data[0] + tensor.data[tensor.n_bytes - 1];
  }
  [[maybe_unused]] volatile uint64_t sink = sum;  // keeps the reads
}

// The error of a file, "" if it has none.
struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};
Failure failure_of(const std::vector<uint8_t>& bytes) {
  try {
    parse(bytes);
  } catch (const Error& e) {
    return {e.code, e.what()};
  }
  return {};
}
Failure failure_of(const GgufBuilder& builder) { return failure_of(builder.finish()); }

void expect_failure(const char* file, int line, const Failure& failure, ErrorCode code,
                    const std::string& text) {
  if (failure.code == code && failure.message.find(text) != std::string::npos &&
      failure.message.rfind("test.gguf: ", 0) == 0) {
    return;
  }
  check::fail(file, line,
              "expected an error with \"" + text + "\" but got \"" + failure.message + "\" (" +
                  bitnet::error_code_name(failure.code) + ")");
}
#define CHECK_BAD(file, text) \
  expect_failure(__FILE__, __LINE__, failure_of(file), ErrorCode::kBadFile, text)
#define CHECK_UNSUPPORTED(file, text) \
  expect_failure(__FILE__, __LINE__, failure_of(file), ErrorCode::kUnsupported, text)

std::vector<uint8_t> zeros(size_t n) { return std::vector<uint8_t>(n); }

// One of everything.
GgufBuilder sample() {
  GgufBuilder b;
  b.string("general.architecture", "bitnet-b1.58").u32("n", 7).f32("eps", 1e-5f);
  b.boolean("yes", true).strings("tokens", {"a", "", "ccc"});
  b.array<int16_t>("types", 3, {-1, 2, 3});
  b.scalar<uint8_t>("u8", 0, 200).scalar<int8_t>("i8", 1, -3).scalar<uint16_t>("u16", 2, 60000);
  b.scalar<int32_t>("i32", 5, -70000).scalar<uint64_t>("u64", 10, uint64_t{1} << 40);
  b.scalar<int64_t>("i64", 11, -5).scalar<double>("f64", 12, 0.25);
  b.tensor("norm", 0, {4}, {0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64});
  b.tensor("weight", 36, {128, 2}, zeros(64 + 32));
  b.tensor("embedding", 1, {2, 3}, zeros(12));
  return b;
}

}  // namespace

TEST("reads metadata of every type and tensors in file order") {
  for (const uint32_t version : {2u, 3u}) {
    GgufBuilder b = sample();
    b.version = version;
    const Gguf gguf = parse(b);
    CHECK_EQ(gguf.version(), version);
    CHECK_EQ(gguf.metadata().size(), 13u);
    CHECK(gguf.metadata()[0].first == "general.architecture");
    CHECK(gguf.require_string("general.architecture") == "bitnet-b1.58");
    CHECK_EQ(gguf.require_u32("n"), 7u);
    CHECK_EQ(gguf.u32("u8").value_or(0), 200u);
    CHECK_EQ(gguf.u32("u16").value_or(0), 60000u);
    CHECK_EQ(gguf.find("i8")->integer(), -3);
    CHECK_EQ(gguf.find("i32")->integer(), -70000);
    CHECK_EQ(gguf.find("i64")->number(), -5.0);
    CHECK_EQ(gguf.find("u64")->number(), 0x1p40);
    CHECK_EQ(gguf.f32("eps").value_or(0), 1e-5f);
    CHECK_EQ(gguf.f32("f64").value_or(0), 0.25f);
    CHECK(gguf.boolean("yes").value_or(false));

    const GgufValue* tokens = gguf.find("tokens");
    CHECK(tokens->type == GgufType::kArray && tokens->element == GgufType::kString);
    CHECK(tokens->count == 3 && tokens->string(0) == "a" && tokens->string(1).empty());
    CHECK(tokens->string(2) == "ccc");
    CHECK_EQ(gguf.find("types")->integer(0), -1);
    CHECK_EQ(gguf.find("types")->number(2), 3.0);

    CHECK_EQ(gguf.tensors().size(), 3u);
    const auto* weight = gguf.find_tensor("weight");
    CHECK(weight == &gguf.tensors()[1] && weight->type == TensorType::kI2_S);
    CHECK(weight->cols() == 128 && weight->rows() == 2 && weight->n_bytes == 96);
    CHECK_EQ(weight->data - gguf.tensors()[0].data, 32);
    float second;
    std::memcpy(&second, gguf.tensors()[0].data + 4, 4);
    CHECK_EQ(second, 2.0f);
  }
}

TEST("absent keys and tensors are empty, required ones an error that names the key") {
  const Gguf gguf = parse(sample());
  CHECK(gguf.find("nothing") == nullptr && gguf.find_tensor("nothing") == nullptr);
  CHECK(!gguf.u32("nothing") && !gguf.f32("nothing"));
  CHECK(!gguf.boolean("nothing") && !gguf.string("nothing"));
  CHECK_THROWS(gguf.require_u32("nothing"), Error, "test.gguf: key \"nothing\" is missing");
  CHECK_THROWS(gguf.require_string("nothing"), Error, "\"nothing\" is missing");
}

TEST("a key of the wrong type or range is an error that names the key") {
  GgufBuilder b = sample();
  b.scalar<uint64_t>("huge", 10, ~uint64_t{0});
  b.f32("nan", std::numeric_limits<float>::quiet_NaN()).scalar<double>("big", 12, 1e300);
  const Gguf gguf = parse(b);
  CHECK_THROWS(gguf.u32("eps"), Error, "key \"eps\": expected an integer but got f32");
  CHECK_THROWS(gguf.u32("types"), Error, "key \"types\": expected an integer but got array");
  CHECK_THROWS(gguf.u32("yes"), Error, "expected an integer but got bool");
  CHECK_THROWS(gguf.u32("i8"), Error, "key \"i8\" is out of range");
  CHECK_THROWS(gguf.u32("u64"), Error, "key \"u64\" is out of range");
  CHECK_THROWS(gguf.u32("huge"), Error, "key \"huge\" is out of range");
  CHECK_THROWS(gguf.f32("n"), Error, "key \"n\": expected a float but got u32");
  CHECK_THROWS(gguf.f32("nan"), Error, "key \"nan\" is not a finite");
  CHECK_THROWS(gguf.f32("big"), Error, "key \"big\" is not a finite");
  CHECK_THROWS(gguf.boolean("n"), Error, "expected a bool but got u32");
  CHECK_THROWS(gguf.string("tokens"), Error, "expected a string but got array");
  CHECK_THROWS(gguf.require_string("n"), Error, "expected a string but got u32");
}

TEST("reading an element as what it is not, or beyond the end, is an error") {
  const Gguf gguf = parse(sample());
  CHECK_THROWS(gguf.find("types")->string(0), Error, "expected a string");
  CHECK_THROWS(gguf.find("types")->number(3), Error, "element 3 of 3");
  CHECK_THROWS(gguf.find("types")->integer(3), Error, "element 3 of 3");
  CHECK_THROWS(gguf.find("tokens")->string(3), Error, "element 3 of 3");
  CHECK_THROWS(gguf.find("tokens")->number(0), Error, "expected a number");
  CHECK_THROWS(gguf.find("eps")->integer(), Error, "expected an integer");
}

TEST("a file with metadata only, as vocabularies are, needs no data section") {
  GgufBuilder b;
  b.strings("tokenizer.ggml.tokens", {"x"});
  const Gguf gguf = parse(b);
  CHECK(gguf.tensors().empty());
  CHECK_EQ(gguf.data_offset(), gguf.file_size());
}

TEST("refuses what is not a GGUF file of version 2 or 3") {
  CHECK_BAD(zeros(0), "the file is empty");
  CHECK_BAD(zeros(3), "the file ends inside the header");
  CHECK_BAD(zeros(100), "not a GGUF file");
  Bytes foreign = sample().finish();
  std::memcpy(foreign.data(), "FUGG", 4);
  CHECK_UNSUPPORTED(foreign, "big-endian");
  GgufBuilder b = sample();
  b.version = 0x03000000;
  CHECK_UNSUPPORTED(b, "big-endian");
  b.version = 1;
  CHECK_UNSUPPORTED(b, "GGUF version 1;");
  b.version = 4;
  CHECK_UNSUPPORTED(b, "GGUF version 4;");
  b.version = 0;
  CHECK_BAD(b, "GGUF version 0;");
}

TEST("counts and lengths that the file cannot hold are refused without allocating for them") {
  const uint64_t absurd[] = {1000, 1u << 21, uint64_t{1} << 32, uint64_t{1} << 61, ~uint64_t{0}};
  for (const uint64_t n : absurd) {
    GgufBuilder b = sample();
    b.n_tensors = n;
    CHECK_BAD(b, "claims " + std::to_string(n) + " tensors");
    b = sample();
    b.n_metadata = n;
    CHECK_BAD(b, "claims " + std::to_string(n) + " metadata entries");
    for (const uint32_t element : {0u, 4u, 8u, 12u}) {
      b = sample();
      ++b.n_metadata;
      b.metadata.text("list").put<uint32_t>(9).put(element).put(n);
      CHECK_BAD(b, "key \"list\" claims an array of " + std::to_string(n));
    }
    b = GgufBuilder();
    b.n_metadata = 1;
    b.metadata.put(n).append(zeros(40));
    CHECK_BAD(b, "the file ends inside a metadata key");
    b = GgufBuilder();
    b.n_metadata = 1;
    b.metadata.text("key").put<uint32_t>(8).put(n).append(zeros(40));
    CHECK_BAD(b, "the file ends inside a metadata string");
    b = GgufBuilder();
    b.n_metadata = 1;
    b.metadata.text("key").put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(2).text("a").put(n);
    b.metadata.append(zeros(20));
    CHECK_BAD(b, "inside string 1 of key \"key\"");
  }
}

TEST("refuses unknown value types, arrays of arrays and endless names") {
  GgufBuilder b;
  CHECK_BAD(b.scalar<uint32_t>("odd", 13, 0), "key \"odd\" has the unknown value type 13");
  b = GgufBuilder();
  CHECK_BAD(b.array<uint32_t>("odd", 99, {1}), "key \"odd\" is an array of the unknown type 99");
  b = GgufBuilder();
  CHECK_UNSUPPORTED(b.array<uint32_t>("odd", 9, {1}), "key \"odd\" is an array of arrays");
  b = GgufBuilder();
  CHECK_BAD(b.u32(std::string(65536, 'k'), 1), "a metadata key of 65536 bytes");
  b = GgufBuilder();
  CHECK_BAD(b.tensor(std::string(256, 't'), 0, {1}, zeros(4)), "a tensor name of 256 bytes");
}

TEST("refuses keys and tensors that appear twice") {
  CHECK_BAD(sample().u32("n", 8), "key \"n\" appears twice");
  CHECK_BAD(sample().tensor("norm", 0, {1}, zeros(4)), "tensor \"norm\" appears twice");
}

TEST("messages keep control characters and length of hostile names in check") {
  const Failure failure =
      failure_of(GgufBuilder().u32("a\x1b[2J\n", 1).scalar<uint32_t>("a\x1b[2J\n", 4, 1));
  CHECK(failure.message == "test.gguf: key \"a?[2J?\" appears twice");
  const std::string name(5000, 'x');
  CHECK(failure_of(GgufBuilder().u32(name, 1).u32(name, 1)).message.size() < 200);
}

TEST("the alignment is a power of two up to 2^20 and every offset a multiple of it") {
  GgufBuilder wide;
  wide.alignment = 256;
  wide.u32("general.alignment", 256).tensor("a", 0, {1}, zeros(4)).tensor("b", 0, {1}, zeros(4));
  const Gguf gguf = parse(wide);
  CHECK_EQ(gguf.data_offset() % 256, 0u);
  CHECK_EQ(gguf.find_tensor("b")->data - gguf.find_tensor("a")->data, 256);

  for (const uint32_t n : {0u, 3u, 48u, 1u << 21, 0xffffffffu}) {
    CHECK_BAD(sample().u32("general.alignment", n), "\"general.alignment\" is");
  }
  CHECK_BAD(sample().string("general.alignment", "32"), "\"general.alignment\": expected");
  CHECK_BAD(sample().tensor_at("off", 0, {1}, 16, {}), "tensor \"off\" has offset 16");
}

TEST("a tensor must have a possible shape and lie inside the file") {
  const auto with = [](uint32_t type, const std::vector<uint64_t>& ne, uint64_t offset) {
    return sample().tensor_at("t", type, ne, offset, {});
  };
  CHECK_BAD(with(0, {}, 0), "tensor \"t\" has 0 dimensions");
  CHECK_BAD(with(0, {1, 1, 1, 1, 1}, 0), "tensor \"t\" has 5 dimensions");
  CHECK_BAD(with(0, {4, 0}, 0), "dimension 1 of tensor \"t\" is 0");
  CHECK_BAD(with(0, {uint64_t{1} << 40, uint64_t{1} << 40}, 0), "dimension 1 of tensor \"t\"");
  CHECK_BAD(with(0, {~uint64_t{0}}, 0), "dimension 0 of tensor \"t\"");
  CHECK_BAD(with(0, {64}, 0), "tensor \"t\" needs 256 bytes at offset 0, past the end");
  CHECK_BAD(with(0, {1}, uint64_t{1} << 40), "tensor \"t\" needs 4 bytes");
  CHECK_BAD(with(0, {1}, ~uint64_t{31}), "tensor \"t\" needs 4 bytes");
  CHECK_BAD(with(8, {31}, 0), "tensor \"t\" has the shape [31], which is not possible for type Q8");
  CHECK_BAD(with(36, {3, 3}, 0), "not possible for type I2_S");
  // Two tensors may share bytes, as tied weights can.
  CHECK_EQ(parse(with(0, {4}, 0)).tensors().size(), 4u);
}

TEST("refuses types that it does not know, naming the tensor and the type") {
  const auto with = [](uint32_t type) { return sample().tensor("t", type, {256}, zeros(256)); };
  CHECK_UNSUPPORTED(with(23), "tensor \"t\" has type 23 (IQ4_XS), which is not supported");
  CHECK_UNSUPPORTED(with(4), "tensor \"t\" has type 4, which");
  CHECK_UNSUPPORTED(with(40), "NVFP4");
  CHECK_UNSUPPORTED(with(0xffffffff), "type 4294967295");
}

TEST("type ids 39 and 42 are TL2 exactly where the bytes of the tensor say so") {
  const auto tl2 = bitnet::tensor_bytes(TensorType::kTL2, 768, 256).value();
  const auto one = [](const std::string& arch, uint32_t id, size_t n) {
    GgufBuilder b;
    b.string("general.architecture", arch).tensor("t", id, {768, 256}, zeros(n));
    return b.tensor("next", 0, {1}, zeros(4));
  };
  CHECK(parse(one("llama", 39, tl2)).tensors()[0].type == TensorType::kTL2);
  CHECK(parse(one("llama", 42, tl2)).tensors()[0].type == TensorType::kTL2);
  CHECK_UNSUPPORTED(one("llama", 39, 768 * 256 / 32 * 17), "has type 39 (MXFP4)");
  CHECK_UNSUPPORTED(one("bitnet", 39, 768 * 256 / 32 * 17), "has type 39 (MXFP4)");
  CHECK_UNSUPPORTED(one("llama", 42, 768 * 256 / 4), "has type 42 (Q2_0)");
  // A gap after the tensor: the model's own statements decide.
  CHECK(parse(one("bitnet-b1.58", 39, tl2 + 32)).tensors()[0].type == TensorType::kTL2);
  CHECK_UNSUPPORTED(one("llama", 39, tl2 + 32), "has type 39 (MXFP4)");
  CHECK(parse(one("llama", 39, tl2 + 32).u32("general.file_type", 39)).tensors()[0].type ==
        TensorType::kTL2);
  // Cut off inside its last tensor, the file is incomplete rather than of another type.
  GgufBuilder cut;
  cut.string("general.architecture", "bitnet").tensor("t", 39, {768, 256}, zeros(tl2 / 2));
  CHECK_BAD(cut, "past the end of the file");
}

TEST("a file cut off at any byte is an error and never more") {
  const Bytes whole = sample().finish();
  read_whole(whole);
  size_t n_refused = 0;
  for (size_t n = 0; n < whole.size(); ++n) {
    const std::vector<uint8_t> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
    try {
      read_whole(cut);
    } catch (const Error& e) {
      n_refused += e.code == ErrorCode::kBadFile;
    }
  }
  CHECK_EQ(n_refused, whole.size() - 20);  // the last tensor has 12 bytes and 20 of padding
}

TEST("any byte or bit changed gives a readable file or an error") {
  const Bytes whole = sample().finish();
  std::vector<uint8_t> changed = whole;
  size_t n_refused = 0;
  const auto attempt = [&] {
    try {
      read_whole(changed);
    } catch (const Error& e) {
      n_refused += e.code == ErrorCode::kBadFile || e.code == ErrorCode::kUnsupported;
      CHECK(e.code == ErrorCode::kBadFile || e.code == ErrorCode::kUnsupported);
    }
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      changed[i] = static_cast<uint8_t>(whole[i] ^ 1 << bit);
      attempt();
    }
    for (const uint8_t value : {0x00, 0x7f, 0xff}) {
      changed[i] = value;
      attempt();
    }
    changed[i] = whole[i];
  }
  CHECK(n_refused > 1000);
}

TEST("random damage in many places gives a readable file or an error") {
  const Bytes whole = sample().finish();
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> changed = whole;
    for (uint32_t i = 0; i < 1 + round % 4u; ++i) {
      changed[random() % changed.size()] = static_cast<uint8_t>(random());
    }
    try {
      read_whole(changed);
    } catch (const Error&) {
    }
  }
}

TEST("indexes the 408 thousand strings of a Llama 3 vocabulary in a few milliseconds") {
  std::vector<std::string> tokens(128256, "token"), merges(280147, "left right");
  GgufBuilder b;
  const Bytes bytes = b.strings("tokens", tokens).strings("merges", merges).finish();
  const auto start = std::chrono::steady_clock::now();
  const Gguf gguf = parse(bytes);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  std::printf("     408403 strings in %.1f ms\n", took.count());
  CHECK(gguf.find("merges")->string(280146) == "left right");
  CHECK(took.count() < 500);  // 1 to 3 ms where nothing else runs; sanitizers and load take more
}

TEST("opens a file by mapping it, and the hints leave its content alone") {
  const std::string path = check::data("golden/b158-small.gguf");
  const Gguf opened = Gguf::open(path);
  const Gguf gguf = [&] { return Gguf::open(path); }();
  CHECK(gguf.name() == path && gguf.map_of(gguf.tensors()[0].data) != nullptr &&
        !parse(sample()).map_of(nullptr));
  CHECK_EQ(gguf.file_size(), std::filesystem::file_size(path));
  CHECK(gguf.require_string("general.architecture") == "bitnet-b1.58");
  CHECK_EQ(gguf.tensors().size(), 46u);

  const auto* tensor = gguf.find_tensor("blk.0.ffn_down.weight");
  const std::vector<uint8_t> before(tensor->data, tensor->data + tensor->n_bytes);
  const FileMap* map = gguf.map_of(tensor->data);
  CHECK(gguf.map_of(before.data()) == nullptr);
  map->will_need(tensor->data, tensor->n_bytes);
  map->dont_need(tensor->data, tensor->n_bytes);
  map->dont_need(map->bytes().data(), ~uint64_t{0});
  map->will_need(map->bytes().data() + gguf.file_size(), 1);
  map->will_need(before.data(), before.size());  // not of this mapping: ignored
  gguf.dont_need(before.data(), before.size());  // likewise
  CHECK(std::equal(before.begin(), before.end(), tensor->data));
}

namespace {

// Part `no` of `count`, as llama-gguf-split writes them: the metadata in the first one.
GgufBuilder split_part(uint32_t no, uint32_t count, uint32_t n_tensors, const char* tensor) {
  GgufBuilder b;
  if (no == 0) b.string("general.architecture", "llama");
  b.scalar<uint16_t>("split.no", 2, static_cast<uint16_t>(no));
  b.scalar<uint16_t>("split.count", 2, static_cast<uint16_t>(count));
  b.scalar<int32_t>("split.tensors.count", 5, static_cast<int32_t>(n_tensors));
  b.tensor(tensor, 0, {1}, {0, 0, static_cast<uint8_t>(0x80 + no), 0x3f});
  return b;
}

// Files of one folder that is removed again.
struct Folder {
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("bitnet-split-" + std::to_string(std::random_device{}()));
  Folder() { std::filesystem::create_directory(path); }
  ~Folder() {
    std::error_code error;  // Windows deletes no file that is mapped
    std::filesystem::remove_all(path, error);
  }
  std::string write(const std::string& name, const Bytes& bytes) const {
    const std::string file = (path / name).string();
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return file;
  }
};

}  // namespace

TEST("a model in several files is opened whole by the name of any of them") {
  const Folder folder;
  std::vector<std::string> paths;
  for (uint32_t i = 0; i < 3; ++i) {
    const std::string name = "m-0000" + std::to_string(i + 1) + "-of-00003.gguf";
    const char* tensors[] = {"a", "b", "c"};
    paths.push_back(folder.write(name, split_part(i, 3, 3, tensors[i]).finish()));
  }
  for (const std::string& path : paths) {
    const Gguf gguf = Gguf::open(path);
    CHECK_EQ(gguf.name(), path);
    CHECK_EQ(gguf.n_parts(), 3u);
    CHECK_EQ(gguf.tensors().size(), 3u);
    CHECK(gguf.require_string("general.architecture") == "llama");
    uint64_t size = 0;
    for (uint32_t i = 0; i < 3; ++i) {
      const bitnet::GgufTensor& t = gguf.tensors()[i];
      CHECK(gguf.find_tensor(t.name) == &t && t.part == i && gguf.path(i) == paths[i]);
      CHECK_EQ(int{t.data[2]}, 0x80 + static_cast<int>(i));
      CHECK_EQ(gguf.offset_of(t) + 32, std::filesystem::file_size(paths[i]));
      CHECK(gguf.map_of(t.data) && gguf.map_of(t.data)->bytes().size() == gguf.offset_of(t) + 32);
      size += std::filesystem::file_size(paths[i]);
    }
    CHECK_EQ(gguf.file_size(), size);
  }
  {
    const Gguf alone = Gguf::open(paths[1], bitnet::Parts::kThisFile);
    CHECK(alone.n_parts() == 1 && alone.tensors().size() == 1);
    CHECK(!alone.find("general.architecture"));
  }

  std::filesystem::remove(paths[1]);
  for (const size_t i : {0, 2}) {
    try {
      Gguf::open(paths[i]);
      CHECK(false);
    } catch (const Error& error) {
      CHECK(error.code == ErrorCode::kNotFound);
      CHECK_EQ(std::string(error.what()),
               paths[1] + ": part 2 of the 3 of this model is missing; all must be in one folder");
    }
  }
}

TEST("parts that do not belong together are refused") {
  const auto open = [](const std::string& name, const Bytes& first, const Bytes& second) {
    const Folder folder;
    folder.write("m-00001-of-00002.gguf", first);
    folder.write("m-00002-of-00002.gguf", second);
    folder.write("other.gguf", first);
    folder.write("m-00001-of-65535.gguf", split_part(0, 65535, 65535, "a").finish());
    return Gguf::open((folder.path / name).string());
  };
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  const Bytes a = split_part(0, 2, 2, "a").finish(), b = split_part(1, 2, 2, "b").finish();
  CHECK_EQ(open(first, a, b).tensors().size(), 2u);
  CHECK_THROWS(open("other.gguf", a, b), Error, "this one must end in -00001-of-00002.gguf");
  CHECK_THROWS(open(first, b, a), Error, "this one must end in -00002-of-00002.gguf");
  CHECK_THROWS(open(first, a, a), Error, "part 1 of 2, expected part 2 of 2");
  CHECK_THROWS(open(first, a, split_part(1, 3, 2, "b").finish()), Error, "expected part 2 of 2");
  CHECK_THROWS(open(first, a, split_part(1, 2, 2, "a").finish()), Error, "in another part");
  CHECK_THROWS(open(first, split_part(0, 2, 3, "a").finish(), b), Error,
               "\"split.tensors.count\" is 3, but its 2 parts have 2 tensors");
  CHECK_THROWS(open(second, a, split_part(2, 2, 2, "b").finish()), Error,
               "split.no is 2, but split.count is 2");
  CHECK_THROWS(open(second, a, {}), Error, "the file is empty");
  CHECK_THROWS(open("m-00001-of-65535.gguf", a, b), Error, "at most 1024 parts");
  GgufBuilder no_place;
  no_place.u32("split.count", 2);
  CHECK_THROWS(open(first, no_place.finish(), b), Error, "\"split.no\" is missing");
  GgufBuilder one;  // of one is all there is
  one.u32("split.count", 1);
  CHECK_EQ(open("other.gguf", one.finish(), b).n_parts(), 1u);
}

TEST("a missing file, a directory and an empty file are told apart") {
  const auto code_of = [](const std::string& path) {
    try {
      FileMap map(path);
    } catch (const Error& e) {
      CHECK(std::string(e.what()).rfind(path + ": ", 0) == 0);
      return e.code;
    }
    return ErrorCode::kInternal;
  };
  const auto folder = std::filesystem::temp_directory_path();
  const std::string empty = (folder / "bitnet-gguf-test-empty").string();
  std::ofstream(empty).close();
  CHECK(code_of(check::data("no-such-file.gguf")) == ErrorCode::kNotFound);
  CHECK(code_of(check::data("golden")) == ErrorCode::kNotFound);
  CHECK(code_of(empty) == ErrorCode::kBadFile);
  std::filesystem::remove(empty);
}
