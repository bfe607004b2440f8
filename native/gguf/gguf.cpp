// Layout: magic "GGUF", u32 version, u64 tensor count, u64 metadata count, the metadata (key, u32
// type, value), the tensor infos (name, u32 n_dims, u64 ne[n_dims], u32 type, u64 offset), padding
// to the alignment, tensor data. A string is a u64 length and its bytes.
#include "gguf/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/numbers.h"
#include "gguf/conflicts.h"
#include "gguf/split.h"

namespace bitnet {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF values are read in place");

constexpr uint64_t kMaxEntries = uint64_t{1} << 20;  // metadata entries; tensors
constexpr uint64_t kMaxKeyBytes = 65535;             // by the GGUF specification
constexpr uint64_t kMaxNameBytes = 255;              // ggml itself stops at 63
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kMinMetadataBytes = 8 + 4 + 1;  // empty key, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

constexpr const char* kTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                      "bool", "string", "array", "u64", "i64", "f64"};

template <typename T>
T load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

// Bytes of one scalar; 0 for strings, arrays and unknown types.
constexpr uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    default:
      return 0;
  }
}

const char* type_name(GgufType type) {
  const auto id = static_cast<uint32_t>(type);
  return id < std::size(kTypeNames) ? kTypeNames[id] : "unknown";
}

// A key or a name from the file, fit to be printed.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 100)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + (text.size() > 100 ? "...\"" : "\"");
}

[[noreturn]] void fail(ErrorCode code, const std::string& file, const std::string& what) {
  throw Error(code, file + ": " + what);
}

// Reads forwards; every read names what it was reading when the file ends too early.
struct Reader {
  std::span<const uint8_t> bytes;
  const std::string& file;
  uint64_t pos = 0;

  uint64_t left() const { return bytes.size() - pos; }

  const uint8_t* take(uint64_t n, const char* what) {
    if (n > left()) {
      fail(ErrorCode::kBadFile, file,
           std::string("the file ends inside ") + what + " (it has " +
               std::to_string(bytes.size()) + " bytes; is the download complete?)");
    }
    const uint8_t* p = bytes.data() + pos;
    pos += n;
    return p;
  }
  template <typename T>
  T number(const char* what) {
    return load<T>(take(sizeof(T), what));
  }
  std::string_view string(uint64_t max, const char* what) {
    const uint64_t n = number<uint64_t>(what);
    if (n > max && n <= left()) {
      fail(ErrorCode::kBadFile, file,
           std::string(what) + " of " + std::to_string(n) + " bytes, at most " +
               std::to_string(max) + " expected");
    }
    return {reinterpret_cast<const char*>(take(n, what)), static_cast<size_t>(n)};
  }
  // A number of entries of at least min_bytes each, which the rest of the file must have room for.
  uint64_t count(uint64_t min_bytes, uint64_t max, const char* what) {
    const uint64_t n = number<uint64_t>("the header");
    if (n > max || n > left() / min_bytes) {
      fail(ErrorCode::kBadFile, file,
           "the header claims " + std::to_string(n) + " " + what +
               ", more than the file can hold (damaged or incomplete file)");
    }
    return n;
  }
};

uint32_t read_version(Reader& in) {
  if (in.bytes.empty()) fail(ErrorCode::kBadFile, in.file, "the file is empty");
  const uint8_t* magic = in.take(4, "the header");
  if (std::memcmp(magic, "FUGG", 4) == 0) {
    fail(ErrorCode::kUnsupported, in.file, "big-endian GGUF files are not supported");
  }
  if (std::memcmp(magic, kGgufMagic, sizeof kGgufMagic) != 0) {
    fail(ErrorCode::kBadFile, in.file, "not a GGUF file: it does not start with \"GGUF\"");
  }
  const uint32_t version = in.number<uint32_t>("the header");
  if (version != 0 && (version & 0xffff) == 0) {
    fail(ErrorCode::kUnsupported, in.file, "big-endian GGUF files are not supported");
  }
  if (version != 2 && version != 3) {
    fail(version == 0 ? ErrorCode::kBadFile : ErrorCode::kUnsupported, in.file,
         "GGUF version " + std::to_string(version) + "; versions 2 and 3 are supported");
  }
  return version;
}

