// What Windows wants and gives as text; compiled on Windows only.
#pragma once

#ifdef _WIN32

#include <cstdint>
#include <string>

namespace bitnet {

// A path in UTF-8 as the functions that end in W take it. One that is too long for them is made
// absolute and marked, which lifts the limit of 260 characters.
std::wstring wide_path(const std::string& utf8);

// What an error code of GetLastError() means: "Access is denied (Windows error 5)".
std::string windows_error(uint32_t code);

}  // namespace bitnet

#endif
