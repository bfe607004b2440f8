// The loops around the kernels for trits. The including file defines, in its unnamed namespace:
//   trit_gemv<R>(w, row_bytes, stride, q, sum, acc): acc[r] = sum of code * q for R rows and one
//   token; sum = sum of q.

template <int R>
inline void trit_rows(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                      int64_t out_stride, int64_t row) {
  const RowScales<R> scales(w, row);
  for (int64_t t = 0; t < x.n_tokens; ++t) {
    int32_t acc[R];
    trit_gemv<R>(w.data + row * w.row_bytes, w.row_bytes, x.stride, x.q + t * x.stride, x.sum[t],
                 acc);
    finish<R>(acc, x.sum[t], x.scale[t], scales.s, out + t * out_stride + row);
  }
}

void trit_matmul(const TernaryMatrix& w, const QuantizedBatch& x, float* out, int64_t out_stride,
                 int64_t begin, int64_t end, uint8_t* scratch) {
  if (x.n_tokens > kFewTokens) {
    matmul_by_panels(w, x, out, out_stride, begin, end, scratch);
    return;
  }
  int64_t row = begin;
  for (; row + 4 <= end; row += 4) trit_rows<4>(w, x, out, out_stride, row);
  for (; row < end; ++row) trit_rows<1>(w, x, out, out_stride, row);
}
