// Decodes rows of a packed token-embedding table. Plain C++17; knows nothing of onnxruntime.
//
// The values are those of toolkit/embedding.py, CompressedEmbedding.lookup, on the tensors that
// exporters/decode.py stores: integer sums exactly, float additions in the same order.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lighttoken {

// One residual stage: `bytes` codes a row for positions 0 .. rows - 1. A byte names one of 256
// entries of k latent values, stored with a zero point so that they are unsigned, 0 .. 127.
// Latents beyond `latents` are dropped. Exactly one of three decoders reads them:
// - weight int8 [latents, width] with scale float [width];
// - float_weight [latents, width] alone;
// - scale float [width] alone: latent c is column c.
struct Stage {
  const std::uint8_t* codes = nullptr;     // [rows, bytes]
  const std::uint8_t* codebook = nullptr;  // [256, k]
  const std::int8_t* weight = nullptr;
  const float* float_weight = nullptr;
  const float* scale = nullptr;
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
  std::int64_t k = 0;
  std::int64_t latents = 0;
  std::uint8_t zero = 0;
};

// left [rows, rank] times right [rank, width]: both int8 with scale float [rank], or both float.
struct LowRank {
  const std::int8_t* left = nullptr;
  const std::int8_t* right = nullptr;
  const float* float_left = nullptr;
  const float* float_right = nullptr;
  const float* scale = nullptr;
  std::int64_t rank = 0;
};

// A packed table; what may be absent is null. The tensors belong to the caller and outlive it.
struct Table {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  const float* mean = nullptr;              // [width]
  const float* tail = nullptr;              // [width], for rows that no stage covers
  const std::int32_t* shifts = nullptr;     // [ceil(rows / block)]: position minus id
  std::int64_t block = 0;
  const std::uint8_t* gain_codes = nullptr;  // [gain_rows]
  const float* gain_levels = nullptr;        // [256]
  std::int64_t gain_rows = 0;
  LowRank low_rank;  // rank 0 for none
  std::vector<Stage> stages;
};

// Calls its second argument with 0 .. count - 1, in any order, perhaps on several threads.
using ForEach = std::function<void(std::size_t count, const std::function<void(std::size_t)>&)>;

struct Kernel;  // one instruction set's way to decode a few rows

// Names of the kernels that this processor can run, the fastest first; "scalar" is always there.
std::vector<std::string> kernel_names();

class Decoder {
 public:
  // Checks `table` and lays the integer decoders out for the processor: one copy of them, and the
  // only memory that is kept. `kernel` is a name of kernel_names(), empty for the fastest.
  // Throws std::invalid_argument, in one line, for a table whose parts do not fit one another.
  explicit Decoder(const Table& table, const std::string& kernel = "");

  // Decodes `count` ids (int32 or int64) to `out` [count, width] of float, or of half precision as
  // its 16 bits. Equal ids are decoded once. Nothing is allocated once a thread has seen its
  // largest call. Throws std::out_of_range that names the first id outside 0 .. rows - 1, before
  // anything is written.
  template <typename Id, typename Out>
  void decode(const Id* ids, std::size_t count, Out* out, const ForEach& for_each) const;

  std::int64_t width() const { return table_.width; }
  const char* kernel_name() const;

 private:
  friend struct Rows;
  Table table_;
  const Kernel* kernel_;
  std::int64_t covered_ = 0;  // positions that any stage covers
  std::vector<std::vector<std::int8_t>> packed_;     // of each stage with integer weights
  std::vector<std::vector<std::int32_t>> offset_;    // zero point times the column's weights
  std::vector<std::vector<std::uint8_t>> books_;     // codebooks whose entries are of one move
};

}  // namespace lighttoken
