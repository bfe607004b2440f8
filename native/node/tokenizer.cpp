#include "node/tokenizer.h"

#include <string>
#include <utility>

#include "gguf/gguf.h"
#include "node/object.h"
#include "node/support.h"

namespace addon {
namespace {

class DecoderObject : public Wrapped<DecoderObject> {
 public:
  static constexpr const char* kName = "Decoder";
  using Wrapped::Wrapped;

  void init(Napi::Object, std::pair<std::shared_ptr<const bitnet::Tokenizer>, bool> value) {
    tokenizer_ = std::move(value.first);
    decoder_ = std::make_unique<bitnet::StreamDecoder>(*tokenizer_, value.second);
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&DecoderObject::push>("push"),
                          InstanceMethod<&DecoderObject::flush>("flush")});
  }

 private:
  Napi::Value push(const Napi::CallbackInfo& info) {
    return guarded(info.Env(),
                   [&] { return js_string(info.Env(), decoder_->push(id_arg(info, 0))); });
  }
  Napi::Value flush(const Napi::CallbackInfo& info) {
    return js_string(info.Env(), decoder_->flush());
  }

  std::shared_ptr<const bitnet::Tokenizer> tokenizer_;
  std::unique_ptr<bitnet::StreamDecoder> decoder_;
};

class TokenizerObject : public Wrapped<TokenizerObject> {
 public:
  static constexpr const char* kName = "Tokenizer";
  using Wrapped::Wrapped;

  void init(Napi::Object object, std::shared_ptr<const bitnet::Tokenizer> tokenizer) {
    Napi::Env env = object.Env();
    tokenizer_ = std::move(tokenizer);
    const bitnet::Tokenizer& t = *tokenizer_;
    Napi::Object out = Napi::Object::New(env);
    out.Set("model", t.model());
    out.Set("pre", t.pre());
    out.Set("vocabSize", t.n_vocab());
    out.Set("bos", t.bos());
    out.Set("eos", t.eos());
    out.Set("eot", t.eot());
    out.Set("pad", t.pad());
    out.Set("unk", t.unk());
    out.Set("addBos", t.add_bos());
    out.Set("addEos", t.add_eos());
    Napi::Array eog = Napi::Array::New(env);
    for (const int32_t id : t.eog()) eog.Set(eog.Length(), id);
    out.Set("eog", eog);
    out.Set("warnings", string_array(env, t.warnings()));
    object.Set("info", out);
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&TokenizerObject::encode>("encode"),
                          InstanceMethod<&TokenizerObject::encode_async>("encodeAsync"),
                          InstanceMethod<&TokenizerObject::decode>("decode"),
                          InstanceMethod<&TokenizerObject::piece>("piece"),
                          InstanceMethod<&TokenizerObject::bytes>("bytes"),
                          InstanceMethod<&TokenizerObject::token>("token"),
                          InstanceMethod<&TokenizerObject::create_decoder>("createDecoder")});
  }

 private:
  Napi::Value encode(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      return int32_array(info.Env(),
                         tokenizer_->encode(text_arg(info), bool_arg(info, 1), bool_arg(info, 2)));
    });
  }
  Napi::Value encode_async(const Napi::CallbackInfo& info) {
    auto ids = std::make_shared<std::vector<int32_t>>();
    return Task::start(
        info.Env(),
        [tokenizer = tokenizer_, text = text_arg(info), special = bool_arg(info, 1),
         parse = bool_arg(info, 2), ids] { *ids = tokenizer->encode(text, special, parse); },
        [ids](Napi::Env env) { return int32_array(env, *ids); });
  }
  // A text, or its bytes.
  static std::string text_arg(const Napi::CallbackInfo& info) {
    if (!info[0].IsTypedArray()) return string_arg(info, 0, "the text");
    const auto bytes = info[0].As<Napi::Uint8Array>();
    return {reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()};
  }
  Napi::Value decode(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      return js_string(info.Env(), tokenizer_->decode(ids_arg(info, 0), bool_arg(info, 1)));
    });
  }
  Napi::Value bytes(const Napi::CallbackInfo& info) {
    const std::string piece =
        guarded(info.Env(), [&] { return tokenizer_->piece(id_arg(info, 0), true); });
    Napi::Uint8Array out = Napi::Uint8Array::New(info.Env(), piece.size());
    std::copy(piece.begin(), piece.end(), out.Data());
    return out;
  }

  Napi::Value piece(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      return js_string(info.Env(), tokenizer_->piece(id_arg(info, 0), bool_arg(info, 1)));
    });
  }
  Napi::Value token(const Napi::CallbackInfo& info) {
    const int32_t id = id_arg(info, 0);
    if (id >= tokenizer_->n_vocab())
      throw to_js(info.Env(), ErrorCode::kUsage, "token id outside the vocabulary");
    return js_string(info.Env(), tokenizer_->text(id));
  }
  Napi::Value create_decoder(const Napi::CallbackInfo& info) {
    return DecoderObject::make(info.Env(), std::make_pair(tokenizer_, bool_arg(info, 0)));
  }

  std::shared_ptr<const bitnet::Tokenizer> tokenizer_;
};

Napi::Value open_tokenizer(const Napi::CallbackInfo& info) {
  struct File {
    bitnet::Gguf gguf;
    bitnet::Tokenizer tokenizer;
    File(const std::string& path, const bitnet::TokenizerOptions& options)
        : gguf(bitnet::Gguf::open(path)), tokenizer(gguf, options) {}
  };
  return guarded(info.Env(), [&] {
    const std::string path = string_arg(info, 0, "the path");
    auto file = std::make_shared<File>(
        path, bitnet::TokenizerOptions{optional_string(options_arg(info, 1), "tokenizerPre")});
    return make_tokenizer(info.Env(),
                          std::shared_ptr<const bitnet::Tokenizer>(file, &file->tokenizer));
  });
}

}  // namespace

Napi::Object make_tokenizer(Napi::Env env, std::shared_ptr<const bitnet::Tokenizer> tokenizer) {
  return TokenizerObject::make(env, std::move(tokenizer));
}

void define_tokenizer(Napi::Env env, Napi::Object exports) {
  DecoderObject::define(env);
  TokenizerObject::define(env);
  exports.Set("openTokenizer", Napi::Function::New<open_tokenizer>(env));
}

}  // namespace addon