void read_array(Reader& in, const std::string& key, GgufValue& value) {
  value.element = static_cast<GgufType>(in.number<uint32_t>("the metadata"));
  value.count = in.number<uint64_t>("the metadata");
  const bool strings = value.element == GgufType::kString;
  const uint64_t size = strings ? 8 : scalar_bytes(value.element);  // a string: at least its length
  if (size == 0) {
    const bool nested = value.element == GgufType::kArray;
    fail(nested ? ErrorCode::kUnsupported : ErrorCode::kBadFile, in.file,
         "key " + key +
             (nested ? " is an array of arrays"
                     : " is an array of the unknown type " +
                           std::to_string(static_cast<uint32_t>(value.element))));
  }
  if (value.count > in.left() / size) {
    fail(ErrorCode::kBadFile, in.file,
         "key " + key + " claims an array of " + std::to_string(value.count) +
             " elements, more than the file can hold");
  }
  value.data = in.bytes.data() + in.pos;
  if (!strings) {
    in.pos += value.count * size;
    return;
  }
  const uint64_t start = in.pos;
  value.string_offsets.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    value.string_offsets.push_back(in.pos - start);
    const uint64_t n = in.left() >= 8 ? load<uint64_t>(in.bytes.data() + in.pos) : 0;
    if (in.left() < 8 || n > in.left() - 8) {
      fail(ErrorCode::kBadFile, in.file,
           "the file ends inside string " + std::to_string(i) + " of key " + key);
    }
    in.pos += 8 + n;
  }
}

GgufValue read_value(Reader& in, std::string_view key) {
  GgufValue value{};
  value.type = static_cast<GgufType>(in.number<uint32_t>("the metadata"));
  value.element = value.type;
  value.count = 1;
  if (value.type == GgufType::kArray) {
    read_array(in, quoted(key), value);
  } else if (value.type == GgufType::kString) {
    value.data = in.bytes.data() + in.pos;
    in.string(std::numeric_limits<uint64_t>::max(), "a metadata string");
    value.string_offsets.push_back(0);
  } else if (const uint64_t size = scalar_bytes(value.type); size != 0) {
    value.data = in.take(size, "the metadata");
  } else {
    fail(ErrorCode::kBadFile, in.file,
         "key " + quoted(key) + " has the unknown value type " +
             std::to_string(static_cast<uint32_t>(value.type)));
  }
  return value;
}

RawTensor read_tensor(Reader& in, uint64_t alignment) {
  RawTensor tensor;
  tensor.name = in.string(kMaxNameBytes, "a tensor name");
  tensor.n_dims = in.number<uint32_t>("the tensor list");
  if (tensor.n_dims < 1 || tensor.n_dims > 4) {
    fail(ErrorCode::kBadFile, in.file,
         "tensor " + quoted(tensor.name) + " has " + std::to_string(tensor.n_dims) +
             " dimensions; 1 to 4 expected");
  }
  uint64_t room = uint64_t{1} << 60;
  for (uint32_t i = 0; i < tensor.n_dims; ++i) {
    tensor.ne[i] = in.number<uint64_t>("the tensor list");
    room = tensor.ne[i] == 0 ? 0 : room / tensor.ne[i];
    if (room == 0) {
      fail(ErrorCode::kBadFile, in.file,
           "dimension " + std::to_string(i) + " of tensor " + quoted(tensor.name) + " is " +
               std::to_string(tensor.ne[i]));
    }
  }
  tensor.type = in.number<uint32_t>("the tensor list");
  tensor.offset = in.number<uint64_t>("the tensor list");
  if (tensor.offset % alignment != 0) {
    fail(ErrorCode::kBadFile, in.file,
         "tensor " + quoted(tensor.name) + " has offset " + std::to_string(tensor.offset) +
             ", not a multiple of the alignment " + std::to_string(alignment));
  }
  return tensor;
}

