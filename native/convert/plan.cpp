#include "convert/plan.h"

#include <limits>
#include <utility>

#include "base/error.h"
#include "formats/quantize.h"

namespace bitnet {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 60;

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kUnsupported, what); }

// 0 if there are none or too many dimensions, one is not positive or the product leaves int64.
int64_t count_elements(const std::vector<int64_t>& ne) {
  int64_t elements = ne.empty() || ne.size() > 4 ? 0 : 1;
  for (const int64_t n : ne) {
    if (n < 1 || elements > std::numeric_limits<int64_t>::max() / n) return 0;
    elements *= n;
  }
  return elements;
}

void set_shape(PlannedTensor& tensor) {
  const ConvertJob& job = tensor.job;
  const int64_t elements = count_elements(job.ne);
  if (elements == 0) fail("impossible shape");
  tensor.cols = job.ne.size() == 1 && job.rope_heads > 0 ? 1 : job.ne[0];
  tensor.rows = elements / tensor.cols;
}

void set_layouts(PlannedTensor& tensor, const std::vector<TlConfig>& tl_configs) {
  const auto tiles = [&](TensorType type) {
    return find_tl_config(type, tensor.rows, tensor.cols, tl_configs);
  };
  const TensorType type = tensor.job.out_type;
  tensor.layout = {type, tensor.rows, tensor.cols, tiles(type)};
  if (is_ternary(type)) check_ternary_layout(tensor.layout);
  tensor.source_tl = tiles(tensor.job.source.type);
}

void set_size(PlannedTensor& tensor) {
  const TensorType type = tensor.job.out_type;
  const std::string name = tensor_type_name(type);
  if (!is_ternary(type) && !is_quantizable(type) && type != tensor.job.source.type)
    fail(name + " cannot be written");
  const auto bytes =
      tensor_bytes(type, static_cast<uint64_t>(tensor.cols), static_cast<uint64_t>(tensor.rows));
  if (!bytes) {
    fail(name + " cannot hold a matrix of " + std::to_string(tensor.rows) + " x " +
         std::to_string(tensor.cols));
  }
  tensor.n_bytes = *bytes;
}

PlannedTensor plan_tensor(ConvertJob job, const std::vector<TlConfig>& tl_configs) {
  PlannedTensor tensor;
  tensor.job = std::move(job);
  try {
    set_shape(tensor);
    set_layouts(tensor, tl_configs);
    set_size(tensor);
  } catch (const Error& error) {
    throw Error(error.code, "tensor " + tensor.job.name + ": " + error.what());
  }
  return tensor;
}

}  // namespace

ConvertPlan plan_conversion(ConvertRequest request) {
  ConvertPlan plan;
  uint64_t data_bytes = 0;
  for (ConvertJob& job : request.jobs) {
    plan.tensors.push_back(plan_tensor(std::move(job), request.tl_configs));
    const PlannedTensor& tensor = plan.tensors.back();
    data_bytes += tensor.n_bytes;
    if (data_bytes > kMaxFileBytes) fail("the tensors take more than 2^60 bytes");
    request.file.tensor(tensor.job.name, tensor.job.ne, tensor.job.out_type, tensor.n_bytes);
  }
  GgufLayout layout = request.file.layout();
  for (size_t i = 0; i < plan.tensors.size(); ++i) plan.tensors[i].offset = layout.offsets[i];
  plan.head = std::move(layout.head);
  plan.file_bytes = layout.file_bytes;
  plan.check_tokenizer = request.check_tokenizer;
  plan.n_threads = request.n_threads;
  return plan;
}

}  // namespace bitnet
