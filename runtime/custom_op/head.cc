#include "head.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "half.h"
#include "kernels/kernels.h"
#include "room.h"

namespace lighttoken {
namespace {

constexpr std::size_t kTokensAtOnce = 8;  // hidden states that a block of codes is read for once
constexpr std::size_t kSettled = 256;     // logits whose largest is known
constexpr std::size_t kShortRun = 16;     // rows, on average: then logits are put in order at the end
constexpr float kSteps = 255.0f;           // of a table; of two that are added, one less
constexpr float kLeastRange = 1e-30f;  // below, a table's entries are all alike
constexpr float kRounding = 1e-3f;     // of a step: what float additions add to half a step
constexpr float kDeviations = 8.0f;    // of many rounding errors' sum, which it does not leave

// Whether every entry 16 h + l is entry 16 h and what entry l is beyond entry 0.
bool is_split(const Stage& stage) {
  const std::size_t k = static_cast<std::size_t>(stage.k);
  for (std::size_t entry = 0; entry < kEntries; ++entry) {
    for (std::size_t j = 0; j < k; ++j) {
      const int upper = stage.codebook[entry / kHalf * kHalf * k + j];
      const int lower = stage.codebook[entry % kHalf * k + j] - stage.codebook[j];
      if (stage.codebook[entry * k + j] != upper + lower) return false;
    }
  }
  return true;
}

// A codebook [256, k] less its zero point, transposed: [k, 256], or [k, 32] of a split one.
Buffer<float> transposed(const Stage& stage, bool split) {
  const std::size_t k = static_cast<std::size_t>(stage.k);
  const std::size_t entries = split ? 2 * kHalf : kEntries;
  Buffer<float> book(k * entries);
  for (std::size_t j = 0; j < k; ++j) {
    for (std::size_t e = 0; e < entries; ++e) {
      const std::size_t entry = !split ? e : e < kHalf ? e * kHalf : e - kHalf;
      const int from = split && e >= kHalf ? stage.codebook[j] : stage.zero;
      book[j * entries + e] = static_cast<float>(stage.codebook[entry * k + j] - from);
    }
  }
  return book;
}

void widen(const float* hidden, std::size_t width, float* out) {
  std::copy(hidden, hidden + width, out);
}

void widen(const std::uint16_t* hidden, std::size_t width, float* out) {
  std::transform(hidden, hidden + width, out, from_half);
}

}  // namespace

// One hidden state: what every byte of a code adds to a logit.
struct Query {
  struct StageQuery {
    Buffer<float> latents;        // decoder times hidden, [bytes * k]
    Buffer<std::uint8_t> tables;  // [bytes, kEntries] or [bytes, 2, kHalf]
    float step = 0.0f, offset = 0.0f;  // a logit's share: step * sum of entries + offset
  };

  const Head* head = nullptr;
  float start = 0.0f, tail = 0.0f;  // hidden times what rows start from
  float worst = 0.0f;               // that a logit may be off by, before its gain
  float variance = 0.0f;            // of what it is off by
  Buffer<float> hidden, scaled, factors, entries, lows, logits, ordered;
  std::vector<StageQuery> stages;

  const Table& table() const { return head->table_; }
  const Kernel& kernel() const { return *head->kernel_; }

  void prepare() {
    const std::size_t width = static_cast<std::size_t>(table().width);
    start = kernel().dot(table().mean, hidden.data(), width);
    tail = table().tail ? kernel().dot(table().tail, hidden.data(), width) : start;
    worst = variance = 0.0f;
    prepare_low_rank(width);
    stages.resize(table().stages.size());
    for (std::size_t s = 0; s < stages.size(); ++s) prepare_stage(s, width);
  }

  void prepare_low_rank(std::size_t width) {
    const LowRank& low = table().low_rank;
    for (std::size_t k = 0; k < static_cast<std::size_t>(low.rank); ++k) {
      float* factor = room(factors, static_cast<std::size_t>(low.rank)) + k;
      if (low.right) {
        *factor = low.scale[k] * kernel().dot_int8(low.right + k * width, hidden.data(), width);
      } else {
        *factor = kernel().dot(low.float_right + k * width, hidden.data(), width);
      }
    }
  }

