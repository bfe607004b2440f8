#include "convert/verification.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "base/error.h"
#include "convert/row_hash.h"
#include "gguf/gguf.h"

namespace bitnet {
namespace {

class Verification {
 public:
  Verification(const Gguf& gguf, RowLoop& loop) : gguf_(gguf), loop_(loop) {}

  void check(const PlannedTensor& planned, const ConvertResult& written) {
    const std::string& name = planned.job.name;
    const GgufTensor* tensor = gguf_.find_tensor(name);
    if (!tensor || tensor->type != planned.job.out_type || !has_shape(*tensor, planned.job.ne) ||
        gguf_.offset_of(*tensor) != planned.offset) {
      fail(name, "the header does not describe it");
    }
    const uint64_t hash = is_ternary(tensor->type) ? hash_codes(planned, *tensor, written.scale)
                                                   : hash_bytes(planned, *tensor);
    if (hash != written.hash) fail(name, "it does not hold the source's weights");
    gguf_.dont_need(tensor->data, tensor->n_bytes);
  }

 private:
  static bool has_shape(const GgufTensor& tensor, const std::vector<int64_t>& ne) {
    return std::equal(ne.begin(), ne.end(), tensor.ne, tensor.ne + tensor.n_dims,
                      [](int64_t a, uint64_t b) { return static_cast<uint64_t>(a) == b; });
  }
  [[noreturn]] void fail(const std::string& tensor, const std::string& what) const {
    throw Error(ErrorCode::kBadFile,
                gguf_.name() + ": tensor " + tensor + " was written wrongly: " + what);
  }

  uint64_t hash_codes(const PlannedTensor& planned, const GgufTensor& tensor, float scale) {
    const TernaryLayout& layout = planned.layout;
    const TernaryTensor packed{layout.type, layout.rows,    layout.cols,
                               tensor.data, tensor.n_bytes, layout.tl};
    const int64_t rows = planned.rows, cols = planned.cols;
    auto codes = loop_.make_buffers<uint8_t>(cols);
    std::atomic<uint64_t> hash{0};
    loop_.for_each_row(rows, cols, [&](int64_t row, int thread) {
      const float found = unpack_ternary_row(packed, row, codes[thread].data());
      // A row of zeros may be stored without its scale.
      if (found != scale && !(found == 0 && has_row_scales(tensor.type)))
        fail(planned.job.name, "its scale is " + std::to_string(found));
      hash += hash_row(codes[thread].data(), static_cast<uint64_t>(cols), row);
    });
    return hash;
  }

  uint64_t hash_bytes(const PlannedTensor& planned, const GgufTensor& tensor) {
    const uint64_t row_bytes = tensor.n_bytes / static_cast<uint64_t>(planned.rows);
    const auto row_data = [&](int64_t row) {
      return tensor.data + static_cast<uint64_t>(row) * row_bytes;
    };
    std::atomic<uint64_t> hash{0};
    loop_.for_each_row(
        planned.rows, planned.cols,
        [&](int64_t row, int) { hash += hash_row(row_data(row), row_bytes, row); },
        [&](int64_t begin, int64_t end) {
          gguf_.dont_need(row_data(begin), static_cast<uint64_t>(end - begin) * row_bytes);
        });
    return hash;
  }

  const Gguf& gguf_;
  RowLoop& loop_;
};

}  // namespace

void verify(const ConvertPlan& plan, const std::string& outfile,
            const std::vector<ConvertResult>& written, RowLoop& loop, ConvertProgress& progress) {
  const Gguf gguf = Gguf::open(outfile);
  Verification verification(gguf, loop);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    progress.tensor = i;
    verification.check(plan.tensors[i], written[i]);
    progress.done_bytes += plan.tensors[i].n_bytes;
  }
}

}  // namespace bitnet
