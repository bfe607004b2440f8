// The primitives of lut.inl for 256-bit registers.

using vb = __m256i;
using vw = __m256i;
constexpr int kByteLanes = 32;

inline vb load_vb(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline vb set1_vb(uint8_t x) { return _mm256_set1_epi8(static_cast<char>(x)); }
inline vb load_table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline vb look_up(vb table, vb index) { return _mm256_shuffle_epi8(table, index); }
inline vb low_nibble(vb v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
inline vb high_nibble(vb v) { return low_nibble(_mm256_srli_epi16(v, 4)); }
inline vb add_vb(vb a, vb b) { return _mm256_add_epi8(a, b); }
// What vpsignb negates by: bit 7 is the sign, and never zero.
template <int i>
inline vb sign_of(vb signs) {
  return _mm256_or_si256(_mm256_slli_epi16(signs, i), _mm256_set1_epi8(1));
}
inline vb negate_if(vb v, vb sign) { return _mm256_sign_epi8(v, sign); }
inline vw zero_vw() { return _mm256_setzero_si256(); }
inline vw add_even(vw w, vb v) {
  return _mm256_add_epi16(w, _mm256_and_si256(v, _mm256_set1_epi16(255)));
}
inline vw add_odd(vw w, vb v) { return _mm256_add_epi16(w, _mm256_srli_epi16(v, 8)); }
inline void store_vw(uint16_t* p, vw v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

constexpr int16_t kBy31 = 1057;
using Pattern = __m256i;
inline Pattern load_pattern(const int16_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}
inline Pattern times(Pattern p, int8_t x) { return _mm256_sign_epi16(_mm256_set1_epi16(x), p); }
inline Pattern add_products(Pattern a, Pattern b) { return _mm256_add_epi16(a, b); }
inline void store_table(uint8_t* to, Pattern v) {
  const __m256i high = _mm256_mulhrs_epi16(v, _mm256_set1_epi16(kBy31));
  const __m256i low = _mm256_sub_epi16(v, _mm256_mullo_epi16(high, _mm256_set1_epi16(31)));
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
}

#include "kernels/lut.inl"
