// Whole steps of training against golden ones of another implementation.
#include "golden_training.h"
#include "random_model.h"

using bitnet::ParameterPart;
using bitnet::Training;
using bitnet::TrainMode;
using bitnet::TrainRow;
using golden::Case;
using golden::Floats;

namespace {

constexpr double kGradientTolerance = 2e-5, kLossTolerance = 1e-5;

const Case& bitnet_case() {
  static const Case of("bitnet");
  return of;
}
const Case& llama_case() {
  static const Case of("llama");
  return of;
}
const std::vector<const Case*>& cases() {
  static const std::vector<const Case*> list = {&bitnet_case(), &llama_case()};
  return list;
}

const char* section(TrainMode mode) { return mode == TrainMode::kFull ? "qat" : "lora"; }

const auto kNeverStopped = [] { return false; };

// Names of golden tensors that begin with `prefix`, without it.
std::vector<std::string> names(const golden::Tensors& tensors, const std::string& prefix) {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : tensors.all)
    if (name.starts_with(prefix)) out.push_back(name.substr(prefix.size()));
  return out;
}

double mean_loss(Training& training, const std::vector<TrainRow>& rows, int64_t step) {
  const bitnet::LossSum sum = training.backward(rows, golden::n_labels(rows), step, kNeverStopped);
  return sum.loss / static_cast<double>(sum.labels);
}

void check_logits(const Case& of, Training& training, const golden::Tensors& wanted) {
  Floats logits;
  for (const TrainRow& row : of.rows()) {
    Floats part(static_cast<size_t>(row.size() * 260));
    training.logits(row, part.data());
    logits.insert(logits.end(), part.begin(), part.end());
  }
  CHECK(golden::distance(logits, wanted.floats("logits")) < kGradientTolerance);
}

void check_gradients(const Training& training, const golden::Tensors& wanted) {
  for (const std::string& name : names(wanted, "grad.")) {
    const Floats gradient =
        golden::read(training, golden::gguf_name(name), ParameterPart::kGradient);
    const double distance = golden::distance(gradient, wanted.floats("grad." + name));
    if (!(distance < kGradientTolerance))
      check::fail(__FILE__, __LINE__, name + " is " + std::to_string(distance) + " off");
  }
}

void check_values(const Training& training, const golden::Tensors& wanted) {
  for (const std::string& name : names(wanted, "after3.")) {
    const Floats value = golden::read(training, golden::gguf_name(name), ParameterPart::kValue);
    const Floats golden = wanted.floats("after3." + name);
    size_t far = 0;
    for (size_t i = 0; i < golden.size(); ++i) {
      const double error = std::fabs(double{value[i]} - double{golden[i]});
      far += error > 1e-6;
      if (!(error <= 5e-5))
        check::fail(__FILE__, __LINE__, name + " differs by " + std::to_string(error));
    }
    CHECK(far * 100 <= golden.size());
  }
}

void check_three_steps(const Case& of, TrainMode mode) {
  const auto training = golden::open(of, golden::options_of(of, mode));
  const golden::Tensors wanted(of.folder + "/" + section(mode) + ".safetensors");
  const std::vector<double> losses = of.numbers(section(mode), "loss");
  const std::vector<double> norms = of.numbers(section(mode), "grad_norm");
  const std::vector<TrainRow> rows = of.rows();
  check_logits(of, *training, wanted);
  for (size_t i = 0; i < 3; ++i) {
    CHECK_NEAR(mean_loss(*training, rows, 0), losses[i], kLossTolerance);
    if (i == 0) check_gradients(*training, wanted);
    const bitnet::StepResult result = training->step(golden::step_of(of, i));
    CHECK_NEAR(result.norm, norms[i], kLossTolerance * norms[i]);
    CHECK(result.skipped.empty());
  }
  check_values(*training, wanted);
}

}  // namespace

TEST("three steps of full training give the golden logits, losses, gradients and weights") {
  for (const Case* of : cases()) check_three_steps(*of, TrainMode::kFull);
}

