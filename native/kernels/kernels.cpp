// Which kernel runs: a list in priority order, checked against the CPU once. Compiled without any
// -m flags.
#include "kernels/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <set>

#include "base/aligned.h"
#include "base/error.h"
#include "kernels/packing.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#endif

namespace bitnet {

extern const Kernels kScalar;
#if defined(__x86_64__) || defined(_M_X64)
extern const Kernels kAvx2, kAvxVnni, kAvx512Vnni, kAvx512Winograd, kAmx;
#elif defined(__aarch64__)
extern const Kernels kNeon, kNeonDotprod, kNeonI8mm;
#endif

namespace {

#if defined(__x86_64__) || defined(_M_X64)
uint64_t xgetbv0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Whether additions of bytes cost at most half of a dot product: AMD's cores start four a cycle and
// two dot products; Intel's start two 512-bit instructions of any kind.
bool adds_cheaply() {
  uint32_t a, b, c, d;
  return __get_cpuid(0, &a, &b, &c, &d) && b == 0x68747541;  // "Auth" of "AuthenticAMD"
}

// Linux hands out the tile registers, 8 KiB of state, only to a process that asks for them. Other
// systems are not asked.
bool request_tiles() {
#if defined(__linux__)
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
#else
  return false;
#endif
}

// A CPU's instructions count only if the OS saves their registers. Bits: CPUID leaf 1 (ecx), leaf 7
// (ebx, ecx, edx), leaf 7.1 (eax); Intel SDM, volume 2, CPUID.
uint32_t detect() {
  uint32_t a, b, c, d, features = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const bool osxsave = c & (1u << 27), fma = c & (1u << 12), f16c = c & (1u << 29);
  if (!osxsave) return 0;
  const uint64_t saved = xgetbv0();  // 6: xmm and ymm; 0xe6: also zmm and masks; 0x60000: tiles
  if ((saved & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if ((b & (1u << 5)) && fma && f16c) features |= kCpuAvx2;                   // bit 5: AVX2
  const uint32_t avx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  if ((saved & 0xe6) == 0xe6 && (b & avx512) == avx512) {
    features |= kCpuAvx512;
    if (c & (1u << 11)) features |= kCpuAvx512Vnni;  // bit 11: AVX512_VNNI
  }
  const uint32_t amx = (1u << 24) | (1u << 25);  // TILE, INT8
  if ((saved & 0x60000) == 0x60000 && (d & amx) == amx && request_tiles()) features |= kCpuAmx;
  // a: the last subleaf. Bit 4 of the next: AVX_VNNI.
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4))) features |= kCpuAvxVnni;
  return features;
}
#elif defined(__aarch64__)
uint32_t detect() {
  uint32_t features = kCpuNeon;
#if defined(__linux__)
  const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  if (caps & (1ul << 20)) features |= kCpuDotprod;  // HWCAP_ASIMDDP
  if (caps2 & (1ul << 13)) features |= kCpuI8mm;    // HWCAP2_I8MM
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof value;
  if (sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value)
    features |= kCpuDotprod;
  size = sizeof value;
  if (sysctlbyname("hw.optional.arm.FEAT_I8MM", &value, &size, nullptr, 0) == 0 && value)
    features |= kCpuI8mm;
#elif defined(_WIN32)
  // PF_ARM_V82_DP_ and PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE; false where Windows knows no such.
  if (IsProcessorFeaturePresent(43)) features |= kCpuDotprod;
  if (IsProcessorFeaturePresent(66)) features |= kCpuI8mm;
#endif
  return features;
}
#else
uint32_t detect() { return 0; }
#endif

// A small matrix of odd shape through `kernels`, in every layout, and through scalar: the results
// must be the same bits.
class SelfTest {
 public:
  SelfTest() {
    for (auto& code : codes_) code = static_cast<uint8_t>(next() % 3);
    for (auto& value : x_) value = static_cast<float>(next() % 2001) / 1000.0f - 1.0f;
  }

  bool passes(const Kernels& kernels) {
    return std::all_of(std::begin(kWeightLayouts), std::end(kWeightLayouts),
                       [&](const auto& entry) { return passes(kernels, entry.layout); });
  }

  bool passes(const Kernels& kernels, WeightLayout layout) {
    for (int n_tokens : {1, 3, kTokens}) {
      if (run(kernels, layout, n_tokens) != run(kScalar, WeightLayout::kI2S, n_tokens))
        return false;
    }
    return true;
  }

 private:
  // No multiples of any tile, block or group; more tokens than kFewTokens and tile_tokens, so that
  // batches by panels are among what is tested. kStride: kCols rounded up to kActivationPad.
  static constexpr int kRows = 39, kCols = 424, kTokens = 23, kStride = 512;

  uint32_t next() { return (random_ = random_ * 1664525u + 1013904223u) >> 8; }

