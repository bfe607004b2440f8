#include "train/training.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "base/cores.h"
#include "base/error.h"

namespace bitnet {

namespace {

[[noreturn]] void refuse_row(size_t i, const std::string& what) {
  throw Error(ErrorCode::kUsage, "row " + std::to_string(i) + ": " + what);
}

void check_documents(const TrainRow& row, size_t i) {
  const std::vector<int32_t>& begins = row.documents;
  if (begins.empty() || begins.front() != 0) refuse_row(i, "the first document must begin at 0");
  for (size_t d = 0; d < begins.size(); ++d) {
    const bool ascends = d == 0 || begins[d] > begins[d - 1];
    if (!ascends || begins[d] >= row.size())
      refuse_row(i, "documents must begin at ascending places below " + std::to_string(row.size()));
    if (row.labels[static_cast<size_t>(begins[d])] != kIgnoredLabel)
      refuse_row(i, "the first token of a document cannot be predicted: its label must be -100");
  }
}

void check_row(const TrainRow& row, size_t i, int64_t n_vocab, int64_t most) {
  if (row.size() < 1 || row.size() > most) {
    refuse_row(i, "it has " + std::to_string(row.size()) + " tokens, expected 1 to " +
                      std::to_string(most));
  }
  if (row.labels.size() != row.ids.size()) {
    refuse_row(i, std::to_string(row.labels.size()) + " labels for " + std::to_string(row.size()) +
                      " tokens");
  }
  const auto is_id = [n_vocab](int32_t id) { return id >= 0 && id < n_vocab; };
  for (size_t t = 0; t < row.ids.size(); ++t) {
    const int32_t label = row.labels[t];
    if (is_id(row.ids[t]) && (label == kIgnoredLabel || is_id(label))) continue;
    refuse_row(i, "token " + std::to_string(t) + " is " + std::to_string(row.ids[t]) +
                      " with the label " + std::to_string(label) + "; the vocabulary has " +
                      std::to_string(n_vocab) + " tokens");
  }
  check_documents(row, i);
}

void add(LossSum& sum, std::span<const TrainRow> rows, const DocumentLosses& losses) {
  for (const double loss : losses) sum.loss += loss;
  for (const TrainRow& row : rows) {
    sum.labels += row.n_labels();
    sum.tokens += row.size();
  }
}

[[noreturn]] void fail_stopped() { throw Error(ErrorCode::kAborted, "the training was stopped"); }

float* part_of(const Parameter& parameter, ParameterPart part) {
  switch (part) {
    case ParameterPart::kGradient:
      return parameter.gradient.data();
    case ParameterPart::kM:
      return parameter.m.data();
    case ParameterPart::kV:
      return parameter.v.data();
    case ParameterPart::kValue:
      break;
  }
  return parameter.value.data();
}

// use(ours, theirs): rows of a parameter in its own order and in that of Hugging Face, which keeps
// the halves of a head's rotary pairs apart.
template <class Use>
void for_rows(const Parameter& p, Use&& use) {
  if (p.rope_heads == 0) {
    for (int64_t r = 0; r < p.rows; ++r) use(r, r);
    return;
  }
  const int64_t d = p.rows / p.rope_heads;
  for (int64_t r = 0; r < p.rows; ++r) {
    const int64_t head = r / d, i = r % d;
    use(r, head * d + i % 2 * (d / 2) + i / 2);
  }
}

}  // namespace

Training::Training(TrainSource& source, const TrainOptions& options, const MemoryPlan& plan)
    : options_(options),
      plan_(plan),
      pool_(options.n_threads > 0 ? options.n_threads : physical_cores()),
      compute_(select_kernels(options.kernel), pool_, attention_floats(options.max_length)),
      model_(std::make_unique<TrainModel>(source, options, compute_)),
      graph_(std::make_unique<TrainGraph>(*model_, compute_, options_)) {}

std::unique_ptr<Training> Training::open(ConvertRequest request, const TrainOptions& options) {
  TrainSource source(std::move(request));
  const MemoryPlan plan = plan_memory(source, options);
  try {
    return std::unique_ptr<Training>(new Training(source, options, plan));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kNoMemory, "not enough memory to train: " +
                                          std::to_string(plan.total() >> 20) + " MiB are needed");
  }
}

void Training::check(std::span<const TrainRow> rows) const {
  for (size_t i = 0; i < rows.size(); ++i)
    check_row(rows[i], i, model_->config.n_vocab, options_.max_length);
}

void Training::begin_step() {
  clear_gradients(compute_, model_->parameters);
  sum_ = {};
  n_rows_ = 0;
}

LossSum Training::backward(std::span<const TrainRow> rows, int64_t n_labels, int64_t step,
                           const TrainGraph::Stopped& stopped) {
  check(rows);
  if (n_labels < 1) throw Error(ErrorCode::kUsage, "the step must have at least one label");
  LossSum sum;
  const float weight = 1.0f / static_cast<float>(n_labels);
  for (size_t i = 0; i < rows.size();) {
    const std::span<const TrainRow> some = rows.subspan(i, graph_->n_at_once(rows.subspan(i)));
    const DropoutKey key{options_.seed, static_cast<uint64_t>(step), n_rows_, true};
    DocumentLosses losses;
    if (!graph_->backward(some, key, weight, stopped, losses)) {
      begin_step();
      fail_stopped();
    }
    add(sum, some, losses);
    add(sum_, some, losses);
    n_rows_ += some.size();
    i += some.size();
  }
  return sum;
}

StepResult Training::step(const OptimizerStep& step) {
  StepResult result{sum_, 0, {}, {}};
  const Parameter* bad = nullptr;
  result.norm = gradient_norm(compute_, model_->parameters, &bad);
  if (bad) {
    result.skipped = "the gradient is not finite";
    result.tensor = bad->name;
  } else if (!std::isfinite(sum_.loss)) {
    result.skipped = "the loss is not finite";
  } else {
    optimize(compute_, model_->parameters, step, result.norm, ++n_steps_);
    model_->set_changed();
  }
  begin_step();
  return result;
}

LossSum Training::evaluate(std::span<const TrainRow> rows, const TrainGraph::Stopped& stopped) {
  check(rows);
  LossSum sum;
  for (size_t i = 0; i < rows.size();) {
    const std::span<const TrainRow> some = rows.subspan(i, graph_->n_at_once(rows.subspan(i)));
    DocumentLosses losses;
    if (!graph_->evaluate(some, stopped, losses)) fail_stopped();
    add(sum, some, losses);
    i += some.size();
  }
  return sum;
}

void Training::logits(const TrainRow& row, float* out) {
  check(std::span(&row, 1));
  graph_->logits(row, out);
}

const Parameter& Training::parameter(const std::string& name) const {
  for (const auto& p : model_->parameters)
    if (p->name == name) return *p;
  throw Error(ErrorCode::kUsage, "no parameter that is trained is named " + name);
}

void Training::read(const Parameter& p, ParameterPart part, float* out) const {
  const float* from = part_of(p, part);
  for_rows(p, [&](int64_t ours, int64_t theirs) {
    std::copy(from + ours * p.cols, from + (ours + 1) * p.cols, out + theirs * p.cols);
  });
}

void Training::write(const Parameter& p, ParameterPart part, const float* values) {
  float* to = part_of(p, part);
  for_rows(p, [&](int64_t ours, int64_t theirs) {
    std::copy(values + theirs * p.cols, values + (theirs + 1) * p.cols, to + ours * p.cols);
  });
  model_->set_changed();
}

}  // namespace bitnet
