#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/numbers.h"
#include "formats/dequantize.h"
#include "formats/ternary.h"
#include "kernels/packing.h"

namespace bitnet {

namespace {

// Far beyond any real model, small enough that no product of them overflows.
constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 17, kMaxVocab = 1 << 22,
                  kMaxContext = 1 << 24;
static_assert(kMaxWidth <= kMatmulScratch,
              "a row of codes must fit the scratch memory of a thread");

[[noreturn]] void bad(const Gguf& gguf, const std::string& what) {
  throw Error(ErrorCode::kBadFile, gguf.name() + ": " + what);
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kNotFound, path + ": cannot read the kernel config");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int64_t bounded(const Gguf& gguf, const std::string& key, int64_t value, int64_t most) {
  if (value < 1 || value > most) {
    bad(gguf, key + " is " + std::to_string(value) + ", expected 1 to " + std::to_string(most));
  }
  return value;
}

struct Family {
  const char* architecture;
  Activation activation;
  bool sub_norms, rope_neox;
};
constexpr Family kFamilies[] = {
    {"bitnet", Activation::kSilu, true, true},
    {"bitnet-b1.58", Activation::kRelu2, true, true},
    {"bitnet-25", Activation::kRelu2, true, true},
    {"llama", Activation::kSilu, false, false},
};

const Family& find_family(const Gguf& gguf) {
  const std::string_view name = gguf.require_string("general.architecture");
  for (const Family& family : kFamilies)
    if (name == family.architecture) return family;
  throw Error(ErrorCode::kUnsupported,
              gguf.name() + ": the architecture '" + std::string(name.substr(0, 64)) +
                  "' is not supported; supported are bitnet, bitnet-b1.58, bitnet-25 and llama");
}

float read_rope_scale(const Gguf& gguf, const std::string& arch) {
  const std::string_view type = gguf.string(arch + ".rope.scaling.type").value_or("none");
  if (type == "none") return 1.0f;
  if (type != "linear") {
    throw Error(
        ErrorCode::kUnsupported,
        gguf.name() + ": RoPE scaling '" + std::string(type.substr(0, 64)) + "' is not supported");
  }
  const float factor = gguf.f32(arch + ".rope.scaling.factor").value_or(1.0f);
  if (!(factor > 0) || !std::isfinite(factor))
    bad(gguf, arch + ".rope.scaling.factor is not a positive number");
  return 1.0f / factor;
}

Config read_config(const Gguf& gguf) {
  const Family& family = find_family(gguf);
  const std::string arch = family.architecture;
  auto count = [&](const char* key, int64_t most) {
    return bounded(gguf, arch + key, gguf.require_u32(arch + key), most);
  };
  Config c{};
  c.architecture = arch;
  c.activation = family.activation;
  c.sub_norms = family.sub_norms;
  c.rope_neox = family.rope_neox;
  c.n_layers = count(".block_count", kMaxLayers);
  c.n_embd = count(".embedding_length", kMaxWidth);
  c.n_ff = count(".feed_forward_length", kMaxWidth);
  c.n_heads = count(".attention.head_count", kMaxWidth);
  c.n_kv_heads =
      bounded(gguf, arch + ".attention.head_count_kv",
              gguf.u32(arch + ".attention.head_count_kv").value_or(c.n_heads), c.n_heads);
  if (c.n_heads % c.n_kv_heads != 0)
    bad(gguf, arch + ".attention.head_count is not a multiple of head_count_kv");
  c.head_dim = bounded(gguf, arch + ".attention.key_length",
                       gguf.u32(arch + ".attention.key_length").value_or(c.n_embd / c.n_heads),
                       kAttentionMaxHeadDim);
  // What the kernels' scratch memory is made for.
  bounded(gguf, "attention.head_count times the head dimension", c.n_heads * c.head_dim, kMaxWidth);
  if (c.head_dim % 2 != 0)
    bad(gguf, "the head dimension " + std::to_string(c.head_dim) + " is odd");
  if (gguf.u32(arch + ".attention.value_length").value_or(c.head_dim) != c.head_dim) {
    throw Error(ErrorCode::kUnsupported,
                gguf.name() + ": key_length and value_length differ, which is not supported");
  }
  if (gguf.u32(arch + ".rope.dimension_count").value_or(c.head_dim) != c.head_dim) {
    throw Error(ErrorCode::kUnsupported,
                gguf.name() + ": rope.dimension_count differs from the head dimension " +
                    std::to_string(c.head_dim) + ", which is not supported");
  }
  c.n_ctx_train = count(".context_length", kMaxContext);
  c.rms_eps = gguf.f32(arch + ".attention.layer_norm_rms_epsilon").value_or(1e-5f);
  c.rope_theta = gguf.f32(arch + ".rope.freq_base").value_or(10000.0f);
  if (!(c.rms_eps >= 0 && c.rms_eps < 1))
    bad(gguf, arch + ".attention.layer_norm_rms_epsilon is out of range");
  if (!(c.rope_theta > 0) || !std::isfinite(c.rope_theta))
    bad(gguf, arch + ".rope.freq_base is not positive");
  c.rope_scale = read_rope_scale(gguf, arch);
  return c;
}

}  // namespace

// Builds a Model's weights, tensor by tensor.
class Loader {
 public:
  Loader(Model& model, const LoadOptions& options) : model_(model), gguf_(model.gguf) {
    const std::string& kernel_config = options.kernel_config;
    if (!kernel_config.empty())
      tl_configs_ = parse_tl_config(read_text(kernel_config), kernel_config);
    model_.layout = select_layout(options.layout);
    reserve_ternary(options.in_place);
  }