  void prepare_stage(std::size_t index, std::size_t width) {
    const Stage& stage = table().stages[index];
    StageQuery& query = stages[index];
    const std::size_t k = static_cast<std::size_t>(stage.k);
    const std::size_t columns = static_cast<std::size_t>(stage.bytes);
    const std::size_t count = static_cast<std::size_t>(stage.latents);
    float* latents = room(query.latents, columns * k);
    std::fill(latents + count, latents + columns * k, 0.0f);
    const float* vector = hidden.data();
    if (stage.scale) {
      float* out = room(scaled, width);
      for (std::size_t c = 0; c < width; ++c) out[c] = hidden[c] * stage.scale[c];
      vector = out;
    }
    for (std::size_t l = 0; l < count; ++l) {
      latents[l] = stage.weight         ? kernel().dot_int8(stage.weight + l * width, vector, width)
                   : stage.float_weight ? kernel().dot(stage.float_weight + l * width, vector, width)
                                        : vector[l];
    }
    const bool split = head->split_[index];
    const std::size_t width_of_column = split ? 2 * kHalf : kEntries;
    float* sums = room(entries, columns * width_of_column);
    for (std::size_t p = 0; p < columns; ++p) {
      kernel().combine(latents + p * k, head->books_[index].data(), k, width_of_column,
                       sums + p * width_of_column);
    }
    round(sums, columns, split, query);
  }

  // One step for all tables of a stage, so that their entries can be added as integers.
  void round(const float* sums, std::size_t columns, bool split, StageQuery& query) {
    const std::size_t size = split ? kHalf : kEntries, pieces = split ? 2 : 1;
    const std::size_t count = columns * pieces;
    float widest = 0.0f, total = 0.0f;
    bool finite = true;
    float* low = room(lows, count);
    for (std::size_t p = 0; p < columns; ++p) {
      float spread = 0.0f;
      for (std::size_t piece = p * pieces; piece < (p + 1) * pieces; ++piece) {
        const Range range = kernel().range(sums + piece * size, size);
        spread += range.high - range.low;
        total += low[piece] = range.low;
      }
      finite &= std::isfinite(spread);
      widest = std::max(widest, spread);
    }
    std::uint8_t* tables = room(query.tables, count * size);
    query.offset = finite ? total : std::numeric_limits<float>::quiet_NaN();
    // Rounded up twice, two entries may be one step more than their ranges.
    const float steps = split ? kSteps - 1 : kSteps;
    query.step = finite && widest > kLeastRange ? widest / steps : 0.0f;
    if (query.step == 0.0f) {
      std::fill(tables, tables + count * size, std::uint8_t{0});
      return;
    }
    for (std::size_t piece = 0; piece < count; ++piece) {
      kernel().quantize(sums + piece * size, low[piece], steps / widest, size,
                        tables + piece * size);
    }
    worst += static_cast<float>(count) * query.step * (0.5f + kRounding);
    variance += static_cast<float>(count) * query.step * query.step / 12.0f;
  }

  // The logits of positions from .. from + count - 1, to their ids' places; to their own where there
  // are no runs.
  void score(std::int64_t from, std::int64_t count, float* out) const {
    alignas(64) float block[kColumnRows];
    std::fill(block, block + count, 0.0f);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const std::int64_t covered = std::min(table().stages[s].rows - from, count);
      if (covered > 0) add_stage(s, from, static_cast<std::size_t>(covered), block);
    }
    if (head->runs_.empty()) {  // `out` is by position too
      apply_gains(from, count, block);
      return add_start(block, from, static_cast<std::size_t>(count), out + from);
    }
    const auto after = [](std::int64_t position, const Head::Run& run) {
      return position < run.position;
    };
    const auto& runs = head->runs_;
    auto run = std::upper_bound(runs.begin(), runs.end(), from, after) - 1;
    for (std::int64_t position = from; position < from + count; ++run) {
      const std::int64_t skipped = position - run->position;
      const std::int64_t rows = std::min(run->rows - skipped, from + count - position);
      finish(block + (position - from), position, run->id + skipped, rows, out);
      position += rows;
    }
  }

