#include "gguf/conflicts.h"

#include <algorithm>

#include "formats/format.h"

namespace bitnet {
namespace {

// TL2 has two ids in files of bitnet.cpp, an older and a newer one. In ggml both mean other types.
constexpr uint32_t kTl2OrMxfp4 = 39, kTl2OrQ2_0 = 42;
static_assert(kTl2OrMxfp4 == static_cast<uint32_t>(TensorType::kTL2));

constexpr uint64_t kMxfp4Elems = 32, kMxfp4Bytes = 17;  // of a block

// general.file_type of TL2 files, and what is added where it was guessed.
constexpr int64_t kTl2FileType = 39, kGuessed = 1024;

// Types that a message can name although no code here reads them.
constexpr struct {
  uint32_t id;
  const char* name;
} kForeignTypes[] = {
    {9, "Q8_1"},   {15, "Q8_K"},       {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {20, "IQ4_NL"},     {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
    {29, "IQ1_M"}, {37, "I8_S"},       {39, "MXFP4"},   {40, "NVFP4"},  {41, "Q1_0"},
    {42, "Q2_0"},  {335, "IQ2_BN_R4"},
};

}  // namespace

// The bytes up to the next tensor tell what an id with two meanings is; where they fit neither, the
// file's own statements do.
TypeIds::TypeIds(const Gguf& gguf, const std::vector<RawTensor>& tensors, uint64_t data_bytes,
                 uint64_t alignment)
    : alignment_(alignment) {
  for (const RawTensor& tensor : tensors) offsets_.push_back(tensor.offset);
  offsets_.push_back(data_bytes);
  std::sort(offsets_.begin(), offsets_.end());
  const GgufValue* architecture = gguf.find("general.architecture");
  const GgufValue* file_type = gguf.find("general.file_type");
  says_bitnet_ =
      (architecture && architecture->type == GgufType::kString &&
       architecture->string().substr(0, 6) == "bitnet") ||
      (file_type && file_type->is_integer() && (file_type->integer() & ~kGuessed) == kTl2FileType);
}

std::optional<TensorType> TypeIds::type_of(const RawTensor& tensor) const {
  if (tensor.type == kTl2OrMxfp4 || tensor.type == kTl2OrQ2_0) {
    return is_tl2(tensor) ? std::optional(TensorType::kTL2) : std::nullopt;
  }
  const Format* format = find_format(tensor.type);
  return format ? std::optional(format->type) : std::nullopt;
}

bool TypeIds::is_tl2(const RawTensor& tensor) const {
  const auto next = std::upper_bound(offsets_.begin(), offsets_.end(), tensor.offset);
  const uint64_t span = next == offsets_.end() ? 0 : *next - tensor.offset;
  const auto tl2 = tensor_bytes(TensorType::kTL2, tensor.ne[0], tensor.rows());
  if (tl2 && fits(*tl2, span)) return true;
  const bool mxfp4 = tensor.type == kTl2OrMxfp4 && tensor.ne[0] % kMxfp4Elems == 0 &&
                     fits(tensor.ne[0] / kMxfp4Elems * tensor.rows() * kMxfp4Bytes, span);
  return !mxfp4 && tl2 && says_bitnet_;
}

// The last tensor of a file need not be padded.
bool TypeIds::fits(uint64_t bytes, uint64_t span) const {
  return bytes <= span && span - bytes < alignment_;
}

const char* foreign_type_name(uint32_t id) {
  for (const auto& foreign : kForeignTypes) {
    if (foreign.id == id) return foreign.name;
  }
  return nullptr;
}

}  // namespace bitnet