  void run() {
    Config& c = model_.config;
    const GgufTensor& embd = require("token_embd.weight");
    c.n_vocab = bounded(gguf_, "the number of rows of token_embd.weight",
                        static_cast<int64_t>(embd.rows()), kMaxVocab);
    if (c.n_vocab < model_.tokenizer.n_vocab()) {
      bad(gguf_, "token_embd.weight has " + std::to_string(c.n_vocab) +
                     " rows for a vocabulary of " + std::to_string(model_.tokenizer.n_vocab()));
    }
    // A 1bitLLM model under the name of the newer family: its own files say SiLU.
    if (c.architecture == "bitnet-b1.58" && c.n_vocab == 32002 &&
        model_.tokenizer.model() == "llama") {
      c.activation = Activation::kSilu;
    }
    model_.token_embd = linear("token_embd", c.n_vocab, c.n_embd);
    if (model_.token_embd.is_ternary) unsupported(embd, "as an embedding");
    const bool separate = c.architecture == "llama" && gguf_.find_tensor("output.weight");
    model_.output = separate ? linear("output", c.n_vocab, c.n_embd) : model_.token_embd;
    if (model_.output.is_ternary) unsupported(*gguf_.find_tensor("output.weight"), "as a head");
    if (takes_integers(model_.output)) {
      move_to_huge_pages(model_.output, model_.head_memory_);
      if (!separate) model_.token_embd = model_.output;
    }
    model_.output_norm = vector("output_norm.weight", c.n_embd);
    for (int64_t i = 0; i < c.n_layers; ++i)
      model_.layers.push_back(layer("blk." + std::to_string(i) + "."));
    rope_freqs();
    for (const GgufTensor& t : gguf_.tensors())
      model_.n_parameters += static_cast<int64_t>(t.rows() * t.cols());
  }

 private:
  [[noreturn]] void unsupported(const GgufTensor& t, const std::string& where) {
    throw Error(ErrorCode::kUnsupported, gguf_.name() + ": tensor " + std::string(t.name) +
                                             " has type " + tensor_type_name(t.type) +
                                             ", which is not supported " + where);
  }

  const GgufTensor& require(const std::string& name) {
    const GgufTensor* t = gguf_.find_tensor(name);
    if (!t) bad(gguf_, "tensor " + name + " is missing");
    return *t;
  }

  uint8_t* allocate(int64_t n_bytes) {
    // 64 bytes more, to start on a cache line.
    model_.owned_.push_back(
        std::unique_ptr<uint8_t[]>(new uint8_t[static_cast<size_t>(n_bytes) + 64]));
    model_.copied_bytes += n_bytes;
    const uintptr_t address = reinterpret_cast<uintptr_t>(model_.owned_.back().get());
    return reinterpret_cast<uint8_t*>((address + 63) & ~uintptr_t{63});
  }

