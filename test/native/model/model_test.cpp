// Loading: what a file's hyper-parameters do to the logits, and that a model file that lies gets a
// clear error and nothing worse.
#include "model/model.h"

#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>

#include "base/error.h"
#include "check.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "sessions.h"
#include "tiny_model.h"

using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Model;

namespace {

// The message of the error that the file must be refused with; "" if it is not.
std::string refusal(TinyFile file, ErrorCode code = ErrorCode::kBadFile) {
  const TemporaryFile written(file.finish());
  try {
    bitnet::LoadOptions options;
    options.n_threads = 1;
    Model::load(written.path.string(), options);
  } catch (const Error& error) {
    if (error.code != code) return std::string("wrong code: ") + error.what();
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
#define CHECK_REFUSED(file, part, ...)                                                  \
  do {                                                                                  \
    const std::string message = refusal(file __VA_OPT__(, ) __VA_ARGS__);               \
    if (!contains(message, part)) check::fail(__FILE__, __LINE__, "got: " + message);   \
    if (contains(message, "\n")) check::fail(__FILE__, __LINE__, "more than one line"); \
  } while (0)

using Logits = std::vector<float>;

// The logits of the last of some tokens.
Logits logits_of(TinyFile file) {
  const TemporaryFile written(file.finish());
  bitnet::LoadOptions options;
  options.n_threads = 1;
  const std::shared_ptr<Model> model = Model::load(written.path.string(), options);
  Session session(model, 16);
  session.prefill(std::vector<int32_t>{1, 3, 5, 30, 8, 21, 13, 34, 2, 7}, false);
  return session.logits();
}

bool same_bits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TinyFile of(const std::string& arch, uint32_t n_vocab = 40,
            const std::string& tokenizer = "llama") {
  TinyFile file;
  file.arch = arch;
  file.n_vocab = n_vocab;
  file.tokenizer = tokenizer;
  return file;
}

TinyFile scaled(TinyFile file, float factor) {
  file.texts = {{file.arch + ".rope.scaling.type", "linear"}};
  file.floats = {{file.arch + ".rope.scaling.factor", factor}};
  return file;
}

// Float matrices, whose products no rounding of activations disturbs: what is left between these
// logits and exact ones is the rounding of keys and values to F16.
TinyFile with_floats(TinyFile file) {
  const uint64_t hidden = file.embd, kv = hidden / file.heads * file.kv_heads;
  const struct {
    const char* name;
    uint64_t cols, rows;
  } matrices[] = {{"attn_q", hidden, hidden},    {"attn_k", hidden, kv},
                  {"attn_v", hidden, kv},        {"attn_output", hidden, hidden},
                  {"ffn_gate", hidden, file.ff}, {"ffn_up", hidden, file.ff},
                  {"ffn_down", file.ff, hidden}};
  uint32_t random = 1;
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    for (const auto& [name, cols, rows] : matrices) {
      std::vector<uint8_t> bytes(cols * rows * 4);
      for (size_t i = 0; i < cols * rows; ++i) {
        random = random * 1664525 + 1013904223;
        const float value = static_cast<float>(static_cast<int32_t>(random) >> 16) * 0x1p-18f;
        std::memcpy(&bytes[i * 4], &value, 4);
      }
      file.replaced.push_back({"blk." + std::to_string(layer) + "." + name + ".weight",
                               TinyFile::kF32,
                               {cols, rows},
                               bytes});
    }
  }
  return file;
}

}  // namespace

TEST("linear RoPE scaling divides every frequency, as factors of the same size do") {
  TinyFile factors = of("llama");  // whose files may hold a factor for each frequency
  factors.added = {{"rope_freqs.weight", TinyFile::kF32, {32}, TinyFile::f32s(32, 4)}};
  const Logits plain = logits_of(of("llama")), expected = logits_of(factors);
  CHECK(!same_bits(expected, plain));
  CHECK(same_bits(logits_of(scaled(of("llama"), 4)), expected));
  CHECK(same_bits(logits_of(scaled(of("llama"), 1)), plain));
}

TEST("factors of frequencies and a head of its own count in the families that have them") {
  const TinyFile::Tensor factors{"rope_freqs.weight", TinyFile::kF32, {32}, TinyFile::f32s(32, 4)};
  const TinyFile::Tensor head{"output.weight", TinyFile::kF32, {128, 40}, TinyFile::f32s(5120, 1)};
  for (const TinyFile::Tensor* tensor : {&factors, &head}) {
    for (const bitnet::Family& family : bitnet::families()) {
      TinyFile more = of(family.architecture);
      more.added = {*tensor};
      const bool counts = tensor == &factors ? family.rope_factors : family.own_head;
      if (counts) {
        CHECK(!same_bits(logits_of(more), logits_of(of(family.architecture))));
      } else {
        CHECK_REFUSED(more, "tensor " + tensor->name + " is none that", ErrorCode::kUnsupported);
      }
    }
  }
}

TEST("a linear factor without a type of scaling scales, also under its old name") {
  const Logits expected = logits_of(scaled(of("llama"), 4));
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    TinyFile file = of("llama");
    file.floats = {{key, 4.0f}};
    CHECK(same_bits(logits_of(file), expected));
  }
  TinyFile none = of("llama");
  none.texts = {{"llama.rope.scaling.type", "none"}};
  none.floats = {{"llama.rope.scaling.factor", 4.0f}};
  CHECK(same_bits(logits_of(none), logits_of(of("llama"))));
}

