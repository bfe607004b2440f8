// The source of one tensor: its rows as floats, ternary codes or stored bytes, in the order of the
// output. Reading is thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/file_map.h"
#include "convert/plan.h"

namespace bitnet {

class SourceRows {
 public:
  // map: of the source's file; nullptr for random weights. Throws kBadFile, kUnsupported. Keeps
  // references to both.
  SourceRows(const PlannedTensor& tensor, const FileMap* map);

  const PlannedTensor& tensor() const { return tensor_; }

  // Whether it is ternary as it stands, with rows for codes(); else they are for floats().
  bool holds_codes() const;
  // Every row has a scale of its own in the file, so they must be looked at.
  bool may_differ_in_scale() const;

  // Writes the codes of a row, returns the scale.
  float codes(int64_t row, uint8_t* out) const;
  // The floats of a row, all finite.
  void floats(int64_t row, float* out) const;
  // The stored bytes of a row; not of ternary types.
  const uint8_t* bytes(int64_t row) const;
  uint64_t row_bytes() const { return row_bytes_; }

  // Hints about the pages of the file. prefetch: they will be needed soon. release: those of output
  // rows [begin, end) are not needed any more; ternary sources are small enough to wait for
  // release_all.
  void prefetch() const;
  void release(int64_t begin, int64_t end) const;
  void release_all() const;

  // Throws with the name of the tensor.
  [[noreturn]] void fail(ErrorCode code, const std::string& what) const;

 private:
  void check_shape() const;
  void check_size(const FileMap& map) const;
  void check_type() const;
  int64_t source_row(int64_t row) const;

  const PlannedTensor& tensor_;
  const ConvertJob& job_;  // the tensor's
  const FileMap* map_;
  const uint8_t* data_ = nullptr;
  uint64_t row_bytes_ = 0;
  TernaryTensor ternary_{};
};

}  // namespace bitnet
