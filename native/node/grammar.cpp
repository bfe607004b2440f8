#include "node/grammar.h"

#include <memory>
#include <string>
#include <utility>

#include "grammar/matcher.h"
#include "node/object.h"
#include "node/support.h"

namespace addon {
namespace {

class GrammarObject : public Wrapped<GrammarObject> {
 public:
  static constexpr const char* kName = "Grammar";
  using Wrapped::Wrapped;

  void init(Napi::Object, std::shared_ptr<const bitnet::Grammar> grammar) {
    grammar_ = std::move(grammar);
  }

  static void define(Napi::Env env) {
    Wrapped::define(env, {InstanceMethod<&GrammarObject::matches>("matches")});
  }

  const std::shared_ptr<const bitnet::Grammar>& grammar() const { return grammar_; }

 private:
  Napi::Value matches(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      bitnet::GrammarMatcher matcher(grammar_);
      const bool is_match = matcher.push_all(string_arg(info, 0, "the text")) && matcher.can_end();
      return Napi::Boolean::New(info.Env(), is_match);
    });
  }

  std::shared_ptr<const bitnet::Grammar> grammar_;
};

// The second argument: what the text may be long. Texts of front ends may be longer than those that
// users write.
size_t max_bytes_arg(const Napi::CallbackInfo& info) {
  if (info[1].IsUndefined()) return bitnet::kMaxGrammarBytes;
  return static_cast<size_t>(
      integer_of(info.Env(), info[1], "the limit of the grammar", 1, bitnet::kMaxMadeGrammarBytes));
}

Napi::Value compile_grammar(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string text = string_arg(info, 0, "the grammar");
    return GrammarObject::make(info.Env(), bitnet::Grammar::from_gbnf(text, max_bytes_arg(info)));
  });
}

Napi::Value compile_grammar_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto made = std::make_shared<std::shared_ptr<const bitnet::Grammar>>();
    return Task::start(
        info.Env(),
        [made, text = string_arg(info, 0, "the grammar"), max_bytes = max_bytes_arg(info)] {
          *made = bitnet::Grammar::from_gbnf(text, max_bytes);
        },
        [made](Napi::Env env) { return GrammarObject::make(env, *made); });
  });
}

}  // namespace

std::shared_ptr<const bitnet::Grammar> grammar_of(const Napi::Value& value) {
  const GrammarObject* object = GrammarObject::find(value);
  if (object == nullptr)
    throw to_js(value.Env(), ErrorCode::kUsage, "grammar must come from compileGrammar");
  return object->grammar();
}

void define_grammar(Napi::Env env, Napi::Object exports) {
  GrammarObject::define(env);
  exports.Set("compileGrammar", Napi::Function::New<compile_grammar>(env));
  exports.Set("compileGrammarAsync", Napi::Function::New<compile_grammar_async>(env));
}

}  // namespace addon
