#include "gguf/writer.h"

#include <cstring>

#include "base/numbers.h"

namespace bitnet {
namespace {

// The first bytes of a file.
struct Prelude {
  char magic[4];
  uint32_t version;
  uint64_t n_tensors, n_metadata;
};
static_assert(sizeof(Prelude) == 24, "no padding");

void put_bytes(std::vector<uint8_t>& out, const void* data, size_t n) {
  if (n == 0) return;
  out.resize(out.size() + n);
  std::memcpy(out.data() + out.size() - n, data, n);
}

// Numbers as they lie in memory: gguf.cpp asserts that this machine is little-endian.
template <class T>
void put(std::vector<uint8_t>& out, T value) {
  put_bytes(out, &value, sizeof value);
}

void put_string(std::vector<uint8_t>& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  put_bytes(out, text.data(), text.size());
}

}  // namespace

void GgufWriter::begin(std::string_view key, GgufType type) {
  ++n_metadata_;
  put_string(metadata_, key);
  put(metadata_, type);
}

void GgufWriter::begin_array(std::string_view key, GgufType element, uint64_t count) {
  begin(key, GgufType::kArray);
  put(metadata_, element);
  put(metadata_, count);
}

void GgufWriter::u32(std::string_view key, uint32_t value) {
  begin(key, GgufType::kU32);
  put(metadata_, value);
}

void GgufWriter::f32(std::string_view key, float value) {
  begin(key, GgufType::kF32);
  put(metadata_, value);
}

void GgufWriter::boolean(std::string_view key, bool value) {
  begin(key, GgufType::kBool);
  put<uint8_t>(metadata_, value ? 1 : 0);
}

void GgufWriter::string(std::string_view key, std::string_view value) {
  begin(key, GgufType::kString);
  put_string(metadata_, value);
}

void GgufWriter::strings(std::string_view key, std::span<const std::string> values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) put_string(metadata_, value);
}

void GgufWriter::i32s(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, GgufType::kI32, values.size());
  put_bytes(metadata_, values.data(), values.size_bytes());
}

void GgufWriter::f32s(std::string_view key, std::span<const float> values) {
  begin_array(key, GgufType::kF32, values.size());
  put_bytes(metadata_, values.data(), values.size_bytes());
}

void GgufWriter::copy(std::string_view key, const GgufValue& value) {
  if (key == kGgufAlignmentKey) return u32(key, kGgufAlignment);
  if (value.type == GgufType::kArray) {
    begin_array(key, value.element, value.count);
  } else {
    begin(key, value.type);
  }
  put_bytes(metadata_, value.data, value.n_bytes());
}

void GgufWriter::tensor(std::string_view name, std::span<const int64_t> ne, TensorType type,
                        uint64_t n_bytes) {
  put_string(infos_, name);
  put(infos_, static_cast<uint32_t>(ne.size()));
  for (const int64_t n : ne) put(infos_, static_cast<uint64_t>(n));
  put(infos_, type);
  put(infos_, data_bytes_);
  offsets_.push_back(data_bytes_);
  data_bytes_ = round_up(data_bytes_ + n_bytes, kGgufAlignment);
}

GgufLayout GgufWriter::layout() const {
  Prelude prelude{{}, 3, offsets_.size(), n_metadata_};
  std::memcpy(prelude.magic, kGgufMagic, sizeof kGgufMagic);
  GgufLayout out;
  put(out.head, prelude);
  put_bytes(out.head, metadata_.data(), metadata_.size());
  put_bytes(out.head, infos_.data(), infos_.size());
  out.head.resize(round_up<uint64_t>(out.head.size(), kGgufAlignment));
  for (const uint64_t offset : offsets_) out.offsets.push_back(out.head.size() + offset);
  out.file_bytes = out.head.size() + data_bytes_;
  return out;
}

}  // namespace bitnet
