// A training as a trainer drives it: rows in, gradients added up, a step of the optimizer. One call
// at a time. Results depend neither on threads nor on how rows are divided among calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/threads.h"
#include "train/graph.h"
#include "train/plan.h"

namespace bitnet {

struct LossSum {
  double loss = 0;  // of all labels, added document by document
  int64_t labels = 0, tokens = 0;
};

struct StepResult {
  LossSum sum;  // of all rows since the last step
  double norm = 0;
  std::string skipped;  // why nothing was changed; empty if it was
  std::string tensor;   // the first one whose gradient is not finite, if that is why
};

// What of a parameter.
enum class ParameterPart : uint8_t { kValue, kGradient, kM, kV };

class Training {
 public:
  // Throws as TrainSource and TrainModel, kNoMemory naming what was planned.
  static std::unique_ptr<Training> open(ConvertRequest request, const TrainOptions& options);

  const TrainModel& model() const { return *model_; }
  const Kernels& kernels() const { return compute_.kernels; }
  int n_threads() const { return pool_.size(); }
  const MemoryPlan& plan() const { return plan_; }

  // Throws kUsage, naming the row, for one that is not as TrainRow says.
  void check(std::span<const TrainRow> rows) const;

  // Adds the gradients of the mean loss over n_labels labels, those of the whole step. `step` keys
  // dropout. Throws kAborted, having dropped what the step had added up so far.
  LossSum backward(std::span<const TrainRow> rows, int64_t n_labels, int64_t step,
                   const TrainGraph::Stopped& stopped);
  StepResult step(const OptimizerStep& step);
  LossSum evaluate(std::span<const TrainRow> rows, const TrainGraph::Stopped& stopped);
  void logits(const TrainRow& row, float* out);  // [row.size(), vocabulary]

  // [rows, cols], rows of queries and keys in the order of Hugging Face. Throws kUsage for a name
  // that no parameter has.
  const Parameter& parameter(const std::string& name) const;
  void read(const Parameter& parameter, ParameterPart part, float* out) const;
  void write(const Parameter& parameter, ParameterPart part, const float* values);

  // Makes the ternary weights of a master anew, if a step has changed it.
  void ternarize() { model_->ternarize(); }

  int64_t n_steps() const { return n_steps_; }  // that were taken
  void set_steps(int64_t n) { n_steps_ = n; }

 private:
  Training(TrainSource& source, const TrainOptions& options, const MemoryPlan& plan);
  void begin_step();

  const TrainOptions options_;
  const MemoryPlan plan_;
  ThreadPool pool_;
  Compute compute_;
  std::unique_ptr<TrainModel> model_;
  std::unique_ptr<TrainGraph> graph_;
  LossSum sum_;
  uint64_t n_rows_ = 0;  // since the last step
  int64_t n_steps_ = 0;
};

}  // namespace bitnet
