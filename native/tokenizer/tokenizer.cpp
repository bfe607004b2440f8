#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/spm.h"
#include "tokenizer/vocabulary.h"

namespace bitnet {
namespace {

constexpr int32_t kLlama3Tokens = 128256;
constexpr size_t kMaxText = size_t{1} << 30;  // bytes; positions in a text are 32 bits wide

PreTokenizer choose_pre_tokenizer(const Gguf& gguf, const TokenizerOptions& options,
                                  int32_t n_vocab) {
  const std::string_view from_file = gguf.string("tokenizer.ggml.pre").value_or("");
  const std::string name(options.pre.empty() ? from_file : options.pre);
  if (name.empty()) {
    // The official BitNet-b1.58-2B-4T file has Llama 3's vocabulary and does not say so.
    const std::string_view arch = gguf.string("general.architecture").value_or("");
    const bool is_bitnet = arch == "bitnet-b1.58" || arch == "bitnet-25";
    return is_bitnet && n_vocab == kLlama3Tokens ? PreTokenizer::kLlamaBpe : PreTokenizer::kDefault;
  }
  if (const auto pre = find_pre_tokenizer(name)) return *pre;
  throw Error(ErrorCode::kUnsupported,
              gguf.name() + ": unknown pre-tokenizer '" + name +
                  "'; --tokenizer-pre chooses another one: " + pre_tokenizer_names());
}

std::string unescape_spaces(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t space = std::min(text.find(kSpmSpace, at), text.size());
    out.append(text.substr(at, space - at));
    if (space == text.size()) break;
    out.push_back(' ');
    at = space + kSpmSpace.size();
  }
  return out;
}

}  // namespace

struct Tokenizer::Impl {
  Impl(const Gguf& gguf, const TokenizerOptions& options);
  bool strips_space() const { return spm && add_space_prefix; }

  Vocabulary vocabulary;
  SpecialTokens special_tokens;
  std::optional<BpeEncoder> bpe;  // one of the two
  std::optional<SpmEncoder> spm;
  std::string pre;        // the name of the pre-tokenizer in use
  bool add_bos, add_eos;  // as the file asks for, and has the token
  bool add_space_prefix;  // SPM: a text is encoded as if it began with a space
};

Tokenizer::Impl::Impl(const Gguf& gguf, const TokenizerOptions& options)
    : vocabulary(gguf), special_tokens(vocabulary) {
  const bool is_spm = vocabulary.model() == Vocabulary::Model::kSpm;
  // SPM has no pre-tokenizer; its files name "default" or none.
  const PreTokenizer chosen =
      is_spm ? PreTokenizer::kDefault : choose_pre_tokenizer(gguf, options, vocabulary.size());
  const bool is_llama3 = chosen == PreTokenizer::kLlamaBpe;
  pre = pre_tokenizer_name(chosen);
  if (is_spm)
    spm.emplace(gguf, vocabulary);
  else
    bpe.emplace(gguf, vocabulary, chosen, /*ignore_merges=*/is_llama3);
  const SpecialIds& special = vocabulary.special();
  add_bos = gguf.boolean("tokenizer.ggml.add_bos_token").value_or(is_spm || is_llama3) &&
            special.bos >= 0;
  add_eos = gguf.boolean("tokenizer.ggml.add_eos_token").value_or(false) && special.eos >= 0;
  add_space_prefix = gguf.boolean("tokenizer.ggml.add_space_prefix").value_or(is_spm);
}

Tokenizer::Tokenizer(const Gguf& gguf, const TokenizerOptions& options)
    : impl_(std::make_unique<Impl>(gguf, options)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special,
                                       bool parse_special) const {
  if (text.size() > kMaxText)
    throw Error(ErrorCode::kUsage, "the text has " + std::to_string(text.size()) +
                                       " bytes, but at most " + std::to_string(kMaxText) +
                                       " can be tokenized at once");
  std::vector<int32_t> ids;
  if (add_special && impl_->add_bos) ids.push_back(bos());
  for (const Fragment& fragment : impl_->special_tokens.split(text, parse_special)) {
    if (fragment.id >= 0)
      ids.push_back(fragment.id);
    else if (impl_->spm)
      impl_->spm->encode(fragment.text, impl_->add_space_prefix, ids);
    else
      impl_->bpe->encode(fragment.text, ids);
  }
  if (add_special && impl_->add_eos) ids.push_back(eos());
  return ids;
}

std::string Tokenizer::piece(int32_t id, bool special) const {
  const std::string_view entry = text(id);
  switch (impl_->vocabulary.type(id)) {
    case TokenType::kControl:
    case TokenType::kUnknown:
      return special ? std::string(entry) : "";
    case TokenType::kUserDefined:
      return std::string(entry);
    case TokenType::kByte:
      if (const int byte = byte_of_token(entry); impl_->spm && byte >= 0)
        return std::string(1, static_cast<char>(byte));
      break;
    default:
      break;
  }
  if (impl_->spm) return unescape_spaces(entry);
  std::string bytes;
  append_decoded_bytes(bytes, entry);
  return bytes;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  std::string out;
  bool at_start = impl_->strips_space();
  for (const int32_t id : ids) {
    const std::string bytes = piece(id, special);
    const bool strip = at_start && bytes.starts_with(' ');
    out.append(bytes, strip ? 1 : 0);
    if (!bytes.empty()) at_start = false;
  }
  return out;
}

int32_t Tokenizer::n_vocab() const { return impl_->vocabulary.size(); }
int32_t Tokenizer::bos() const { return impl_->vocabulary.special().bos; }
int32_t Tokenizer::eos() const { return impl_->vocabulary.special().eos; }
int32_t Tokenizer::eot() const { return impl_->vocabulary.special().eot; }
int32_t Tokenizer::pad() const { return impl_->vocabulary.special().pad; }
int32_t Tokenizer::unk() const { return impl_->vocabulary.special().unk; }
bool Tokenizer::add_bos() const { return impl_->add_bos; }
bool Tokenizer::add_eos() const { return impl_->add_eos; }
bool Tokenizer::strips_space() const { return impl_->strips_space(); }
std::vector<int32_t> Tokenizer::eog() const { return impl_->vocabulary.eog(); }

bool Tokenizer::is_eog(int32_t id) const {
  const std::vector<int32_t>& eog = impl_->vocabulary.eog();
  return std::binary_search(eog.begin(), eog.end(), id);
}

bool Tokenizer::is_control(int32_t id) const {
  return impl_->vocabulary.contains(id) && impl_->vocabulary.type(id) == TokenType::kControl;
}

std::string_view Tokenizer::text(int32_t id) const {
  if (!impl_->vocabulary.contains(id))
    throw Error(ErrorCode::kUsage, "token " + std::to_string(id) + " is not in the vocabulary of " +
                                       std::to_string(n_vocab()) + " tokens");
  return impl_->vocabulary.text(id);
}

int32_t Tokenizer::find(std::string_view text) const { return impl_->vocabulary.find(text); }
const std::string& Tokenizer::model() const { return impl_->vocabulary.model_name(); }
const std::string& Tokenizer::pre() const { return impl_->pre; }
const std::vector<std::string>& Tokenizer::warnings() const { return impl_->vocabulary.warnings(); }

}  // namespace bitnet
