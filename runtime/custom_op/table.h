// A packed token-embedding table in memory. Plain C++17; knows nothing of onnxruntime.
//
// What its parts stand for is said by toolkit/table/embedding.py, CompressedEmbedding; its tensors are
// those that exporters/ops/layer.py stores.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace lighttoken {

// What a table may be at most. Far beyond what tables are, and low enough that no size, sum or index
// that is made of them overflows, and that a small file asks for little time and memory.
constexpr std::int64_t kMostRows = 2147483647;  // positions are int32 in the graph
constexpr std::int64_t kMostWidth = 1 << 20;
constexpr std::int64_t kMostStages = 32;  // each has memory of its own, even where tensors are shared
// Of latents times weights, 0 .. 127 times -128 .. 127, that 32 bits can sum.
constexpr std::int64_t kMostLatents = 2147483647 / (127 * 128);
constexpr std::int64_t kMostHeadBytes = 1 << 14;  // a row of a stage: each takes a head a table of 256
// Rows without codes, which share one vector, cost nothing to store, but a head a logit each: so many
// may be for every byte that is stored, and some in any table.
constexpr std::int64_t kMostRowsAByte = 64, kFewRows = 4096;

// One residual stage: `bytes` codes a row for positions 0 .. rows - 1. A byte names one of 256
// entries of k latent values, stored with a zero point so that they are unsigned, 0 .. 127.
// Latents beyond `latents` are dropped. Exactly one of three decoders reads them:
// - weight int8 [latents, width] with scale float [width];
// - float_weight [latents, width] alone;
// - scale float [width] alone: latent c is column c.
struct Stage {
  const std::uint8_t* codes = nullptr;     // [rows, bytes], or [bytes, stride] column-major
  const std::uint8_t* codebook = nullptr;  // [256, k]
  const std::int8_t* weight = nullptr;
  const float* float_weight = nullptr;
  const float* scale = nullptr;
  std::int64_t rows = 0;
  std::int64_t stride = 0;  // of columns: rows, and room for whole moves
  std::int64_t bytes = 0;
  std::int64_t k = 0;
  std::int64_t latents = 0;
  std::uint8_t zero = 0;
};

// left [rows, rank] ([rank, rows] column-major) times right [rank, width]: both int8 with scale float
// [rank], or both float.
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
  bool column_major = false;  // codes and left factors stand transposed, as an output head reads them
  const float* mean = nullptr;              // [width]
  const float* tail = nullptr;              // [width], for rows that no stage covers
  const std::int32_t* shifts = nullptr;     // [ceil(rows / block)]: position minus id
  std::int64_t block = 0;
  const std::uint8_t* gain_codes = nullptr;  // [gain_rows]
  const float* gain_levels = nullptr;        // [256]
  std::int64_t gain_rows = 0;
  const std::uint8_t* zeros = nullptr;  // [ceil(rows / 8)]: a bit for each id whose row is zero
  LowRank low_rank;  // rank 0 for none
  std::vector<Stage> stages;

  bool is_zero(std::int64_t id) const { return zeros && (zeros[id / 8] >> (id % 8) & 1); }

  // Positions that any stage covers, from 0 on.
  std::int64_t covered() const;
};

// Throws std::invalid_argument, in one line, for a table whose parts do not fit one another, which is
// larger than a table may be, or which has numbers that are not finite: what passes is never read
// beyond its tensors, and no sum of it overflows. Takes as long as its tensors are large, whatever
// sizes they claim.
void check(const Table& table);

// Calls its second argument with 0 .. count - 1, in any order, perhaps on several threads.
using ForEach = std::function<void(std::size_t count, const std::function<void(std::size_t)>&)>;

}  // namespace lighttoken