  // Logits by position to where their ids are. Reads of distant places overlap, writes hardly do.
  void put_in_order(std::int64_t first, std::int64_t count, float* out) const {
    const float* from = ordered.data();
    const std::int32_t* shifts = table().shifts;
    const std::int64_t block = table().block, end = first + count;
    std::int64_t id = first;
    for (std::int64_t number = first / block; id < end; ++number) {
      const std::int64_t stop = std::min((number + 1) * block, end);
      for (; id < stop; ++id) out[id] = from[id + shifts[number]];
    }
  }

  void add_stage(std::size_t index, std::int64_t from, std::size_t rows, float* block) const {
    const Stage& stage = table().stages[index];
    const StageQuery& query = stages[index];
    alignas(64) std::uint16_t sums[kColumnRows];
    const std::size_t columns = static_cast<std::size_t>(stage.bytes);
    const std::size_t stride = static_cast<std::size_t>(stage.stride);
    // Whole moves, where columns are filled up: what is beyond the rows is summed and not read.
    const std::size_t whole = (rows + kColumnStep - 1) / kColumnStep * kColumnStep;
    const std::size_t summed = std::min(whole, stride - static_cast<std::size_t>(from));
    for (std::size_t p = 0; p < columns; p += kMostColumns) {
      const std::uint8_t* codes = stage.codes + p * stride + from;
      const std::size_t here = std::min(columns - p, kMostColumns);
      const std::uint8_t* next = p + here < columns ? codes + here * stride : after(index, from);
      const bool split = head->split_[index];
      const std::uint8_t* tables = query.tables.data() + p * (split ? 2 * kHalf : kEntries);
      const Columns work{codes, stride, here, summed, tables, next, sums};
      split ? kernel().sum_halves(work) : kernel().sum_columns(work);
      kernel().add_sums(sums, query.step, p ? 0.0f : query.offset, rows, block);
    }
  }

  // The codes read once a stage's are done: the next stage's that covers these rows, or the first's
  // of the rows that follow. Never used but to ask for them.
  const std::uint8_t* after(std::size_t index, std::int64_t from) const {
    const auto& all = table().stages;
    for (std::size_t s = index + 1; s < all.size(); ++s) {
      if (all[s].rows > from) return all[s].codes + from;
    }
    const std::int64_t next = from + static_cast<std::int64_t>(kColumnRows);
    return all[0].codes + (next < all[0].rows ? next : 0);
  }

  // Rows that stand together: low rank, gain and start, and on to their place.
  void finish(const float* sums, std::int64_t position, std::int64_t id, std::int64_t count,
              float* out) const {
    const std::size_t rows = static_cast<std::size_t>(count);
    const LowRank& low = table().low_rank;
    out += id;
    if (!low.rank && !table().gain_codes) return add_start(sums, position, rows, out);
    std::copy(sums, sums + count, out);
    for (std::int64_t k = 0; k < low.rank; ++k) {
      const std::int64_t place = k * table().rows + id;
      if (low.left) {
        kernel().add_int8_row(factors[k], low.left + place, 1.0f, rows, out);
      } else {
        kernel().add_row(factors[k], low.float_left + place, rows, out);
      }
    }
    apply_gains(position, count, out);
    add_start(out, position, rows, out);
  }

  void add_start(const float* sums, std::int64_t position, std::size_t rows, float* out) const {
    const std::int64_t left = std::max<std::int64_t>(head->covered_ - position, 0);
    const std::size_t covered = std::min(static_cast<std::size_t>(left), rows);
    kernel().shift(sums, start, covered, out);
    kernel().shift(sums + covered, tail, rows - covered, out + covered);
  }

