// The golden cases of test/fixtures/train (its README says what they are), and trainings of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "formats/dequantize.h"
#include "kernel_fixture.h"
#include "train/training.h"

namespace golden {

using Floats = std::vector<float>;

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Of JSON texts whose form is known: the numbers of the first array, however nested, after a place.
inline std::vector<double> numbers_after(const std::string& text, size_t at) {
  std::vector<double> out;
  int depth = 0;
  for (size_t i = text.find('[', at); i < text.size();) {
    const char c = text[i];
    if (c == '[') ++depth;
    if (c == ']' && --depth == 0) break;
    if (c == '-' || (c >= '0' && c <= '9')) {
      char* end;
      out.push_back(std::strtod(text.c_str() + i, &end));
      i = static_cast<size_t>(end - text.c_str());
    } else {
      ++i;
    }
  }
  return out;
}

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t offset, n_bytes;  // in the file
};

// A safetensors file, its header as these fixtures have it.
class Tensors {
 public:
  explicit Tensors(const std::string& path) : path(path), bytes_(read_text(path)) {
    uint64_t n = 0;
    std::memcpy(&n, bytes_.data(), sizeof n);
    const std::string head = bytes_.substr(8, n);
    for (size_t at = head.find(":{\"dtype\""); at != std::string::npos;
         at = head.find(":{\"dtype\"", at + 1)) {
      const size_t name = head.rfind('"', at - 2) + 1, type = at + 11;
      Tensor t;
      t.dtype = head.substr(type, head.find('"', type) - type);
      for (const double d : numbers_after(head, head.find("\"shape\"", at)))
        t.shape.push_back(static_cast<int64_t>(d));
      const std::vector<double> range = numbers_after(head, head.find("\"data_offsets\"", at));
      t.offset = 8 + n + static_cast<uint64_t>(range[0]);
      t.n_bytes = static_cast<uint64_t>(range[1] - range[0]);
      all[head.substr(name, at - 1 - name)] = t;
    }
  }
  Floats floats(const std::string& name) const {
    const Tensor& t = all.at(name);
    Floats out(t.n_bytes / 4);
    std::memcpy(out.data(), bytes_.data() + t.offset, t.n_bytes);
    return out;
  }

  const std::string path;
  std::map<std::string, Tensor> all;

 private:
  std::string bytes_;
};

