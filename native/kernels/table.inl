// The Kernels table of the file that includes this last, made of the functions of its unnamed
// namespace; i2s_matmul is its product with I2_S (see panels.inl), kFastestTl2 the layout for a
// large TL2 file (measured, see docs/layouts.md).
constexpr Kernels kernel_table(const char* name, uint32_t needs) {
  Kernels table = {};
  table.name = name;
  table.needs = needs;
  table.quantize = quantize;
  table.ternary_matmul = i2s_matmul;
  table.trit_matmul = trit_matmul;
  table.lut_matmul = lut_matmul;
  table.lut_tables = lut_tables;
  table.activation_index = activation_index;
  table.fastest_tl2 = kFastestTl2;
  table.float_matmul = float_matmul;
  table.dot = dot;
  table.add_low_rank = add_low_rank;
  table.compress_row = compress_row;
  table.coarse_matmul = coarse_matmul;
  table.block_matmul = block_matmul;
  table.attention = attention;
  table.merge_attention = merge_attention;
  table.rms_norm = rms_norm;
  table.silu_mul = silu_mul;
  table.relu2_mul = relu2_mul;
  table.gelu_mul = gelu_mul;
  table.add = add;
  table.gemm = gemm_floats;
  table.ternary_gemm_t = ternary_gemm_t;
  table.exp_shifted = exp_shifted;
  table.adamw = adamw;
  table.sum_f64 = sum_f64;
  table.dot_f64 = dot_f64;
  table.norm_backward = norm_backward;
  table.norm_weight_backward = norm_weight_backward;
  table.silu_backward = silu_backward;
  table.relu2_backward = relu2_backward;
  table.scale = scale_floats;
  table.exponentials = exponentials;
  table.softmax_backward = softmax_backward;
  table.rounded = rounded;
  table.rotate = rotate;
  table.int8_peak = int8_peak;
  return table;
}
