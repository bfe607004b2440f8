#include "convert/verification.h"

#include <atomic>
#include <string>

#include "base/error.h"
#include "convert/row_hash.h"
#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {
namespace {

class Verification {
 public:
  Verification(const ConvertPlan& plan, const Gguf& gguf, RowLoop& loop)
      : plan_(plan), gguf_(gguf), loop_(loop) {}

  // Returns the bytes of the tensor.
  uint64_t check(const ConvertJob& job, const ConvertResult& written) {
    const GgufTensor* tensor = gguf_.find_tensor(job.name);
    const uint64_t elements = static_cast<uint64_t>(job.rows) * static_cast<uint64_t>(job.cols);
    if (!tensor || tensor->type != job.out_type || tensor->cols() * tensor->rows() != elements ||
        gguf_.offset_of(*tensor) != job.out_offset) {
      fail(job, "the header does not describe it");
    }
    const uint64_t hash = is_ternary(job.out_type) ? hash_codes(job, *tensor, written.scale)
                                                   : hash_bytes(job, *tensor);
    if (hash != written.hash) fail(job, "it does not hold the source's weights");
    gguf_.map()->dont_need(tensor->data, tensor->n_bytes);
    return tensor->n_bytes;
  }

 private:
  [[noreturn]] void fail(const ConvertJob& job, const std::string& what) const {
    throw Error(ErrorCode::kBadFile,
                plan_.outfile + ": tensor " + job.name + " was written wrongly: " + what);
  }

  uint64_t hash_codes(const ConvertJob& job, const GgufTensor& tensor, float scale) {
    const TernaryTensor packed{
        tensor.type,    job.rows,
        job.cols,       tensor.data,
        tensor.n_bytes, find_tl_config(tensor.type, job.rows, job.cols, plan_.tl_configs)};
    auto codes = loop_.make_buffers<uint8_t>(job.cols);
    std::atomic<uint64_t> hash{0};
    loop_.for_each_row(job.rows, job.cols, [&](int64_t row, int thread) {
      const float found = unpack_ternary_row(packed, row, codes[thread].data());
      // A row of zeros may be stored without its scale.
      if (found != scale && !(found == 0 && has_row_scales(tensor.type)))
        fail(job, "its scale is " + std::to_string(found));
      hash += hash_row(codes[thread].data(), static_cast<uint64_t>(job.cols), row);
    });
    return hash;
  }

  uint64_t hash_bytes(const ConvertJob& job, const GgufTensor& tensor) {
    const uint64_t row_bytes = tensor.n_bytes / static_cast<uint64_t>(job.rows);
    const auto row_data = [&](int64_t row) {
      return tensor.data + static_cast<uint64_t>(row) * row_bytes;
    };
    std::atomic<uint64_t> hash{0};
    loop_.for_each_row(
        job.rows, job.cols,
        [&](int64_t row, int) { hash += hash_row(row_data(row), row_bytes, row); },
        [&](int64_t begin, int64_t end) {
          gguf_.map()->dont_need(row_data(begin), static_cast<uint64_t>(end - begin) * row_bytes);
        });
    return hash;
  }

  const ConvertPlan& plan_;
  const Gguf& gguf_;
  RowLoop& loop_;
};

}  // namespace

void verify(const ConvertPlan& plan, const std::vector<ConvertResult>& written, RowLoop& loop,
            ConvertProgress& progress) {
  const Gguf gguf = Gguf::open(plan.outfile);
  if (plan.check_tokenizer) {
    const Tokenizer tokenizer(gguf, {});  // throws if the vocabulary cannot be read
  }
  Verification verification(plan, gguf, loop);
  for (size_t i = 0; i < plan.jobs.size(); ++i) {
    progress.tensor = i;
    progress.done_bytes += verification.check(plan.jobs[i], written[i]);
  }
}

}  // namespace bitnet