std::string shape_text(const RawTensor& tensor) {
  std::string out = "[";
  for (uint32_t i = 0; i < tensor.n_dims; ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(tensor.ne[i]);
  }
  return out + "]";
}

[[noreturn]] void fail_unknown_type(const std::string& file, const RawTensor& tensor) {
  std::string type = std::to_string(tensor.type);
  if (const char* name = foreign_type_name(tensor.type)) type += std::string(" (") + name + ")";
  fail(ErrorCode::kUnsupported, file,
       "tensor " + quoted(tensor.name) + " has type " + type + ", which is not supported");
}

// data: the bytes from the start of the tensor data to the end of the file.
GgufTensor place_tensor(const RawTensor& raw, TensorType type, std::span<const uint8_t> data,
                        const std::string& file) {
  GgufTensor tensor{};
  tensor.name = raw.name;
  tensor.type = type;
  tensor.n_dims = raw.n_dims;
  std::copy(std::begin(raw.ne), std::end(raw.ne), tensor.ne);
  const auto bytes = tensor_bytes(tensor.type, raw.ne[0], raw.rows());
  if (!bytes) {
    fail(ErrorCode::kBadFile, file,
         "tensor " + quoted(raw.name) + " has the shape " + shape_text(raw) +
             ", which is not possible for type " + tensor_type_name(tensor.type));
  }
  if (raw.offset > data.size() || *bytes > data.size() - raw.offset) {
    fail(ErrorCode::kBadFile, file,
         "tensor " + quoted(raw.name) + " needs " + std::to_string(*bytes) + " bytes at offset " +
             std::to_string(raw.offset) + ", past the end of the file (incomplete download?)");
  }
  tensor.data = data.data() + raw.offset;
  tensor.n_bytes = *bytes;
  return tensor;
}

[[noreturn]] void fail_type(const std::string& file, std::string_view key, const char* expected,
                            const GgufValue& value) {
  fail(ErrorCode::kBadFile, file,
       "key " + quoted(key) + ": expected " + expected + " but got " + type_name(value.type));
}

[[noreturn]] void fail_access(const GgufValue& value, const char* expected, uint64_t i) {
  throw Error(ErrorCode::kBadFile, std::string("expected ") + expected + " but element " +
                                       std::to_string(i) + " of " + std::to_string(value.count) +
                                       " is of type " + type_name(value.element));
}

}  // namespace

std::string_view GgufValue::string(uint64_t i) const {
  if (element != GgufType::kString || i >= count) fail_access(*this, "a string", i);
  const uint8_t* p = data + string_offsets[i];
  return {reinterpret_cast<const char*>(p + 8), static_cast<size_t>(load<uint64_t>(p))};
}

bool GgufValue::is_integers() const {
  return scalar_bytes(element) != 0 && element != GgufType::kF32 && element != GgufType::kF64 &&
         element != GgufType::kBool;
}

bool GgufValue::is_integer() const { return type != GgufType::kArray && is_integers(); }

uint64_t GgufValue::n_bytes() const {
  if (element != GgufType::kString) return count * scalar_bytes(element);
  if (count == 0) return 0;
  const std::string_view last = string(count - 1);
  return static_cast<uint64_t>(reinterpret_cast<const uint8_t*>(last.data()) - data) + last.size();
}

double GgufValue::number(uint64_t i) const {
  const uint64_t size = scalar_bytes(element);
  if (size == 0 || i >= count) fail_access(*this, "a number", i);
  const uint8_t* p = data + i * size;
  if (element == GgufType::kF32) return load<float>(p);
  if (element == GgufType::kF64) return load<double>(p);
  if (element == GgufType::kU64) return static_cast<double>(load<uint64_t>(p));
  return static_cast<double>(integer(i));
}