  // Norm weights, biases and the like: always copied to f32, they are small.
  const float* vector(const std::string& name, int64_t n) {
    const GgufTensor& t = require(name);
    if (static_cast<int64_t>(t.cols()) != n || t.rows() != 1) bad_shape(t, n, 1);
    if (!is_dequantizable(t.type)) unsupported(t, "for a vector");
    float* out = reinterpret_cast<float*>(allocate(n * 4));
    dequantize_row(t.type, t.data, out, n);
    return out;
  }

  const float* optional_vector(const std::string& name, int64_t n) {
    return gguf_.find_tensor(name) ? vector(name, n) : nullptr;
  }

  [[noreturn]] void bad_shape(const GgufTensor& t, int64_t cols, int64_t rows) {
    bad(gguf_, "tensor " + std::string(t.name) + " has shape [" + std::to_string(t.cols()) + ", " +
                   std::to_string(t.rows()) + "], expected [" + std::to_string(cols) + ", " +
                   std::to_string(rows) + "]");
  }

  Linear linear(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor& t = require(name + ".weight");
    if (static_cast<int64_t>(t.cols()) != cols || static_cast<int64_t>(t.rows()) != rows)
      bad_shape(t, cols, rows);
    Linear out;
    out.type = t.type;
    out.rows = rows;
    out.cols = cols;
    out.is_ternary = is_ternary(t.type);
    if (out.is_ternary) {
      out.ternary = ternary(t);
    } else {
      if (!is_dequantizable(t.type)) unsupported(t, "for a weight matrix");
      out.row_bytes = static_cast<int64_t>(*tensor_bytes(t.type, t.cols(), 1));
      out.data = t.data;
      if (reinterpret_cast<uintptr_t>(t.data) % 4 != 0) {  // a file with an odd alignment
        uint8_t* copy = allocate(static_cast<int64_t>(t.n_bytes));
        std::memcpy(copy, t.data, t.n_bytes);
        out.data = copy;
      }
    }
    out.bias = optional_vector(name + ".bias", rows);
    if (gguf_.find_tensor(name + ".scale")) out.output_scale = *vector(name + ".scale", 1);
    return out;
  }

  TlConfig tl_config(const GgufTensor& t) {
    const uint32_t rows = static_cast<uint32_t>(t.rows()), cols = static_cast<uint32_t>(t.cols());
    for (const TlConfig& config : tl_configs_) {
      if (config.rows != rows || config.cols != cols) continue;
      check_tl_config(t.type, config);
      return config;
    }
    try {
      return builtin_tl_config(t.type, rows, cols);
    } catch (const Error& error) {
      throw Error(error.code,
                  gguf_.name() + ": tensor " + std::string(t.name) + ": " + error.what());
    }
  }

  // Which layout the ternary weights get: the one that is named, by the option or else by
  // BITNET_LAYOUT, or the fastest. "lut" is pairs for a TL1 file, which are what it holds, and
  // triples for all others.
  WeightLayout select_layout(std::string name) {
    if (name.empty()) {
      const char* forced = std::getenv("BITNET_LAYOUT");
      name = forced && *forced ? forced : "auto";
    }
    bool tl1 = false, tl2 = false;
    int64_t n_bytes = 0;
    for (const GgufTensor& t : gguf_.tensors()) {
      tl1 |= t.type == TensorType::kTL1;
      tl2 |= t.type == TensorType::kTL2 || t.type == TensorType::kTL2_V2;
      if (is_ternary(t.type)) n_bytes += static_cast<int64_t>(t.n_bytes);
    }
    if (name == "i2_s") return WeightLayout::kI2S;
    if (name == "trit") return WeightLayout::kTrits;
    if (name == "lut") return tl1 ? WeightLayout::kPairs : WeightLayout::kTriples;
    if (name != "auto") {
      throw Error(ErrorCode::kUsage,
                  "no layout of weights is named '" + name + "'; there are: auto, i2_s, lut, trit");
    }
    return tl2 && n_bytes >= kBeyondCaches ? model_.kernels.fastest_tl2 : WeightLayout::kI2S;
  }

