#include "convert/plan.h"

#include "base/error.h"
#include "formats/quantize.h"

namespace bitnet {

TernaryLayout output_layout(const ConvertJob& job, const std::vector<TlConfig>& tl_configs) {
  return {job.out_type, job.rows, job.cols,
          find_tl_config(job.out_type, job.rows, job.cols, tl_configs)};
}

uint64_t planned_bytes(const ConvertJob& job, const std::vector<TlConfig>& tl_configs) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kUnsupported, "tensor " + job.name + ": " + what);
  };
  const std::string shape = std::to_string(job.rows) + " x " + std::to_string(job.cols);
  if (job.rows < 1 || job.cols < 1) fail("impossible shape " + shape);
  try {
    if (is_ternary(job.out_type)) check_ternary_layout(output_layout(job, tl_configs));
  } catch (const Error& error) {
    throw Error(error.code, "tensor " + job.name + ": " + error.what());
  }
  if (!is_ternary(job.out_type) && !is_quantizable(job.out_type) &&
      job.out_type != job.source.type) {
    fail(std::string(tensor_type_name(job.out_type)) + " cannot be written");
  }
  const auto bytes =
      tensor_bytes(job.out_type, static_cast<uint64_t>(job.cols), static_cast<uint64_t>(job.rows));
  if (!bytes)
    fail(std::string(tensor_type_name(job.out_type)) + " cannot hold a matrix of " + shape);
  return *bytes;
}

}  // namespace bitnet
