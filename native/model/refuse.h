// What a model file must hold; errors begin with the file's name.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "gguf/gguf.h"

namespace bitnet {

// A key or a name of a file, fit to be printed: bounded, and without control characters.
inline std::string printable(std::string_view text) {
  constexpr size_t kMost = 100;
  std::string out;
  for (const char c : text.substr(0, kMost)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return text.size() > kMost ? out + "..." : out;
}

// "FILE: what"
[[noreturn]] inline void refuse(const Gguf& gguf, const std::string& what,
                                ErrorCode code = ErrorCode::kBadFile) {
  throw Error(code, gguf.name() + ": " + what);
}

// "FILE: tensor NAME" and what follows, which begins with a space or a colon.
[[noreturn]] inline void refuse(const Gguf& gguf, const GgufTensor& tensor, const std::string& what,
                                ErrorCode code = ErrorCode::kBadFile) {
  refuse(gguf, "tensor " + printable(tensor.name) + what, code);
}

// The tensor of this name; refuses a file without it.
inline const GgufTensor& require_tensor(const Gguf& gguf, const std::string& name) {
  const GgufTensor* tensor = gguf.find_tensor(name);
  if (!tensor) refuse(gguf, "tensor " + name + " is missing");
  return *tensor;
}

}  // namespace bitnet