// Hugging Face's names within a layer and GGUF's.
inline const std::vector<std::pair<std::string, std::string>>& layer_names() {
  static const std::vector<std::pair<std::string, std::string>> names = {
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
      {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.attn_sub_norm", "attn_sub_norm"},
      {"mlp.ffn_sub_norm", "ffn_sub_norm"}};
  return names;
}

// "model.layers.0.mlp.up_proj.weight" and "model.layers.0.mlp.up_proj.lora_A" as GGUF has them.
inline std::string gguf_name(std::string name) {
  const auto replace = [&](const std::string& from, const std::string& to) {
    const size_t at = name.find(from);
    if (at != std::string::npos) name.replace(at, from.size(), to);
  };
  replace("model.embed_tokens", "token_embd");
  replace("model.norm", "output_norm");
  replace("lm_head", "output");
  replace("model.layers.", "blk.");
  for (const auto& [from, to] : layer_names()) replace(from, to);
  replace(".lora_A", ".lora_a");
  replace(".lora_B", ".lora_b");
  return name;
}

struct Case {
  std::string folder;
  bool is_llama;
  Tensors master{folder + "/model.safetensors"};
  std::string json = read_text(folder + "/golden.json");

  explicit Case(const std::string& name)
      : folder(check::data("train/" + name)), is_llama(name == "llama") {}

  std::vector<double> numbers(const std::string& section, const std::string& key) const {
    const size_t at = json.find("\"" + section + "\": {");
    return numbers_after(json, json.find("\"" + key + "\"", at));
  }

  int64_t rank() const { return is_llama ? 4 : 8; }

  bitnet::ConvertRequest request() const {
    bitnet::ConvertRequest out;
    const std::string arch = is_llama ? "llama" : "bitnet-b1.58";
    const auto key = [&](const char* name, uint32_t value) { out.file.u32(arch + name, value); };
    out.file.string("general.architecture", arch);
    key(".block_count", is_llama ? 1 : 2);
    key(".embedding_length", is_llama ? 32 : 64);
    key(".feed_forward_length", is_llama ? 96 : 160);
    key(".attention.head_count", 4);
    key(".attention.head_count_kv", 2);
    key(".context_length", 64);
    out.file.f32(arch + ".attention.layer_norm_rms_epsilon", is_llama ? 1e-6f : 1e-5f);
    out.file.f32(arch + ".rope.freq_base", 1e4f);
    for (const auto& [name, t] : master.all) {
      bitnet::ConvertJob job;
      job.name = gguf_name(name);
      job.ne.assign(t.shape.rbegin(), t.shape.rend());
      job.source.type = bitnet::TensorType::kBF16;
      job.source.path = master.path;
      job.source.offset = t.offset;
      job.source.n_bytes = t.n_bytes;
      job.ternary = job.declared = name.find("_proj") != std::string::npos;
      if (is_llama && name.find("q_proj") != std::string::npos) job.rope_heads = 4;
      if (is_llama && name.find("k_proj") != std::string::npos) job.rope_heads = 2;
      out.jobs.push_back(job);
    }
    return out;
  }

  std::vector<bitnet::TrainRow> rows() const {
    std::vector<bitnet::TrainRow> out(2);
    const std::vector<double> ids = numbers("batch", "input_ids");
    const std::vector<double> labels = numbers("batch", "labels");
    const std::vector<double> documents = numbers("batch", "documents");
    for (size_t i = 0; i < ids.size(); ++i) {
      bitnet::TrainRow& row = out[i / 24];
      const size_t t = i % 24;
      row.ids.push_back(static_cast<int32_t>(ids[i]));
      row.labels.push_back(static_cast<int32_t>(labels[i]));
      if (t == 0 || documents[i] != documents[i - 1])
        row.documents.push_back(static_cast<int32_t>(t));
    }
    return out;
  }
};

inline int64_t n_labels(const std::vector<bitnet::TrainRow>& rows) {
  int64_t n = 0;
  for (const bitnet::TrainRow& row : rows) n += row.n_labels();
  return n;
}

inline bitnet::TrainOptions options_of(const Case& of, bitnet::TrainMode mode, int threads = 1,
                                       const std::string& kernel = "") {
  bitnet::TrainOptions out;
  out.mode = mode;
  out.adapter.rank = of.rank();
  out.adapter.alpha = static_cast<float>(2 * of.rank());
  std::fill_n(out.adapter.matrices, bitnet::kLayerMatrices, true);
  out.max_length = 24;
  out.n_threads = threads;
  out.kernel = kernel;
  return out;
}

inline void write(bitnet::Training& training, const std::string& name, const Floats& values) {
  training.write(training.parameter(name), bitnet::ParameterPart::kValue, values.data());
}

inline Floats read(const bitnet::Training& training, const std::string& name,
                   bitnet::ParameterPart part) {
  const bitnet::Parameter& p = training.parameter(name);
  Floats out(static_cast<size_t>(p.size()));
  training.read(p, part, out.data());
  return out;
}

// A training of the case; an adapter has the golden values.
inline std::unique_ptr<bitnet::Training> open(const Case& of, const bitnet::TrainOptions& options) {
  auto training = bitnet::Training::open(of.request(), options);
  if (options.mode == bitnet::TrainMode::kFull) return training;
  const Tensors adapter(of.folder + "/adapter/adapter_model.safetensors");
  for (const auto& [name, tensor] : adapter.all) {
    std::string module = name.substr(std::strlen("base_model.model."));
    module = gguf_name(module.substr(0, module.size() - std::strlen(".weight")));
    for (const auto& p : training->model().parameters)
      if (p->name == module) write(*training, module, adapter.floats(name));
  }
  return training;
}

// Step i of the golden three.
inline bitnet::OptimizerStep step_of(const Case& of, size_t i) {
  return {numbers_after(of.json, of.json.find("\"lr\""))[i], 0.1, 0.9, 0.95, 1e-8, 1.0};
}

// The relative L2 distance.
inline double distance(const Floats& a, const Floats& b) {
  double error = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    error += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    size += double{b[i]} * double{b[i]};
  }
  return a.size() == b.size() ? std::sqrt(error / std::max(size, 1e-300)) : 1e9;
}

}  // namespace golden
