// Included by each rows_*.cc inside an unnamed namespace of lighttoken, after its own
//
//   void multiply(z, stride, rows, quads, packed, tiles, sums)
//
// which makes sums[r][c] = sum over l of z[r][l] * weight[l][c] for at most kBlockRows rows and
// kBlockTiles tiles, exactly, and
//
//   size_t sum_whole(work)
//   size_t sum_whole_halves(work)
//
// which are sum_columns and sum_halves for as many of the first rows as they like: they return how
// many. Where it
// defines LIGHTTOKEN_OWN_SUMS it has `dot_of` and `combine` of its own too, which add in the same
// order.

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

void sum_columns(const Columns& work) {
  const std::size_t done = sum_whole(work);
  std::fill(work.sums + done, work.sums + work.rows, std::uint16_t{0});
  for (std::size_t p = 0; p < work.columns; ++p) {
    const std::uint8_t* codes = work.codes + p * work.stride;
    const std::uint8_t* table = work.tables + p * 256;
    for (std::size_t r = done; r < work.rows; ++r) {
      work.sums[r] = static_cast<std::uint16_t>(work.sums[r] + table[codes[r]]);
    }
  }
}

void sum_halves(const Columns& work) {
  const std::size_t done = sum_whole_halves(work);
  std::fill(work.sums + done, work.sums + work.rows, std::uint16_t{0});
  for (std::size_t p = 0; p < work.columns; ++p) {
    const std::uint8_t* codes = work.codes + p * work.stride;
    const std::uint8_t* table = work.tables + p * 2 * kHalf;
    for (std::size_t r = done; r < work.rows; ++r) {
      const int value = table[codes[r] >> 4] + table[kHalf + (codes[r] & 15)];
      work.sums[r] = static_cast<std::uint16_t>(work.sums[r] + value);
    }
  }
}

void add_sums(const std::uint16_t* sums, float factor, float offset, std::size_t rows,
              float* out) {
  for (std::size_t r = 0; r < rows; ++r) out[r] += factor * static_cast<float>(sums[r]) + offset;
}


#if !defined(LIGHTTOKEN_OWN_SUMS)
template <typename T>
float dot_of(const T* row, const float* vector, std::size_t width) {
  alignas(64) float sums[kLanes] = {};
  std::size_t c = 0;
  for (; c + kLanes <= width; c += kLanes) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      sums[i] += static_cast<float>(row[c + i]) * vector[c + i];
    }
  }
  for (std::size_t i = 0; c < width; ++i, ++c) sums[i] += static_cast<float>(row[c]) * vector[c];
  for (std::size_t half = kLanes / 2; half; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

void combine(const float* factors, const float* rows, std::size_t count, std::size_t width,
             float* out) {
  constexpr std::size_t kPart = 32;
  for (std::size_t first = 0; first < width; first += kPart) {
    alignas(64) float sums[kPart] = {};
    for (std::size_t r = 0; r < count; ++r) {
      const float factor = factors[r];
      const float* row = rows + r * width + first;
      for (std::size_t i = 0; i < kPart; ++i) sums[i] += factor * row[i];
    }
    std::copy(sums, sums + kPart, out + first);
  }
}
#endif

float dot(const float* row, const float* vector, std::size_t width) {
  return dot_of(row, vector, width);
}

float dot_int8(const std::int8_t* row, const float* vector, std::size_t width) {
  return dot_of(row, vector, width);
}

void shift(const float* values, float term, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = values[i] + term;
}

Range range(const float* values, std::size_t count) {
  if (count < kLanes) {
    const auto found = std::minmax_element(values, values + count);
    return {*found.first, *found.second};
  }
  alignas(64) float low[kLanes], high[kLanes];
  std::copy(values, values + kLanes, low);
  std::copy(values, values + kLanes, high);
  std::size_t c = kLanes;
  for (; c + kLanes <= count; c += kLanes) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      low[i] = values[c + i] < low[i] ? values[c + i] : low[i];
      high[i] = values[c + i] > high[i] ? values[c + i] : high[i];
    }
  }
  for (std::size_t i = 0; c < count; ++i, ++c) {
    low[i] = std::min(low[i], values[c]);
    high[i] = std::max(high[i], values[c]);
  }
  for (std::size_t half = kLanes / 2; half; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) {
      low[i] = low[i + half] < low[i] ? low[i + half] : low[i];
      high[i] = high[i + half] > high[i] ? high[i + half] : high[i];
    }
  }
  return {low[0], high[0]};
}

void quantize(const float* values, float low, float inverse, std::size_t count,
              std::uint8_t* codes) {
  for (std::size_t i = 0; i < count; ++i) {
    const float code = (values[i] - low) * inverse + 0.5f;
    // Of sums that overflowed some are no numbers, and `low` not the least: these have no integer.
    const float within = code > 0.0f ? (code < 255.5f ? code : 255.0f) : 0.0f;
    codes[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(within));
  }
}

// Bytes of two words added, each by itself.
std::uint32_t add_bytes(std::uint32_t a, std::uint32_t b) {
  const std::uint32_t low = 0x7f7f7f7fu;
  return ((a & low) + (b & low)) ^ ((a ^ b) & ~low);
}

// What the byte at `place` of a row stands for, a number in each byte of the word.
std::uint32_t trellis_word(const TrellisCodes& work, const std::uint8_t* row, std::size_t place) {
  const TrellisTables::Entry* entries = work.tables->entries;
  const std::uint8_t before = place || !work.first ? row[static_cast<std::ptrdiff_t>(place) - 1] : 0;
  std::uint32_t a, b;
  std::memcpy(&a, entries[row[place]].current, sizeof a);
  std::memcpy(&b, entries[before].previous, sizeof b);
  return add_bytes(a, b);
}

void decode_trellis(const TrellisCodes& work) {
  const std::size_t per_byte = work.tables->per_byte, quads = (work.rows + kQuad - 1) / kQuad;
  const std::size_t step = quads * kTile * kQuad;
  for (std::size_t quad = 0; quad < quads; ++quad) {
    const std::uint8_t* from = work.codes + quad * kQuad * work.stride;
    const std::size_t rows = std::min(kQuad, work.rows - quad * kQuad);
    std::int8_t* to = work.packed + quad * kTile * kQuad;
    for (std::size_t i = 0; i < kTile; ++i) {
      std::uint32_t words[kQuad] = {};
      if (i < work.bytes) {
        for (std::size_t r = 0; r < rows; ++r) words[r] = trellis_word(work, from + r * work.stride, i);
      }
      // A number of each of four rows side by side.
      for (std::size_t number = 0; number < per_byte; ++number) {
        std::uint8_t four[kQuad];
        for (std::size_t r = 0; r < kQuad; ++r) {
          four[r] = static_cast<std::uint8_t>(words[r] >> (8 * number));
        }
        std::memcpy(to + number * step + i * kQuad, four, sizeof four);
      }
    }
  }
}

bool multiply_trellis(const TrellisCodes&, const std::uint8_t*, std::int32_t*) { return false; }

#define LIGHTTOKEN_KERNEL(name, runs_here)                                                \
  {name,       runs_here,  add_dense, add_columns, add_row, add_int8_row, finish, to_half, \
   sum_columns, sum_halves, add_sums,  dot,         dot_int8, combine,      shift,  range,   \
   quantize,   decode_trellis, multiply_trellis}
