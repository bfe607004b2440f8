#include "convert/tensor_writer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "base/float_range.h"
#include "convert/code_tally.h"
#include "convert/row_hash.h"
#include "convert/rule_choice.h"
#include "formats/quantize.h"

namespace bitnet {
namespace {

class TensorWriter {
 public:
  TensorWriter(const SourceRows& source, RowLoop& loop, FileWriter& file, ConvertProgress& progress)
      : source_(source),
        tensor_(source.tensor()),
        job_(tensor_.job),
        loop_(loop),
        file_(file),
        progress_(progress),
        tallies_(static_cast<size_t>(loop.n_threads())) {}

  ConvertResult write() {
    if (is_ternary_job()) choice_ = choose_rule(source_, loop_);
    if (!source_.holds_codes() && job_.ternary) errors_.resize(static_cast<size_t>(tensor_.rows));
    if (is_ternary(job_.out_type)) {
      write_ternary();
    } else {
      write_floats();
    }
    source_.release_all();
    return result();
  }

 private:
  // Weights that are ternary, whatever holds them.
  bool is_ternary_job() const { return job_.ternary || source_.holds_codes(); }
  // Block types are not rounded twice.
  bool copies_bytes() const {
    return !is_ternary_job() && job_.source.kind == SourceKind::kTensor &&
           job_.source.type == job_.out_type && job_.add == 0;
  }

  // The codes of a row, counted. x: floats of a row, scratch.
  void read_codes(int64_t row, float* x, uint8_t* codes, int thread) {
    if (source_.holds_codes()) {
      source_.codes(row, codes);
    } else {
      source_.floats(row, x);
      errors_[static_cast<size_t>(row)] = ternarize_row(choice_.rule, x, tensor_.cols, codes);
    }
    tallies_[thread].add_row(codes, tensor_.cols, row);
  }

  void write_ternary() {
    const int64_t granularity = ternary_row_granularity(tensor_.layout);
    const int64_t chunk = std::min(tensor_.rows, RowLoop::chunk_rows(tensor_.cols, granularity));
    std::vector<uint8_t> packed(tensor_.n_bytes);
    auto codes = loop_.make_buffers<uint8_t>(chunk * tensor_.cols);
    auto x = loop_.make_buffers<float>(tensor_.cols);
    loop_.for_each_chunk(
        tensor_.rows, tensor_.cols, granularity,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            read_codes(r, x[thread].data(), codes[thread].data() + (r - begin) * tensor_.cols,
                       thread);
          }
          pack_ternary_rows(tensor_.layout, begin, end, codes[thread].data(), choice_.rule.scale,
                            packed.data());
        },
        [&](int64_t begin, int64_t end) { source_.release(begin, end); });
    write_ternary_tail(tensor_.layout, choice_.rule.scale, packed.data());
    file_.write(tensor_.offset, packed.data(), packed.size());
    progress_.done_bytes += packed.size();
  }

  void write_floats() {
    const uint64_t row_bytes = tensor_.n_bytes / static_cast<uint64_t>(tensor_.rows);
    const int64_t chunk = std::min(tensor_.rows, RowLoop::chunk_rows(tensor_.cols, 1));
    auto out = loop_.make_buffers<uint8_t>(chunk * static_cast<int64_t>(row_bytes));
    auto codes = loop_.make_buffers<uint8_t>(is_ternary_job() ? tensor_.cols : 0);
    auto x = loop_.make_buffers<float>(tensor_.cols);
    loop_.for_each_chunk(
        tensor_.rows, tensor_.cols, 1,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            uint8_t* row = out[thread].data() + static_cast<uint64_t>(r - begin) * row_bytes;
            make_float_row(r, x[thread].data(), codes[thread].data(), row, thread);
            byte_hash_ += hash_row(row, row_bytes, r);
          }
          const uint64_t n = static_cast<uint64_t>(end - begin) * row_bytes;
          file_.write(tensor_.offset + static_cast<uint64_t>(begin) * row_bytes, out[thread].data(),
                      n);
          progress_.done_bytes += n;
        },
        [&](int64_t begin, int64_t end) { source_.release(begin, end); });
  }

  // out: the stored bytes of a row. x, codes: scratch.
  void make_float_row(int64_t row, float* x, uint8_t* codes, uint8_t* out, int thread) {
    if (is_ternary_job()) {
      read_codes(row, x, codes, thread);
      for (int64_t i = 0; i < tensor_.cols; ++i)
        x[i] = static_cast<float>(codes[i] - 1) * choice_.rule.scale;
    } else {
      source_.floats(row, x);
    }
    if (copies_bytes()) {
      std::memcpy(out, source_.bytes(row), source_.row_bytes());
      return;
    }
    if (job_.out_type == TensorType::kF16 && !all_in_f16_range(x, tensor_.cols)) {
      source_.fail(ErrorCode::kUnsupported,
                   "row " + std::to_string(row) + " holds a value beyond the range of F16");
    }
    quantize_row(job_.out_type, x, out, tensor_.cols);
  }

  ConvertResult result() const {
    ConvertResult out;
    const CodeTally sum = total(tallies_);
    out.hash = is_ternary(job_.out_type) ? sum.hash : byte_hash_.load();
    out.ternary = is_ternary_job();
    if (!out.ternary) return out;
    out.scale = stored_scale(job_.out_type, choice_.rule.scale);
    out.n_negative = sum.n_negative;
    out.n_zero = sum.n_zero;
    out.n_positive = sum.n_positive;
    if (!errors_.empty()) {
      out.relative_error = ternary_stats(choice_.rule, choice_.magnitudes, errors_).relative_error;
    }
    out.rounded = !choice_.rule.already_ternary;
    return out;
  }

  const SourceRows& source_;
  const PlannedTensor& tensor_;
  const ConvertJob& job_;
  RowLoop& loop_;
  FileWriter& file_;
  ConvertProgress& progress_;
  RuleChoice choice_;
  std::vector<RowError> errors_;  // of floats rounded to codes
  std::vector<CodeTally> tallies_;
  std::atomic<uint64_t> byte_hash_{0};
};

}  // namespace

ConvertResult write_tensor(const SourceRows& source, RowLoop& loop, FileWriter& file,
                           ConvertProgress& progress) {
  return TensorWriter(source, loop, file, progress).write();
}

}  // namespace bitnet