TEST("a tensor that the graph does not read is refused by name") {
  const std::vector<uint8_t> floats = TinyFile::f32s(128, 1);
  for (const char* name :
       {"blk.0.attn_q_norm.weight", "blk.0.attn_norm.bias", "blk.1.post_attention_norm.weight",
        "output_norm.bias", "output.bias", "token_embd.scale", "blk.0.ffn_gate_exps.weight",
        "blk.2.attn_norm.weight", "blk.0.attn_norm", "blk.00.attn_q.bias", "blk.0.attn_q.bias.x",
        "blk.0.ssm_a", "rope_freqs.bias", "", "\x01\xff"}) {
    TinyFile file = of("llama");
    file.added = {{name, TinyFile::kF32, {128}, floats}};
    CHECK_REFUSED(file, " is none that a llama model of 2 layers has", ErrorCode::kUnsupported);
  }
  TinyFile table = of("llama");  // follows from the base of RoPE; old converters left it
  table.added = {{"blk.0.attn_rot_embd.weight", TinyFile::kF32, {128}, floats}};
  CHECK(same_bits(logits_of(table), logits_of(of("llama"))));
}

TEST(
    "a key of the architecture that is not understood is refused, one that changes nothing is "
    "not") {
  for (const char* key :
       {"expert_count", "attention.sliding_window", "logit_scales", "ssm.inner_size",
        "attention.key_length_mla", "hidden_activation", "pooling_type"}) {
    TinyFile file = of("llama");
    file.keys = {{std::string("llama.") + key, 2}};
    CHECK_REFUSED(file, std::string("key llama.") + key, ErrorCode::kUnsupported);
  }
  for (const char* key :
       {"logit_scale", "final_logit_softcapping", "attention.scale", "rope.scaling.attn_factor"}) {
    TinyFile file = of("llama");
    file.floats = {{std::string("llama.") + key, 0.5f}};
    CHECK_REFUSED(file, std::string("key llama.") + key, ErrorCode::kUnsupported);
  }
  TinyFile text = of("llama");
  text.texts = {{"llama.attention.causal", "yes"}};
  CHECK_REFUSED(text, "key llama.attention.causal", ErrorCode::kUnsupported);
  TinyFile adapter = of("llama");
  adapter.texts = {{"general.type", "adapter"}};
  CHECK_REFUSED(adapter, "general.type is 'adapter'", ErrorCode::kUnsupported);
  TinyFile rotated = of("llama");
  rotated.keys = {{"prism.hadamard.version", 1}};
  CHECK_REFUSED(rotated, "key prism.hadamard.version", ErrorCode::kUnsupported);

  TinyFile same = of("llama");
  same.keys = {{"llama.expert_count", 0}, {"llama.vocab_size", 40}, {"bitnet.ssm.x", 1}};
  same.floats = {{"llama.logit_scale", 1.0f}, {"other.program.number", 3.0f}};
  same.texts = {{"general.type", "model"}, {"llama.tensor_data_layout", "Meta AI original pth"}};
  CHECK(same_bits(logits_of(same), logits_of(of("llama"))));
}

