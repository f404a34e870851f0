// Nodes as a graph may have them, sound or damaged. Their tensors have exactly the sizes that their
// shapes say, so that the address sanitizer sees any read beyond them. They last until the next node
// is drawn.

#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bytes.h"
#include "reader.h"

namespace lighttoken::fuzz {

// Memory of exactly a size, used again by later inputs: a fuzzer's time is not for the allocator.
class Pool {
 public:
  std::uint8_t* take(std::size_t size) {
    std::vector<std::unique_ptr<std::uint8_t[]>>& spare = spare_[size];
    if (spare.empty()) spare.emplace_back(new std::uint8_t[size]);
    taken_.emplace_back(size, std::move(spare.back()));
    spare.pop_back();
    return taken_.back().second.get();
  }

  void give_back() {
    for (auto& [size, memory] : taken_) spare_[size].push_back(std::move(memory));
    taken_.clear();
    if (spare_.size() > 4096) spare_.clear();
  }

 private:
  std::unordered_map<std::size_t, std::vector<std::unique_ptr<std::uint8_t[]>>> spare_;
  std::vector<std::pair<std::size_t, std::unique_ptr<std::uint8_t[]>>> taken_;
};

inline Pool& pool() {
  static Pool all;
  return all;
}

// `count` values that repeat the first `period`.
inline void repeat(std::uint8_t* values, std::size_t period, std::size_t count) {
  for (std::size_t done = period; done < count; done *= 2) {
    std::memcpy(values + done, values, std::min(done, count - done));
  }
}

class NodeMaker {
  using Shape = std::vector<std::int64_t>;

 public:
  // `damaged`: now and then an attribute, a type, a shape or a value is another one.
  NodeMaker(Bytes& in, bool damaged) : in_(in), damaged_(damaged) {}

  Node draw(bool column_major) {
    pool().give_back();
    Node& node = node_;
    column_major_ = column_major;
    const std::uint8_t what = in_.byte(), more = in_.byte();
    node.layout = column_major ? "planes" : "rows";
    node.rows = 1 + in_.byte() % ((what & 1) ? 150 : 20);
    node.width = 1 + in_.byte() % ((what & 2) ? 80 : 20);
    floats("mean", {node.width});
    if (what & 4) floats("tail", {node.width});
    if (what & 8) draw_order();
    if (what & 16) {
      bytes("gain.codes", {1 + in_.byte() % node.rows}, 255);
      floats("gain.levels", {256});
    }
    if (what & 32) bytes("zeros", {(node.rows + 7) / 8}, 255);
    if (what & 64) draw_low_rank(what & 128);
    if (more & 4) codebook("signs", 1 + in_.byte() % 8);
    for (int s = more & 3; s > 0; --s) draw_stage(more & 4);
    if (damaged_) damage();
    return std::move(node_);
  }

 private:
  void draw_order() {
    Node& node = node_;
    node.block = 1 + in_.byte() % 16;
    const std::int64_t blocks = (node.rows - 1) / node.block + 1;
    const std::int64_t turn = node.rows % node.block ? 0 : in_.byte() % blocks;
    auto* shifts = reinterpret_cast<std::int32_t*>(
        put("order.shifts", Type::kInt32, {blocks}, sizeof(std::int32_t)));
    for (std::int64_t i = 0; i < blocks; ++i) {
      shifts[i] = static_cast<std::int32_t>(((i + turn) % blocks - i) * node.block);
    }
    if (damaged_ && in_.byte() < 64) shifts[in_.byte() % blocks] = in_.raw<std::int32_t>();
  }

  void draw_low_rank(bool whole) {
    const Node& node = node_;
    const std::int64_t rank = 1 + in_.byte() % 4;
    Shape left{node.rows, rank};
    if (column_major_) std::swap(left[0], left[1]);
    if (whole) {
      bytes("lowrank.left", left, 255, Type::kInt8);
      bytes("lowrank.right", {rank, node.width}, 255, Type::kInt8);
      floats("lowrank.scale", {rank});
    } else {
      floats("lowrank.left", left);
      floats("lowrank.right", {rank, node.width});
    }
  }

  void draw_stage(bool signs) {
    Node& node = node_;
    const std::string prefix = "stages." + std::to_string(stages_++) + ".";
    const std::uint8_t what = in_.byte();
    const int kind = what & 3;  // by column, int8 weights, float weights, by column
    const std::int64_t rows = 1 + in_.byte() % node.rows;
    const std::int64_t latents = kind == 1 || kind == 2 ? 1 + in_.byte() % 40 : node.width;
    std::int64_t k = 1 + in_.byte() % ((what & 4) ? 24 : 4);
    if (signs && (what & 8)) {
      k = node.parts.at("signs").shape[1];
    } else {
      codebook(prefix + "codebook", k);
    }
    Shape codes{rows, (latents - 1) / k + 1};
    if (column_major_) codes = {codes[1], (what & 16) ? (rows + 63) / 64 * 64 : rows};
    bytes(prefix + "codes", codes, 255);
    if (kind == 1) bytes(prefix + "weight", {latents, node.width}, 255, Type::kInt8);
    if (kind == 2) floats(prefix + "weight", {latents, node.width});
    if (kind != 2) floats(prefix + "scale", {node.width});
    node.covered += (node.covered.empty() ? "" : ",") + std::to_string(rows);
  }

