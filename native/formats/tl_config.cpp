// The tile sizes of TL1 and TL2: kernel_config.ini, the built-in sets, and the rule for other
// shapes.
#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

constexpr int64_t kMaxNumber = 1 << 30;

std::string shape_text(int64_t rows, int64_t cols) {
  return std::to_string(rows) + " x " + std::to_string(cols);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

constexpr std::string_view kKeys[] = {"m", "k", "bm", "bk", "bmm"};

// One [section], as far as it has been read. 0: not given.
struct Section {
  std::string title;
  uint32_t values[std::size(kKeys)] = {};
};

struct IniParser {
  const std::string& name;
  int line_number = 0;
  std::vector<TlConfig> configs;
  std::optional<Section> section;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kBadFile,
                name + (line_number > 0 ? ":" + std::to_string(line_number) : "") + ": " + what);
  }

  void finish_section() {
    if (!section) return;
    for (size_t i = 0; i < std::size(kKeys); ++i) {
      if (section->values[i] == 0) {
        fail("[" + section->title + "] has no value for " + std::string(kKeys[i]));
      }
    }
    const auto& v = section->values;
    configs.push_back({v[0], v[1], v[2], v[3], v[4]});
    section.reset();
  }

  void read_setting(std::string_view line) {
    const size_t separator = line.find_first_of("=:");
    if (separator == std::string_view::npos) fail("expected \"key = value\"");
    if (!section) fail("expected a [section] first");
    std::string key(trimmed(line.substr(0, separator)));
    for (char& c : key) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const auto known = std::find(std::begin(kKeys), std::end(kKeys), key);
    if (known == std::end(kKeys)) return;  // the file may say more than this project needs

    const std::string_view value = trimmed(line.substr(separator + 1));
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number == 0 ||
        number > kMaxNumber) {
      fail("expected a positive number for " + key);
    }
    uint32_t& slot = section->values[known - std::begin(kKeys)];
    if (slot != 0) fail(key + " is given twice");
    slot = number;
  }

  void read_line(std::string_view line) {
    line = trimmed(line);
    if (line.empty() || line[0] == '#' || line[0] == ';') return;
    if (line[0] != '[') return read_setting(line);
    if (line.back() != ']') fail("expected \"]\" at the end of the section title");
    finish_section();
    section.emplace();
    section->title = line.substr(1, line.size() - 2);
  }
};

const TileRules& rules_of(TensorType type) {
  const Format* format = find_format(type);
  if (format && format->ternary && format->ternary->tiles) return *format->ternary->tiles;
  throw Error(ErrorCode::kInternal, std::string(tensor_type_name(type)) + " has no tiles");
}

// The one of `configs` for the shape, else the built-in one; nullptr if there is none.
const TlConfig* find_known(TensorType type, int64_t rows, int64_t cols,
                           const std::vector<TlConfig>& configs) {
  const auto for_shape = [&](const TlConfig& tl) { return tl.rows == rows && tl.cols == cols; };
  const auto& builtin = rules_of(type).builtin;
  if (const auto given = std::find_if(configs.begin(), configs.end(), for_shape);
      given != configs.end()) {
    return &*given;
  }
  const auto own = std::find_if(builtin.begin(), builtin.end(), for_shape);
  return own == builtin.end() ? nullptr : &*own;
}

}  // namespace

std::vector<TlConfig> parse_tl_config(const std::string& text, const std::string& name) {
  IniParser parser{name, 0, {}, std::nullopt};
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    ++parser.line_number;
    parser.read_line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  parser.finish_section();
  parser.line_number = 0;
  if (parser.configs.empty()) parser.fail("no [Kernels_...] section in it");
  return std::move(parser.configs);
}

bool is_tiled(TensorType type) {
  const Format* format = find_format(type);
  return format && format->ternary && format->ternary->tiles;
}

uint32_t choose_tile_rows(uint32_t rows) {
  uint32_t tile = std::max(32u, std::min(256u, rows / 4) / 32 * 32);
  while (rows % tile != 0) tile -= 32;
  return tile;
}

bool is_builtin_tl_config(TensorType type, const TlConfig& tl) {
  const auto& builtin = rules_of(type).builtin;
  return std::find(builtin.begin(), builtin.end(), tl) != builtin.end();
}

TlConfig known_tl_config(TensorType type, int64_t rows, int64_t cols,
                         const std::vector<TlConfig>& configs) {
  if (const TlConfig* known = find_known(type, rows, cols, configs)) return *known;
  throw Error(ErrorCode::kUnsupported,
              std::string("neither the file nor this program knows its ") + tensor_type_name(type) +
                  " tile sizes for a matrix of " + shape_text(rows, cols) +
                  "; give the kernel_config.ini that the file was converted with");
}

TlConfig choose_tl_config(TensorType type, int64_t rows, int64_t cols,
                          const std::vector<TlConfig>& configs) {
  if (const TlConfig* known = find_known(type, rows, cols, configs)) return *known;
  TlConfig chosen{static_cast<uint32_t>(rows), static_cast<uint32_t>(cols), 0, 0, 0};
  const bool too_large = std::max(rows, cols) > kMaxNumber;
  if (const char* problem = too_large ? "it is too large" : rules_of(type).choose(chosen)) {
    throw Error(ErrorCode::kUnsupported, std::string("no ") + tensor_type_name(type) +
                                             " tiles fit a matrix of " + shape_text(rows, cols) +
                                             ": " + problem + " (I2_S needs no tiles)");
  }
  return chosen;
}

void check_tl_config(TensorType type, const TlConfig& tl) {
  const bool positive = tl.rows > 0 && tl.cols > 0 && tl.BM > 0 && tl.BK > 0 && tl.bm > 0;
  const char* problem = positive ? rules_of(type).problem(tl) : "all must be positive";
  if (!problem) return;
  throw Error(ErrorCode::kUnsupported,
              std::string(tensor_type_name(type)) + " tile sizes for a matrix of " +
                  shape_text(tl.rows, tl.cols) + " do not fit: " + problem);
}

}  // namespace bitnet
