// The one exception type of the core. The addon turns it into a JavaScript error with the same
// code.
#pragma once

#include <stdexcept>
#include <string>

namespace bitnet {

enum class ErrorCode {
  kInternal,
  kUsage,
  kNotFound,
  kBadFile,
  kUnsupported,
  kNoMemory,
  kNoSpace,
  kAborted
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code(code) {}
  const ErrorCode code;
};

// The name the TypeScript side knows a code by (src/system/errors.ts).
constexpr const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return "USAGE";
    case ErrorCode::kNotFound:
      return "NOT_FOUND";
    case ErrorCode::kBadFile:
      return "BAD_FILE";
    case ErrorCode::kUnsupported:
      return "UNSUPPORTED";
    case ErrorCode::kNoMemory:
      return "NO_MEMORY";
    case ErrorCode::kNoSpace:
      return "NO_SPACE";
    case ErrorCode::kAborted:
      return "ABORTED";
    case ErrorCode::kInternal:
      break;
  }
  return "INTERNAL";
}

}  // namespace bitnet