TEST("three steps with an adapter give the golden logits, losses, gradients and weights") {
  for (const Case* of : cases()) check_three_steps(*of, TrainMode::kLora);
}

namespace {

// Everything that two steps leave: losses, the gradients of a third pass, values and moments.
struct Trace {
  std::vector<double> losses;
  Floats values;

  bool operator==(const Trace&) const = default;
};

// How rows are handed over: all in one call, or one in each.
enum class Calls { kTogether, kApart };

Trace trace_of(const Case& of, const bitnet::TrainOptions& options,
               Calls calls = Calls::kTogether) {
  const auto training = golden::open(of, options);
  const std::vector<TrainRow> rows = of.rows();
  const int64_t labels = golden::n_labels(rows);
  Trace trace;
  for (size_t i = 0; i < 3; ++i) {
    const size_t each = calls == Calls::kApart ? 1 : rows.size();
    for (size_t first = 0; first < rows.size(); first += each)
      training->backward(std::span(rows).subspan(first, each), labels, 0, kNeverStopped);
    if (i == 2) break;
    const bitnet::StepResult result = training->step(golden::step_of(of, i));
    trace.losses.push_back(result.sum.loss);
    trace.losses.push_back(result.norm);
  }
  for (const auto& p : training->model().parameters) {
    for (const auto* array : {&p->value, &p->gradient, &p->m, &p->v})
      trace.values.insert(trace.values.end(), array->data(), array->data() + p->size());
  }
  return trace;
}

constexpr TrainMode kModes[] = {TrainMode::kFull, TrainMode::kLora};

}  // namespace

TEST("kernels that fuse, threads and the division of rows among calls change no bit") {
  for (const Case* of : cases()) {
    for (const TrainMode mode : kModes) {
      Trace first;
      for (const bitnet::Kernels* kernels : bitnet::runnable_kernels()) {
        if (!bitnet::fuses_multiply_add(*kernels)) continue;
        for (const int threads : {1, 2, 4}) {
          const Calls calls = threads == 2 ? Calls::kApart : Calls::kTogether;
          const Trace trace =
              trace_of(*of, golden::options_of(*of, mode, threads, kernels->name), calls);
          if (first.values.empty()) first = trace;
          CHECK(trace == first);
        }
      }
    }
  }
}

TEST("dropout is the same for a row, whichever rows are computed beside it") {
  const Case& of = bitnet_case();
  bitnet::TrainOptions options = golden::options_of(of, TrainMode::kLora, 2);
  options.adapter.dropout = 0.25f;
  const Trace alone = trace_of(of, options, Calls::kApart);
  CHECK(trace_of(of, options, Calls::kTogether) == alone);
  options.adapter.dropout = 0;
  CHECK(!(trace_of(of, options) == alone));
}

// Rows that take several passes; the larger vocabulary is one whose logits do not wait.
TEST("rows give the same bits one by one and as many side by side as fit") {
  for (const int64_t n_vocab : {300, 40000}) {
    if (bitnet::quick() && n_vocab > 300) continue;
    const auto gradients = [&](size_t at_once) {
      bitnet::TrainOptions options;
      options.mode = TrainMode::kFull;
      options.max_length = 400;
      options.n_threads = 2;
      const auto training =
          Training::open(random_request({1, 64, 128, 2, 1, n_vocab}, false), options);
      std::vector<TrainRow> rows;
      for (const int64_t length : {400, 300, 100, 350, 2}) {
        rows.push_back(random_row(length, n_vocab));
        if (length == 300) rows.back().documents = {0, 130};
        if (length == 300) rows.back().labels[130] = bitnet::kIgnoredLabel;
      }
      for (size_t first = 0; first < rows.size(); first += at_once) {
        const size_t n = std::min(at_once, rows.size() - first);
        training->backward(std::span(rows).subspan(first, n), 1000, 0, kNeverStopped);
      }
      Floats out;
      for (const auto& p : training->model().parameters)
        out.insert(out.end(), p->gradient.data(), p->gradient.data() + p->size());
      return out;
    };
    CHECK(gradients(1) == gradients(5));
  }
}

