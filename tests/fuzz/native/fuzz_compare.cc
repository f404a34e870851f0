// Tables, ids and hidden states of any shape, sound or damaged, through every kernel that runs here.
//
// A fuzzer's bytes describe a table whose buffers have exactly the sizes that its shapes say, so
// that the address sanitizer sees any read beyond them. What decodes is compared with a reference
// that follows toolkit/table/embedding.py line by line.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "bytes.h"
#include "decoder.h"
#include "head.h"
#include "kernels/kernels.h"

namespace {

using lighttoken::fuzz::Bytes;
using lighttoken::fuzz::fail;
using lighttoken::fuzz::in_turn;

struct Case {
  std::vector<std::unique_ptr<std::uint8_t[]>> owner;
  lighttoken::Table table;
};

lighttoken::Stage draw_stage(Bytes& in, Case& drawn, bool damaged) {
  auto any = [&] { return in.byte(); };
  auto number = [&] { return in.number(); };
  auto now_and_then = [&] { return damaged && in.byte() < 40; };
  const int mask = now_and_then() ? 255 : 127;
  auto latent = [&] { return in.byte() & mask; };
  const lighttoken::Table& table = drawn.table;
  lighttoken::Stage stage;
  stage.rows = 1 + in.upto(table.rows - 1);
  stage.k = 1 + in.upto(12);
  const int kind = in.byte() % 3;
  stage.latents = kind == 0 ? table.width : 1 + in.upto(40);
  stage.bytes = (stage.latents + stage.k - 1) / stage.k;
  stage.zero = static_cast<std::uint8_t>(in.upto(now_and_then() ? 255 : 127));
  stage.codes = in.fill<std::uint8_t>(drawn.owner, stage.rows * stage.bytes, any);
  std::uint8_t* book = in.fill<std::uint8_t>(drawn.owner, 256 * stage.k, latent);
  if (in.coin()) {  // entries that are sums, which heads look up by halves
    for (std::int64_t e = 0; e < 256; ++e) {
      for (std::int64_t j = 0; j < stage.k; ++j) {
        if (e / 16 && e % 16) continue;
        book[e * stage.k + j] = static_cast<std::uint8_t>(e ? book[e * stage.k + j] / 2 : 0);
      }
    }
    for (std::int64_t e = 0; e < 256; ++e) {
      for (std::int64_t j = 0; j < stage.k; ++j) {
        book[e * stage.k + j] = static_cast<std::uint8_t>(book[e / 16 * 16 * stage.k + j] +
                                                          (e / 16 ? book[e % 16 * stage.k + j] : 0));
        if (!(e / 16)) book[e * stage.k + j] = book[e % 16 * stage.k + j];
      }
    }
  }
  stage.codebook = book;
  if (kind == 1) {
    stage.weight = in.fill<std::int8_t>(drawn.owner, stage.latents * table.width, [&] {
      const int value = static_cast<std::int8_t>(in.byte());
      return value == -128 ? 0 : value;
    });
  }
  if (kind == 2) {
    stage.float_weight = in.fill<float>(drawn.owner, stage.latents * table.width, number);
  } else {
    stage.scale = in.fill<float>(drawn.owner, table.width, number);
  }
  // Shapes that do not fit; never larger than the buffers.
  if (now_and_then()) stage.bytes -= in.upto(stage.bytes);
  if (now_and_then()) stage.latents -= in.upto(stage.latents);
  if (now_and_then()) stage.rows -= in.upto(stage.rows);
  if (now_and_then()) stage.scale = nullptr;
  return stage;
}

Case draw_case(Bytes& in, bool damaged) {
  Case drawn;
  auto number = [&] { return in.number(); };
  auto any = [&] { return in.byte(); };
  lighttoken::Table& table = drawn.table;
  table.rows = 1 + in.upto(in.byte() < 16 ? 300 : 50);
  table.width = 1 + in.upto(120);
  table.mean = in.fill<float>(drawn.owner, table.width, number);
  if (in.coin()) table.tail = in.fill<float>(drawn.owner, table.width, number);
  if (in.coin()) {
    table.block = 1 + in.upto(9);
    const std::int64_t blocks = (table.rows - 1) / table.block + 1;
    // Sound: nothing moves. (Permutations are tried from Python.)
    table.shifts = in.fill<std::int32_t>(drawn.owner, blocks, [&] {
      return damaged && in.byte() < 20 ? static_cast<std::int32_t>(in.upto(100)) - 50 : 0;
    });
  }
  if (in.coin()) {
    table.gain_rows = 1 + in.upto(table.rows - 1);
    table.gain_codes = in.fill<std::uint8_t>(drawn.owner, table.gain_rows, any);
    table.gain_levels = in.fill<float>(drawn.owner, 256, number);
  }
  if (in.coin()) table.zeros = in.fill<std::uint8_t>(drawn.owner, (table.rows + 7) / 8, any);
  if (in.coin()) {
    lighttoken::LowRank& factors = table.low_rank;
    factors.rank = 1 + in.upto(4);
    const std::int64_t left = table.rows * factors.rank, right = factors.rank * table.width;
    if (in.coin()) {
      factors.left = in.fill<std::int8_t>(drawn.owner, left, any);
      factors.right = in.fill<std::int8_t>(drawn.owner, right, any);
      factors.scale = in.fill<float>(drawn.owner, factors.rank, number);
    } else {
      factors.float_left = in.fill<float>(drawn.owner, left, number);
      factors.float_right = in.fill<float>(drawn.owner, right, number);
    }
  }
  for (std::int64_t s = in.upto(3); s > 0; --s) {
    table.stages.push_back(draw_stage(in, drawn, damaged));
  }
  return drawn;
}

// CompressedEmbedding._decode for one id.
std::vector<float> reference(const lighttoken::Table& table, std::int64_t id) {
  const std::int64_t width = table.width;
  const std::int64_t position = table.shifts ? id + table.shifts[id / table.block] : id;
  std::vector<float> total(static_cast<std::size_t>(width), 0.0f);
  if (table.is_zero(id)) return total;
  const lighttoken::LowRank& factors = table.low_rank;
  for (std::int64_t k = 0; k < factors.rank; ++k) {
    for (std::int64_t c = 0; c < width; ++c) {
      const std::int64_t l = id * factors.rank + k, r = k * width + c;
      total[c] += factors.left ? factors.left[l] * (factors.right[r] * factors.scale[k])
                               : factors.float_left[l] * factors.float_right[r];
    }
  }
  std::int64_t covered = 0;
  for (const lighttoken::Stage& stage : table.stages) {
    covered = std::max(covered, stage.rows);
    if (position >= stage.rows) continue;
    std::vector<int> latents;
    for (std::int64_t b = 0; b < stage.bytes; ++b) {
      for (std::int64_t v = 0; v < stage.k; ++v) {
        const std::uint8_t code = stage.codes[position * stage.bytes + b];
        latents.push_back(stage.codebook[code * stage.k + v] - stage.zero);
      }
    }
    for (std::int64_t c = 0; c < width; ++c) {
      std::int64_t whole = 0;
      float part = 0.0f;
      for (std::int64_t l = 0; l < stage.latents; ++l) {
        if (stage.weight) whole += latents[l] * stage.weight[l * width + c];
        if (stage.float_weight) part += latents[l] * stage.float_weight[l * width + c];
      }
      if (stage.weight) part = static_cast<float>(whole) * stage.scale[c];
      if (!stage.weight && !stage.float_weight) part = latents[c] * stage.scale[c];
      total[c] += part;
    }
  }
  const bool has_gain = table.gain_codes && position < table.gain_rows;
  const float gain = has_gain ? table.gain_levels[table.gain_codes[position]] : 1.0f;
  const float* start = table.tail && position >= covered ? table.tail : table.mean;
  for (std::int64_t c = 0; c < width; ++c) total[c] = total[c] * gain + start[c];
  return total;
}

template <typename Id>
void decode_and_compare(const lighttoken::Decoder& decoder, const lighttoken::Table& table,
                        const std::vector<Id>& ids) {
  const std::size_t width = static_cast<std::size_t>(table.width);
  std::unique_ptr<float[]> rows(new float[ids.size() * width]);
  bool outside = false;
  for (const Id id : ids) outside |= id < -table.rows || id >= table.rows;
  try {
    decoder.decode(ids.data(), ids.size(), rows.get(), in_turn);
  } catch (const std::out_of_range&) {
    if (!outside) fail("refused ids that are all inside the table");
    return;
  }
  if (outside) fail("took an id outside the table");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::int64_t id = ids[i];
    const std::vector<float> expected = reference(table, id < 0 ? id + table.rows : id);
    for (std::size_t c = 0; c < width; ++c) {
      const float error = std::fabs(rows[i * width + c] - expected[c]);
      if (!(error <= 1e-4f * (1e3f + std::fabs(expected[c])))) fail("decoded another value");
    }
  }
  std::unique_ptr<std::uint16_t[]> halves(new std::uint16_t[ids.size() * width]);
  decoder.decode(ids.data(), ids.size(), halves.get(), in_turn);
}

