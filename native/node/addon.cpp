// The border between JavaScript and the core: values in, values out, long work on worker threads,
// exceptions turned into Error objects with a code. Only the addon's files know napi.h, each for
// one part of the surface that src/native/addon.ts describes; this one puts the parts together.
#include <napi.h>

#include "node/bench.h"
#include "node/convert.h"
#include "node/family.h"
#include "node/gguf.h"
#include "node/grammar.h"
#include "node/machine.h"
#include "node/model.h"
#include "node/sampling.h"
#include "node/session.h"
#include "node/tokenizer.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  addon::define_bench(env, exports);
  addon::define_convert(env, exports);
  addon::define_family(env, exports);
  addon::define_gguf(env, exports);
  addon::define_grammar(env, exports);
  addon::define_machine(env, exports);
  addon::define_model(env, exports);
  addon::define_sampling(env, exports);
  addon::define_session(env);
  addon::define_tokenizer(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(bitnet, init)
