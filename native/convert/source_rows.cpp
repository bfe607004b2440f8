#include "convert/source_rows.h"

#include <algorithm>

#include "base/float_range.h"
#include "convert/random_weights.h"
#include "formats/dequantize.h"

namespace bitnet {
namespace {

// Of the next tensor, asked for while one is written: 32 MiB.
constexpr uint64_t kReadAheadBytes = uint64_t{1} << 25;

}  // namespace

SourceRows::SourceRows(const PlannedTensor& tensor, const FileMap* map)
    : tensor_(tensor), job_(tensor.job), map_(map) {
  const ConvertSource& s = job_.source;
  check_shape();
  if (s.kind == SourceKind::kRandom) return;
  check_size(*map);
  data_ = map->bytes().data() + s.offset;
  if (s.kind == SourceKind::kHfPacked) return;
  row_bytes_ = s.n_bytes / static_cast<uint64_t>(tensor.rows);
  if (is_ternary(s.type)) {
    ternary_ = {s.type, tensor.rows, tensor.cols, data_, s.n_bytes, tensor.source_tl, s.i2s};
  } else {
    check_type();
  }
}

void SourceRows::check_shape() const {
  constexpr int64_t kMax = int64_t{1} << 31;
  if (tensor_.rows < 1 || tensor_.cols < 1 || tensor_.rows > kMax || tensor_.cols > kMax)
    fail(ErrorCode::kBadFile, "impossible shape");
  if (job_.rope_heads > 0 && tensor_.rows % (2 * job_.rope_heads) != 0) {
    fail(ErrorCode::kBadFile, "its rows do not divide into heads of an even size");
  }
}

void SourceRows::check_size(const FileMap& map) const {
  const ConvertSource& s = job_.source;
  const uint64_t file_size = map.bytes().size();
  if (s.offset > file_size || s.n_bytes > file_size - s.offset) {
    fail(ErrorCode::kBadFile, "its data lies beyond the end of the file");
  }
  const bool fits = s.kind == SourceKind::kHfPacked
                        ? tensor_.rows % 4 == 0 &&
                              s.n_bytes == static_cast<uint64_t>(tensor_.rows / 4 * tensor_.cols)
                        : tensor_bytes(s.type, static_cast<uint64_t>(tensor_.cols),
                                       static_cast<uint64_t>(tensor_.rows)) == s.n_bytes;
  if (!fits) fail(ErrorCode::kBadFile, "its bytes do not fit its shape");
}

void SourceRows::check_type() const {
  const TensorType type = job_.source.type;
  if (is_dequantizable(type) || (type == job_.out_type && !job_.ternary)) return;
  fail(ErrorCode::kUnsupported,
       std::string("its type ") + tensor_type_name(type) + " cannot be converted");
}

bool SourceRows::holds_codes() const {
  const ConvertSource& s = job_.source;
  if (s.kind == SourceKind::kRandom) return job_.ternary;
  return s.kind == SourceKind::kHfPacked || is_ternary(s.type);
}

bool SourceRows::may_differ_in_scale() const {
  return job_.source.kind == SourceKind::kTensor && has_row_scales(job_.source.type);
}

float SourceRows::codes(int64_t row, uint8_t* out) const {
  const ConvertSource& s = job_.source;
  const int64_t at = source_row(row);
  if (s.kind == SourceKind::kRandom) {
    random_codes(s.seed, row, tensor_.cols, out);
    return s.factor;
  }
  if (s.kind == SourceKind::kHfPacked) {
    unpack_hf_row({data_, s.n_bytes, tensor_.rows / 4, tensor_.cols}, at, out);
    return s.factor;
  }
  return unpack_ternary_row(ternary_, at, out) * s.factor;
}

void SourceRows::floats(int64_t row, float* out) const {
  const ConvertSource& s = job_.source;
  if (s.kind == SourceKind::kRandom) {
    return random_floats(s.seed, s.mean, s.deviation, row, tensor_.cols, out);
  }
  if (!is_dequantizable(s.type)) return;  // only its bytes are copied
  dequantize_row(s.type, bytes(row), out, tensor_.cols);
  if (!all_finite(out, tensor_.cols)) {
    fail(ErrorCode::kBadFile, "row " + std::to_string(source_row(row)) + " holds NaN or infinity");
  }
  if (job_.add != 0) {
    for (int64_t i = 0; i < tensor_.cols; ++i) out[i] += job_.add;
  }
}

const uint8_t* SourceRows::bytes(int64_t row) const {
  return data_ + static_cast<uint64_t>(source_row(row)) * row_bytes_;
}

void SourceRows::prefetch() const {
  if (map_) map_->will_need(data_, std::min(job_.source.n_bytes, kReadAheadBytes));
}

void SourceRows::release(int64_t begin, int64_t end) const {
  if (!map_ || holds_codes()) return;
  map_->dont_need(data_ + static_cast<uint64_t>(begin) * row_bytes_,
                  static_cast<uint64_t>(end - begin) * row_bytes_);
}

void SourceRows::release_all() const {
  if (map_) map_->dont_need(data_, job_.source.n_bytes);
}

void SourceRows::fail(ErrorCode code, const std::string& what) const {
  throw Error(code, "tensor " + job_.name + ": " + what);
}

// Hugging Face keeps the two halves of a head's rotary pairs apart; row 2i + s of a head is its row
// s * d / 2 + i.
int64_t SourceRows::source_row(int64_t row) const {
  if (job_.rope_heads == 0) return row;
  const int64_t d = tensor_.rows / job_.rope_heads, head = row / d, r = row % d;
  return head * d + (r % 2) * (d / 2) + r / 2;
}

}  // namespace bitnet
