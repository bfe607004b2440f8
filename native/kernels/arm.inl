// Vectors of 4 floats and the unpacking of I2_S rows, shared by the Arm kernels.

#include "kernels/half.inl"
#include "kernels/unroll.inl"

using vf = float32x4_t;
constexpr int kWidth = 4;
constexpr bool kPairBlocks = false;

inline vf load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, vf v) { vst1q_f32(p, v); }
inline vf set1(float x) { return vdupq_n_f32(x); }
inline vf fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
// Of a number and a NaN these return the number, as min and max of the other kernels do for the
// limits in exp_vf.
inline vf vmin(vf a, vf b) { return vminnmq_f32(a, b); }
inline vf vmax(vf a, vf b) { return vmaxnmq_f32(a, b); }
inline vf round_vf(vf x) { return vrndnq_f32(x); }
inline vf zero_below(vf x, vf limit, vf v) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), vcltq_f32(x, limit)));
}
inline vf scale_by_pow2(vf p, vf n) {
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}
inline vf load_f16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline vf load_bf16(const uint16_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
inline vf load_i8(const uint8_t* p) {
  int8_t bytes[8] = {};
  __builtin_memcpy(bytes, p, 4);
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes)))));
}
inline float max_lane(vf v) { return vmaxnmvq_f32(v); }
inline float sum_halves(vf v) {
  const float32x2_t pairs = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(pairs, 0) + vget_lane_f32(pairs, 1);
}

#include "kernels/float_ops.inl"

constexpr int kGemmRows = 4, kGemmVectors = 4;
inline vf sqrt_vf(vf x) { return vsqrtq_f32(x); }
#include "kernels/gemm.inl"
#include "kernels/train_ops.inl"

using vi = int32x4_t;
constexpr int kByteVector = 16, kCodeBias = 0;
constexpr int kCoarseRows = 2, kCoarseTokens = 4, kQuadRows = 1, kQuadTokens = 4;
constexpr int kPairRows = 1, kPairTokens = 4;
inline vi zero_i32() { return vdupq_n_s32(0); }
inline vf to_float(vi v) { return vcvtq_f32_s32(v); }
template <int N>
inline void store_sums(const vi (&v)[N], int32_t* out) {
  each<N>([&](auto i) BITNET_INLINE { out[i] = vaddvq_s32(v[i]); });
}
// Sums of products of bytes, |x| <= 64: two of them fit 16 bits. dot adds them in any lanes,
// quad_dot by fours.
inline int32x4_t dot(int32x4_t sums, int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(sums, w, x);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
  return vpadalq_s16(sums, vmlal_high_s8(low, w, x));
#endif
}
inline int32x4_t quad_dot(int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(vdupq_n_s32(0), w, x);
#else
  return vpaddlq_s16(vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x)));
#endif
}

typedef uint8_t Bytes __attribute__((vector_size(kByteVector)));
struct Codes {
  int8x16_t v[4];
};
template <int kOffset>
BITNET_INLINE inline Codes make_codes(const Bytes (&pieces)[4]) {
  Codes codes;
  each<4>([&](auto j) BITNET_INLINE {
    codes.v[j] = vreinterpretq_s8_u8(vsubq_u8((uint8x16_t)pieces[j], vdupq_n_u8(kOffset)));
  });
  return codes;
}
BITNET_INLINE inline Codes load_codes64(const uint8_t* p) {
  Codes codes;
  each<4>([&](auto j) BITNET_INLINE { codes.v[j] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * j)); });
  return codes;
}
BITNET_INLINE inline void store_codes64(uint8_t* p, const Codes& codes) {
  each<4>([&](auto j) BITNET_INLINE { vst1q_u8(p + 16 * j, vreinterpretq_u8_s8(codes.v[j])); });
}
BITNET_INLINE inline vi add_products(vi sums, const Codes& codes, const int8_t* x) {
  each<4>([&](auto j) BITNET_INLINE { sums = dot(sums, codes.v[j], vld1q_s8(x + 16 * j)); });
  return sums;
}
BITNET_INLINE inline void quad_sums(const Codes& codes, const HeadGroup& x, vi (&sums)[4]) {
  each<4>([&](auto j) BITNET_INLINE {
    const int32x4_t high = quad_dot(codes.v[j], vld1q_s8(x.high + 16 * j));
    const int32x4_t low = quad_dot(codes.v[j], vld1q_s8(x.low + 16 * j));
    sums[j] = vaddq_s32(vshlq_n_s32(high, 7), low);
  });
}
inline vf quad_scales(const float* scales, int j) { return vdupq_n_f32(scales[j]); }

// Even and odd columns apart, so that the lanes of products are those of the pairs.
struct Words32 {
  int16x8x2_t v[2];
};
BITNET_INLINE inline Words32 load_words32(const int16_t* p) {
  return {{vld2q_s16(p), vld2q_s16(p + 16)}};
}
BITNET_INLINE inline void store_words32(int16_t* p, const Words32& words) {
  vst2q_s16(p, words.v[0]);
  vst2q_s16(p + 16, words.v[1]);
}
template <int kOffset, int kFirstScale>
BITNET_INLINE inline Words32 scaled_codes(const Bytes (&pieces)[2], const int16_t* scales) {
  Words32 words;
  each<2>([&](auto j) BITNET_INLINE {
    const int8x16_t codes =
        vreinterpretq_s8_u8(vsubq_u8((uint8x16_t)pieces[j], vdupq_n_u8(kOffset)));
    const int16_t scale = scales[kFirstScale + j];
    words.v[j].val[0] = vmulq_n_s16(vmovl_s8(vget_low_s8(vuzp1q_s8(codes, codes))), scale);
    words.v[j].val[1] = vmulq_n_s16(vmovl_s8(vget_low_s8(vuzp2q_s8(codes, codes))), scale);
  });
  return words;
}
template <int j>
BITNET_INLINE inline vi add_pairs(vi sums, const Words32& w, const Words32& x) {
  each<2>([&](auto odd) BITNET_INLINE {
    const int16x8_t a = w.v[j / 2].val[odd], b = x.v[j / 2].val[odd];
    sums = j % 2 ? vmlal_high_s16(sums, a, b) : vmlal_s16(sums, vget_low_s16(a), vget_low_s16(b));
  });
  return sums;
}

#include "kernels/head_ops.inl"

// Codes are 0, 1 or 2, so unsigned bytes of codes are signed bytes too.
inline int8x16_t load_codes(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }

inline void unpack_row(const uint8_t* w, int64_t n_blocks, uint8_t* codes) {
  const uint8x16_t mask = vdupq_n_u8(3);
  for (int64_t b = 0; b < n_blocks; ++b, codes += 128) {
    for (int half = 0; half < 32; half += 16) {
      const uint8x16_t packed = vld1q_u8(w + 32 * b + half);
      vst1q_u8(codes + half, vshrq_n_u8(packed, 6));
      vst1q_u8(codes + half + 32, vandq_u8(vshrq_n_u8(packed, 4), mask));
      vst1q_u8(codes + half + 64, vandq_u8(vshrq_n_u8(packed, 2), mask));
      vst1q_u8(codes + half + 96, vandq_u8(packed, mask));
    }
  }
  if (n_blocks % 2) {  // rows of activations are padded to 256 columns; their padding is zero, so
                       // any code will do
    for (int i = 0; i < 128; i += 16) vst1q_u8(codes + i, vdupq_n_u8(0));
  }
}
