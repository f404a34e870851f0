// Products with a matrix that a trellis codes in 2 to 4 bits, straight from the codes.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/kernels.h"
#include "room.h"
#include "table.h"

namespace lighttoken {

// The stored tensors of a product, as exporters/ops/integer_product.py names them.
struct TrellisTensors {
  std::int64_t inputs = 0, outputs = 0, bytes = 0, per_byte = 0, block = 0;
  const std::uint16_t* columns = nullptr;  // [inputs], half precision
  const std::uint8_t* codes = nullptr;     // [inputs, bytes]
  const std::uint8_t* factors = nullptr;   // [outputs]
  float unit = 0.0f;
  const float* steps = nullptr;            // [outputs], or none
  const std::uint16_t* half_steps = nullptr;
  const std::int8_t* current = nullptr;    // [256, per_byte]
  const std::int8_t* previous = nullptr;   // [256, per_byte]
};

// out[i] = rows[i] times the matrix, whose inputs are rotated: so rows are, and rounded to seven bits
// by their own largest number. What codes stand for is multiplied exactly, a few outputs at a time
// and for all rows; nothing of it is kept. The graph's function rotates the matrix instead, and rounds
// it to eight bits (toolkit/trellis.py), so results differ by these roundings.
class Trellis {
 public:
  // Checks `tensors`, which have to outlive this. Kept are a sum and a factor for each output.
  // `kernel` is a name of kernel_names(), empty for the fastest. Throws std::invalid_argument, in one
  // line, for tensors that do not fit one another.
  explicit Trellis(const TrellisTensors& tensors, const std::string& kernel = "");

  // `count` rows [count, inputs] to `out` [count, outputs].
  void multiply(const float* rows, std::size_t count, float* out, const ForEach& for_each) const;

  std::int64_t inputs() const { return tensors_.inputs; }
  std::int64_t outputs() const { return tensors_.outputs; }

 private:
  // Rows as they are multiplied: rotated and rounded.
  struct Rounded {
    const std::uint8_t* codes;  // [count, quads * kQuad]
    const float* scales;        // [count]
    std::size_t count;
  };

  std::size_t per_byte() const { return static_cast<std::size_t>(tensors_.per_byte); }
  std::size_t part_size() const { return quads_ * kQuad * kTile * per_byte(); }
  TrellisCodes codes_of(std::size_t part, std::size_t count, std::int8_t* packed) const;
  void decode(std::size_t part, std::size_t count, std::int8_t* packed) const;
  void sum_up(std::size_t part, std::int8_t* packed);
  void round(const float* row, std::uint8_t* codes, float* scale) const;
  void multiply_parts(std::size_t part, std::size_t count, const Rounded& rows, float* out) const;
  std::size_t multiply_row(std::size_t part, std::size_t count, const Rounded& row,
                           float* out) const;
  void write(std::size_t part, std::size_t count, const float* sums, float scale, float* out) const;

  TrellisTensors tensors_;
  const Kernel* kernel_;
  std::size_t quads_;  // of inputs
  std::size_t parts_;  // of kTile bytes of codes
  TrellisTables tables_;
  Buffer<float> columns_;         // [inputs]
  Buffer<std::int32_t> offset_;   // [parts, per_byte, kTile]
  Buffer<float> scale_;           // [parts, per_byte, kTile]
};

}  // namespace lighttoken
