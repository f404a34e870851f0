// What an instruction set does for decoders and heads: a Kernel. Each rows_*.cc writes `multiply` and
// `sum_columns` for its own and compiles loops.inl, which compilers vectorise. No fused multiply-add,
// so that float results are those of numpy and of the standard graph.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace lighttoken {

constexpr std::size_t kTile = 16;     // columns laid out together
constexpr std::size_t kQuad = 4;      // latents laid out together: what one instruction multiplies
constexpr std::size_t kRowsAtOnce = 16;  // rows that a part of the weights is read for once
constexpr std::size_t kBlockRows = 8;    // rows, and tiles, that `multiply` is given at most
constexpr std::size_t kBlockTiles = 6;
// Partial sums of a dot product, the same ones whatever a register holds, so that results are equal
// on every processor. So many that additions need not wait for one another.
constexpr std::size_t kLanes = 64;
constexpr std::size_t kColumnRows = 4096;   // rows whose sums stay in the nearest cache
constexpr std::size_t kColumnStep = 64;     // of a column's rows, read at once
constexpr std::size_t kEntries = 256;      // that a byte names
constexpr std::size_t kHalf = 16;          // that half a byte names
constexpr std::size_t kMostColumns = 257;   // bytes that sixteen bits can sum

// Rows of latents for a stage with integer weights, and where what they decode to goes.
struct Dense {
  const std::uint8_t* latents;  // [rows, stride], of which quads * kQuad are read
  std::size_t stride;
  std::size_t rows;
  std::size_t quads;
  const std::int8_t* packed;    // [width / kTile][quads][kTile][kQuad]
  const std::int32_t* offset;   // [width]
  const float* scale;           // [width]
  std::size_t width;
  const bool* first;            // of each row: write to it, or add to what is there
  float* const* out;            // of each row
};

// Codes by columns, and what each value of a byte adds to a row: exact sums of at most kMostColumns.
// A byte's value is an entry of one table, or the sum of two entries, one for each half of the byte:
// at most 255.
struct Columns {
  const std::uint8_t* codes;   // [columns, stride], of which `rows` are read
  std::size_t stride;
  std::size_t columns;
  std::size_t rows;            // at most kColumnRows
  const std::uint8_t* tables;  // [columns, kEntries], or [columns, 2, kHalf], upper and lower
  const std::uint8_t* next;    // what is read after the last column: asked for beforehand
  std::uint16_t* sums;         // [rows]
};

// How many upper bits of its byte a number of a trellis depends on, and how many lower bits of the byte
// before: twelve in all, or all of both bytes (toolkit/trellis.py).
constexpr int own_bits(std::size_t per_byte, std::size_t number) {
  const int each = per_byte == 2 ? 4 : per_byte == 3 ? 3 : 2;
  const int bits = each * (static_cast<int>(number) + 1);
  return bits < 8 ? bits : 8;
}

constexpr int bits_before(std::size_t per_byte, std::size_t number) {
  const int left = 12 - own_bits(per_byte, number);
  return left < 8 ? left : 8;
}

// What a trellis's bytes stand for: a byte and the one before it add an entry each to every number of
// the byte (toolkit/trellis.py). The same tables twice, as they are stored and by byte.
struct TrellisTables {
  struct Entry {
    std::uint8_t current[4], previous[4];
  };
  std::size_t per_byte;         // numbers, 2 to 4
  const std::int8_t* current;   // [kEntries, per_byte]
  const std::int8_t* previous;  // [kEntries, per_byte]
  Entry entries[kEntries];      // bytes beyond per_byte are zero
};

// A few bytes of every row of codes, and where the numbers go.
struct TrellisCodes {
  const TrellisTables* tables;
  const std::uint8_t* codes;  // [rows, stride], of which `bytes` are read, and the one before them
  std::size_t stride;
  std::size_t rows;
  bool first;                 // no byte is before them: a zero stands there
  std::size_t bytes;
  std::int8_t* packed;        // [per_byte][quads of rows][kTile][kQuad], all of it is written
};

struct Range {
  float low, high;
};

struct Kernel {
  const char* name;
  bool (*runs_here)();
  // out = (latents * weights - offset) * scale, or out += that; the product is exact.
  void (*add_dense)(const Dense& work);
  // out = (z - zero) * scale, or out += that.
  void (*add_columns)(const std::uint8_t* z, std::uint8_t zero, const float* scale,
                      std::size_t width, bool first, float* out);
  // out += factor * row.
  void (*add_row)(float factor, const float* row, std::size_t width, float* out);
  // out += factor * (row * scale).
  void (*add_int8_row)(float factor, const std::int8_t* row, float scale, std::size_t width,
                       float* out);
  // out = out * gain + start.
  void (*finish)(float gain, bool has_gain, const float* start, std::size_t width, float* out);
  // Half precision, rounded to nearest even.
  void (*to_half)(const float* row, std::size_t width, std::uint16_t* out);
  // sums[r] = sum over columns p of tables[p][codes[p][r]].
  void (*sum_columns)(const Columns& work);
  // sums[r] = sum over p of tables[p][0][codes[p][r] / 16] + tables[p][1][codes[p][r] % 16].
  void (*sum_halves)(const Columns& work);
  // out[r] += factor * sums[r] + offset.
  void (*add_sums)(const std::uint16_t* sums, float factor, float offset, std::size_t rows,
                   float* out);
  // Sum of row[c] * vector[c], in an order that is the same on every processor.
  float (*dot)(const float* row, const float* vector, std::size_t width);
  float (*dot_int8)(const std::int8_t* row, const float* vector, std::size_t width);
  // out[i] = sum over r of factors[r] * rows[r][i], i < width, a multiple of 32.
  void (*combine)(const float* factors, const float* rows, std::size_t count, std::size_t width,
                  float* out);
  // out[i] = values[i] + term.
  void (*shift)(const float* values, float term, std::size_t count, float* out);
  // The least and the largest of `count` numbers, one at least.
  Range (*range)(const float* values, std::size_t count);
  // codes[i] = round((values[i] - low) * inverse), of what lies between 0 and 255.
  void (*quantize)(const float* values, float low, float inverse, std::size_t count,
                   std::uint8_t* codes);
  // What at most kTile bytes of a trellis stand for, modulo 256; numbers without a row are zero, those
  // without a byte anything.
  void (*decode_trellis)(const TrellisCodes& work);
  // Sums over rows of latents times numbers, [bytes / kTile][per_byte][kTile], without `packed`. Returns
  // false, and does nothing, where it is not faster or bytes do not fill tiles.
  bool (*multiply_trellis)(const TrellisCodes& work, const std::uint8_t* latents,
                           std::int32_t* sums);
};

const Kernel& scalar_kernel();
const Kernel& avx2_kernel();
const Kernel& avx512_kernel();
const Kernel& neon_kernel();
const Kernel& dotprod_kernel();

// Names of the kernels that this processor can run, the fastest first; "scalar" is always there.
std::vector<std::string> kernel_names();

// The kernel of that name, the fastest for an empty one. Throws std::invalid_argument for a name
// that does not run here.
const Kernel& find_kernel(const std::string& name);

}  // namespace lighttoken