int64_t GgufValue::integer(uint64_t i) const {
  if (i >= count) fail_access(*this, "an integer", i);
  const uint8_t* p = data + i * scalar_bytes(element);
  switch (element) {
    case GgufType::kU8:
      return load<uint8_t>(p);
    case GgufType::kI8:
      return load<int8_t>(p);
    case GgufType::kU16:
      return load<uint16_t>(p);
    case GgufType::kI16:
      return load<int16_t>(p);
    case GgufType::kU32:
      return load<uint32_t>(p);
    case GgufType::kI32:
      return load<int32_t>(p);
    case GgufType::kU64:
      return static_cast<int64_t>(load<uint64_t>(p));
    case GgufType::kI64:
      return load<int64_t>(p);
    case GgufType::kBool:
      return load<uint8_t>(p) != 0;
    default:
      fail_access(*this, "an integer", i);
  }
}

Gguf Gguf::open_file(const std::string& path, const Gguf* first) {
  FileMap map(path);
  Gguf gguf = parse(map.bytes(), path, first);
  gguf.files_.front().map.emplace(std::move(map));
  return gguf;
}

Gguf Gguf::open(const std::string& path, Parts parts) {
  Gguf gguf = open_file(path, nullptr);
  if (parts == Parts::kThisFile) return gguf;
  const SplitPlace place = split_place(gguf);
  if (place.count == 1) return gguf;
  const std::vector<std::string> paths = split_paths(path, place);
  std::vector<Gguf> all;
  for (const std::string& part : paths) {
    try {
      all.push_back(open_file(part, all.empty() ? nullptr : &all.front()));
    } catch (const Error& error) {
      if (error.code != ErrorCode::kNotFound) throw;
      fail(ErrorCode::kNotFound, part,
           "part " + std::to_string(all.size() + 1) + " of the " + std::to_string(place.count) +
               " of this model is missing; all must be in one folder");
    }
  }
  Gguf whole = join(std::move(all));
  whole.name_ = path;
  return whole;
}

Gguf Gguf::join(std::vector<Gguf> parts) {
  const auto n = static_cast<uint32_t>(parts.size());
  for (uint32_t no = 0; no < n; ++no) {
    const SplitPlace place = split_place(parts[no]);
    if (place.no == no && place.count == n) continue;
    fail(ErrorCode::kBadFile, parts[no].name_,
         "it says that it is part " + std::to_string(place.no + 1) + " of " +
             std::to_string(place.count) + ", expected part " + std::to_string(no + 1) + " of " +
             std::to_string(n));
  }
  Gguf whole = std::move(parts.front());
  for (uint32_t no = 1; no < n; ++no) whole.append(std::move(parts[no]));
  const uint32_t n_tensors = whole.require_u32("split.tensors.count");
  if (n_tensors != whole.tensors_.size()) {
    fail(ErrorCode::kBadFile, whole.name_,
         "key \"split.tensors.count\" is " + std::to_string(n_tensors) + ", but its " +
             std::to_string(n) + " parts have " + std::to_string(whole.tensors_.size()) +
             " tensors");
  }
  return whole;
}

void Gguf::append(Gguf part) {
  const auto no = static_cast<uint32_t>(files_.size());
  for (GgufTensor tensor : part.tensors_) {
    tensor.part = no;
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      fail(ErrorCode::kBadFile, part.name_,
           "tensor " + quoted(tensor.name) + " is in another part of the model, too");
    }
    tensors_.push_back(tensor);
  }
  files_.push_back(std::move(part.files_.front()));
}

uint64_t Gguf::file_size() const {
  uint64_t size = 0;
  for (const File& file : files_) size += file.bytes.size();
  return size;
}

std::optional<uint64_t> Gguf::resident_bytes() const {
  uint64_t sum = 0;
  for (const File& file : files_) {
    const auto bytes = file.map ? file.map->resident_bytes() : std::nullopt;
    if (!bytes) return std::nullopt;
    sum += *bytes;
  }
  return sum;
}

const FileMap* Gguf::map_of(const uint8_t* data) const {
  for (const File& file : files_) {
    const uint8_t* begin = file.bytes.data();
    if (file.map && data >= begin && data < begin + file.bytes.size()) return &*file.map;
  }
  return nullptr;
}

