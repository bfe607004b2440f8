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

#include "kernels/lut.inl"
