#include "table.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace lighttoken {
namespace {

void need(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument("inconsistent embedding: " + what);
}

void check_stage(const Table& table, const Stage& stage, const std::string& name) {
  need(stage.rows >= 1 && stage.rows <= table.rows, name + " covers " + std::to_string(stage.rows));
  need(!table.column_major || stage.stride >= stage.rows,
       name + " has columns of " + std::to_string(stage.stride) + " codes");
  need(stage.k >= 1 && stage.codes && stage.codebook, name + " has no codes");
  need(stage.latents >= 1 && (stage.latents + stage.k - 1) / stage.k == stage.bytes,
       name + " stores " + std::to_string(stage.bytes) + " bytes a row for " +
           std::to_string(stage.latents) + " values");
  need(stage.zero <= 127, name + " has a zero point of " + std::to_string(stage.zero));
  need(!stage.weight || stage.scale, name + " has integer weights without scales");
  need(!(stage.weight && stage.float_weight), name + " has two decoders");
  need(stage.weight || stage.float_weight || (stage.scale && stage.latents == table.width),
       name + " decodes to " + std::to_string(stage.latents) + " columns");
  const std::uint8_t* end = stage.codebook + 256 * stage.k;
  need(std::all_of(stage.codebook, end, [](std::uint8_t value) { return value <= 127; }),
       name + " has a codebook of more than seven bits");
}

// Every position inside the table, and no two ids at one: a head has a logit for each id.
void check_order(const Table& table) {
  need(table.block >= 1, "row block of " + std::to_string(table.block));
  std::vector<bool> taken(static_cast<std::size_t>(table.rows));
  for (std::int64_t id = 0; id < table.rows; ++id) {
    const std::int64_t index = id / table.block, position = id + table.shifts[index];
    need(position >= 0 && position < table.rows,
         "row order leaves the table at block " + std::to_string(index));
    need(!taken[static_cast<std::size_t>(position)],
         "row order has two rows in one place at block " + std::to_string(index));
    taken[static_cast<std::size_t>(position)] = true;
  }
}

}  // namespace

void check(const Table& table) {
  need(table.rows >= 1 && table.width >= 1 && table.mean, "no rows, no columns or no mean");
  if (table.shifts) check_order(table);
  need(!table.gain_codes || (table.gain_levels && table.gain_rows >= 1 &&
                             table.gain_rows <= table.rows),
       "gains of " + std::to_string(table.gain_rows) + " rows");
  for (std::size_t i = 0; i < table.stages.size(); ++i) {
    check_stage(table, table.stages[i], "stage " + std::to_string(i));
  }
}

std::int64_t Table::covered() const {
  std::int64_t most = 0;
  for (const Stage& stage : stages) most = std::max(most, stage.rows);
  return most;
}

}  // namespace lighttoken