  void damage() {
    Node& node = node_;
    const std::uint8_t what = in_.byte();
    if (what & 1) {
      std::int64_t* attributes[] = {&node.rows, &node.width, &node.block};
      *attributes[in_.byte() % 3] = in_.integer();
    }
    if (what & 2) {
      node.covered.clear();
      for (std::size_t i = in_.byte() % 24; i; --i) {
        const std::uint8_t each = in_.byte();
        node.covered += each < 128 ? "0123456789,,-+ 9"[each % 16] : static_cast<char>(each);
      }
    }
    if (what & 4) node.layout = in_.coin() ? "planes" : in_.coin() ? "rows" : "";
    for (int parts = what >> 6; parts && !node.parts.empty(); --parts) damage_part();
  }

  void damage_part() {
    auto& parts = node_.parts;
    auto found = parts.begin();
    for (std::size_t i = in_.byte() % parts.size(); i; --i) ++found;
    Tensor& part = found->second;
    switch (in_.byte() % 6) {
      case 0: parts.erase(found); return;
      case 1: part.type = static_cast<Type>(in_.byte() % 5); break;
      case 2: part.shape.clear(); break;
      case 3: part.shape.push_back(in_.coin()); break;
      case 4:  // nothing is stored, whatever the rest of the shape says
        part.shape.assign(part.shape.size(), in_.integer());
        if (!part.shape.empty()) part.shape[in_.byte() % part.shape.size()] = 0;
        break;
      default:
        for (std::int64_t& size : part.shape) size = in_.coin() ? size : in_.byte();
    }
    const std::string name = found->first;
    const Tensor damaged = part;
    std::size_t values = 1;
    bool none = false;
    for (const std::int64_t size : damaged.shape) {
      none |= size <= 0;
      if (!none && values <= kMostValues) values *= static_cast<std::size_t>(size);
    }
    if (none) values = 0;
    if (values > kMostValues) {
      parts.erase(found);
      return;
    }
    const std::size_t bytes_of_value = damaged.type <= Type::kFloat || damaged.type >= Type::kInt32 ? 4 : 1;
    std::uint8_t* memory = pool().take(values * bytes_of_value);
    std::memset(memory, in_.byte(), values * bytes_of_value);
    part.data = memory;
    if (in_.byte() < 8) parts.emplace(name + "s", part);
  }

  static constexpr std::size_t kMostValues = 1 << 15;

  std::uint8_t* put(const std::string& name, Type type, const Shape& shape, std::size_t size) {
    std::uint8_t* memory = pool().take(size * count(shape));
    node_.parts[name] = Tensor{type, shape, memory};
    return memory;
  }

  static std::size_t count(const Shape& shape) {
    std::size_t values = 1;
    for (const std::int64_t each : shape) values *= static_cast<std::size_t>(each);
    return values;
  }

  // A short ramp whose start and step are drawn, over and over.
  void bytes(const std::string& name, const Shape& shape, int mask, Type type = Type::kUint8) {
    std::uint8_t* values = put(name, type, shape, 1);
    const std::size_t period = std::min<std::size_t>(count(shape), 61);
    std::uint8_t value = in_.byte();
    const std::uint8_t step = in_.byte();
    for (std::size_t i = 0; i < period; ++i, value = static_cast<std::uint8_t>(value + step)) {
      values[i] = static_cast<std::uint8_t>(value & mask);
    }
    repeat(values, period, count(shape));
  }

  void codebook(const std::string& name, std::int64_t k) {
    const std::uint8_t what = in_.byte();
    if (!(what & 1)) return bytes(name, {256, k}, damaged_ && what < 24 ? 255 : 127);
    // Of sums, by halves of the byte.
    const int upper = (what >> 1 & 3) + 1, lower = what >> 3 & 3;
    std::vector<std::uint8_t>& book = sums_[{k, upper, lower}];
    for (std::int64_t i = static_cast<std::int64_t>(book.size()); i < 256 * k; ++i) {
      const std::int64_t entry = i / k, sum = entry / 16 * upper + entry % 16 * lower;
      book.push_back(static_cast<std::uint8_t>(i % k % 2 ? 127 - sum : sum));
    }
    std::memcpy(put(name, Type::kUint8, {256, k}, 1), book.data(), book.size());
  }

  // Two numbers in turn.
  void floats(const std::string& name, const Shape& shape) {
    float both[] = {in_.real(), in_.real()};
    for (float& each : both) {
      if (!damaged_ && !(each - each == 0.0f)) each = 1.0f;
    }
    const std::size_t bytes = sizeof(float) * count(shape);
    std::uint8_t* values = put(name, Type::kFloat, shape, sizeof(float));
    std::memcpy(values, both, std::min(bytes, sizeof both));
    repeat(values, std::min(bytes, sizeof both), bytes);
  }

  static inline std::map<std::tuple<std::int64_t, int, int>, std::vector<std::uint8_t>> sums_;

  Bytes& in_;
  bool damaged_, column_major_ = false;
  int stages_ = 0;
  Node node_;
};

}  // namespace lighttoken::fuzz
