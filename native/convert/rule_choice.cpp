#include "convert/rule_choice.h"

#include <cmath>
#include <string>

namespace bitnet {
namespace {

// The one scale of a source that holds codes.
float common_scale(const SourceRows& source, RowLoop& loop) {
  const PlannedTensor& tensor = source.tensor();
  std::vector<uint8_t> first(static_cast<size_t>(tensor.cols));
  if (!source.may_differ_in_scale()) return source.codes(0, first.data());
  std::vector<float> scales(static_cast<size_t>(tensor.rows));
  auto codes = loop.make_buffers<uint8_t>(tensor.cols);
  loop.for_each_row(tensor.rows, tensor.cols, [&](int64_t row, int thread) {
    scales[static_cast<size_t>(row)] = source.codes(row, codes[thread].data());
  });
  float scale = 0;  // a row of zeros may have no scale
  for (const float s : scales) {
    if (s == 0 || s == scale) continue;
    if (scale != 0) {
      source.fail(ErrorCode::kUnsupported,
                  "its rows have different scales, and other types hold one for the matrix");
    }
    scale = s;
  }
  return scale;
}

// body(row, floats, thread).
template <class Body>
void for_each_float_row(const SourceRows& source, RowLoop& loop, Body&& body) {
  const PlannedTensor& tensor = source.tensor();
  auto x = loop.make_buffers<float>(tensor.cols);
  loop.for_each_row(
      tensor.rows, tensor.cols,
      [&](int64_t row, int thread) {
        source.floats(row, x[thread].data());
        body(row, x[thread].data(), thread);
      },
      [&](int64_t begin, int64_t end) { source.release(begin, end); });
}

std::vector<RowMagnitude> measure(const SourceRows& source, RowLoop& loop) {
  const PlannedTensor& tensor = source.tensor();
  std::vector<RowMagnitude> magnitudes(static_cast<size_t>(tensor.rows));
  for_each_float_row(source, loop, [&](int64_t row, const float* x, int) {
    magnitudes[static_cast<size_t>(row)] = measure_row(x, tensor.cols);
  });
  return magnitudes;
}

// Says how much rounding would cost.
[[noreturn]] void refuse(const SourceRows& source, RowLoop& loop, const RuleChoice& choice) {
  const PlannedTensor& tensor = source.tensor();
  std::vector<RowError> errors(static_cast<size_t>(tensor.rows));
  auto codes = loop.make_buffers<uint8_t>(tensor.cols);
  for_each_float_row(source, loop, [&](int64_t row, const float* x, int thread) {
    errors[static_cast<size_t>(row)] =
        ternarize_row(choice.rule, x, tensor.cols, codes[thread].data());
  });
  const double error = ternary_stats(choice.rule, choice.magnitudes, errors).relative_error;
  source.fail(ErrorCode::kUnsupported,
              "its weights are not ternary, and nothing in the source says that they should be: "
              "rounding them to -1, 0, +1 would be " +
                  std::to_string(static_cast<int>(std::lround(error * 100))) + " % off");
}

}  // namespace

RuleChoice choose_rule(const SourceRows& source, RowLoop& loop) {
  RuleChoice choice;
  if (source.holds_codes()) {
    choice.rule = {common_scale(source, loop), true};
    return choice;
  }
  choice.magnitudes = measure(source, loop);
  try {
    choice.rule = choose_ternary_rule(choice.magnitudes, source.tensor().cols);
  } catch (const Error& error) {
    source.fail(error.code, error.what());
  }
  if (!choice.rule.already_ternary && !source.tensor().job.declared) refuse(source, loop, choice);
  return choice;
}

}  // namespace bitnet