  std::vector<float> run(const Kernels& k, WeightLayout layout, int n_tokens) {
    std::vector<uint8_t> weights(packed_bytes(layout, kRows, kCols));
    pack_layout(k, layout, codes_.data(), kRows, kCols, weights.data());
    const TernaryMatrix w{weights.data(), kRows,   kCols, packed_row_bytes(layout, kCols),
                          0.75f,          nullptr, layout};
    std::vector<int8_t> q(kTokens * kStride);
    std::vector<float> scale(kTokens), out(kTokens * kRows);
    std::vector<int32_t> sum(kTokens);
    std::vector<TokenPairs> pairs(kTokens);
    const int64_t table_bytes = lut_table_bytes(layout, kStride);
    std::vector<uint8_t> tables(kFewTokens * table_bytes);
    for (int t = 0; t < n_tokens; ++t) {
      k.quantize(&x_[t * kCols], kCols, kStride, &q[t * kStride], &scale[t], &sum[t]);
      if (k.find_pairs) k.find_pairs(&q[t * kStride], kStride, &scale[t], &sum[t], &pairs[t]);
      if (!k.lut_tables || layout == WeightLayout::kI2S || t >= kFewTokens) continue;
      k.lut_tables(layout, &q[t * kStride], kStride, 0, lut_blocks(layout, kStride),
                   &tables[t * table_bytes]);
    }
    const TokenPairs* found = k.find_pairs ? pairs.data() : nullptr;
    matmul_of(k, layout)(
        w, {n_tokens, kStride, q.data(), scale.data(), sum.data(), tables.data(), found},
        out.data(), kRows, 0, kRows, scratch_.data());
    return out;
  }

  uint32_t random_ = 1;  // of a linear congruential generator: the same test every time
  std::vector<uint8_t> codes_ = std::vector<uint8_t>(kRows * kCols);
  std::vector<float> x_ = std::vector<float>(kTokens * kCols);
  AlignedArray<uint8_t> scratch_{kMatmulScratch};
};

std::string supported_names() {
  std::string names;
  for (const Kernels* k : all_kernels())
    if (supported(*k)) names += (names.empty() ? "" : ", ") + std::string(k->name);
  return names;
}

const Kernels& find(const std::string& name) {
  for (const Kernels* k : all_kernels()) {
    if (!name.empty() && name != k->name) continue;
    if (supported(*k)) return *k;
    if (!name.empty()) {
      throw Error(ErrorCode::kUsage, "this CPU cannot run the kernel '" + name +
                                         "'; it can run: " + supported_names());
    }
  }
  throw Error(ErrorCode::kUsage,
              "no kernel is named '" + name + "'; this CPU can run: " + supported_names());
}

}  // namespace

uint32_t cpu_features() {
  static const uint32_t features = detect();
  return features;
}

std::span<const CpuFeatureName> cpu_feature_names() {
#if defined(__x86_64__) || defined(_M_X64)
  static constexpr CpuFeatureName kNames[] = {{kCpuAvx2, "AVX2 with FMA and F16C"},
                                              {kCpuAvxVnni, "AVX-VNNI"},
                                              {kCpuAvx512, "AVX-512 (F, BW, DQ, VL)"},
                                              {kCpuAvx512Vnni, "AVX-512 VNNI"},
                                              {kCpuAmx, "AMX INT8"}};
  return kNames;
#elif defined(__aarch64__)
  static constexpr CpuFeatureName kNames[] = {
      {kCpuNeon, "NEON"}, {kCpuDotprod, "dot products"}, {kCpuI8mm, "I8MM"}};
  return kNames;
#else
  return {};
#endif
}

// As all that a function keeps, it is never destroyed: threads may use it while the process exits.
const std::vector<const Kernels*>& all_kernels() {
  static const auto& list = *new std::vector<const Kernels*> {
#if defined(__x86_64__) || defined(_M_X64)
    &kAmx, adds_cheaply() ? &kAvx512Winograd : &kAvx512Vnni,
        adds_cheaply() ? &kAvx512Vnni : &kAvx512Winograd, &kAvxVnni, &kAvx2,
#elif defined(__aarch64__)
    &kNeonI8mm, &kNeonDotprod, &kNeon,
#endif
        &kScalar,
  };
  return list;
}

bool supported(const Kernels& kernels) { return (cpu_features() & kernels.needs) == kernels.needs; }

bool passes_self_test(const Kernels& kernels, WeightLayout layout) {
  return SelfTest().passes(kernels, layout);
}

const Kernels& select_kernels(const std::string& name) {
  const char* forced = std::getenv("BITNET_KERNEL");
  const Kernels& chosen = find(!name.empty() ? name : forced ? forced : "");
  static std::mutex mutex;
  static auto& tested = *new std::set<const Kernels*>;  // never destroyed, as above
  std::lock_guard<std::mutex> lock(mutex);
  if (!tested.count(&chosen)) {
    if (&chosen != &kScalar && !SelfTest().passes(chosen)) {
      throw Error(ErrorCode::kInternal,
                  std::string("the kernel '") + chosen.name +
                      "' does not compute what scalar does on this CPU; please report it, and "
                      "set BITNET_KERNEL=scalar meanwhile");
    }
    tested.insert(&chosen);
  }
  return chosen;
}

std::optional<WeightLayout> find_layout(std::string_view name) {
  static constexpr WeightLayoutName kOtherNames[] = {
      {"i2s", WeightLayout::kI2S},
      {"trit", WeightLayout::kTrits},
      {"tl1", WeightLayout::kPairs},
      {"tl2", WeightLayout::kTriples},
  };
  for (const WeightLayoutName& entry : kWeightLayouts)
    if (name == entry.name) return entry.layout;
  for (const WeightLayoutName& entry : kOtherNames)
    if (name == entry.name) return entry.layout;
  return std::nullopt;
}

std::string layout_names() {
  std::string out;
  for (const WeightLayoutName& entry : kWeightLayouts)
    out += (out.empty() ? "" : ", ") + std::string(entry.name);
  return out;
}

}  // namespace bitnet