  void apply_gains(std::int64_t position, std::int64_t count, float* rows) const {
    if (!table().gain_codes) return;
    const std::uint8_t* codes = table().gain_codes + position;
    const float* levels = table().gain_levels;
    const std::int64_t coded = std::min(table().gain_rows - position, count);
    for (std::int64_t r = 0; r < coded; ++r) rows[r] *= levels[codes[r]];
  }

  float gain(std::int64_t position) const {
    const bool coded = table().gain_codes && position < table().gain_rows;
    return coded ? table().gain_levels[table().gain_codes[position]] : 1.0f;
  }

  void clear_zeros(float* out) const {
    for (const std::int64_t id : head->zeros_) out[id] = 0.0f;
  }

  // Rows that may be the largest, given what rounding may have done, are summed in float32. All
  // errors of a row at their worst is what no row ever sees: many of them go by their deviation.
  void settle(float* out) {
    if (!(worst > 0.0f)) return;
    const float error = std::min(worst, kDeviations * std::sqrt(variance));
    const std::size_t rows = static_cast<std::size_t>(table().rows);
    const std::size_t parts = (rows + kSettled - 1) / kSettled;
    float* highs = room(entries, parts);
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t first = part * kSettled;
      highs[part] = kernel().range(out + first, std::min(kSettled, rows - first)).high;
    }
    const float least = kernel().range(highs, parts).high - 2 * error * head->largest_gain_;
    for (std::size_t part = 0; part < parts; ++part) {
      if (!(highs[part] >= least)) continue;
      for (std::size_t id = part * kSettled; id < std::min((part + 1) * kSettled, rows); ++id) {
        if (out[id] >= least) out[id] = exact(static_cast<std::int64_t>(id));
      }
    }
  }

  float exact(std::int64_t id) const {
    if (table().is_zero(id)) return 0.0f;
    const std::int64_t position =
        table().shifts ? id + table().shifts[id / table().block] : id;
    float sum = 0.0f;
    const LowRank& low = table().low_rank;
    for (std::int64_t k = 0; k < low.rank; ++k) {
      const std::int64_t place = k * table().rows + id;
      sum += factors[k] *
             (low.left ? static_cast<float>(low.left[place]) : low.float_left[place]);
    }
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const Stage& stage = table().stages[s];
      if (position >= stage.rows) continue;
      const float* latents = stages[s].latents.data();
      for (std::int64_t b = 0; b < stage.bytes; ++b) {
        const std::uint8_t* entry =
            stage.codebook + stage.codes[b * stage.stride + position] * stage.k;
        for (std::int64_t j = 0; j < stage.k; ++j, ++latents) {
          sum += static_cast<float>(entry[j] - stage.zero) * *latents;
        }
      }
    }
    return sum * gain(position) + (position < head->covered_ ? start : tail);
  }
};

namespace {

// Where a query's logits are summed: in the output, or beside it where that is of half precision.
float* logits_of(Query&, float* out, std::size_t) { return out; }

float* logits_of(Query& query, std::uint16_t*, std::size_t rows) {
  return room(query.logits, rows);
}

void write(const Kernel&, const float*, std::size_t, float*) {}

void write(const Kernel& kernel, const float* logits, std::size_t rows, std::uint16_t* out) {
  kernel.to_half(logits, rows, out);
}

// The rows of a block: the first, and how many.
std::pair<std::int64_t, std::int64_t> part(std::size_t block, std::size_t rows) {
  const std::size_t from = block * kColumnRows;
  return {static_cast<std::int64_t>(from),
          static_cast<std::int64_t>(std::min(kColumnRows, rows - from))};
}

std::vector<Query>& queries() {
  thread_local std::vector<Query> mine(kTokensAtOnce);
  return mine;
}

}  // namespace

