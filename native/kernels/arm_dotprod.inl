// Ternary products by sdot, which multiplies 16 bytes and sums them by fours into 32 bits; shared
// by the kernels that have it.

// Group 0 is shifted down, the others are used where they stand, 16, 4 and 1 times too large, and
// set right at the end: one instruction for each group. (In place, group 0 would reach the sign
// bit.) The largest sum, 32 * 127 * cols / 16 per lane, fits 32 bits for every cols < 2^23.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q, int64_t,
                 int32_t* out) {
  const uint8x16_t mask1 = vdupq_n_u8(0x30), mask2 = vdupq_n_u8(0x0c), mask3 = vdupq_n_u8(0x03);
  int32x4_t acc[R], acc4[R], acc16[R];
  for (int r = 0; r < R; ++r) acc[r] = acc4[r] = acc16[r] = vdupq_n_s32(0);
  for (int64_t i = 0; i < 32 * n_blocks; i += 16) {  // half a block
    const int8_t* x = q + 4 * (i & ~int64_t{31}) + (i & 31);
    const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 32), x2 = vld1q_s8(x + 64),
                    x3 = vld1q_s8(x + 96);
    for (int r = 0; r < R; ++r) {
      const uint8x16_t packed = vld1q_u8(w + r * row_bytes + i);
      acc16[r] = vdotq_s32(acc16[r], vreinterpretq_s8_u8(vandq_u8(packed, mask1)), x1);
      acc4[r] = vdotq_s32(acc4[r], vreinterpretq_s8_u8(vandq_u8(packed, mask2)), x2);
      acc[r] = vdotq_s32(acc[r], vreinterpretq_s8_u8(vandq_u8(packed, mask3)), x3);
      acc[r] = vdotq_s32(acc[r], vreinterpretq_s8_u8(vshrq_n_u8(packed, 6)), x0);
    }
  }
  for (int r = 0; r < R; ++r) {
    const int32x4_t high = vaddq_s32(vshrq_n_s32(acc16[r], 4), vshrq_n_s32(acc4[r], 2));
    out[r] = vaddvq_s32(vaddq_s32(high, acc[r]));
  }
}

// No digit is ever taken apart: with the fractions as signed bytes around their middle, v0 = v and
// v(n + 1) = 3 v(n) mod 256, 256 times weight n is 3 v(n) - v(n + 1), so both sides are multiplied
// and summed as they are. The sums may wrap around 32 bits, their difference does not: 256 * 127 *
// cols / 4 per lane fits for every cols < 2^18.
template <int R>
inline void trit_gemv(const uint8_t* w, int64_t row_bytes, int64_t stride, const int8_t* q,
                      int32_t sum, int32_t* out) {
  const uint8x16_t middle = vdupq_n_u8(128), three = vdupq_n_u8(3);
  uint32x4_t before[R], after[R];  // wrap around
  for (int r = 0; r < R; ++r) before[r] = after[r] = vdupq_n_u32(0);
  const auto dot = [](uint32x4_t acc, uint8x16_t v, int8x16_t x) BITNET_INLINE {
    return vreinterpretq_u32_s32(vdotq_s32(vreinterpretq_s32_u32(acc), vreinterpretq_s8_u8(v), x));
  };
  for (int64_t c = 0; c < stride; c += 320, w += 64) {
    const int n = stride - c < 320 ? static_cast<int>(stride - c) / 64 : 5;
    for (int part = 0; part < 64; part += 16) {
      uint8x16_t v[R];
      for (int r = 0; r < R; ++r) v[r] = veorq_u8(vld1q_u8(w + r * row_bytes + part), middle);
      for (int d = 0; d < n; ++d) {
        const int8x16_t x = vld1q_s8(q + c + 64 * d + part);
        for (int r = 0; r < R; ++r) {
          before[r] = dot(before[r], v[r], x);
          v[r] = vmulq_u8(v[r], three);
          after[r] = dot(after[r], v[r], x);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    const uint32x4_t product = vsubq_u32(vmulq_n_u32(before[r], 3), after[r]);
    out[r] = vaddvq_s32(vshrq_n_s32(vreinterpretq_s32_u32(product), 8)) + sum;
  }
}

template <int R, int T>
inline void dot_tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n,
                     int32_t* out) {
  int32x4_t acc[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) acc[r][t] = vdupq_n_s32(0);
  for (int64_t c = 0; c < n; c += 16) {
    int8x16_t w[R];
    for (int r = 0; r < R; ++r) w[r] = load_codes(codes + r * stride + c);
    for (int t = 0; t < T; ++t) {
      const int8x16_t x = vld1q_s8(q + t * stride + c);
      for (int r = 0; r < R; ++r) acc[r][t] = vdotq_s32(acc[r][t], w[r], x);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r) out[t * R + r] = vaddvq_s32(acc[r][t]);
}
