// The only GGUF reader. Versions 2 and 3, little-endian. Treats the file as hostile: every length
// is bounded, every offset is checked against the file, nothing is allocated in proportion to a
// number that the file only claims. Values and tensors are views into the mapped file; nothing
// large is copied.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file_map.h"
#include "formats/tensor_type.h"

namespace bitnet {

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

inline constexpr char kGgufMagic[4] = {'G', 'G', 'U', 'F'};
// Tensor data lies at multiples of this, unless the key says otherwise.
inline constexpr uint64_t kGgufAlignment = 32;
inline constexpr std::string_view kGgufAlignmentKey = "general.alignment";

// One metadata value. A scalar has count 1; an array has `element` and `count`, and its elements
// start at `data`.
struct GgufValue {
  GgufType type;
  GgufType element;  // equals type for scalars
  uint64_t count;
  const uint8_t* data;  // little-endian, unaligned
  std::vector<uint64_t>
      string_offsets;  // arrays of strings: where each length field starts, relative to data

  std::string_view string(uint64_t i = 0) const;  // kString, scalar or array element; i < count
  double number(uint64_t i = 0) const;            // any numeric or bool element
  int64_t integer(uint64_t i = 0) const;          // any integer or bool element
  bool is_integer() const;                        // a scalar of an integer type
  bool is_integers() const;                       // the same, or an array of such
  uint64_t n_bytes() const;                       // from data to the end of the last element
};

struct GgufTensor {
  std::string_view name;
  TensorType type;
  uint32_t n_dims;
  uint64_t ne[4];       // ne[0] is the fastest; unused dimensions are 1
  const uint8_t* data;  // inside the mapping
  uint64_t n_bytes;     // by type and shape; data + n_bytes is inside the file
  uint32_t part = 0;    // the file that it lies in: of a model in several files, which one

  uint64_t cols() const { return ne[0]; }
  uint64_t rows() const { return ne[1] * ne[2] * ne[3]; }
};

// What to open of a model that is spread over several files (gguf/split.h).
enum class Parts : uint8_t { kAll, kThisFile };

class Gguf {
 public:
  // Maps and parses. Of a model in several files any one is named, and all are opened: the tensors
  // are those of all parts, the metadata that of the first. Throws kNotFound, kBadFile,
  // kUnsupported; messages name the file and what is wrong with it.
  static Gguf open(const std::string& path, Parts parts = Parts::kAll);
  // Parses bytes that outlive the object; for tests and fuzzing. `name` is used in messages.
  static Gguf parse(std::span<const uint8_t> bytes, const std::string& name);
  // One model of all its parts, in their order. Throws kBadFile if they are not the parts of one.
  static Gguf join(std::vector<Gguf> parts);

  const std::string& name() const { return name_; }
  uint32_t version() const { return version_; }
  uint64_t file_size() const;                            // of all parts
  uint64_t data_offset() const { return data_offset_; }  // of the first one
  uint64_t offset_of(const GgufTensor& tensor) const {   // from the start of its file
    return static_cast<uint64_t>(tensor.data - files_[tensor.part].bytes.data());
  }
  size_t n_parts() const { return files_.size(); }
  const std::string& path(size_t part) const { return files_[part].path; }
  // The mapping that `data` lies in; nullptr if it is in none, as in memory that was parsed.
  const FileMap* map_of(const uint8_t* data) const;
  // The bytes of a mapping are not needed again soon: their pages may be dropped.
  void dont_need(const uint8_t* begin, uint64_t n_bytes) const {
    if (const FileMap* map = map_of(begin)) map->dont_need(begin, n_bytes);
  }

  // FileMap::resident_bytes() of all parts together.
  std::optional<uint64_t> resident_bytes() const;

  // In file order.
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufValue* find(std::string_view key) const;           // nullptr if absent
  const GgufTensor* find_tensor(std::string_view name) const;  // nullptr if absent

  // Typed look-ups: nullopt if absent, kBadFile naming the key if present with a wrong type or out
  // of range.
  std::optional<uint32_t> u32(std::string_view key) const;
  std::optional<float> f32(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  // As above, but absent is kBadFile too.
  uint32_t require_u32(std::string_view key) const;
  std::string_view require_string(std::string_view key) const;

 private:
  struct File {
    std::string path;
    std::span<const uint8_t> bytes;
    std::optional<FileMap> map;  // of the bytes, unless they are somebody else's
  };
  static Gguf open_file(const std::string& path, const Gguf* first);
  // first: the part that has the metadata, if it is another one.
  static Gguf parse(std::span<const uint8_t> bytes, const std::string& name, const Gguf* first);
  void append(Gguf part);

  std::vector<File> files_;
  std::string name_;
  uint32_t version_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<std::pair<std::string_view, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> metadata_index_, tensor_index_;
};

}  // namespace bitnet