Head::Head(const Table& table, const std::string& kernel)
    : table_(table), kernel_(&find_kernel(kernel)), covered_(table.covered()) {
  check(table_);
  if (!table_.column_major) throw std::invalid_argument("inconsistent embedding: not column-major");
  for (const Stage& stage : table_.stages) {
    if (stage.bytes <= kMostHeadBytes) continue;
    throw std::invalid_argument("inconsistent embedding: a head of " + std::to_string(stage.bytes) +
                                " bytes a row, and it may have " + std::to_string(kMostHeadBytes));
  }
  for (const Stage& stage : table_.stages) {
    split_.push_back(is_split(stage));
    books_.push_back(transposed(stage, split_.back()));
  }
  for (int level = 0; table_.gain_codes && level < 256; ++level) {
    largest_gain_ = std::max(largest_gain_, std::fabs(table_.gain_levels[level]));
  }
  for (std::int64_t id = 0; id < table_.rows; ++id) {
    if (table_.is_zero(id)) zeros_.push_back(id);
  }
  const std::int64_t block = table_.shifts ? table_.block : table_.rows;
  for (std::int64_t id = 0; id < table_.rows; id += block) {
    const std::int64_t position = id + (table_.shifts ? table_.shifts[id / block] : 0);
    const std::int64_t rows = std::min(block, table_.rows - id);
    const bool goes_on = !runs_.empty() && runs_.back().position + runs_.back().rows == position;
    if (goes_on) {
      runs_.back().rows += rows;
    } else {
      runs_.push_back({position, id, rows});
    }
  }
  const std::size_t rows = static_cast<std::size_t>(table_.rows);
  const bool scattered = table_.shifts && runs_.size() * kShortRun > rows;
  if (scattered && !table_.low_rank.rank) std::vector<Run>().swap(runs_);
  std::sort(runs_.begin(), runs_.end(),
            [](const Run& a, const Run& b) { return a.position < b.position; });
}

template <typename T>
void Head::project(const T* hidden, std::size_t count, T* logits, const ForEach& for_each) const {
  const std::size_t rows = static_cast<std::size_t>(table_.rows);
  const std::size_t width = static_cast<std::size_t>(table_.width);
  // Half precision needs a float a row beside the output: of one hidden state at a time.
  const std::size_t at_once = sizeof(T) == sizeof(float) ? kTokensAtOnce : 1;
  std::vector<Query>& mine = queries();
  for (std::size_t first = 0; first < count; first += at_once) {
    const std::size_t here = std::min(at_once, count - first);
    for_each(here, [&](std::size_t t) {
      mine[t].head = this;
      widen(hidden + (first + t) * width, width, room(mine[t].hidden, width));
      mine[t].prepare();
      logits_of(mine[t], logits + (first + t) * rows, rows);
      if (runs_.empty()) room(mine[t].ordered, rows);
    });
    const std::size_t blocks = (rows + kColumnRows - 1) / kColumnRows;
    for_each(blocks, [&](std::size_t block) {
      const auto [from, size] = part(block, rows);
      for (std::size_t t = 0; t < here; ++t) {
        float* out = logits_of(mine[t], logits + (first + t) * rows, rows);
        mine[t].score(from, size, runs_.empty() ? mine[t].ordered.data() : out);
      }
    });
    if (runs_.empty()) {
      for_each(blocks, [&](std::size_t block) {
        const auto [from, size] = part(block, rows);
        for (std::size_t t = 0; t < here; ++t) {
          mine[t].put_in_order(from, size, logits_of(mine[t], logits + (first + t) * rows, rows));
        }
      });
    }
    for_each(here, [&](std::size_t t) {
      T* out = logits + (first + t) * rows;
      mine[t].clear_zeros(logits_of(mine[t], out, rows));
      mine[t].settle(logits_of(mine[t], out, rows));
      write(*kernel_, logits_of(mine[t], out, rows), rows, out);
    });
  }
}

template void Head::project(const float*, std::size_t, float*, const ForEach&) const;
template void Head::project(const std::uint16_t*, std::size_t, std::uint16_t*,
                            const ForEach&) const;

}  // namespace lighttoken
