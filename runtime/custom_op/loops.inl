// Included by each rows_*.cc inside an unnamed namespace of lighttoken, after its own
//
//   void multiply(z, stride, rows, quads, packed, tiles, sums)
//
// which makes sums[r][c] = sum over l of z[r][l] * weight[l][c] for at most kBlockRows rows and
// kBlockTiles tiles, exactly.

void add_scaled(const std::int32_t* sums, const std::int32_t* offset, const float* scale,
                std::size_t width, bool first, float* out) {
  if (first) {
    for (std::size_t c = 0; c < width; ++c) {
      out[c] = static_cast<float>(sums[c] - offset[c]) * scale[c];
    }
  } else {
    for (std::size_t c = 0; c < width; ++c) {
      out[c] += static_cast<float>(sums[c] - offset[c]) * scale[c];
    }
  }
}

// A few tiles' weights stay in the nearest cache for all rows; sums are scaled while they are there.
void add_dense(const Dense& work) {
  const std::size_t tiles = (work.width + kTile - 1) / kTile;
  for (std::size_t tile = 0; tile < tiles; tile += kBlockTiles) {
    const std::size_t count = tiles - tile < kBlockTiles ? tiles - tile : kBlockTiles;
    const std::size_t column = tile * kTile;
    const std::size_t left = work.width - column;
    const std::size_t columns = left < count * kTile ? left : count * kTile;
    for (std::size_t row = 0; row < work.rows; row += kBlockRows) {
      const std::size_t rows = work.rows - row < kBlockRows ? work.rows - row : kBlockRows;
      std::int32_t sums[kBlockRows * kBlockTiles * kTile];
      multiply(work.latents + row * work.stride, work.stride, rows, work.quads,
               work.packed + tile * work.quads * kTile * kQuad, count, sums);
      for (std::size_t r = 0; r < rows; ++r) {
        add_scaled(sums + r * count * kTile, work.offset + column, work.scale + column, columns,
                   work.first[row + r], work.out[row + r] + column);
      }
    }
  }
}

void add_columns(const std::uint8_t* z, std::uint8_t zero, const float* scale, std::size_t width,
                 bool first, float* out) {
  const int middle = zero;
  if (first) {
    for (std::size_t c = 0; c < width; ++c) out[c] = static_cast<float>(z[c] - middle) * scale[c];
  } else {
    for (std::size_t c = 0; c < width; ++c) out[c] += static_cast<float>(z[c] - middle) * scale[c];
  }
}

void add_row(float factor, const float* row, std::size_t width, float* out) {
  for (std::size_t c = 0; c < width; ++c) out[c] += factor * row[c];
}

void add_int8_row(float factor, const std::int8_t* row, float scale, std::size_t width,
                  float* out) {
  for (std::size_t c = 0; c < width; ++c) out[c] += factor * (static_cast<float>(row[c]) * scale);
}

void finish(float gain, bool has_gain, const float* start, std::size_t width, float* out) {
  if (has_gain) {
    for (std::size_t c = 0; c < width; ++c) out[c] *= gain;
  }
  for (std::size_t c = 0; c < width; ++c) out[c] += start[c];
}

void to_half(const float* row, std::size_t width, std::uint16_t* out) {
  for (std::size_t c = 0; c < width; ++c) {
    std::uint32_t bits;
    std::memcpy(&bits, row + c, sizeof bits);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude >= 0x47800000u) {  // 65536 and more, infinity, NaN
      half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    } else if (magnitude < 0x38800000u) {  // below the least normal half: let the adder round
      float tiny, half_ulp;
      const std::uint32_t magic = 0x3f000000u;  // 0.5, whose last bit is that of a subnormal half
      std::memcpy(&tiny, &magnitude, sizeof tiny);
      std::memcpy(&half_ulp, &magic, sizeof half_ulp);
      tiny += half_ulp;
      std::memcpy(&half, &tiny, sizeof half);
      half -= magic;
    } else {
      const std::uint32_t even = (magnitude >> 13) & 1u;
      half = (magnitude - 0x38000000u + 0xfffu + even) >> 13;
    }
    out[c] = static_cast<std::uint16_t>(sign | half);
  }
}

#define LIGHTTOKEN_KERNEL(name, runs_here) \
  {name, runs_here, add_dense, add_columns, add_row, add_int8_row, finish, to_half}
