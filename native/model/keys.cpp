#include "model/keys.h"

#include <string>
#include <string_view>

#include "gguf/tiles.h"
#include "model/refuse.h"

namespace bitnet {

namespace {

enum class Meaning : uint8_t {
  kRead,     // by read_config(), which checks the value
  kNothing,  // describes the model or serves other programs; no graph depends on it
  kOff,      // a part of the graph that there is not: only the value that leaves it out is taken
};

// Keys as llama.cpp and bitnet.cpp write them, after "ARCHITECTURE.".
struct Key {
  std::string_view name;
  Meaning meaning;
  double off = 0;       // kOff: the value (of a bool 0 or 1) that leaves the part out
  double also_off = 0;  // kOff: another one
};

constexpr Key kKeys[] = {
    {"block_count", Meaning::kRead},
    {"context_length", Meaning::kRead},
    {"embedding_length", Meaning::kRead},
    {"feed_forward_length", Meaning::kRead},
    {"attention.head_count", Meaning::kRead},
    {"attention.head_count_kv", Meaning::kRead},
    {"attention.key_length", Meaning::kRead},
    {"attention.value_length", Meaning::kRead},
    {"attention.layer_norm_rms_epsilon", Meaning::kRead},
    {"rope.dimension_count", Meaning::kRead},
    {"rope.freq_base", Meaning::kRead},
    {"rope.scaling.type", Meaning::kRead},
    {"rope.scaling.factor", Meaning::kRead},
    {"rope.scale_linear", Meaning::kRead},
    {"pooling_type", Meaning::kRead},

    {"vocab_size", Meaning::kNothing},  // the rows of the embedding count
    {"tensor_data_layout", Meaning::kNothing},
    {"decoder_start_token_id", Meaning::kNothing},
    {"attention.layer_norm_epsilon", Meaning::kNothing},  // of norms that the graphs do not have
    {"rope.scaling.original_context_length", Meaning::kNothing},  // for scaling that is not linear
    {"rope.scaling.finetuned", Meaning::kNothing},

    {"use_parallel_residual", Meaning::kOff},
    {"leading_dense_block_count", Meaning::kOff},
    {"nextn_predict_layers", Meaning::kOff},
    {"expert_count", Meaning::kOff},
    {"expert_used_count", Meaning::kOff},
    {"expert_shared_count", Meaning::kOff},
    {"expert_group_count", Meaning::kOff},
    {"logit_scale", Meaning::kOff, 0, 1},
    {"residual_scale", Meaning::kOff, 0, 1},
    {"embedding_scale", Meaning::kOff, 0, 1},
    {"attn_logit_softcapping", Meaning::kOff},
    {"final_logit_softcapping", Meaning::kOff},
    {"attention.causal", Meaning::kOff, 1, 1},
    {"attention.sliding_window", Meaning::kOff},
    {"attention.max_alibi_bias", Meaning::kOff},
    {"attention.clamp_kqv", Meaning::kOff},
    {"attention.scale", Meaning::kOff},
    {"rope.scaling.attn_factor", Meaning::kOff, 1, 1},
    {"rope.scaling.yarn_log_multiplier", Meaning::kOff},
};

// Of files whose weights another project has rotated: they need a graph that turns them back.
constexpr std::string_view kRotatedWeights = "prism.hadamard.";

const Key* find_key(std::string_view name) {
  for (const Key& key : kKeys)
    if (key.name == name) return &key;
  return nullptr;
}

bool is_off(const Key& key, const GgufValue& value) {
  if (value.type == GgufType::kString || value.type == GgufType::kArray) return false;
  const double number = value.number();
  return number == key.off || number == key.also_off;
}

}  // namespace

void check_keys(const Gguf& gguf, const Family& family) {
  const std::string prefix = std::string(family.architecture) + ".";
  for (const auto& [name, value] : gguf.metadata()) {
    const bool is_foreign = name.starts_with(kRotatedWeights);
    if ((!is_foreign && !name.starts_with(prefix)) || is_tiles_key(name)) continue;
    const Key* key = is_foreign ? nullptr : find_key(name.substr(prefix.size()));
    if (key && (key->meaning != Meaning::kOff || is_off(*key, value))) continue;
    refuse(gguf,
           "key " + printable(name) +
               (key ? " has a value that is not supported: it changes what the model computes"
                    : " is not known here, and may change what the model computes"),
           ErrorCode::kUnsupported);
  }
}

}  // namespace bitnet