namespace {

// A model with a norm before every projection of its two layers, but for one of them.
TinyFile with_input_norms(const std::string& arch, const std::string& missing = "") {
  TinyFile file = of(arch);
  const struct {
    const char* name;
    size_t n;
  } norms[] = {{"attn_q_norm_in", 128},      {"attn_k_norm_in", 128},   {"attn_v_norm_in", 128},
               {"attn_output_norm_in", 128}, {"ffn_gate_norm_in", 128}, {"ffn_up_norm_in", 128},
               {"ffn_down_norm_in", 256}};
  for (const char* layer : {"blk.0.", "blk.1."}) {
    for (const auto& [name, n] : norms) {
      const std::string full = std::string(layer) + name + ".weight";
      if (full != missing) file.added.push_back({full, TinyFile::kF32, {n}, TinyFile::f32s(n, 1)});
    }
  }
  return file;
}

std::shared_ptr<Model> load(TinyFile file) {
  const TemporaryFile written(file.finish());
  bitnet::LoadOptions options;
  options.n_threads = 1;
  return Model::load(written.path.string(), options);
}

}  // namespace

TEST(
    "a norm before every projection makes a model of embeddings; one that is missing is a bad "
    "file") {
  for (const char* arch : {"qwen3", "gemma3"}) {
    CHECK(load(of(arch))->head != nullptr);
    const std::shared_ptr<Model> model = load(with_input_norms(arch));
    CHECK(model->config.embeds_only && !model->head);
    CHECK(model->config.pooling == bitnet::Pooling::kNone);
    for (const char* name : {"blk.0.attn_q_norm_in.weight", "blk.1.ffn_down_norm_in.weight"})
      CHECK_REFUSED(with_input_norms(arch, name), std::string("tensor ") + name + " is missing");
  }
}

TEST("a model of embeddings has vectors and no next token") {
  TinyFile file = of("qwen3");
  file.keys = {{"qwen3.pooling_type", 3}};
  const std::shared_ptr<Model> model = load(file);
  CHECK(model->config.pooling == bitnet::Pooling::kLast);
  Session session(model, 16);
  const std::vector<int32_t> ids = {1, 3, 5};
  CHECK_EQ(session.embed(ids, bitnet::Pooling::kMean).size(), size_t{128});
  const std::vector<float> all = session.embed(ids, bitnet::Pooling::kNone);
  const std::vector<float> last = session.embed(ids, bitnet::Pooling::kLast);
  CHECK_EQ(all.size(), size_t{3 * 128});
  CHECK(std::equal(last.begin(), last.end(), all.begin() + 256));
  try {
    session.prefill(ids, false);
    check::fail(__FILE__, __LINE__, "it predicts");
  } catch (const Error& error) {
    CHECK(error.code == ErrorCode::kUnsupported);
  }
}

TEST("poolings and architectures of other embedding models are refused with the reason") {
  TinyFile ranks = of("qwen3");
  ranks.keys = {{"qwen3.pooling_type", 4}};
  CHECK_REFUSED(ranks, "models that rank texts are not supported", ErrorCode::kUnsupported);
  TinyFile unknown = of("gemma3");
  unknown.keys = {{"gemma3.pooling_type", 9}};
  CHECK_REFUSED(unknown, "expected 0 (none), 1 (mean)", ErrorCode::kUnsupported);
  CHECK_REFUSED(of("gemma-embedding"), "dense layers follow its pooling", ErrorCode::kUnsupported);
}

