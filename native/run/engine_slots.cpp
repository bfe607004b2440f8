// Sequences that go to files and come back.
#include <string>

#include "model/fingerprint.h"
#include "run/engine.h"
#include "run/operation.h"
#include "run/slot_file.h"

namespace bitnet {

// Keeps operations off a sequence, and its memory from being given to others.
class Engine::Pin {
 public:
  Pin(Engine& engine, Sequence& sequence) : engine_(engine), sequence_(sequence) {
    if (sequence.busy.exchange(true))
      throw Error(ErrorCode::kUsage, "the sequence is busy: one operation at a time");
    const std::lock_guard<std::mutex> lock(sequence.mutex);
    sequence.is_pinned = true;
  }
  ~Pin() {
    {
      const std::lock_guard<std::mutex> lock(sequence_.mutex);
      sequence_.is_pinned = false;
      sequence_.pinned_bytes = 0;
    }
    sequence_.busy = false;
    engine_.wake();  // somebody may have waited for the memory
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

 private:
  Engine& engine_;
  Sequence& sequence_;
};

uint64_t Engine::fingerprint() {
  std::call_once(fingerprint_once_, [this] { fingerprint_ = fingerprint_of(model_->gguf); });
  return fingerprint_;
}

Engine::Slot Engine::save(Sequence& sequence, const std::string& path) {
  const Pin pin(*this, sequence);
  const SlotIdentity identity{fingerprint(), model_->kernels.name, sequence.adapters.key()};
  return {sequence.table.size(), write_slot(path, identity, sequence.table)};
}

Engine::Slot Engine::restore(Sequence& sequence, const std::string& path) {
  const Pin pin(*this, sequence);
  const KvLayout& layout = sequence.table.layout();
  const SlotIdentity identity{fingerprint(), model_->kernels.name, sequence.adapters.key()};
  SlotReader reader(path, identity, layout, sequence.n_ctx, model_->config.n_vocab);
  const int64_t n_bytes = layout.context_bytes(reader.n_tokens());
  if (options_.kv_bytes > 0) call([&] { make_room(sequence, n_bytes); });
  // Others do not find what comes from a file: it may hold anything.
  KvTable table(pools_[static_cast<size_t>(layout.type())], false);
  try {
    reader.read_into(table);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kNoMemory, "not enough memory for keys and values");
  }
  const std::lock_guard<std::mutex> lock(sequence.mutex);
  sequence.table.take(table);
  sequence.clear_results();
  return {reader.n_tokens(), reader.n_bytes()};
}

// Beside what the sequence holds until it has the new blocks.
void Engine::make_room(Sequence& sequence, int64_t n_bytes) {
  std::vector<Operation*> running;
  for (const auto& operation : operations_)
    if (operation->is_admitted()) running.push_back(operation.get());
  const Claims claims = claims_of(running, nullptr);
  if (options_.kv_bytes - bytes_of(claims) - pinned_bytes() < n_bytes) {
    throw Error(ErrorCode::kNoMemory, "the session needs " + std::to_string(n_bytes) +
                                          " bytes of keys and values, more than is free of the " +
                                          std::to_string(options_.kv_bytes) + " for all");
  }
  reclaim(claims, n_bytes, sequence);
  const std::lock_guard<std::mutex> lock(sequence.mutex);
  sequence.pinned_bytes =
      sequence.table.n_blocks() * sequence.table.layout().block_bytes() + n_bytes;
}

}  // namespace bitnet
