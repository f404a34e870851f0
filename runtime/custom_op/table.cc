#include "table.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace lighttoken {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument("inconsistent embedding: " + what);
}

// Says the value and its limits where it is outside them.
void need_within(std::int64_t value, std::int64_t least, std::int64_t most, const std::string& name,
                 const char* what) {
  if (value >= least && value <= most) return;
  refuse(name + what + ": " + std::to_string(value) + ", and it must be " + std::to_string(least) +
         " .. " + std::to_string(most));
}

void need_finite(const float* values, std::int64_t count, const std::string& name,
                 const char* what) {
  if (!values) return;
  const float* end = values + count;
  const float* bad = std::find_if_not(values, end, [](float value) { return std::isfinite(value); });
  if (bad == end) return;
  refuse(name + what + " has " + std::to_string(*bad) + " at " + std::to_string(bad - values) +
         ", and numbers must be finite");
}

void check_stage(const Table& table, const Stage& stage, const std::string& name) {
  need_within(stage.rows, 1, table.rows, name, " has codes of rows");
  if (table.column_major && stage.stride < stage.rows) {
    refuse(name + " has columns of " + std::to_string(stage.stride) + " codes for " +
           std::to_string(stage.rows) + " rows");
  }
  if (stage.k < 1 || !stage.codes || !stage.codebook) refuse(name + " has no codes or no codebook");
  const bool by_column = !stage.weight && !stage.float_weight;
  need_within(stage.latents, 1, by_column ? kMostWidth : kMostLatents, name, " has latents");
  if ((stage.latents - 1) / stage.k + 1 != stage.bytes) {
    refuse(name + " stores " + std::to_string(stage.bytes) + " bytes a row for " +
           std::to_string(stage.latents) + " latents, " + std::to_string(stage.k) + " to a byte");
  }
  need_within(stage.zero, 0, 127, name, " has a zero point");
  if (stage.weight && !stage.scale) refuse(name + " has integer weights without scales");
  if (stage.weight && stage.float_weight) refuse(name + " has two decoders");
  if (by_column && (!stage.scale || stage.latents != table.width)) {
    refuse(name + " decodes " + std::to_string(stage.latents) + " latents to " +
           std::to_string(table.width) + " columns without weights, or has no scales");
  }
  const std::uint8_t* end = stage.codebook + 256 * stage.k;
  const std::uint8_t* large =
      std::find_if(stage.codebook, end, [](std::uint8_t value) { return value > 127; });
  if (large != end) need_within(*large, 0, 127, name, " has a codebook of more than seven bits");
  need_finite(stage.scale, table.width, name, ".scale");
  need_finite(stage.float_weight, stage.float_weight ? stage.latents * table.width : 0, name,
              ".weight");
}

std::int64_t blocks(const Table& table) { return (table.rows - 1) / table.block + 1; }

// Every position inside the table, and no two ids at one: a head has a logit for each id. Goes by
// blocks, of which each is stored, not by rows.
void check_order(const Table& table) {
  need_within(table.block, 1, kMostRows, "row order", " has blocks of rows");
  std::vector<std::pair<std::int64_t, std::int64_t>> places;  // where a block goes, and which it is
  places.reserve(static_cast<std::size_t>(blocks(table)));
  const auto length = [&](std::int64_t index) {
    return std::min(table.block, table.rows - index * table.block);
  };
  for (std::int64_t index = 0; index < blocks(table); ++index) {
    const std::int64_t from = index * table.block + table.shifts[index];
    if (from < 0 || from > table.rows - length(index)) {
      refuse("row order leaves the table at block " + std::to_string(index) + ": position " +
                      std::to_string(from) + " of " + std::to_string(table.rows) + " rows");
    }
    places.emplace_back(from, index);
  }
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) {
    const auto [before, index] = places[i - 1];
    if (places[i].first < before + length(index)) {
      refuse("row order has two rows in one place at block " +
                      std::to_string(places[i].second) + ": position " +
                      std::to_string(places[i].first));
    }
  }
}

void check_low_rank(const Table& table) {
  const LowRank& low = table.low_rank;
  if (!low.rank) return;
  need_within(low.rank, 1, kMostWidth, "lowrank", " has a rank");
  const bool whole = low.left && low.right && low.scale;
  if (!whole && !(low.float_left && low.float_right)) {
    refuse("lowrank has factors of two types, or no scales");
  }
  need_finite(low.scale, low.rank, "lowrank", ".scale");
  need_finite(low.float_left, low.float_left ? table.rows * low.rank : 0, "lowrank", ".left");
  need_finite(low.float_right, low.float_right ? low.rank * table.width : 0, "lowrank", ".right");
}

// Of all that is stored for rows; what columns of codes are filled up with does not count.
std::int64_t stored_bytes(const Table& table) {
  std::int64_t bytes = 4 * table.width * (table.tail ? 2 : 1) + table.gain_rows;
  if (table.shifts) bytes += 4 * blocks(table);
  if (table.zeros) bytes += (table.rows + 7) / 8;
  const LowRank& low = table.low_rank;
  bytes += (table.rows + table.width) * low.rank * (low.float_left ? 4 : 1);
  for (const Stage& stage : table.stages) {
    bytes += stage.rows * stage.bytes + 256 * stage.k;
    if (stage.weight) bytes += stage.latents * table.width;
    if (stage.float_weight) bytes += 4 * stage.latents * table.width;
  }
  return bytes;
}

}  // namespace

void check(const Table& table) {
  need_within(table.rows, 1, kMostRows, "the table", " has rows");
  need_within(table.width, 1, kMostWidth, "the table", " has columns");
  if (!table.mean) refuse("no mean");
  const auto stages = static_cast<std::int64_t>(table.stages.size());
  need_within(stages, 0, kMostStages, "the table", " has stages");
  need_finite(table.mean, table.width, "mean", "");
  need_finite(table.tail, table.width, "tail", "");
  if (table.shifts) check_order(table);
  if (table.gain_codes || table.gain_rows) {
    if (!table.gain_codes || !table.gain_levels) refuse("gains without codes or without levels");
    need_within(table.gain_rows, 1, table.rows, "gain.codes", " of rows");
    need_finite(table.gain_levels, 256, "gain", ".levels");
  }
  check_low_rank(table);
  for (std::size_t i = 0; i < table.stages.size(); ++i) {
    check_stage(table, table.stages[i], "stage " + std::to_string(i));
  }
  const std::int64_t stored = stored_bytes(table);
  const std::int64_t most = std::max(kFewRows, std::min(stored, kMostRows) * kMostRowsAByte);
  if (table.rows > most) {
    refuse("the table has rows: " + std::to_string(table.rows) + ", and the " +
           std::to_string(stored) + " bytes that it stores may stand for " + std::to_string(most) +
           " at most");
  }
}

std::int64_t Table::covered() const {
  std::int64_t most = 0;
  for (const Stage& stage : stages) most = std::max(most, stage.rows);
  return most;
}

}  // namespace lighttoken
