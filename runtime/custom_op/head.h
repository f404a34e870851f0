// An output head straight from a packed table: hidden states to the logits of every row.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "room.h"
#include "table.h"

namespace lighttoken {

struct Kernel;

// logits[i] = hidden . row i, without ever making a row. A byte of a code adds one of 256 numbers
// to its row's logit: codebook entry times (decoder times hidden). These tables are made for each
// hidden state; then one pass over the codes, column by column, looks them up and adds. Where a
// codebook's entries are sums, entry 16 h + l = upper[h] + lower[l]
// (toolkit/methods/lighttoken/additive_codebooks.py), two tables of sixteen take the place of one of
// 256, which processors look up several times faster.
//
// Tables are rounded to eight bits, each stage's with a step of its own, so that a logit is off by at
// most the sum over stages of bytes * step / 2 (of two tables, bytes * step), times the row's gain;
// sums are exact integers, equal on every processor. Rows that could be the largest are then summed
// in float32: those within twice that error of the largest, or, where many tables are summed, within
// twice eight standard deviations of the sum of that many rounding errors.
class Head {
 public:
  // Checks `table`, which has to stand column-major. Codebooks are kept transposed, and nothing else.
  // `kernel` is a name of kernel_names(), empty for the fastest. Throws std::invalid_argument, in
  // one line, for a table whose parts do not fit one another.
  explicit Head(const Table& table, const std::string& kernel = "");

  // `count` hidden states [count, width] to `logits` [count, rows], both float or both half
  // precision as its 16 bits. Beside the output some numbers a row are held, never a row itself.
  template <typename T>
  void project(const T* hidden, std::size_t count, T* logits, const ForEach& for_each) const;

  std::int64_t rows() const { return table_.rows; }
  std::int64_t width() const { return table_.width; }

 private:
  friend struct Query;

  // Rows that stand together in both orders.
  struct Run {
    std::int64_t position, id, rows;
  };

  Table table_;
  const Kernel* kernel_;
  std::int64_t covered_;
  std::vector<std::int64_t> zeros_;  // ids whose rows are zero
  float largest_gain_ = 1.0f;  // of rows without a code it is 1
  // Of each stage, around zero: [k, 256], or [k, 32] of a codebook whose entries are sums.
  std::vector<Buffer<float>> books_;
  std::vector<bool> split_;  // which these are
  // By position; none where runs are so short that logits are better put in order afterwards.
  std::vector<Run> runs_;
};

}  // namespace lighttoken
