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

constexpr int16_t kBy31 = 1057;
using Pattern = int16x8x2_t;
inline Pattern load_pattern(const int16_t* p) { return {{vld1q_s16(p), vld1q_s16(p + 8)}}; }
inline Pattern times(Pattern p, int8_t x) {
  return {{vmulq_n_s16(p.val[0], x), vmulq_n_s16(p.val[1], x)}};
}
inline Pattern add_products(Pattern a, Pattern b) {
  return {{vaddq_s16(a.val[0], b.val[0]), vaddq_s16(a.val[1], b.val[1])}};
}
inline void store_table(uint8_t* to, Pattern v) {
  int8x8_t low[2], high[2];
  for (int i = 0; i < 2; ++i) {
    const int16x8_t h = vqrdmulhq_n_s16(v.val[i], kBy31);
    low[i] = vmovn_s16(vmlsq_n_s16(v.val[i], h, 31));
    high[i] = vmovn_s16(h);
  }
  vst1q_u8(to, vreinterpretq_u8_s8(vcombine_s8(low[0], low[1])));
  vst1q_u8(to + 16, vreinterpretq_u8_s8(vcombine_s8(high[0], high[1])));
}

#include "kernels/lut.inl"
