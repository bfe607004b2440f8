// each<N>(f) calls f(0), ..., f(N - 1) with constants as arguments, unrolled before anything else
// happens. Arrays of vectors that are only indexed by such constants live in registers; in a loop,
// compilers may leave them in memory.

template <int I>
struct Index {
  constexpr operator int() const { return I; }
};

template <class F, int... I>
__attribute__((always_inline)) inline void each_of(F&& f, std::integer_sequence<int, I...>) {
  (f(Index<I>{}), ...);
}

template <int N, class F>
__attribute__((always_inline)) inline void each(F&& f) {
  each_of(f, std::make_integer_sequence<int, N>{});
}

#define BITNET_INLINE __attribute__((always_inline))

// How far ahead of its loads a kernel that streams weights asks for them, where Tuning does not
// say. The rows of a matrix follow each other, so this may be the next row; beyond the end a
// prefetch does nothing. Where several rows are read side by side, the lines of all of them are
// asked for in the order of memory, each once.
constexpr int64_t kPrefetchBytes = 8192;

template <int kBytes>
BITNET_INLINE inline void prefetch_lines(const uint8_t* p) {
  each<(kBytes + 63) / 64>([&](auto i) BITNET_INLINE { __builtin_prefetch(p + 64 * i); });
}

// Memory that is needed next, asked for in so many parts.
class Ahead {
 public:
  Ahead(const uint8_t* p, int64_t n_bytes, int64_t n_parts)
      : p_(p), part_((n_bytes / 64 + n_parts) / n_parts * 64) {}
  BITNET_INLINE void prefetch_part() {
    for (const uint8_t* end = p_ + part_; p_ < end; p_ += 64) __builtin_prefetch(p_, 0, 2);
  }

 private:
  const uint8_t* p_;  // what was not asked for yet
  int64_t part_;      // bytes, whole lines, so that n_parts parts are at least n_bytes
};

// f(n, first) for [first, last) in tiles of n = kMost, the rest in smaller ones.
template <int kMost, class F>
BITNET_INLINE inline void in_tiles(int64_t first, int64_t last, F&& f) {
  for (; first + kMost <= last; first += kMost) f(Index<kMost>{}, first);
  if constexpr (kMost > 1) in_tiles<kMost - 1>(first, last, f);
}

// Weights that several tokens share are taken in panels of rows that stay in a cache. The next
// panel is asked for evenly while one is multiplied: n_units of work, some with each step.
class NextPanel {
 public:
  NextPanel(const uint8_t* p, int64_t n_bytes, int64_t n_units)
      : p_(p), unit_(n_bytes / (n_units + 1) + 1) {}
  // kMostBytes: what a step may need when there are few of them.
  template <int kMostBytes>
  BITNET_INLINE void step(int units) {
    each<(kMostBytes + 63) / 64>([&](auto i)
                                     BITNET_INLINE { __builtin_prefetch(p_ + 64 * i, 0, 2); });
    p_ += units * unit_;
  }

 private:
  const uint8_t* p_;
  int64_t unit_;
};

constexpr int64_t kSharedRows = 16;  // of such a panel

// A result that nobody reads, which is computed nevertheless.
template <class V>
BITNET_INLINE inline void keep(V v) {  // a copy: v itself may stay in its register
  __asm__ volatile("" : : "m"(v));
}