TEST("the scalar kernel gives the golden gradients, too") {
  for (const Case* of : cases()) {
    for (const TrainMode mode : kModes) {
      const auto training = golden::open(*of, golden::options_of(*of, mode, 2, "scalar"));
      mean_loss(*training, of->rows(), 0);
      check_gradients(*training,
                      golden::Tensors(of->folder + "/" + section(mode) + ".safetensors"));
    }
  }
}

TEST("checkpointing changes no bit") {
  for (const Case* of : cases()) {
    for (const TrainMode mode : kModes) {
      bitnet::TrainOptions options = golden::options_of(*of, mode);
      options.adapter.dropout = 0.25f;
      const Trace kept = trace_of(*of, options);
      options.checkpointing = true;
      CHECK(trace_of(*of, options) == kept);
    }
  }
}

TEST("an adapter whose B is zero gives the bits of its base") {
  for (const Case* of : cases()) {
    const std::vector<TrainRow> rows = of->rows();
    const auto adapter = Training::open(of->request(), golden::options_of(*of, TrainMode::kLora));
    const auto base = Training::open(of->request(), golden::options_of(*of, TrainMode::kFull));
    const double loss = base->evaluate(rows, kNeverStopped).loss;
    CHECK(adapter->evaluate(rows, kNeverStopped).loss == loss);
    CHECK(adapter->backward(rows, 1, 0, kNeverStopped).loss == loss);
    for (const auto& p : adapter->model().parameters) {
      const bool is_a = p->name.ends_with("lora_a");
      const Floats value = golden::read(*adapter, p->name, ParameterPart::kValue);
      const auto not_zero = [](float x) { return x != 0; };
      CHECK(std::any_of(value.begin(), value.end(), not_zero) == is_a);
      for (const float x : value) CHECK(std::fabs(x) <= 1 / std::sqrt(static_cast<float>(p->cols)));
      const Floats gradient = golden::read(*adapter, p->name, ParameterPart::kGradient);
      CHECK(std::any_of(gradient.begin(), gradient.end(), not_zero) != is_a);
    }
  }
}

// What lies below the lowest adapter has no backward pass; this must not show above it.
TEST("matrices and layers that get an adapter have the gradients that they have among others") {
  const Case& of = bitnet_case();
  const std::vector<TrainRow> rows = of.rows();
  const auto all = Training::open(of.request(), golden::options_of(of, TrainMode::kLora));
  const auto randomize = [](Training& training) {
    for (const auto& p : training.model().parameters) {
      if (p->name.starts_with("blk.1.ffn") || p->name.starts_with("blk.1.attn")) {
        bitnet::Random random(p->name.size() * 1000 + static_cast<uint64_t>(p->rows));
        golden::write(training, p->name, bitnet::random_floats(random, p->size(), -0.1f, 0.1f));
      }
    }
  };
  randomize(*all);
  mean_loss(*all, rows, 0);
  for (const std::vector<int>& matrices :
       {std::vector<int>{0, 1, 2, 3, 4, 5, 6}, {6}, {4, 5, 6}, {3, 4, 5, 6}, {0, 3, 4, 5, 6}}) {
    bitnet::TrainOptions options = golden::options_of(of, TrainMode::kLora);
    options.adapter.layers = {false, true};
    std::fill_n(options.adapter.matrices, bitnet::kLayerMatrices, false);
    for (const int i : matrices) options.adapter.matrices[i] = true;
    const auto some = Training::open(of.request(), options);
    randomize(*some);
    const bool is_whole = matrices.size() == bitnet::kLayerMatrices;
    CHECK_EQ(some->model().parameters.size(), 2 * matrices.size());
    mean_loss(*some, rows, 0);
    for (const auto& p : some->model().parameters) {
      const Floats gradient = golden::read(*some, p->name, ParameterPart::kGradient);
      CHECK(std::any_of(gradient.begin(), gradient.end(), [](float x) { return x != 0; }));
      if (is_whole) CHECK(gradient == golden::read(*all, p->name, ParameterPart::kGradient));
    }
  }
}