TEST("counts that are arrays of one number for every layer are read, others refused by layer") {
  TinyFile equal;
  equal.lists = {{"bitnet-b1.58.attention.head_count", {2, 2}},
                 {"bitnet-b1.58.attention.head_count_kv", {1, 1}},
                 {"bitnet-b1.58.feed_forward_length", {256, 256}}};
  CHECK(same_bits(logits_of(equal), logits_of({})));
  TinyFile unequal;
  unequal.lists = {{"bitnet-b1.58.attention.head_count_kv", {1, 2}}};
  CHECK_REFUSED(unequal, "head_count_kv is 2 in layer 1 and 1 in layer 0", ErrorCode::kUnsupported);
  TinyFile few;
  few.lists = {{"bitnet-b1.58.feed_forward_length", {256}}};
  CHECK_REFUSED(few, "feed_forward_length is an array of 1 numbers");
  TinyFile negative;
  negative.lists = {{"bitnet-b1.58.attention.head_count", {-2, -2}}};
  CHECK_REFUSED(negative, "head_count is -2, expected 1 to");
}

TEST("values that are not numbers are refused at load, whatever tensor and type they stand in") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float value : {nan, inf, -inf}) {
    for (const char* name : {"blk.0.attn_norm.weight", "blk.1.attn_sub_norm.weight",
                             "output_norm.weight", "blk.0.attn_q.bias", "blk.0.attn_output.bias"}) {
      TinyFile file;
      std::vector<uint8_t> bytes = TinyFile::f32s(128, 1);
      std::memcpy(&bytes[4 * 77], &value, 4);
      const TinyFile::Tensor tensor{name, TinyFile::kF32, {128}, bytes};
      (contains(name, "bias") ? file.added : file.replaced) = {tensor};
      CHECK_REFUSED(file, std::string("tensor ") + name + " holds a value that is not a number");
    }
    TinyFile scale;
    scale.added = {{"blk.1.ffn_up.scale", TinyFile::kF32, {1}, TinyFile::f32s(1, value)}};
    CHECK_REFUSED(scale, "tensor blk.1.ffn_up.scale holds a value that is not a number");
    TinyFile factors = of("llama");
    factors.added = {{"rope_freqs.weight", TinyFile::kF32, {32}, TinyFile::f32s(32, value)}};
    CHECK_REFUSED(factors, "tensor rope_freqs.weight holds a value that is not a number");
  }
}

TEST("a number that is none is found in every type that an embedding can have") {
  for (const bitnet::Format* format : bitnet::all_formats()) {
    if (!format->dequantize) continue;
    CHECK(format->is_finite != nullptr);
    const uint64_t cols = 256, rows = 40;
    const auto n_bytes = *bitnet::tensor_bytes(format->type, cols, rows);
    TinyFile file;
    file.embd = cols;
    const auto id = static_cast<uint32_t>(format->type);
    const std::vector<uint8_t> zeros(n_bytes);
    file.replaced = {{"token_embd.weight", id, {cols, rows}, zeros}};
    CHECK_EQ(refusal(file), "");
    // Whatever two bytes are all ones: if a value of the row is no number then, it is found.
    for (uint64_t at = 0; at + 1 < n_bytes / rows; ++at) {
      std::vector<uint8_t> bytes = zeros, floats(cols * 4);
      uint8_t* row = &bytes[n_bytes / rows * 31];
      row[at] = row[at + 1] = 0xff;
      format->dequantize(row, reinterpret_cast<float*>(floats.data()), cols);
      const auto* values = reinterpret_cast<const float*>(floats.data());
      bool is_finite = true;
      for (uint64_t i = 0; i < cols; ++i) is_finite &= std::isfinite(values[i]);
      // Infinity times a level of 0 is no number either, so a bad scale is seen in every value.
      CHECK_EQ(format->is_finite(row, cols), is_finite);
      if (is_finite) continue;
      file.replaced = {{"token_embd.weight", id, {cols, rows}, bytes}};
      CHECK_REFUSED(file, "token_embd.weight holds a value that is not a number, in row 31");
    }
  }
}

TEST("logits with linear RoPE scaling are those of a reference in double precision") {
  const double expected[] = {-13.0648, 19.1587, -19.5359, 23.4750,
                             -34.8326, 43.6068, -37.4178, 80.0343};
  const Logits logits = logits_of(scaled(with_floats({}), 2.5f));
  double difference = 0, size = 0;
  for (size_t i = 0; i < std::size(expected); ++i) {
    difference += std::pow(logits[i] - expected[i], 2);
    size += std::pow(expected[i], 2);
  }
  CHECK(std::sqrt(difference / size) < 5e-4);  // 8e-5; without the scaling 5e-2
}

