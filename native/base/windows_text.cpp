#include "base/windows_text.h"

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

namespace bitnet {
namespace {

std::wstring to_wide(const std::string& utf8) {
  const int size = static_cast<int>(utf8.size());
  const int n = MultiByteToWideChar(CP_UTF8, 0, utf8.data(), size, nullptr, 0);
  std::wstring out(static_cast<size_t>(n), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, utf8.data(), size, out.data(), n);
  return out;
}

std::string to_utf8(const wchar_t* text, int size) {
  const int n = WideCharToMultiByte(CP_UTF8, 0, text, size, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<size_t>(n), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text, size, out.data(), n, nullptr, nullptr);
  return out;
}

}  // namespace

std::wstring wide_path(const std::string& utf8) {
  std::wstring path = to_wide(utf8);
  const DWORD needed = GetFullPathNameW(path.c_str(), 0, nullptr, nullptr);  // with the final zero
  if (needed < MAX_PATH || path.starts_with(L"\\\\?\\") || path.starts_with(L"\\\\.\\"))
    return path;
  std::wstring full(needed, L'\0');
  full.resize(GetFullPathNameW(path.c_str(), needed, full.data(), nullptr));
  if (full.starts_with(L"\\\\")) return L"\\\\?\\UNC" + full.substr(1);
  return L"\\\\?\\" + full;
}

std::string windows_error(uint32_t code) {
  constexpr DWORD kFlags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                           FORMAT_MESSAGE_MAX_WIDTH_MASK;  // no line breaks
  constexpr DWORD kEnglish = MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US);
  wchar_t text[512];
  DWORD n = FormatMessageW(kFlags, nullptr, code, kEnglish, text, 512, nullptr);
  if (n == 0) n = FormatMessageW(kFlags, nullptr, code, 0, text, 512, nullptr);
  while (n > 0 && (text[n - 1] == L' ' || text[n - 1] == L'.')) --n;
  const std::string number = "Windows error " + std::to_string(code);
  return n == 0 ? number : to_utf8(text, static_cast<int>(n)) + " (" + number + ")";
}

}  // namespace bitnet

#endif