TEST(
    "dropout is a function of seed, step and place, and its gradients are the slopes of the loss") {
  const Case& of = bitnet_case();
  bitnet::TrainOptions options = golden::options_of(of, TrainMode::kLora);
  options.adapter.dropout = 0.3f;
  std::fill_n(options.adapter.matrices, bitnet::kLayerMatrices, false);
  options.adapter.matrices[bitnet::kDown] =
      true;  // of the last layer: nothing is rounded behind it
  options.adapter.layers = {false, true};
  const std::vector<TrainRow> rows = of.rows();
  const auto training = golden::open(of, options);
  const auto loss = [&](int64_t step) {
    const double sum = training->backward(rows, 1, step, kNeverStopped).loss;
    bitnet::OptimizerStep nothing{0, 0, 0.9, 0.95, 1e-8, 0};
    training->step(nothing);
    return sum;
  };
  CHECK(loss(0) == loss(0));
  CHECK(loss(0) != loss(1));
  CHECK(loss(0) != training->evaluate(rows, kNeverStopped).loss);
  for (const char* name : {"blk.1.ffn_down.lora_a", "blk.1.ffn_down.lora_b"}) {
    Floats value = golden::read(*training, name, ParameterPart::kValue);
    training->backward(rows, 1, 5, kNeverStopped);
    const Floats gradient = golden::read(*training, name, ParameterPart::kGradient);
    training->step({0, 0, 0.9, 0.95, 1e-8, 0});
    const size_t at =
        static_cast<size_t>(std::max_element(gradient.begin(), gradient.end()) - gradient.begin());
    const float middle = value[at], change = 0.02f;
    value[at] = middle + change;
    golden::write(*training, name, value);
    const double above = loss(5);
    value[at] = middle - change;
    golden::write(*training, name, value);
    const double slope = (above - loss(5)) / (2 * double{change});
    value[at] = middle;
    golden::write(*training, name, value);
    CHECK_NEAR(gradient[at], slope, 0.01 * std::fabs(slope));
  }
}

TEST("a step with a gradient that is not finite changes nothing and names the tensor") {
  const Case& of = llama_case();
  const auto training = golden::open(of, golden::options_of(of, TrainMode::kFull));
  Floats embedding = golden::read(*training, "token_embd.weight", ParameterPart::kValue);
  const Floats before = golden::read(*training, "blk.0.ffn_up.weight", ParameterPart::kValue);
  embedding[104 * 32] = std::nanf("");
  golden::write(*training, "token_embd.weight", embedding);
  mean_loss(*training, of.rows(), 0);
  const bitnet::StepResult result = training->step(golden::step_of(of, 0));
  CHECK(result.skipped.find("not finite") != std::string::npos);
  CHECK_EQ(result.tensor, std::string("token_embd.weight"));
  CHECK_EQ(training->n_steps(), 0);
  CHECK(golden::read(*training, "blk.0.ffn_up.weight", ParameterPart::kValue) == before);
  embedding[104 * 32] = 0;
  golden::write(*training, "token_embd.weight", embedding);
  mean_loss(*training, of.rows(), 0);
  CHECK(training->step(golden::step_of(of, 0)).skipped.empty());
}

