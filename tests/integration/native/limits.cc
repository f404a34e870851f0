// Tables at their limits and one beyond, under the sanitizers: make test-native
//
// The largest that is taken is decoded, so that no sum of it overflows; what is larger is refused, in
// little time. tests/runtime/custom_op/test_hostile.py has the same inside onnxruntime.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "decoder.h"
#include "head.h"
#include "kernels/kernels.h"
#include "reader.h"

using namespace lighttoken;

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
int checks = 0;

void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// A node that keeps its tensors.
struct Made {
  Node node;
  std::deque<std::vector<std::uint8_t>> owner;

  // Filled with a value; a shape that says more than `count` is what some tests are about.
  template <typename T>
  void put(const std::string& name, Type type, const std::vector<std::int64_t>& shape,
           std::size_t count, T value) {
    std::vector<std::uint8_t>& bytes = owner.emplace_back(count * sizeof(T));
    T* values = reinterpret_cast<T*>(bytes.data());
    for (std::size_t i = 0; i < count; ++i) values[i] = value;
    node.parts[name] = Tensor{type, shape, bytes.data()};
  }

  void floats(const std::string& name, std::int64_t count, float value = 1.0f) {
    put<float>(name, Type::kFloat, {count}, static_cast<std::size_t>(count), value);
  }
};

// Two rows of `latents` latents, 127 each less a zero point of 64, times weights of -128.
Made dense(std::int64_t latents, bool column_major = false, std::int64_t width = 1) {
  Made made;
  made.node.rows = 2;
  made.node.width = width;
  made.node.covered = "2";
  made.node.layout = column_major ? "planes" : "rows";
  made.floats("mean", width, 0.0f);
  const std::size_t count = static_cast<std::size_t>(latents);
  made.put<std::uint8_t>("stages.0.codes", Type::kUint8,
                         column_major ? std::vector<std::int64_t>{latents, 2}
                                      : std::vector<std::int64_t>{2, latents},
                         2 * count, 255);
  made.put<std::uint8_t>("stages.0.codebook", Type::kUint8, {256, 1}, 256, 127);
  made.put<std::int8_t>("stages.0.weight", Type::kInt8, {latents, width},
                        count * static_cast<std::size_t>(width), -128);
  made.floats("stages.0.scale", width);
  return made;
}

void refused(const Made& made, const std::string& words) {
  const auto started = std::chrono::steady_clock::now();
  ++checks;
  try {
    const Table table = read_table(made.node);
    if (table.column_major) {
      Head head(table);
    } else {
      Decoder decoder(table);
    }
  } catch (const std::invalid_argument& error) {
    const std::string what = error.what();
    if (what.find(words) == std::string::npos) fail("wanted «" + words + "», got «" + what + "»");
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    if (took.count() > 1.0) fail("refused late: " + words);
    return;
  }
  fail("taken: " + words);
}

void in_turn(std::size_t count, const std::function<void(std::size_t)>& work) {
  for (std::size_t i = 0; i < count; ++i) work(i);
}

// Sums of 32 bits that are as large as they may be, on every processor.
void largest_sums() {
  const Made made = dense(kMostLatents);
  const Table table = read_table(made.node);
  const float wanted = static_cast<float>(63 * -128 * kMostLatents);
  for (const std::string& kernel : kernel_names()) {
    const std::int64_t ids[] = {0, -1};
    float rows[2] = {};
    Decoder(table, kernel).decode(ids, 2, rows, in_turn);
    if (rows[0] != wanted || rows[1] != wanted) fail("another row, on " + kernel);
    ++checks;
  }
}

void sizes() {
  for (const std::int64_t latents : {kMostLatents + 1, std::int64_t{264208}}) {
    refused(dense(latents), "latents: " + std::to_string(latents));
  }
  refused(dense(kMostHeadBytes + 1, true), "a head of 16385 bytes a row");
  for (const std::int64_t size : {std::int64_t{-1}, std::int64_t{0}, -kMost - 1, kMostRows + 1, kMost}) {
    Made rows = dense(4), width = dense(4);
    rows.node.rows = width.node.width = size;
    refused(rows, "attribute rows is " + std::to_string(size));
    refused(width, "attribute width is " + std::to_string(size));
    if (!size) continue;
    Made block = dense(4);
    block.node.block = size;
    refused(block, "attribute block is " + std::to_string(size));
  }
  for (const bool column_major : {false, true}) {
    Made rows = dense(4, column_major);
    rows.node.rows = kMostRows;
    refused(rows, "rows: 2147483647, and the ");
    // A mean of 4 bytes, 8 codes, a codebook, 4 weights.
    rows.node.rows = kMostRowsAByte * 272;
    check(read_table(rows.node));
    ++rows.node.rows;
    refused(rows, "rows: 17409, and the 272 bytes");
  }
  Made stages = dense(4);
  for (int s = 1; s <= kMostStages; ++s) stages.node.covered += ",2";
  refused(stages, "attribute covered is ");
}

// Nothing is stored, whatever the other dimension says.
void empty_tensors() {
  for (const std::int64_t huge : {kMost, std::int64_t{1} << 62, std::int64_t{1} << 32}) {
    for (const std::string name : {"codes", "codebook", "weight"}) {
      for (const bool first : {false, true}) {
        Made made = dense(4);
        made.node.parts["stages.0." + name].shape = {first ? 0 : huge, first ? huge : 0};
        refused(made, "part stages.0." + name + " is ");
      }
    }
    Made low = dense(4);
    low.put<float>("lowrank.left", Type::kFloat, {2, 0}, 0, 0.0f);
    low.put<float>("lowrank.right", Type::kFloat, {0, huge}, 0, 0.0f);
    refused(low, "part lowrank.left is ");
  }
}

// Two blocks of a thousand million rows each.
void long_orders() {
  Made order = dense(4);
  order.node.rows = kMostRows - 1;
  order.node.block = kMostRows / 2;
  order.put<std::int32_t>("order.shifts", Type::kInt32, {2}, 2, 0);
  refused(order, "rows: 2147483646, and the ");
  auto* shifts = static_cast<std::int32_t*>(const_cast<void*>(order.node.parts["order.shifts"].data));
  shifts[1] = -1;
  refused(order, "two rows in one place at block 1");
  for (const std::int32_t shift : {std::numeric_limits<std::int32_t>::min(), -1,
                                   std::numeric_limits<std::int32_t>::max()}) {
    shifts[0] = shift;
    refused(order, "row order leaves the table at block 0");
  }
}

void numbers() {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()}) {
    for (const std::string name : {"mean", "stages.0.scale"}) {
      Made made = dense(4);
      made.floats(name, 1, bad);
      refused(made, "numbers must be finite");
    }
  }
  Made book = dense(4);
  book.put<std::uint8_t>("stages.0.codebook", Type::kUint8, {256, 1}, 256, 128);
  refused(book, "more than seven bits: 128");
  Made gain = dense(4);
  gain.put<std::uint8_t>("gain.codes", Type::kUint8, {3}, 3, 0);
  gain.floats("gain.levels", 256);
  refused(gain, "gain.codes of rows: 3");
  gain.floats("gain.levels", 255);
  refused(gain, "part gain.levels is float [255]");
}

}  // namespace

int main() {
  largest_sums();
  sizes();
  empty_tensors();
  long_orders();
  numbers();
  std::printf("%d checks\n", checks);
}