Gguf Gguf::parse(std::span<const uint8_t> bytes, const std::string& name) {
  return parse(bytes, name, nullptr);
}

Gguf Gguf::parse(std::span<const uint8_t> bytes, const std::string& name, const Gguf* first) {
  Gguf gguf;
  gguf.files_.push_back({name, bytes, std::nullopt});
  gguf.name_ = name;
  Reader in{bytes, name};
  gguf.version_ = read_version(in);
  const uint64_t n_tensors = in.count(kMinTensorBytes, kMaxEntries, "tensors");
  const uint64_t n_metadata = in.count(kMinMetadataBytes, kMaxEntries, "metadata entries");

  for (uint64_t i = 0; i < n_metadata; ++i) {
    const std::string_view key = in.string(kMaxKeyBytes, "a metadata key");
    if (!gguf.metadata_index_.emplace(key, i).second) {
      fail(ErrorCode::kBadFile, name, "key " + quoted(key) + " appears twice");
    }
    GgufValue value = read_value(in, key);
    gguf.metadata_.emplace_back(key, std::move(value));
  }

  const uint64_t alignment = gguf.u32(kGgufAlignmentKey).value_or(kGgufAlignment);
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    fail(ErrorCode::kBadFile, name,
         "key \"general.alignment\" is " + std::to_string(alignment) +
             "; a power of two up to 2^20 expected");
  }

  std::vector<RawTensor> raw;
  for (uint64_t i = 0; i < n_tensors; ++i) {
    raw.push_back(read_tensor(in, alignment));
    if (!gguf.tensor_index_.emplace(raw.back().name, i).second) {
      fail(ErrorCode::kBadFile, name, "tensor " + quoted(raw.back().name) + " appears twice");
    }
  }
  // A file without tensors may end where its tensor list ends.
  gguf.data_offset_ = std::min<uint64_t>(round_up(in.pos, alignment), bytes.size());

  const std::span<const uint8_t> data = bytes.subspan(gguf.data_offset_);
  const TypeIds ids(first ? *first : gguf, raw, data.size(), alignment);
  for (const RawTensor& tensor : raw) {
    const auto type = ids.type_of(tensor);
    if (!type) fail_unknown_type(name, tensor);
    gguf.tensors_.push_back(place_tensor(tensor, *type, data, name));
  }
  return gguf;
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto it = metadata_index_.find(key);
  return it == metadata_index_.end() ? nullptr : &metadata_[it->second].second;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

std::optional<uint32_t> Gguf::u32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_integer()) fail_type(name_, key, "an integer", *value);
  const int64_t n = value->integer();  // a u64 beyond i64 turns negative and is refused too
  if (n < 0 || n > std::numeric_limits<uint32_t>::max()) {
    fail(ErrorCode::kBadFile, name_,
         "key " + quoted(key) + " is out of range: 0 to 4294967295 expected");
  }
  return static_cast<uint32_t>(n);
}

std::optional<float> Gguf::f32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kF32 && value->type != GgufType::kF64) {
    fail_type(name_, key, "a float", *value);
  }
  const double number = value->number();
  if (!(std::fabs(number) <= std::numeric_limits<float>::max())) {
    fail(ErrorCode::kBadFile, name_, "key " + quoted(key) + " is not a finite f32 number");
  }
  return static_cast<float>(number);
}

std::optional<bool> Gguf::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kBool) fail_type(name_, key, "a bool", *value);
  return value->integer() != 0;
}

std::optional<std::string_view> Gguf::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kString) fail_type(name_, key, "a string", *value);
  return value->string();
}

uint32_t Gguf::require_u32(std::string_view key) const {
  const auto value = u32(key);
  if (!value) fail(ErrorCode::kBadFile, name_, "key " + quoted(key) + " is missing");
  return *value;
}

std::string_view Gguf::require_string(std::string_view key) const {
  const auto value = string(key);
  if (!value) fail(ErrorCode::kBadFile, name_, "key " + quoted(key) + " is missing");
  return *value;
}

}  // namespace bitnet
