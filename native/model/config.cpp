#include "model/config.h"

#include <cmath>
#include <iterator>
#include <string>
#include <string_view>

#include "kernels/kernels.h"
#include "model/keys.h"
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

// Architectures that look like supported ones.
struct Unsupported {
  std::string_view architecture;
  const char* why;
};
constexpr Unsupported kUnsupported[] = {
    {"gemma-embedding",
     ": its attention goes both ways, in windows, and dense layers follow its pooling"}};

constexpr const char* kPoolings[] = {"none", "mean", "cls", "last"};
constexpr uint32_t kRankPooling = 4;  // scores of pairs of texts, which are no embeddings

int64_t bounded(const Gguf& gguf, const std::string& key, int64_t value, int64_t most) {
  if (value < 1 || value > most) {
    refuse(gguf, key + " is " + std::to_string(value) + ", expected 1 to " + std::to_string(most));
  }
  return value;
}

std::string quoted(std::string_view text) {
  return std::string(1, '\'').append(printable(text)).append(1, '\'');
}

// Files for use beside a model name the architecture of that model, too.
void require_model(const Gguf& gguf) {
  const std::string_view type = gguf.string("general.type").value_or("model");
  if (type == "model") return;
  refuse(gguf, "general.type is " + quoted(type) + ", expected a file of type 'model'",
         ErrorCode::kUnsupported);
}

