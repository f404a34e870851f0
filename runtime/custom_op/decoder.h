// Decodes rows of a packed token-embedding table. Plain C++17; knows nothing of onnxruntime.
//
// The values are those of toolkit/table/embedding.py, CompressedEmbedding.lookup, on the tensors that
// exporters/ops/lookup.py stores: integer sums exactly, float additions in the same order.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "room.h"
#include "table.h"

namespace lighttoken {

struct Kernel;  // one instruction set's way to decode a few rows

class Decoder {
 public:
  // Checks `table` and lays the integer decoders out for the processor: one copy of them, and the
  // only memory that is kept. `kernel` is a name of kernel_names(), empty for the fastest. Throws
  // std::invalid_argument, in one line, for a table whose parts do not fit one another.
  explicit Decoder(const Table& table, const std::string& kernel = "");

  // Decodes `count` ids (int32 or int64) to `out` [count, width] of float, or of half precision as
  // its 16 bits. A negative id is counted from the table's end. Equal ids are decoded once. Nothing
  // is allocated once a thread has seen its largest call. Throws std::out_of_range that names the
  // first id outside -rows .. rows - 1, before anything is written.
  template <typename Id, typename Out>
  void decode(const Id* ids, std::size_t count, Out* out, const ForEach& for_each) const;

  std::int64_t width() const { return table_.width; }

 private:
  friend struct Rows;
  Table table_;
  const Kernel* kernel_;
  std::int64_t covered_;  // positions that any stage covers
  std::vector<Buffer<std::int8_t>> packed_;     // of each stage with integer weights
  std::vector<Buffer<std::int32_t>> offset_;    // zero point times the column's weights
  std::vector<Buffer<std::uint8_t>> books_;     // codebooks whose entries are of one move
};

}  // namespace lighttoken