TEST("an old model with 32002 SentencePiece tokens has SiLU under the newer architecture, too") {
  const Logits silu = logits_of(of("bitnet", 32002));
  CHECK(same_bits(logits_of(of("bitnet-b1.58", 32002)), silu));
  // Any other vocabulary, tokenizer or architecture keeps what the architecture says.
  CHECK(!same_bits(logits_of(of("bitnet-25", 32002)), silu));
  CHECK(!same_bits(logits_of(of("bitnet-b1.58", 32001)), logits_of(of("bitnet", 32001))));
  CHECK(!same_bits(logits_of(of("bitnet-b1.58", 32002, "gpt2")),
                   logits_of(of("bitnet", 32002, "gpt2"))));
}

TEST("counts that are zero, absurd or do not fit together are refused by name") {
  const std::string arch = "bitnet-b1.58";
  const struct {
    const char* key;
    uint32_t value;
    const char* part;
  } cases[] = {
      {".block_count", 0, "block_count is 0"},
      {".block_count", 0xffffffff, "block_count is 4294967295"},
      {".block_count", 3, "blk.2."},
      {".embedding_length", 0, "embedding_length is 0"},
      {".embedding_length", 0x80000000, "embedding_length is 2147483648"},
      {".embedding_length", 256, "token_embd.weight"},
      {".feed_forward_length", 0, "feed_forward_length is 0"},
      {".feed_forward_length", 0xffffffff, "feed_forward_length"},
      {".feed_forward_length", 128, "ffn_"},
      {".attention.head_count", 0, "head_count is 0"},
      {".attention.head_count", 0xffffffff, "head_count is 4294967295"},
      {".attention.head_count", 131072, "key_length is 0"},
      {".attention.head_count", 128, "odd"},
      {".attention.head_count", 3, "shape"},
      {".attention.head_count_kv", 0, "head_count_kv is 0"},
      {".attention.head_count_kv", 3, "head_count_kv is 3"},
      {".attention.key_length", 0, "key_length is 0"},
      {".attention.key_length", 63, "odd"},
      {".attention.key_length", 513, "key_length is 513"},
      {".attention.key_length", 0xffffffff, "key_length is 4294967295"},
      {".attention.key_length", 32, "shape"},
      {".context_length", 0, "context_length is 0"},
      {".context_length", 0xffffffff, "context_length is 4294967295"},
  };
  for (const auto& [key, value, part] : cases) {
    TinyFile file;
    file.keys = {{arch + key, value}};
    CHECK_REFUSED(file, part);
  }
  TinyFile heads;  // 4 does not divide by 3
  heads.keys = {{arch + ".attention.head_count", 4}, {arch + ".attention.head_count_kv", 3}};
  CHECK_REFUSED(heads, "not a multiple");
  TinyFile wide;  // each is allowed, their product is not
  wide.keys = {{arch + ".attention.head_count", 131072}, {arch + ".attention.key_length", 512}};
  CHECK_REFUSED(wide, "head dimension");
  TinyFile text;
  text.texts = {{arch + ".block_count", "two"}};
  CHECK_REFUSED(text, "block_count");
}

TEST("what the graph cannot compute is refused as not supported") {
  TinyFile arch;
  arch.arch = "mamba";
  CHECK_REFUSED(arch,
                "'mamba' is not supported; supported are bitnet, bitnet-b1.58, bitnet-25, llama, "
                "qwen3 and gemma3",
                ErrorCode::kUnsupported);
  TinyFile value_length;
  value_length.keys = {{"bitnet-b1.58.attention.value_length", 32}};
  CHECK_REFUSED(value_length, "value_length", ErrorCode::kUnsupported);
  TinyFile partial_rope;
  partial_rope.keys = {{"bitnet-b1.58.rope.dimension_count", 32}};
  CHECK_REFUSED(partial_rope, "rope.dimension_count", ErrorCode::kUnsupported);
  TinyFile yarn;
  yarn.texts = {{"bitnet-b1.58.rope.scaling.type", "yarn"}};
  CHECK_REFUSED(yarn, "yarn", ErrorCode::kUnsupported);
  TinyFile ternary;
  ternary.replaced = {{"token_embd.weight", TinyFile::kI2_S, {128, 40}, TinyFile::i2_s(128, 40)}};
  CHECK_REFUSED(ternary, "tensor token_embd.weight has type I2_S", ErrorCode::kUnsupported);
  TinyFile norm;
  norm.replaced = {{"output_norm.weight", TinyFile::kI2_S, {128}, TinyFile::i2_s(128, 1)}};
  CHECK_REFUSED(norm, "tensor output_norm.weight has type I2_S", ErrorCode::kUnsupported);
}

