#include "convert/plan.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "formats/quantize.h"
#include "gguf/tiles.h"

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

// The tile sizes of a source: its own, else those of the kernel config.
TlConfig source_tiles(TensorType type, int64_t rows, int64_t cols, const ConvertRequest& request) {
  std::vector<TlConfig> configs;
  if (const auto stored = request.source_tiles.find(type); stored != request.source_tiles.end())
    configs = stored->second;
  configs.insert(configs.end(), request.tl_configs.begin(), request.tl_configs.end());
  return known_tl_config(type, rows, cols, configs);
}

void set_layouts(PlannedTensor& tensor, const ConvertRequest& request) {
  const TensorType type = tensor.job.out_type, source = tensor.job.source.type;
  const int64_t rows = tensor.rows, cols = tensor.cols;
  tensor.layout = {type, rows, cols};
  if (is_tiled(type)) tensor.layout.tl = choose_tl_config(type, rows, cols, request.tl_configs);
  if (is_ternary(type)) check_ternary_layout(tensor.layout);
  if (is_tiled(source)) tensor.source_tl = source_tiles(source, rows, cols, request);
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

PlannedTensor plan_tensor(ConvertJob job, const ConvertRequest& request) {
  PlannedTensor tensor;
  tensor.job = std::move(job);
  try {
    set_shape(tensor);
    set_layouts(tensor, request);
    set_size(tensor);
  } catch (const Error& error) {
    throw Error(error.code, "tensor " + tensor.job.name + ": " + error.what());
  }
  return tensor;
}

// Collects the tile sizes of the output, and has the file say them if one is not bitnet.cpp's own.
void plan_tiles(ConvertPlan& plan, GgufWriter& file) {
  for (const PlannedTensor& tensor : plan.tensors) {
    const auto& [type, rows, cols, tl] = tensor.layout;
    if (!is_tiled(type)) continue;
    std::vector<TlConfig>& tiles = plan.tiles[type];
    if (std::find(tiles.begin(), tiles.end(), tl) == tiles.end()) tiles.push_back(tl);
    plan.has_own_tiles |= !is_builtin_tl_config(type, tl);
  }
  if (!plan.has_own_tiles) return;
  for (const auto& [type, tiles] : plan.tiles) store_tiles(file, type, tiles);
}

}  // namespace

ConvertPlan plan_conversion(ConvertRequest request) {
  ConvertPlan plan;
  uint64_t data_bytes = 0;
  for (ConvertJob& job : request.jobs) {
    plan.tensors.push_back(plan_tensor(std::move(job), request));
    const PlannedTensor& tensor = plan.tensors.back();
    data_bytes += tensor.n_bytes;
    if (data_bytes > kMaxFileBytes) fail("the tensors take more than 2^60 bytes");
    request.file.tensor(tensor.job.name, tensor.job.ne, tensor.job.out_type, tensor.n_bytes);
  }
  plan_tiles(plan, request.file);
  GgufLayout layout = request.file.layout();
  for (size_t i = 0; i < plan.tensors.size(); ++i) plan.tensors[i].offset = layout.offsets[i];
  plan.head = std::move(layout.head);
  plan.file_bytes = layout.file_bytes;
  plan.n_threads = request.n_threads;
  return plan;
}

}  // namespace bitnet