const Family& require_family(const Gguf& gguf) {
  const std::string_view name = gguf.require_string("general.architecture");
  if (const Family* family = find_family(name)) return *family;
  const char* why = "";
  for (const Unsupported& row : kUnsupported)
    if (row.architecture == name) why = row.why;
  refuse(gguf,
         "the architecture " + quoted(name) + " is not supported" + why + "; supported are " +
             list_architectures(),
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
  // The same of a count that may differ by layer elsewhere: a number, or an array of n_layers equal
  // numbers.
  int64_t layer_count(const char* key, int64_t most, int64_t n_layers) const {
    const GgufValue* value = gguf_.find(name(key));
    if (!value || value->type != GgufType::kArray) return count(key, most);
    return bounded(gguf_, name(key), value_of_every_layer(name(key), *value, n_layers), most);
  }
  int64_t layer_count_or(const char* key, int64_t standard, int64_t most, int64_t n_layers) const {
    return gguf_.find(name(key)) ? layer_count(key, most, n_layers)
                                 : bounded(gguf_, name(key), standard, most);
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
  int64_t value_of_every_layer(const std::string& key, const GgufValue& array,
                               int64_t n_layers) const {
    if (!array.is_integers()) refuse(gguf_, key + " is an array of something else than integers");
    if (array.count != static_cast<uint64_t>(n_layers)) {
      refuse(gguf_, key + " is an array of " + std::to_string(array.count) +
                        " numbers, expected one for each of the " + std::to_string(n_layers) +
                        " layers");
    }
    const int64_t first = array.integer(0);
    for (uint64_t i = 1; i < static_cast<uint64_t>(n_layers); ++i) {
      if (array.integer(i) == first) continue;
      refuse(gguf_,
             key + " is " + std::to_string(array.integer(i)) + " in layer " + std::to_string(i) +
                 " and " + std::to_string(first) +
                 " in layer 0; layers of different shape are not supported",
             ErrorCode::kUnsupported);
    }
    return first;
  }

  const Gguf& gguf_;
  std::string prefix_;
};

void read_heads(const Gguf& gguf, const Keys& keys, Config& c) {
  c.n_heads = keys.layer_count(".attention.head_count", kMaxWidth, c.n_layers);
  c.n_kv_heads = keys.layer_count_or(".attention.head_count_kv", c.n_heads, c.n_heads, c.n_layers);
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

// As llama.cpp: a file that gives a factor and no type means linear scaling, and old files have the
// factor under another name.
float read_rope_scale(const Gguf& gguf, const Keys& keys) {
  const std::string_view type = keys.string_or(".rope.scaling.type", "linear");
  if (type == "none") return 1.0f;
  if (type != "linear") {
    refuse(gguf, "RoPE scaling " + quoted(type) + " is not supported; linear is",
           ErrorCode::kUnsupported);
  }
  const bool is_old = !gguf.find(keys.name(".rope.scaling.factor"));
  const char* key = is_old ? ".rope.scale_linear" : ".rope.scaling.factor";
  const float factor = keys.f32_or(key, 1.0f);
  if (!(factor > 0) || !std::isfinite(factor))
    refuse(gguf, keys.name(key) + " is not a positive number");
  return 1.0f / factor;
}

// Whether the file has a norm that stands before one projection alone.
bool has_input_norms(const Gguf& gguf, const Family& family) {
  for (const LayerTensor& tensor : layer_tensors(family)) {
    if (tensor.kind == &Norms::input &&
        gguf.find_tensor(std::string("blk.0.") + tensor.name + ".weight"))
      return true;
  }
  return false;
}

void read_pooling(const Gguf& gguf, const Keys& keys, Purpose purpose, Config& c) {
  const auto type = static_cast<uint32_t>(keys.u32_or(".pooling_type", 0));
  if (purpose == Purpose::kRun && type > 0 && (type >= std::size(kPoolings) || !c.family->pooled)) {
    refuse(
        gguf,
        "key " + keys.name(".pooling_type") + " is " + std::to_string(type) +
            (type == kRankPooling ? ": models that rank texts are not supported"
             : c.family->pooled   ? ", expected 0 (none), 1 (mean), 2 (cls) or 3 (last)"
                                  : ", which is not supported: it changes what the model computes"),
        ErrorCode::kUnsupported);
  }
  c.pooling = type < std::size(kPoolings) ? static_cast<Pooling>(type) : Pooling::kNone;
  c.embeds_only = c.family->pooled && (type > 0 || has_input_norms(gguf, *c.family));
}

}  // namespace

const char* pooling_name(Pooling pooling) { return kPoolings[static_cast<int>(pooling)]; }

std::optional<Pooling> find_pooling(std::string_view name) {
  for (size_t i = 0; i < std::size(kPoolings); ++i)
    if (name == kPoolings[i]) return static_cast<Pooling>(i);
  return std::nullopt;
}

Config read_config(const Gguf& gguf, Purpose purpose) {
  Config c{};
  c.family = &require_family(gguf);
  require_model(gguf);
  c.activation = c.family->activation;
  c.rope_neox = c.family->rope_pairs == RopePairs::kHalves;
  check_keys(gguf, *c.family);
  const Keys keys(gguf, c.family->architecture);
  c.n_layers = keys.count(".block_count", kMaxLayers);
  c.n_embd = keys.count(".embedding_length", kMaxWidth);
  c.n_ff = keys.layer_count(".feed_forward_length", kMaxWidth, c.n_layers);
  read_heads(gguf, keys, c);
  c.n_ctx_train = keys.count(".context_length", kMaxContext);
  c.rms_eps = keys.f32_or(".attention.layer_norm_rms_epsilon", 1e-5f);
  c.rope_theta = keys.f32_or(".rope.freq_base", 10000.0f);
  if (!(c.rms_eps >= 0 && c.rms_eps < 1))
    refuse(gguf, keys.name(".attention.layer_norm_rms_epsilon") + " is out of range");
  if (!(c.rope_theta > 0) || !std::isfinite(c.rope_theta))
    refuse(gguf, keys.name(".rope.freq_base") + " is not positive");
  c.rope_scale = read_rope_scale(gguf, keys);
  c.embedding_scale = c.family->scaled_embedding ? std::sqrt(static_cast<float>(c.n_embd)) : 1.0f;
  read_pooling(gguf, keys, purpose, c);
  return c;
}

Config read_config(const Gguf& gguf, const Tokenizer& tokenizer, Purpose purpose) {
  Config c = read_config(gguf, purpose);
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
