// An f16 as a float, where no instruction does it.

inline float half_to_float(uint16_t h) {
  // Exact. Subnormals by an integer conversion: as floats they would slow down every use.
  const uint32_t magnitude = h & 0x7fff;
  uint32_t bits = magnitude >= 0x7c00 ? 0x7f800000u | (magnitude << 13)
                                      : (magnitude << 13) + ((127 - 15) << 23);
  if (magnitude < 0x0400) {
    const float x = static_cast<float>(magnitude) * 0x1p-24f;
    __builtin_memcpy(&bits, &x, 4);
  }
  bits |= static_cast<uint32_t>(h & 0x8000) << 16;
  float out;
  __builtin_memcpy(&out, &bits, 4);
  return out;
}
