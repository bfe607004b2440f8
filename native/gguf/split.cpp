#include "gguf/split.h"

#include <cstdio>

#include "base/error.h"

namespace bitnet {

namespace {

// Each part is a file that stays open. The largest published models have some hundred.
constexpr uint32_t kMaxParts = 1024;

// "-00002-of-00003.gguf"
std::string split_suffix(SplitPlace place) {
  char text[32];
  std::snprintf(text, sizeof text, "-%05u-of-%05u.gguf", place.no + 1, place.count);
  return text;
}

}  // namespace

SplitPlace split_place(const Gguf& gguf) {
  const uint32_t count = gguf.u32("split.count").value_or(1);
  if (count <= 1) return {};
  const SplitPlace place{gguf.require_u32("split.no"), count};
  if (count > kMaxParts) {
    throw Error(ErrorCode::kUnsupported, gguf.name() + ": split.count is " + std::to_string(count) +
                                             ", at most " + std::to_string(kMaxParts) +
                                             " parts are supported");
  }
  if (place.no >= count) {
    throw Error(ErrorCode::kBadFile, gguf.name() + ": split.no is " + std::to_string(place.no) +
                                         ", but split.count is " + std::to_string(count));
  }
  return place;
}

std::vector<std::string> split_paths(const std::string& path, SplitPlace place) {
  const std::string suffix = split_suffix(place);
  if (!path.ends_with(suffix)) {
    throw Error(ErrorCode::kBadFile,
                path + ": part " + std::to_string(place.no + 1) + " of a model in " +
                    std::to_string(place.count) +
                    " parts, which are found by their names: this one must end in " + suffix);
  }
  const std::string prefix = path.substr(0, path.size() - suffix.size());
  std::vector<std::string> paths;
  for (uint32_t no = 0; no < place.count; ++no)
    paths.push_back(prefix + split_suffix({no, place.count}));
  return paths;
}

}  // namespace bitnet
