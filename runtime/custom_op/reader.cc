#include "reader.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace lighttoken {
namespace {

constexpr std::uint8_t kSignZero = 1, kCodebookZero = 64;
constexpr std::int64_t kColumnFill = 64;  // codes that columns are filled up to a multiple of
constexpr std::int64_t kAny = -1;  // of a wanted shape: a dimension that is still to be known

using Shape = std::vector<std::int64_t>;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

std::string text(Type type) {
  switch (type) {
    case Type::kFloat: return "float";
    case Type::kInt8: return "int8";
    case Type::kUint8: return "uint8";
    case Type::kInt32: return "int32";
    default: return "of another type";
  }
}

std::string text(const Shape& shape) {
  std::string all;
  for (const std::int64_t size : shape) {
    all += (all.empty() ? "" : ", ") + (size == kAny ? "any" : std::to_string(size));
  }
  return "[" + all + "]";
}

void need_attribute(const std::string& name, std::int64_t value, std::int64_t least,
                    std::int64_t most) {
  if (value >= least && value <= most) return;
  refuse("attribute " + name + " is " + std::to_string(value) + ", and must be " +
         std::to_string(least) + " .. " + std::to_string(most));
}

// The node's tensors, and which of them have been asked for.
class Parts {
 public:
  explicit Parts(const Node& node) : parts_(node.parts) {}

  bool has(const std::string& name) const { return parts_.count(name) > 0; }

  Type type(const std::string& name) const { return at(name).type; }

  // The tensor, which must have `type` and the shape `wanted`.
  const Tensor& get(const std::string& name, Type type, const Shape& wanted) {
    const Tensor& tensor = at(name);
    bool fits = tensor.type == type && tensor.shape.size() == wanted.size();
    for (std::size_t i = 0; fits && i < wanted.size(); ++i) {
      fits = wanted[i] == kAny ? tensor.shape[i] >= 1 : tensor.shape[i] == wanted[i];
    }
    if (!fits) {
      refuse("part " + name + " is " + text(tensor.type) + " " + text(tensor.shape) +
             ", and must be " + text(type) + " " + text(wanted));
    }
    asked_.push_back(&tensor);
    return tensor;
  }

  template <typename T>
  const T* data(const std::string& name, Type type, const Shape& wanted) {
    return static_cast<const T*>(get(name, type, wanted).data);
  }

  const float* floats(const std::string& name, const Shape& wanted) {
    return data<float>(name, Type::kFloat, wanted);
  }

  // A part that nobody reads would have changed the rows, or means another number of stages.
  void need_all_asked_for() const {
    if (asked_.size() == parts_.size()) return;  // none is asked for twice
    for (const auto& [name, tensor] : parts_) {
      const bool asked = std::find(asked_.begin(), asked_.end(), &tensor) != asked_.end();
      if (!asked) refuse("part " + name + " belongs to nothing in attributes and parts");
    }
  }

 private:
  const Tensor& at(const std::string& name) const {
    const auto found = parts_.find(name);
    if (found == parts_.end()) refuse("part " + name + " is missing");
    return found->second;
  }

