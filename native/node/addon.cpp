// The border between JavaScript and the core: values in, values out, long work on worker threads,
// exceptions turned into Error objects with a code. Only the addon's files know napi.h, each for
// one part of the surface that src/native/addon.ts describes; this one puts the parts together.
#include <napi.h>
#ifndef _WIN32
#include <dlfcn.h>
#endif

#include "base/file_guard.h"
#include "node/adapter.h"
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
#include "node/train.h"

namespace {

// A terminal that reads key by key goes back to its lines: libuv's function for that is safe in a
// signal handler. Not every host of addons has it.
void restore_terminal_on_bus_error() {
#ifndef _WIN32
  using Reset = int (*)();
  static const auto reset = reinterpret_cast<Reset>(::dlsym(RTLD_DEFAULT, "uv_tty_reset_mode"));
  if (reset) bitnet::set_bus_error_hook([] { reset(); });
#endif
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  restore_terminal_on_bus_error();
  addon::define_adapter(env);
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
  addon::define_train(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(bitnet, init)
