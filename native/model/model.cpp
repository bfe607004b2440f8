#include "model/model.h"

#include <new>
#include <utility>

#include "base/cores.h"
#include "base/error.h"
#include "model/loader.h"
#include "model/prefetch.h"

namespace bitnet {

Model::Model(Gguf source, const LoadOptions& options)
    : file(std::make_shared<const ModelFile>(std::move(source),
                                             TokenizerOptions{options.tokenizer_pre})),
      gguf(file->gguf),
      tokenizer(file->tokenizer),
      kernels(select_kernels(options.kernel)),
      config(read_config(gguf, tokenizer)),
      tuning(options.tuning),
      pool(options.n_threads > 0 ? options.n_threads : physical_cores(),
           options.tuning.spin_microseconds),
      store_(gguf, kernels, pool, {options.layout, options.kernel_config, options.in_place}),
      weights_(load_weights(gguf, config, store_)),
      layout(store_.layout()),
      token_embd(weights_.token_embd),
      output(weights_.output),
      output_norm(weights_.output_norm),
      layers(weights_.layers),
      rope_freqs(weights_.rope_freqs),
      head(config.embeds_only ? nullptr
                              : std::make_unique<Head>(kernels, pool, output, options.head,
                                                       gguf.map_of(output.data))) {
  if (options.measure_prefetch && !options.in_place)
    tuning.prefetch_bytes = choose_prefetch(layers, kernels, pool, tuning);
}

// The file may stay open; its pages of weights need not stay with it.
Model::~Model() {
  for (const GgufTensor& t : gguf.tensors()) gguf.dont_need(t.data, t.n_bytes);
}

int64_t Model::copied_bytes() const {
  return store_.copied_bytes() + (head ? head->compact_bytes() : 0);
}

int64_t Model::n_parameters() const {
  int64_t n = 0;
  for (const GgufTensor& t : gguf.tensors()) n += static_cast<int64_t>(t.rows() * t.cols());
  return n;
}

void Model::set_tuning(const Tuning& values) {
  check_tuning(values);
  tuning = values;
  pool.set_spin(values.spin_microseconds);
}

std::unique_ptr<Model> Model::load(const std::string& path, const LoadOptions& options) {
  check_tuning(options.tuning);
  try {
    Gguf gguf = Gguf::open(path);
    read_config(gguf);  // an unsupported architecture is the most useful thing to hear first
    return std::unique_ptr<Model>(new Model(std::move(gguf), options));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kNoMemory, path + ": not enough memory to load the model");
  }
}

}  // namespace bitnet