// The same table with codes and left factors transposed; columns are filled up, or not.
Case column_major(const lighttoken::Table& table, std::int64_t fill) {
  Case made;
  made.table = table;
  made.table.column_major = true;
  auto none = [] { return 0; };
  for (lighttoken::Stage& stage : made.table.stages) {
    stage.stride = (stage.rows + fill - 1) / fill * fill;
    Bytes empty(nullptr, 0);
    auto* codes = empty.fill<std::uint8_t>(made.owner, stage.bytes * stage.stride, none);
    for (std::int64_t r = 0; r < stage.rows; ++r) {
      for (std::int64_t b = 0; b < stage.bytes; ++b) {
        codes[b * stage.stride + r] = stage.codes[r * stage.bytes + b];
      }
    }
    stage.codes = codes;
  }
  lighttoken::LowRank& low = made.table.low_rank;
  Bytes empty(nullptr, 0);
  auto* left = empty.fill<std::int8_t>(made.owner, table.rows * low.rank, none);
  auto* floats = empty.fill<float>(made.owner, table.rows * low.rank, none);
  for (std::int64_t r = 0; r < table.rows; ++r) {
    for (std::int64_t k = 0; k < low.rank; ++k) {
      if (low.left) left[k * table.rows + r] = table.low_rank.left[r * low.rank + k];
      if (low.float_left) floats[k * table.rows + r] = table.low_rank.float_left[r * low.rank + k];
    }
  }
  if (low.left) low.left = left;
  if (low.float_left) low.float_left = floats;
  return made;
}