  // Whether the file holds exactly what the kernels read.
  bool is_canonical(const GgufTensor& t) const {
    return model_.layout == WeightLayout::kI2S && t.type == TensorType::kI2_S &&
           t.cols() % 128 == 0;
  }

  int64_t packed_bytes(const GgufTensor& t) const {
    return bitnet::packed_bytes(model_.layout, static_cast<int64_t>(t.rows()),
                                static_cast<int64_t>(t.cols()));
  }

  // One allocation for all ternary weights that are not used in place. Weights that could be are
  // copied too when that puts them on huge pages, unless they are few.
  void reserve_ternary(bool in_place) {
    int64_t canonical = 0, others = 0;
    for (const GgufTensor& t : gguf_.tensors()) {
      if (is_ternary(t.type)) (is_canonical(t) ? canonical : others) += packed_bytes(t) + 64;
    }
    in_place_ = in_place || !HugeArray::available();
    copy_canonical_ = !in_place_ && canonical >= kWorthHugePages;
    const int64_t n_bytes = others + (copy_canonical_ ? canonical : 0);
    if (n_bytes > 0) model_.ternary_memory_ = HugeArray(static_cast<size_t>(n_bytes));
  }

  // A block-quantized head is read whole for every token, as the ternary weights are.
  void move_to_huge_pages(Linear& w, HugeArray& memory) {
    const int64_t n_bytes = w.rows * w.row_bytes;
    if (in_place_ || n_bytes < kWorthHugePages) return;
    memory = HugeArray(static_cast<size_t>(n_bytes));
    fill(memory.data(), w.data, n_bytes);
    model_.copied_bytes += n_bytes;
    w.data = memory.data();
  }

  // A part of the allocation for ternary weights, on a cache line.
  uint8_t* carve(int64_t n_bytes) {
    uint8_t* out = model_.ternary_memory_.data() + carved_;
    carved_ += round_up(n_bytes, 64);
    model_.copied_bytes += n_bytes;
    return out;
  }

  uint8_t* copy(const uint8_t* data, int64_t n_bytes) {
    uint8_t* out = carve(n_bytes);
    fill(out, data, n_bytes);
    return out;
  }

  // Copies in parallel and gives the file's pages back to the OS, so that memory does not grow.
  void fill(uint8_t* to, const uint8_t* from, int64_t n_bytes) {
    model_.pool.parallel_for(n_bytes, 1 << 20, [&](int64_t begin, int64_t end, int) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
    });
    if (gguf_.map()) gguf_.map()->dont_need(from, static_cast<uint64_t>(n_bytes));
  }

  TernaryMatrix ternary(const GgufTensor& t) {
    TernaryTensor source{
        t.type, static_cast<int64_t>(t.rows()), static_cast<int64_t>(t.cols()), t.data, t.n_bytes,
        {}};
    if (t.type == TensorType::kTL1 || t.type == TensorType::kTL2 || t.type == TensorType::kTL2_V2) {
      source.tl = tl_config(t);
    }
    TernaryMatrix out;
    out.rows = source.rows;
    out.cols = source.cols;
    out.layout = model_.layout;
    out.row_bytes = packed_row_bytes(out.layout, source.cols);
    if (is_canonical(t)) {
      std::memcpy(&out.scale, t.data + out.rows * out.row_bytes, 4);
      if (!std::isfinite(out.scale))
        bad(gguf_, "tensor " + std::string(t.name) + " has a scale that is not a number");
      out.data = copy_canonical_ ? copy(t.data, out.rows * out.row_bytes) : t.data;
      return out;
    }
    uint8_t* data = carve(packed_bytes(t));
    float* scales = reinterpret_cast<float*>(allocate(out.rows * 4));
    repack(source, t, data, out.row_bytes, scales);
    out.data = data;
    out.row_scales = scales;
    return out;
  }

