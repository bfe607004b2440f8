#include "model/config.h"

#include <cmath>
#include <string>
#include <string_view>

#include "kernels/kernels.h"
#include "model/refuse.h"

namespace bitnet {

namespace {

// Far beyond any real model, small enough that no product of them overflows.
constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 17, kMaxVocab = 1 << 22,
                  kMaxContext = 1 << 24;
static_assert(kMaxWidth <= kMatmulScratch,
              "a row of codes must fit the scratch memory of a thread");

// Models whose file names an architecture with another activation than their own.
struct Misnamed {
  const char* architecture;
  int64_t n_vocab;
  const char* tokenizer_model;
  Activation activation;
};
constexpr Misnamed kMisnamed[] = {{"bitnet-b1.58", 32002, "llama", Activation::kSilu}};

int64_t bounded(const Gguf& gguf, const std::string& key, int64_t value, int64_t most) {
  if (value < 1 || value > most) {
    refuse(gguf, key + " is " + std::to_string(value) + ", expected 1 to " + std::to_string(most));
  }
  return value;
}

// An error names at most this much of a text that a file holds.
std::string quoted(std::string_view text) {
  std::string out(1, '\'');
  return out.append(text.substr(0, 64)).append(1, '\'');
}

const Family& require_family(const Gguf& gguf) {
  const std::string_view name = gguf.require_string("general.architecture");
  const Family* family = find_family(name);
  if (family && family->runnable) return *family;
  refuse(gguf,
         "the architecture " + quoted(name) + " is not supported" +
             (family ? ": its files can be written by convert, but not be run" : "") +
             "; supported are " + list_runnable(),
         ErrorCode::kUnsupported);
}

// The keys of one architecture.
class Keys {
 public:
  Keys(const Gguf& gguf, const char* architecture) : gguf_(gguf), prefix_(architecture) {}

  std::string name(const char* key) const { return prefix_ + key; }
  // A count from 1 to `most`.
  int64_t count(const char* key, int64_t most) const {
    return bounded(gguf_, name(key), gguf_.require_u32(name(key)), most);
  }
  int64_t count_or(const char* key, int64_t standard, int64_t most) const {
    return bounded(gguf_, name(key), u32_or(key, standard), most);
  }
  int64_t u32_or(const char* key, int64_t standard) const {
    return gguf_.u32(name(key)).value_or(static_cast<uint32_t>(standard));
  }
  float f32_or(const char* key, float standard) const {
    return gguf_.f32(name(key)).value_or(standard);
  }
  std::string_view string_or(const char* key, std::string_view standard) const {
    return gguf_.string(name(key)).value_or(standard);
  }

 private:
  const Gguf& gguf_;
  std::string prefix_;
};

void read_heads(const Gguf& gguf, const Keys& keys, Config& c) {
  c.n_heads = keys.count(".attention.head_count", kMaxWidth);
  c.n_kv_heads = keys.count_or(".attention.head_count_kv", c.n_heads, c.n_heads);
  if (c.n_heads % c.n_kv_heads != 0)
    refuse(gguf, keys.name(".attention.head_count") + " is not a multiple of head_count_kv");
  c.head_dim = keys.count_or(".attention.key_length", c.n_embd / c.n_heads, kAttentionMaxHeadDim);
  // What the kernels' scratch memory is made for.
  bounded(gguf, "attention.head_count times the head dimension", c.n_heads * c.head_dim, kMaxWidth);
  if (c.head_dim % 2 != 0)
    refuse(gguf, "the head dimension " + std::to_string(c.head_dim) + " is odd");
  if (keys.u32_or(".attention.value_length", c.head_dim) != c.head_dim) {
    refuse(gguf, "key_length and value_length differ, which is not supported",
           ErrorCode::kUnsupported);
  }
  if (keys.u32_or(".rope.dimension_count", c.head_dim) != c.head_dim) {
    refuse(gguf,
           "rope.dimension_count differs from the head dimension " + std::to_string(c.head_dim) +
               ", which is not supported",
           ErrorCode::kUnsupported);
  }
}

float read_rope_scale(const Gguf& gguf, const Keys& keys) {
  const std::string_view type = keys.string_or(".rope.scaling.type", "none");
  if (type == "none") return 1.0f;
  if (type != "linear") {
    refuse(gguf, "RoPE scaling " + quoted(type) + " is not supported; linear is",
           ErrorCode::kUnsupported);
  }
  const float factor = keys.f32_or(".rope.scaling.factor", 1.0f);
  if (!(factor > 0) || !std::isfinite(factor))
    refuse(gguf, keys.name(".rope.scaling.factor") + " is not a positive number");
  return 1.0f / factor;
}

}  // namespace

Config read_config(const Gguf& gguf) {
  Config c{};
  c.family = &require_family(gguf);
  c.activation = c.family->activation;
  c.rope_neox = c.family->rope_pairs == RopePairs::kHalves;
  const Keys keys(gguf, c.family->architecture);
  c.n_layers = keys.count(".block_count", kMaxLayers);
  c.n_embd = keys.count(".embedding_length", kMaxWidth);
  c.n_ff = keys.count(".feed_forward_length", kMaxWidth);
  read_heads(gguf, keys, c);
  c.n_ctx_train = keys.count(".context_length", kMaxContext);
  c.rms_eps = keys.f32_or(".attention.layer_norm_rms_epsilon", 1e-5f);
  c.rope_theta = keys.f32_or(".rope.freq_base", 10000.0f);
  if (!(c.rms_eps >= 0 && c.rms_eps < 1))
    refuse(gguf, keys.name(".attention.layer_norm_rms_epsilon") + " is out of range");
  if (!(c.rope_theta > 0) || !std::isfinite(c.rope_theta))
    refuse(gguf, keys.name(".rope.freq_base") + " is not positive");
  c.rope_scale = read_rope_scale(gguf, keys);
  return c;
}

Config read_config(const Gguf& gguf, const Tokenizer& tokenizer) {
  Config c = read_config(gguf);
  const GgufTensor& embedding = require_tensor(gguf, "token_embd.weight");
  c.n_vocab = bounded(gguf, "the number of rows of token_embd.weight",
                      static_cast<int64_t>(embedding.rows()), kMaxVocab);
  if (c.n_vocab < tokenizer.n_vocab()) {
    refuse(gguf, "token_embd.weight has " + std::to_string(c.n_vocab) +
                     " rows for a vocabulary of " + std::to_string(tokenizer.n_vocab()));
  }
  for (const Misnamed& model : kMisnamed) {
    if (model.architecture == std::string_view(c.family->architecture) &&
        model.n_vocab == c.n_vocab && model.tokenizer_model == tokenizer.model()) {
      c.activation = model.activation;
    }
  }
  return c;
}

int64_t extent(const Config& config, Extent of) {
  switch (of) {
    case Extent::kOne:
      return 1;
    case Extent::kHidden:
      return config.n_embd;
    case Extent::kFfn:
      return config.n_ff;
    case Extent::kQuery:
      return config.n_heads * config.head_dim;
    case Extent::kKeyValue:
      return config.n_kv_heads * config.head_dim;
    case Extent::kHead:
      return config.head_dim;
  }
  return 0;
}

std::vector<double> rope_frequencies(const Config& config, const float* factors) {
  const int64_t half = config.head_dim / 2;
  std::vector<double> out;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(static_cast<double>(config.rope_theta), -static_cast<double>(i) / half) *
        config.rope_scale;
    out.push_back(factors ? frequency / factors[i] : frequency);
  }
  return out;
}

}  // namespace bitnet
