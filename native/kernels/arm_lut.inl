// The primitives of lut.inl for NEON.

using vb = uint8x16_t;
using vw = uint16x8_t;
constexpr int kByteLanes = 16;

inline vb load_vb(const uint8_t* p) { return vld1q_u8(p); }
inline vb set1_vb(uint8_t x) { return vdupq_n_u8(x); }
inline vb load_table(const uint8_t* p) { return vld1q_u8(p); }
inline vb look_up(vb table, vb index) { return vqtbl1q_u8(table, index); }
inline vb low_nibble(vb v) { return vandq_u8(v, vdupq_n_u8(15)); }
inline vb high_nibble(vb v) { return vshrq_n_u8(v, 4); }
inline vb add_vb(vb a, vb b) { return vaddq_u8(a, b); }
// All ones where the weight is negated.
template <int i>
inline vb sign_of(vb signs) {
  return vreinterpretq_u8_s8(vshrq_n_s8(vreinterpretq_s8_u8(vshlq_n_u8(signs, i)), 7));
}
inline vb negate_if(vb v, vb sign) { return vsubq_u8(veorq_u8(v, sign), sign); }
inline vw zero_vw() { return vdupq_n_u16(0); }
inline vw add_even(vw w, vb v) {
  return vaddq_u16(w, vandq_u16(vreinterpretq_u16_u8(v), vdupq_n_u16(255)));
}
inline vw add_odd(vw w, vb v) { return vsraq_n_u16(w, vreinterpretq_u16_u8(v), 8); }
inline void store_vw(uint16_t* p, vw v) { vst1q_u16(p, v); }

#include "kernels/lut.inl"
