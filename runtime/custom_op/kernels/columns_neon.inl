// Included by the two kernels of 64-bit ARM before loops.inl.

// A table of 256 as four of 64, each of which one instruction looks sixteen codes up in; codes that
// lie in none of its entries leave what was found before.
std::size_t sum_whole(const Columns& work) {
  const std::size_t rows = work.rows / 16 * 16;
  std::fill(work.sums, work.sums + rows, std::uint16_t{0});
  for (std::size_t p = 0; p < work.columns; ++p) {
    const std::uint8_t* entries = work.tables + p * 256;
    const std::uint8_t* codes = work.codes + p * work.stride;
    uint8x16x4_t table[4];
    for (std::size_t j = 0; j < 4; ++j) {
      for (std::size_t i = 0; i < 4; ++i) table[j].val[i] = vld1q_u8(entries + 64 * j + 16 * i);
    }
    const std::uint8_t* next = p + 1 < work.columns ? codes + work.stride : work.next;
    for (std::size_t r = 0; r < rows; r += 16) {
      // Processors foresee what follows in a column, not the next column.
      if (r % 64 == 0) __builtin_prefetch(next + r);
      const uint8x16_t code = vld1q_u8(codes + r);
      uint8x16_t found = vqtbl4q_u8(table[0], code);
      found = vqtbx4q_u8(found, table[1], vsubq_u8(code, vdupq_n_u8(64)));
      found = vqtbx4q_u8(found, table[2], vsubq_u8(code, vdupq_n_u8(128)));
      found = vqtbx4q_u8(found, table[3], vsubq_u8(code, vdupq_n_u8(192)));
      std::uint16_t* sums = work.sums + r;
      vst1q_u16(sums, vaddw_u8(vld1q_u16(sums), vget_low_u8(found)));
      vst1q_u16(sums + 8, vaddw_u8(vld1q_u16(sums + 8), vget_high_u8(found)));
    }
  }
  return rows;
}

std::size_t sum_whole_halves(const Columns& work) {
  const std::size_t rows = work.rows / 16 * 16;
  std::fill(work.sums, work.sums + rows, std::uint16_t{0});
  for (std::size_t p = 0; p < work.columns; ++p) {
    const std::uint8_t* entries = work.tables + p * 2 * kHalf;
    const uint8x16_t upper = vld1q_u8(entries), lower = vld1q_u8(entries + kHalf);
    const std::uint8_t* codes = work.codes + p * work.stride;
    const std::uint8_t* next = p + 1 < work.columns ? codes + work.stride : work.next;
    for (std::size_t r = 0; r < rows; r += 16) {
      if (r % 64 == 0) __builtin_prefetch(next + r);
      const uint8x16_t code = vld1q_u8(codes + r);
      const uint8x16_t found = vaddq_u8(vqtbl1q_u8(upper, vshrq_n_u8(code, 4)),
                                        vqtbl1q_u8(lower, vandq_u8(code, vdupq_n_u8(15))));
      std::uint16_t* sums = work.sums + r;
      vst1q_u16(sums, vaddw_u8(vld1q_u16(sums), vget_low_u8(found)));
      vst1q_u16(sums + 8, vaddw_u8(vld1q_u16(sums + 8), vget_high_u8(found)));
    }
  }
  return rows;
}