TEST("a pass that is stopped leaves the step as if it had not begun") {
  const Case& of = bitnet_case();
  const auto training = golden::open(of, golden::options_of(of, TrainMode::kLora));
  const std::vector<TrainRow> rows = of.rows();
  const auto in_parts = [&](int64_t most) {
    int asked = 0;
    for (const TrainRow& row : rows)
      training->backward(std::span(&row, 1), 1, 0, [&] { return ++asked > most; });
  };
  CHECK_THROWS(in_parts(6), bitnet::Error, "stopped");
  for (const auto& p : training->model().parameters) {
    const Floats gradient = golden::read(*training, p->name, ParameterPart::kGradient);
    CHECK(std::all_of(gradient.begin(), gradient.end(), [](float x) { return x == 0; }));
  }
  const double whole = training->backward(rows, 1, 0, kNeverStopped).loss;
  CHECK(training->step(golden::step_of(of, 0)).sum.loss == whole);
}

TEST("rows that are not what they should be are refused, naming row and place") {
  const Case& of = bitnet_case();
  const auto training = golden::open(of, golden::options_of(of, TrainMode::kLora));
  const auto refused = [&](auto change, const char* text) {
    std::vector<TrainRow> rows = of.rows();
    change(rows[1]);
    CHECK_THROWS(training->backward(rows, 1, 0, kNeverStopped), bitnet::Error, text);
    CHECK_THROWS(training->evaluate(rows, kNeverStopped), bitnet::Error, text);
  };
  refused([](TrainRow& row) { row.ids[3] = 260; }, "row 1: token 3 is 260");
  refused([](TrainRow& row) { row.labels[2] = -1; }, "token 2 is");
  refused([](TrainRow& row) { row.labels[0] = 5; }, "its label must be -100");
  refused([](TrainRow& row) { row.labels.pop_back(); }, "23 labels for 24 tokens");
  refused([](TrainRow& row) { row.documents = {}; }, "the first document must begin at 0");
  refused([](TrainRow& row) { row.documents = {0, 18, 18}; }, "ascending places below 24");
  refused([](TrainRow& row) { row.documents = {0, 24}; }, "ascending places below 24");
  refused([](TrainRow& row) { row = {}; }, "it has 0 tokens, expected 1 to 24");
  CHECK_THROWS(training->backward(of.rows(), 0, 0, kNeverStopped), bitnet::Error, "label");
}

TEST("what cannot be trained is refused, saying why") {
  const Case& of = bitnet_case();
  const bitnet::TrainOptions lora = golden::options_of(of, TrainMode::kLora);
  const auto refused = [](bitnet::ConvertRequest request, const bitnet::TrainOptions& options,
                          const char* text) {
    CHECK_THROWS(Training::open(std::move(request), options), bitnet::Error, text);
  };
  bitnet::ConvertRequest request = of.request();
  request.jobs.pop_back();
  refused(std::move(request), lora, "is missing");
  request = of.request();
  request.jobs.push_back(request.jobs.back());
  request.jobs.back().name = "blk.0.attn_q.bias";
  refused(std::move(request), lora, "biases");
  request = of.request();
  for (bitnet::ConvertJob& job : request.jobs) job.declared = false;
  refused(std::move(request), lora, "not ternary");
  request = of.request();
  for (bitnet::ConvertJob& job : request.jobs) {
    if (!job.ternary) continue;
    job.source.kind = bitnet::SourceKind::kRandom;
    job.source.factor = 0.5f;
  }
  refused(std::move(request), golden::options_of(of, TrainMode::kFull), "ternary already");
  request = {};
  request.file.string("general.architecture", "qwen3");
  for (const char* key : {"block_count", "embedding_length", "feed_forward_length",
                          "attention.head_count", "context_length"})
    request.file.u32(std::string("qwen3.") + key, 1);
  request.file.u32("qwen3.attention.key_length", 2);
  refused(std::move(request), lora, "qwen3");
  bitnet::TrainOptions options = lora;
  options.adapter.rank = 0;
  refused(of.request(), options, "rank");
  options = lora;
  options.adapter.dropout = 1;
  refused(of.request(), options, "dropout");
  options = lora;
  options.adapter.layers = {false, false};
  refused(of.request(), options, "no matrix gets an adapter");
}