  const std::unordered_map<std::string, Tensor>& parts_;
  std::vector<const Tensor*> asked_;
};

// "12,5" as {12, 5}, "" as {}.
std::vector<std::int64_t> read_covered(const std::string& covered) {
  std::vector<std::int64_t> rows;
  const char* at = covered.c_str();
  const char* end = at + covered.size();
  while (at != end) {
    char* after = nullptr;
    const long long value = *at >= '0' && *at <= '9' ? std::strtoll(at, &after, 10) : 0;
    const bool ends = after && (after == end || (*after == ',' && after + 1 != end));
    if (!ends || value < 1 || value > kMostRows ||
        static_cast<std::int64_t>(rows.size()) == kMostStages) {
      refuse("attribute covered is \"" + covered.substr(0, 80) + "\", and must be up to " +
             std::to_string(kMostStages) + " numbers of rows with commas");
    }
    rows.push_back(value);
    at = after == end ? end : after + 1;
  }
  return rows;
}

// `rows` may be a little fewer than a column of codes has: columns are filled up to whole reads.
Stage read_stage(Parts& parts, const std::string& prefix, const Table& table, std::int64_t rows,
                 const Tensor* signs) {
  Stage stage;
  const Tensor& codes = parts.get(prefix + "codes", Type::kUint8, {kAny, kAny});
  const std::int64_t stored = codes.shape[table.column_major ? 1 : 0];
  const std::int64_t filled_up = table.column_major ? kColumnFill - 1 : 0;
  if (rows > stored || rows < stored - filled_up) {
    refuse("attribute covered says " + std::to_string(rows) + " rows of part " + prefix +
           "codes, which stores " + std::to_string(stored));
  }
  stage.rows = rows;
  stage.bytes = codes.shape[table.column_major ? 0 : 1];
  stage.stride = codes.shape[1];
  stage.codes = static_cast<const std::uint8_t*>(codes.data);
  const bool own = parts.has(prefix + "codebook");
  if (!own && !signs) refuse("part " + prefix + "codebook is missing, and so is part signs");
  const Tensor& book = own ? parts.get(prefix + "codebook", Type::kUint8, {256, kAny}) : *signs;
  stage.k = book.shape[1];
  stage.codebook = static_cast<const std::uint8_t*>(book.data);
  stage.zero = own ? kCodebookZero : kSignZero;
  if (parts.has(prefix + "scale")) stage.scale = parts.floats(prefix + "scale", {table.width});
  stage.latents = table.width;
  if (!parts.has(prefix + "weight")) return stage;
  const bool whole = parts.type(prefix + "weight") == Type::kInt8;
  const Tensor& weight =
      parts.get(prefix + "weight", whole ? Type::kInt8 : Type::kFloat, {kAny, table.width});
  stage.latents = weight.shape[0];
  if (whole) {
    stage.weight = static_cast<const std::int8_t*>(weight.data);
  } else {
    stage.float_weight = static_cast<const float*>(weight.data);
  }
  return stage;
}

LowRank read_low_rank(Parts& parts, const Table& table) {
  LowRank low;
  const bool whole = parts.has("lowrank.scale");
  const Type type = whole ? Type::kInt8 : Type::kFloat;
  Shape shape{table.rows, kAny};
  if (table.column_major) std::swap(shape[0], shape[1]);
  const Tensor& left = parts.get("lowrank.left", type, shape);
  low.rank = left.shape[table.column_major ? 0 : 1];
  const Tensor& right = parts.get("lowrank.right", type, {low.rank, table.width});
  if (whole) {
    low.left = static_cast<const std::int8_t*>(left.data);
    low.right = static_cast<const std::int8_t*>(right.data);
    low.scale = parts.floats("lowrank.scale", {low.rank});
  } else {
    low.float_left = static_cast<const float*>(left.data);
    low.float_right = static_cast<const float*>(right.data);
  }
  return low;
}

}  // namespace

Table read_table(const Node& node) {
  need_attribute("rows", node.rows, 1, kMostRows);
  need_attribute("width", node.width, 1, kMostWidth);
  need_attribute("block", node.block, 0, kMostRows);
  if (node.layout != "rows" && node.layout != "planes") {
    refuse("attribute layout is \"" + node.layout.substr(0, 80) + "\", and must be rows or planes");
  }
  Parts parts(node);
  Table table;
  table.rows = node.rows;
  table.width = node.width;
  table.column_major = node.layout == "planes";
  table.mean = parts.floats("mean", {table.width});
  if (parts.has("tail")) table.tail = parts.floats("tail", {table.width});
  if (node.block) {
    table.block = node.block;
    const std::int64_t blocks = (table.rows - 1) / table.block + 1;
    table.shifts = parts.data<std::int32_t>("order.shifts", Type::kInt32, {blocks});
  }
  if (parts.has("gain.codes")) {
    const Tensor& codes = parts.get("gain.codes", Type::kUint8, {kAny});
    table.gain_rows = codes.shape[0];
    table.gain_codes = static_cast<const std::uint8_t*>(codes.data);
    table.gain_levels = parts.floats("gain.levels", {256});  // that a byte names
  }
  if (parts.has("zeros")) {
    table.zeros = parts.data<std::uint8_t>("zeros", Type::kUint8, {(table.rows - 1) / 8 + 1});
  }
  if (parts.has("lowrank.left")) table.low_rank = read_low_rank(parts, table);
  const Tensor* signs =
      parts.has("signs") ? &parts.get("signs", Type::kUint8, {256, kAny}) : nullptr;
  const std::vector<std::int64_t> covered = read_covered(node.covered);
  for (std::size_t s = 0; s < covered.size(); ++s) {
    const std::string prefix = "stages." + std::to_string(s) + ".";
    table.stages.push_back(read_stage(parts, prefix, table, covered[s], signs));
  }
  parts.need_all_asked_for();
  return table;
}

}  // namespace lighttoken