TEST("hyper-parameters that are not numbers are refused") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float value : {nan, inf, -1.0f, 2.0f}) {
    TinyFile file;
    file.floats = {{"bitnet-b1.58.attention.layer_norm_rms_epsilon", value}};
    CHECK_REFUSED(file, "layer_norm_rms_epsilon");
  }
  for (const float value : {nan, inf, -inf, 0.0f, -1.0f}) {
    TinyFile base;
    base.floats = {{"bitnet-b1.58.rope.freq_base", value}};
    CHECK_REFUSED(base, "freq_base");
    TinyFile factor;
    factor.texts = {{"bitnet-b1.58.rope.scaling.type", "linear"}};
    factor.floats = {{"bitnet-b1.58.rope.scaling.factor", value}};
    CHECK_REFUSED(factor, "rope.scaling.factor");
  }
}

TEST("tensors that are missing or have another shape are refused by name") {
  for (const char* name : {"token_embd.weight", "output_norm.weight", "blk.0.attn_norm.weight",
                           "blk.0.attn_sub_norm.weight", "blk.1.ffn_sub_norm.weight",
                           "blk.1.attn_k.weight", "blk.0.ffn_down.weight"}) {
    TinyFile missing;
    missing.replaced = {{name, ~0u, {}, {}}};
    CHECK_REFUSED(missing, name);
    TinyFile narrow;
    narrow.replaced = {{name, TinyFile::kF32, {64}, TinyFile::f32s(64, 1)}};
    CHECK_REFUSED(narrow, name);
    TinyFile deep;
    deep.replaced = {{name, TinyFile::kF32, {128, 2, 2}, TinyFile::f32s(512, 1)}};
    CHECK_REFUSED(deep, name);
  }
}

TEST("an embedding with fewer rows than the vocabulary has tokens is refused") {
  TinyFile file;
  file.replaced = {{"token_embd.weight", TinyFile::kF16, {128, 39}, TinyFile::f16s(128 * 39)}};
  CHECK_REFUSED(file, "39 rows for a vocabulary of 40");
}

TEST("scales that are not numbers are refused by name") {
  for (const float scale :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    TinyFile in_place;
    in_place.replaced = {
        {"blk.0.attn_q.weight", TinyFile::kI2_S, {128, 128}, TinyFile::i2_s(128, 128, scale)}};
    CHECK_REFUSED(in_place, "tensor blk.0.attn_q.weight has a scale that is not a number");
    TinyFile blocks;  // 66 bytes for 256 weights, the f16 scale last
    std::vector<uint8_t> bytes(66 * 128, 0x55);
    const uint16_t half = bitnet::f32_to_f16(scale);
    for (size_t i = 0; i < 128; ++i) std::memcpy(&bytes[i * 66 + 64], &half, 2);
    blocks.replaced = {{"blk.0.ffn_down.weight", TinyFile::kTQ2_0, {256, 128}, bytes}};
    CHECK_REFUSED(blocks, "blk.0.ffn_down.weight");
  }
}

TEST("the file and the tokenizer of a model outlive its weights") {
  const TemporaryFile written(TinyFile().finish());
  bitnet::LoadOptions options;
  options.n_threads = 1;
  std::shared_ptr<Model> model = Model::load(written.path.string(), options);
  const std::shared_ptr<const bitnet::ModelFile> file = model->file;
  const std::vector<int32_t> ids = file->tokenizer.encode("abc", true, false);
  const std::weak_ptr<Model> weights = model;
  model.reset();
  CHECK(weights.expired());
  CHECK(file->tokenizer.encode("abc", true, false) == ids);
  CHECK_EQ(file->gguf.require_string("tokenizer.ggml.model"), std::string_view("llama"));
}