// Logits of two hidden states: near the exact ones, and the largest of them the largest.
std::vector<float> project_and_compare(const lighttoken::Head& head, const lighttoken::Table& rows, Bytes& in) {
  const std::size_t width = static_cast<std::size_t>(rows.width);
  const std::size_t count = 2, all = static_cast<std::size_t>(rows.rows);
  std::unique_ptr<float[]> hidden(new float[count * width]), logits(new float[count * all]);
  for (std::size_t i = 0; i < count * width; ++i) hidden[i] = in.number();
  head.project(hidden.get(), count, logits.get(), in_turn);
  for (std::size_t t = 0; t < count; ++t) {
    double size = 1.0, largest = -1e300, spread = 0.0;
    std::vector<double> exact(all);
    for (std::size_t r = 0; r < all; ++r) {
      const std::vector<float> row = reference(rows, static_cast<std::int64_t>(r));
      double sum = 0.0, terms = 0.0;
      for (std::size_t c = 0; c < width; ++c) {
        sum += static_cast<double>(row[c]) * hidden[t * width + c];
        terms += std::fabs(static_cast<double>(row[c]) * hidden[t * width + c]);
      }
      exact[r] = sum;
      largest = std::max(largest, sum);
      size = std::max(size, terms);
    }
    for (std::size_t s = 0; s < rows.stages.size(); ++s) {
      // A byte's share is at most this; a table's step a 254th of twice that.
      const lighttoken::Stage& stage = rows.stages[s];
      double latents = 0.0;
      for (std::int64_t l = 0; l < stage.latents; ++l) {
        double latent = 0.0;
        for (std::size_t c = 0; c < width; ++c) {
          const double weight = stage.weight ? stage.weight[l * rows.width + c] * stage.scale[c]
                                : stage.float_weight ? stage.float_weight[l * rows.width + c]
                                : static_cast<std::size_t>(l) == c ? stage.scale[c]
                                                                   : 0.0;
          latent += weight * hidden[t * width + c];
        }
        latents = std::max(latents, std::fabs(latent));
      }
      spread += static_cast<double>(stage.bytes) * 2 * 127 * static_cast<double>(stage.k) * latents / 254;
    }
    double gain = 1.0;
    for (int level = 0; rows.gain_codes && level < 256; ++level) {
      gain = std::max(gain, std::fabs(static_cast<double>(rows.gain_levels[level])));
    }
    const double rounding = 1e-4 * (1e4 + size) + 1e-4 * spread * 254 * gain;
    double found = -1e300;
    for (std::size_t r = 0; r < all; ++r) {
      const double logit = logits[t * all + r];
      if (!(std::fabs(logit - exact[r]) <= 1.01 * spread * gain + rounding)) fail("another logit");
      found = std::max(found, logit);
    }
    if (!(std::fabs(found - largest) <= rounding)) fail("another logit is the largest");
  }
  std::unique_ptr<std::uint16_t[]> halves(new std::uint16_t[count * width]()),
      out(new std::uint16_t[count * all]);
  head.project(halves.get(), count, out.get(), in_turn);
  return std::vector<float>(logits.get(), logits.get() + count * all);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes in(data, size);
  const bool damaged = in.coin();
  const std::int64_t count = in.upto(70);
  std::vector<std::int64_t> wide;
  for (std::int64_t i = 0; i < count; ++i) wide.push_back(in.upto(52) - (in.byte() == 255));
  const Case drawn = draw_case(in, damaged);
  for (std::int64_t& id : wide) {
    if (!damaged) id = id < 0 ? 0 : id % drawn.table.rows;
  }
  const std::vector<std::int32_t> narrow(wide.begin(), wide.end());
  const std::int64_t fill = in.coin() ? 64 : 1;
  std::vector<float> first;  // kernel's logits: all have the same
  for (const std::string& kernel : lighttoken::kernel_names()) {
    try {
      const lighttoken::Decoder decoder(drawn.table, kernel);
      decode_and_compare(decoder, drawn.table, wide);
      decode_and_compare(decoder, drawn.table, narrow);
      const Case columns = column_major(drawn.table, fill);  // of what the decoder has found sound
      decode_and_compare(lighttoken::Decoder(columns.table, kernel), drawn.table, wide);
      Bytes states = in;
      const lighttoken::Head head(columns.table, kernel);
      const std::vector<float> logits = project_and_compare(head, drawn.table, states);
      if (first.empty()) first = logits;
      if (first != logits) fail("kernels differ");
    } catch (const std::invalid_argument&) {
      if (!damaged) fail("refused a sound table");
    }
  }
  return 0;
}
