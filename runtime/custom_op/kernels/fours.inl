// Included by rows_*.cc whose `multiply_rows<n>` takes one to four rows: `multiply` for any number.

void multiply(const std::uint8_t* z, std::size_t stride, std::size_t rows, std::size_t quads,
              const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  for (; rows > 4; rows -= 4, z += 4 * stride, sums += 4 * tiles * kTile) {
    multiply_rows<4>(z, stride, quads, packed, tiles, sums);
  }
  switch (rows) {
    case 1: return multiply_rows<1>(z, stride, quads, packed, tiles, sums);
    case 2: return multiply_rows<2>(z, stride, quads, packed, tiles, sums);
    case 3: return multiply_rows<3>(z, stride, quads, packed, tiles, sums);
    default: return multiply_rows<4>(z, stride, quads, packed, tiles, sums);
  }
}
