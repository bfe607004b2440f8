// 16 rows side by side, for batches: a vector holds four columns of each, so that a product with
// the same four columns of a token sums for 16 rows at once, and nothing is summed across lanes.

// Rows and columns become columns and rows: t[j] holds dword j of the 16 inputs.
inline void transpose(__m512i (&r)[16], __m512i (&t)[16]) {
  __m512i a[16], b[16];
  each<8>([&](auto i) BITNET_INLINE {
    a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  });
  each<4>([&](auto i) BITNET_INLINE {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  });
  each<4>([&](auto i) BITNET_INLINE {
    a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
    a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
    a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
  });
  each<4>([&](auto i) BITNET_INLINE {
    t[i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd);
    t[12 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd);
  });
}

// Packed bytes [begin, end) of 16 rows -> [columns / 4, row, 4], `step` bytes between groups of
// four columns, in the order of the activations; begin is a multiple of 64. Transposing while still
// packed moves a quarter of the bytes. Rows beyond n_rows are zero. `change` has the last word on
// each pair of groups.
template <class Change>
inline void unpack_panel(const uint8_t* w, int64_t row_bytes, int64_t begin, int64_t end,
                         int64_t n_rows, uint8_t* panel, int64_t step, Change&& change) {
  const __m512i mask = _mm512_set1_epi8(3);
  for (int64_t i = begin; i < end; i += 64, panel += 64 * step) {
    __m512i r[16], t[16];
    for (int64_t row = 0; row < 16; ++row) {
      const uint8_t* p = w + row * row_bytes + i;
      r[row] = row >= n_rows         ? _mm512_setzero_si512()
               : row_bytes - i >= 64 ? _mm512_loadu_si512(p)
                                     : load_block(p);
    }
    transpose(r, t);
    each<8>([&](auto j) BITNET_INLINE {
      each<4>([&](auto g) BITNET_INLINE {
        __m512i even = _mm512_and_si512(_mm512_srli_epi16(t[2 * j], 6 - 2 * g), mask);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi16(t[2 * j + 1], 6 - 2 * g), mask);
        change(even, odd);
        _mm512_store_si512(panel + (16 * g + 2 * j) * step, even);
        _mm512_store_si512(panel + (16 * g + 2 * j + 1) * step, odd);
      });
    });
  }
}

// y = x / s for 16 lanes, correctly rounded like the division, but in 5 multiply-adds: r = 1 / s
// correctly rounded, then two corrections of the quotient (Markstein). Holds for s of ordinary size
// whose mantissa is not all ones; anything else divides.
struct Divisor {
  __m512 s, r;
  bool exact;
  explicit Divisor(float value) : s(_mm512_set1_ps(value)), r(_mm512_set1_ps(1.0f / value)) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const float size = __builtin_fabsf(value);
    exact = size > 0x1p-60f && size < 0x1p60f && (bits & 0x7fffff) != 0x7fffff;
  }
  __m512 divide(__m512 x) const {
    if (!exact) return _mm512_div_ps(x, s);
    __m512 q = _mm512_mul_ps(x, r);
    q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, s, x), r, q);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, s, x), r, q);
  }
};

// The results of up to 16 rows from `row` for one token; sums: of codes * q. The same formula as
// finish_one().
class RowFinisher {
 public:
  RowFinisher(const TernaryMatrix& w, int64_t row, int64_t n_rows)
      : mask_(static_cast<__mmask16>((1u << n_rows) - 1)),
        scales_(w.row_scales ? _mm512_maskz_loadu_ps(mask_, w.row_scales + row)
                             : _mm512_set1_ps(w.scale)) {}
  void finish(__m512i sums, const QuantizedBatch& x, int64_t token, float* out) const {
    const __m512 sum = _mm512_set1_ps(static_cast<float>(x.sum[token]));
    const __m512 y = Divisor(x.scale[token]).divide(_mm512_sub_ps(_mm512_cvtepi32_ps(sums), sum));
    const __m512 positive = _mm512_add_ps(y, _mm512_setzero_ps());
    _mm512_mask_storeu_ps(out, mask_, _mm512_mul_ps(positive, scales_));
  }

 private:
  __mmask16 mask_;
  __m512 scales_;
};
