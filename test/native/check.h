// A test framework in one page: a TEST is a sentence about behaviour; CHECK counts and reports, and
// the run goes on.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace check {

inline int failures = 0;
inline std::vector<std::pair<const char*, std::function<void()>>>& tests() {
  static std::vector<std::pair<const char*, std::function<void()>>> list;
  return list;
}
struct Register {
  Register(const char* name, std::function<void()> body) {
    tests().emplace_back(name, std::move(body));
  }
};
inline void fail(const char* file, int line, const std::string& what) {
  ++failures;
  if (failures <= 50) std::fprintf(stderr, "  %s:%d: %s\n", file, line, what.c_str());
}

// Where test fixtures lie: BITNET_TEST_DATA, set by ctest.
inline std::string data(const std::string& name) {
  const char* dir = std::getenv("BITNET_TEST_DATA");
  return std::string(dir ? dir : "test/fixtures") + "/" + name;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(name)                                                                           \
  static void CHECK_JOIN(test_, __LINE__)();                                                 \
  static check::Register CHECK_JOIN(register_, __LINE__)(name, CHECK_JOIN(test_, __LINE__)); \
  static void CHECK_JOIN(test_, __LINE__)()
#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) check::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (0)
#define CHECK_EQ(a, b)                                                          \
  do {                                                                          \
    auto&& va = (a);                                                            \
    auto&& vb = (b);                                                            \
    if (!(va == vb)) check::fail(__FILE__, __LINE__, "expected " #a " == " #b); \
  } while (0)
#define CHECK_NEAR(a, b, tolerance)                                                    \
  do {                                                                                 \
    double va = (a), vb = (b);                                                         \
    if (!(std::fabs(va - vb) <= (tolerance)))                                          \
      check::fail(__FILE__, __LINE__,                                                  \
                  #a " = " + std::to_string(va) + ", " #b " = " + std::to_string(vb)); \
  } while (0)
// The expression must throw `Type` with `text` somewhere in its message.
#define CHECK_THROWS(expression, Type, text)                                             \
  do {                                                                                   \
    try {                                                                                \
      (void)(expression);                                                                \
      check::fail(__FILE__, __LINE__, "expected " #expression " to throw");              \
    } catch (const Type& e) {                                                            \
      if (std::string(e.what()).find(text) == std::string::npos)                         \
        check::fail(__FILE__, __LINE__, std::string("unexpected message: ") + e.what()); \
    }                                                                                    \
  } while (0)

int main(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  int run = 0;
  for (auto& [name, body] : check::tests()) {
    if (std::string(name).find(filter) == std::string::npos) continue;
    const int before = check::failures;
    try {
      body();
    } catch (const std::exception& e) {
      check::fail(name, 0, std::string("threw: ") + e.what());
    }
    std::printf("%s %s\n", check::failures == before ? "ok  " : "FAIL", name);
    ++run;
  }
  std::printf("%d tests, %d failed checks\n", run, check::failures);
  return check::failures == 0 && run > 0 ? 0 : 1;
}
