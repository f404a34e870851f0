// The loops of a kernel. Each rows_*.cc compiles them for its instruction set, inside a namespace
// of its own, and gives them its `multiply`; compilers vectorise the rest. Compiled without fused
// multiply-add, so that float results are those of numpy and of the standard graph.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lighttoken {

constexpr std::size_t kTile = 16;     // columns laid out together
constexpr std::size_t kQuad = 4;      // latents laid out together: what one instruction multiplies
constexpr std::size_t kRowsAtOnce = 16;  // rows that a part of the weights is read for once
constexpr std::size_t kBlockRows = 8;    // rows, and tiles, that `multiply` is given at most
constexpr std::size_t kBlockTiles = 6;

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
};

const Kernel& scalar_kernel();
const Kernel& avx2_kernel();
const Kernel& avx512_kernel();
const Kernel& neon_kernel();
const Kernel& dotprod_kernel();

}  // namespace lighttoken