  void repack(const TernaryTensor& source, const GgufTensor& t, uint8_t* data, int64_t row_bytes,
              float* scales) {
    std::mutex mutex;
    std::optional<Error> failure;
    model_.pool.parallel_for(source.rows, kLutRows, [&](int64_t begin, int64_t end, int) {
      try {
        std::vector<uint8_t> codes(static_cast<size_t>(kLutRows * source.cols));
        for (int64_t first = begin; first < end; first += kLutRows) {
          const int64_t n = std::min(kLutRows, end - first);
          for (int64_t r = 0; r < n; ++r)
            scales[first + r] = unpack_ternary_row(source, first + r, &codes[r * source.cols]);
          pack_rows(model_.kernels, model_.layout, codes.data(), n, source.cols,
                    data + first * row_bytes);
        }
      } catch (const Error& error) {
        std::lock_guard<std::mutex> lock(mutex);
        failure.emplace(error);
      }
    });
    if (failure) {
      throw Error(failure->code,
                  gguf_.name() + ": tensor " + std::string(t.name) + ": " + failure->what());
    }
    if (gguf_.map()) gguf_.map()->dont_need(t.data, t.n_bytes);
  }

  Layer layer(const std::string& prefix) {
    const Config& c = model_.config;
    const int64_t width = c.n_heads * c.head_dim, kv_width = c.n_kv_heads * c.head_dim;
    Layer out{};
    out.attn_norm = vector(prefix + "attn_norm.weight", c.n_embd);
    out.ffn_norm = vector(prefix + "ffn_norm.weight", c.n_embd);
    if (c.sub_norms) {
      out.attn_sub_norm = vector(prefix + "attn_sub_norm.weight", width);
      out.ffn_sub_norm = vector(prefix + "ffn_sub_norm.weight", c.n_ff);
    }
    out.q = linear(prefix + "attn_q", width, c.n_embd);
    out.k = linear(prefix + "attn_k", kv_width, c.n_embd);
    out.v = linear(prefix + "attn_v", kv_width, c.n_embd);
    out.o = linear(prefix + "attn_output", c.n_embd, width);
    out.gate = linear(prefix + "ffn_gate", c.n_ff, c.n_embd);
    out.up = linear(prefix + "ffn_up", c.n_ff, c.n_embd);
    out.down = linear(prefix + "ffn_down", c.n_embd, c.n_ff);
    return out;
  }

  void rope_freqs() {
    const Config& c = model_.config;
    const int64_t half = c.head_dim / 2;
    // Llama 3.1 style factors stretch each frequency; only that family's graph uses them.
    const float* factors =
        c.architecture == "llama" ? optional_vector("rope_freqs.weight", half) : nullptr;
    for (int64_t i = 0; i < half; ++i) {
      const double freq =
          std::pow(static_cast<double>(c.rope_theta), -static_cast<double>(i) / half) *
          c.rope_scale;
      model_.rope_freqs.push_back(factors ? freq / factors[i] : freq);
    }
  }

  Model& model_;
  const Gguf& gguf_;
  std::vector<TlConfig> tl_configs_;
  static constexpr int64_t kBeyondCaches = 64 << 20;    // bytes of weights
  static constexpr int64_t kWorthHugePages = 64 << 20;  // bytes
  bool in_place_ = false, copy_canonical_ = false;
  int64_t carved_ = 0;  // bytes of ternary_memory_ in use
};

Model::Model(Gguf file, const LoadOptions& options)
    : gguf(std::move(file)),
      tokenizer(gguf, {options.tokenizer_pre}),
      kernels(select_kernels(options.kernel)),
      config(read_config(gguf)),
      tuning(options.tuning),
      pool(options.n_threads > 0 ? options.n_threads : physical_cores(),
           options.tuning.spin_microseconds) {
  Loader(*this, options).run();
  head = std::make_unique<Head>(kernels, pool, output, options.head, gguf.map());
  copied_bytes += head->compact_bytes();
}

void Model::set_tuning(const Tuning& values) {
  check_tuning(values);
  std::lock_guard<std::mutex> lock(compute);
  tuning = values;
  pool.set_spin(values.spin_microseconds);
}

std::unique_ptr<Model> Model::load(const std::string& path, const LoadOptions& options) {
  check_tuning(options.tuning);
  try {
    Gguf gguf = Gguf::open(path);
    read_config(gguf);  // an unsupported architecture is the most useful thing to hear first
    std::unique_ptr<Model> model(new Model(std::move(gguf), options));
    return model;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kNoMemory, path + ": not enough memory to load the model");
  }
}

}  // namespace bitnet
