#include "trellis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "half.h"

namespace lighttoken {
namespace {

constexpr std::size_t kLine = 4;     // parts that a line of the cache holds of a row of codes
constexpr std::size_t kBlocks = 12;  // tiles that are decoded together, two blocks of a product
constexpr int kZero = 64;                // what stands for 0 in a rounded row
constexpr float kPeak = 63.0f;
constexpr float kHalfUp = kZero + 0.5f;

void need(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument("a trellis " + what + "; export the model again");
}

const TrellisTensors& checked(const TrellisTensors& tensors) {
  need(tensors.per_byte >= 2 && tensors.per_byte <= 4,
       "with " + std::to_string(tensors.per_byte) + " numbers in a byte: 2 to 4 are known");
  need(tensors.inputs > 0 && tensors.inputs <= kMostLatents,
       "of " + std::to_string(tensors.inputs) + " inputs");
  need(tensors.outputs > 0 && tensors.bytes == (tensors.outputs - 1) / tensors.per_byte + 1,
       "with " + std::to_string(tensors.bytes) + " bytes for " + std::to_string(tensors.outputs) +
           " outputs");
  const std::int64_t block = tensors.block;
  need(block > 0 && (block & (block - 1)) == 0 && tensors.inputs % block == 0,
       "whose " + std::to_string(tensors.inputs) + " inputs are rotated by " +
           std::to_string(block));
  return tensors;
}

// Entries of equal bits are equal, so that it does not matter how they are looked up.
void check_tables(const TrellisTables& tables) {
  for (std::size_t number = 0; number < tables.per_byte; ++number) {
    const int unread = 8 - own_bits(tables.per_byte, number);
    const std::size_t read = (std::size_t{1} << bits_before(tables.per_byte, number)) - 1;
    for (std::size_t byte = 0; byte < kEntries; ++byte) {
      const std::size_t own = byte >> unread << unread;
      const auto& entries = tables.entries;
      need(entries[byte].current[number] == entries[own].current[number] &&
               entries[byte].previous[number] == entries[byte & read].previous[number],
           "whose tables have other entries for equal bits");
    }
  }
}

TrellisTables tables_of(const TrellisTensors& tensors) {
  TrellisTables tables;
  tables.per_byte = static_cast<std::size_t>(tensors.per_byte);
  tables.current = tensors.current;
  tables.previous = tensors.previous;
  for (std::size_t byte = 0; byte < kEntries; ++byte) {
    std::memset(&tables.entries[byte], 0, sizeof tables.entries[byte]);
    std::memcpy(tables.entries[byte].current, tensors.current + byte * tables.per_byte,
                tables.per_byte);
    std::memcpy(tables.entries[byte].previous, tensors.previous + byte * tables.per_byte,
                tables.per_byte);
  }
  check_tables(tables);
  return tables;
}

// Sylvester's Hadamard matrix times `values` [block, width], in place.
void rotate(float* values, std::size_t block, std::size_t width) {
  for (std::size_t half = 1; half < block; half *= 2) {
    for (std::size_t first = 0; first < block; first += 2 * half) {
      float* upper = values + first * width;
      float* lower = upper + half * width;
      for (std::size_t i = 0; i < half * width; ++i) {
        const float a = upper[i], b = lower[i];
        upper[i] = a + b;
        lower[i] = a - b;
      }
    }
  }
}

// Sums of the tiles of one part, [kPerByte, kTile], to the outputs [kTile, kPerByte].
template <std::size_t kPerByte>
void write_tiles(const float* sums, float scale, float* out) {
  for (std::size_t i = 0; i < kTile; ++i) {
    for (std::size_t number = 0; number < kPerByte; ++number) {
      out[i * kPerByte + number] = sums[number * kTile + i] * scale;
    }
  }
}

}  // namespace

Trellis::Trellis(const TrellisTensors& tensors, const std::string& kernel)
    : tensors_(checked(tensors)),
      kernel_(&find_kernel(kernel)),
      quads_((static_cast<std::size_t>(tensors.inputs) + kQuad - 1) / kQuad),
      parts_((static_cast<std::size_t>(tensors.bytes) + kTile - 1) / kTile),
      tables_(tables_of(tensors)),
      columns_(static_cast<std::size_t>(tensors.inputs)),
      offset_(parts_ * per_byte() * kTile),
      scale_(parts_ * per_byte() * kTile) {
  std::transform(tensors.columns, tensors.columns + tensors.inputs, columns_.begin(), from_half);
  Buffer<std::int8_t> packed(part_size());
  for (std::size_t part = 0; part < parts_; ++part) sum_up(part, packed.data());
}

// What a row's zero adds to each output of a part, and what its sums are multiplied by.
void Trellis::sum_up(std::size_t part, std::int8_t* packed) {
  decode(part, 1, packed);
  for (std::size_t place = 0; place < per_byte() * kTile; ++place) {
    const std::size_t number = place / kTile, i = place % kTile;
    const std::int8_t* weights = packed + number * quads_ * kTile * kQuad + i * kQuad;
    std::int32_t sum = 0;
    for (std::size_t quad = 0; quad < quads_; ++quad, weights += kTile * kQuad) {
      for (std::size_t l = 0; l < kQuad; ++l) sum += weights[l];
    }
    const std::size_t output = (part * kTile + i) * per_byte() + number;
    const std::size_t at = part * per_byte() * kTile + place;
    offset_[at] = kZero * sum;
    scale_[at] = 0.0f;
    if (output < static_cast<std::size_t>(tensors_.outputs)) {
      const float step =
          tensors_.steps ? tensors_.steps[output] : from_half(tensors_.half_steps[output]);
      scale_[at] = static_cast<float>(tensors_.factors[output]) * tensors_.unit * step;
    }
  }
}

TrellisCodes Trellis::codes_of(std::size_t part, std::size_t count, std::int8_t* packed) const {
  const std::size_t bytes = static_cast<std::size_t>(tensors_.bytes), from = part * kTile;
  return {&tables_,  tensors_.codes + from, bytes, static_cast<std::size_t>(tensors_.inputs),
          from == 0, std::min(count * kTile, bytes - from), packed};
}

// The numbers of some parts' codes, of each [per_byte][quads][kTile][kQuad].
void Trellis::decode(std::size_t part, std::size_t count, std::int8_t* packed) const {
  for (std::size_t i = 0; i < count; ++i) {
    kernel_->decode_trellis(codes_of(part + i, 1, packed + i * part_size()));
  }
}

// A row rotated and in seven bits around kZero, and what it was divided by.
void Trellis::round(const float* row, std::uint8_t* codes, float* scale) const {
  thread_local Buffer<float> kept;
  const std::size_t inputs = static_cast<std::size_t>(tensors_.inputs);
  const std::size_t block = static_cast<std::size_t>(tensors_.block);
  float* values = room(kept, inputs);
  for (std::size_t i = 0; i < inputs; ++i) values[i] = row[i] * columns_[i];
  rotate(values, block, inputs / block);
  float zeros = 0.0f;  // of numbers; a range is not told of what is none
  for (std::size_t i = 0; i < inputs; ++i) zeros += values[i] * 0.0f;
  const Range range = kernel_->range(values, inputs);
  const float largest = std::max(range.high, -range.low);
  std::fill(codes + inputs, codes + quads_ * kQuad, std::uint8_t{kZero});
  if (zeros != 0.0f || !std::isfinite(largest)) {
    *scale = std::numeric_limits<float>::quiet_NaN();
    return std::fill(codes, codes + inputs, std::uint8_t{kZero});
  }
  const float inverse = largest > 0.0f ? kPeak / largest : 0.0f;
  if (!std::isfinite(inverse) || inverse == 0.0f) {  // zeros, or nearly
    *scale = 0.0f;
    return std::fill(codes, codes + inputs, std::uint8_t{kZero});
  }
  *scale = largest / kPeak;
  for (std::size_t i = 0; i < inputs; ++i) {
    codes[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(values[i] * inverse + kHalfUp));
  }
}

void Trellis::multiply(const float* rows, std::size_t count, float* out,
                       const ForEach& for_each) const {
  if (!count) return;
  thread_local Buffer<std::uint8_t> kept_codes;
  thread_local Buffer<float> kept_scales;
  const std::size_t inputs = static_cast<std::size_t>(tensors_.inputs);
  const std::size_t stride = quads_ * kQuad;
  std::uint8_t* codes = room(kept_codes, count * stride);
  float* scales = room(kept_scales, count);
  const std::size_t blocks = (count + kRowsAtOnce - 1) / kRowsAtOnce;
  for_each(blocks, [&](std::size_t block) {
    const std::size_t end = std::min(count, (block + 1) * kRowsAtOnce);
    for (std::size_t row = block * kRowsAtOnce; row < end; ++row) {
      round(rows + row * inputs, codes + row * stride, scales + row);
    }
  });
  const Rounded rounded{codes, scales, count};
  const std::size_t at_once = count == 1 ? kLine : kBlocks / per_byte();
  for_each((parts_ + at_once - 1) / at_once, [&](std::size_t task) {
    const std::size_t part = task * at_once, end = std::min(parts_, part + at_once);
    const std::size_t done = count == 1 ? multiply_row(part, end - part, rounded, out) : 0;
    if (part + done < end) multiply_parts(part + done, end - part - done, rounded, out);
  });
}

// One row: codes are multiplied as they are decoded, where the processor has a way for that. Returns of
// how many of the first parts, those that are whole.
std::size_t Trellis::multiply_row(std::size_t part, std::size_t count, const Rounded& row,
                                  float* out) const {
  const std::size_t bytes = static_cast<std::size_t>(tensors_.bytes);
  if ((part + count) * kTile > bytes) --count;
  const std::size_t from = part * per_byte() * kTile, width = count * per_byte() * kTile;
  alignas(64) std::int32_t sums[kLine * 4 * kTile];
  if (!count || !kernel_->multiply_trellis(codes_of(part, count, nullptr), row.codes, sums)) return 0;
  float scaled[kLine * 4 * kTile];
  for (std::size_t i = 0; i < width; ++i) {
    scaled[i] = static_cast<float>(sums[i] - offset_[from + i]) * scale_[from + i];
  }
  write(part, count, scaled, row.scales[0], out);
  return count;
}

void Trellis::multiply_parts(std::size_t part, std::size_t count, const Rounded& rows,
                             float* out) const {
  thread_local Buffer<std::int8_t> kept;
  std::int8_t* packed = room(kept, count * part_size());
  decode(part, count, packed);
  const std::size_t from = part * per_byte() * kTile, width = count * per_byte() * kTile;
  const std::size_t stride = quads_ * kQuad;
  float sums[kRowsAtOnce][kBlocks * kTile];
  float* places[kRowsAtOnce];
  bool first[kRowsAtOnce];
  for (std::size_t i = 0; i < kRowsAtOnce; ++i) {
    places[i] = sums[i];
    first[i] = true;
  }
  for (std::size_t row = 0; row < rows.count; row += kRowsAtOnce) {
    const std::size_t here = std::min(kRowsAtOnce, rows.count - row);
    kernel_->add_dense({rows.codes + row * stride, stride, here, quads_, packed,
                        offset_.data() + from, scale_.data() + from, width, first, places});
    for (std::size_t i = 0; i < here; ++i) {
      float* to = out + (row + i) * static_cast<std::size_t>(tensors_.outputs);
      write(part, count, sums[i], rows.scales[row + i], to);
    }
  }
}

// Sums by tiles to their outputs' places in a row.
void Trellis::write(std::size_t part, std::size_t count, const float* sums, float scale,
                    float* out) const {
  const std::size_t width = per_byte() * kTile, from = part * width;
  const std::size_t left = static_cast<std::size_t>(tensors_.outputs) - from;
  out += from;
  for (std::size_t i = 0; i < count * width; i += width, sums += width) {
    if (i + width > left) {
      for (std::size_t o = 0; i + o < left; ++o) {
        out[i + o] = sums[o % per_byte() * kTile + o / per_byte()] * scale;
      }
    } else if (per_byte() == 2) {
      write_tiles<2>(sums, scale, out + i);
    } else if (per_byte() == 3) {
      write_tiles<3>(sums, scale, out + i);
    } else {
      write_tiles<4>(sums, scale, out + i);
    }
  }
}

}  // namespace lighttoken
