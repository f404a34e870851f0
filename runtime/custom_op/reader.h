// Reads a table from what a node of the graph has: attributes and named tensors. Plain C++17; knows
// nothing of onnxruntime, so that tests can hand it anything.

#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "table.h"

namespace lighttoken {

enum class Type { kFloat, kInt8, kUint8, kInt32, kOther };

// A stored tensor. `data` has as many values as `shape` says; that is the caller's to know.
struct Tensor {
  Type type = Type::kOther;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

// A node's attributes, and its tensors by the names that exporters/ops/layer.py gives them.
struct Node {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::int64_t block = 0;  // ids in one block of the row order, 0 for none
  std::string covered;     // the rows of each stage, with commas
  std::string layout;      // "rows", or "planes": column-major
  std::unordered_map<std::string, Tensor> parts;
};

// The table, whose tensors are those of `node`. Throws std::invalid_argument, in one line that names
// the attribute or part, its value and what it must be, unless every part has the type and the shape
// that attributes and other parts ask for, and none is left over. What it returns is for check() to
// look into.
Table read_table(const Node& node);

}  // namespace lighttoken
