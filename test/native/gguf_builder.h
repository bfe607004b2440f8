// Writes GGUF files byte by byte, right or wrong on purpose.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

struct Bytes : std::vector<uint8_t> {
  template <typename T>
  Bytes& put(T value) {
    resize(size() + sizeof(T));
    std::memcpy(data() + size() - sizeof(T), &value, sizeof(T));
    return *this;
  }
  Bytes& text(const std::string& s) {
    put<uint64_t>(s.size());
    insert(end(), s.begin(), s.end());
    return *this;
  }
  Bytes& append(const std::vector<uint8_t>& other) {
    insert(end(), other.begin(), other.end());
    return *this;
  }
};

// Collects metadata, tensor infos and data; finish() puts a header before them. The public fields
// can be set to lies before that.
struct GgufBuilder {
  uint32_t version = 3;
  uint64_t n_metadata = 0, n_tensors = 0;
  uint64_t alignment = 32;
  Bytes metadata, infos, data;

  template <typename T>
  GgufBuilder& scalar(const std::string& key, uint32_t type, T value) {
    ++n_metadata;
    metadata.text(key).put<uint32_t>(type).put(value);
    return *this;
  }
  GgufBuilder& u32(const std::string& key, uint32_t value) { return scalar(key, 4, value); }
  GgufBuilder& f32(const std::string& key, float value) { return scalar(key, 6, value); }
  GgufBuilder& boolean(const std::string& key, bool value) {
    return scalar<uint8_t>(key, 7, value);
  }
  GgufBuilder& string(const std::string& key, const std::string& value) {
    ++n_metadata;
    metadata.text(key).put<uint32_t>(8).text(value);
    return *this;
  }
  GgufBuilder& strings(const std::string& key, const std::vector<std::string>& values) {
    ++n_metadata;
    metadata.text(key).put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(values.size());
    for (const std::string& value : values) metadata.text(value);
    return *this;
  }
  template <typename T>
  GgufBuilder& array(const std::string& key, uint32_t type, const std::vector<T>& values) {
    ++n_metadata;
    metadata.text(key).put<uint32_t>(9).put<uint32_t>(type).put<uint64_t>(values.size());
    for (const T value : values) metadata.put(value);
    return *this;
  }
  // The offset is where the data so far ends; the data is padded to the alignment.
  GgufBuilder& tensor(const std::string& name, uint32_t type, const std::vector<uint64_t>& ne,
                      const std::vector<uint8_t>& bytes) {
    return tensor_at(name, type, ne, data.size(), bytes);
  }
  GgufBuilder& tensor_at(const std::string& name, uint32_t type, const std::vector<uint64_t>& ne,
                         uint64_t offset, const std::vector<uint8_t>& bytes) {
    ++n_tensors;
    infos.text(name).put<uint32_t>(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) infos.put(n);
    infos.put(type).put(offset);
    data.append(bytes);
    while (data.size() % alignment != 0) data.push_back(0);
    return *this;
  }

  Bytes finish() const {
    Bytes out;
    out.put<uint32_t>(0x46554747).put(version).put(n_tensors).put(n_metadata);
    out.append(metadata).append(infos);
    if (n_tensors != 0 || !data.empty()) {
      while (out.size() % alignment != 0) out.push_back(0);
    }
    out.append(data);
    return out;
  }
};
