// A fuzzer's bytes as numbers: what fuzz targets draw tables, ids and states from.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace lighttoken::fuzz {

// The input, read from its start; zeros once it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  std::int64_t upto(std::int64_t most) { return (byte() | byte() << 8) % (most + 1); }
  bool coin() { return byte() & 1; }
  float number() { return static_cast<float>(static_cast<std::int8_t>(byte())) / 16; }
  std::size_t left() const { return size_ - at_; }

  template <typename T>
  T raw() {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) bits |= std::uint64_t{byte()} << (8 * i);
    T value;
    std::memcpy(&value, &bits, sizeof value);  // of the processors here the low bytes come first
    return value;
  }

  // Small ones, any, and those that sums and products overflow with.
  std::int64_t integer() {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t kEdges[] = {0,           -1,          1,           127,     128,
                                       256,         264208,      132104,      132105,  1 << 20,
                                       1ll << 31,   2147483647,  -2147483648, 1ll << 32, 1ll << 40,
                                       1ll << 55,   1ll << 61,   1ll << 62,   kMost,   kMost - 1,
                                       kMost / 2,   kMost / 256, -kMost,      -kMost - 1};
    const std::uint8_t kind = byte();
    if (kind < 96) return byte();
    if (kind < 160) return kEdges[byte() % (sizeof kEdges / sizeof *kEdges)];
    if (kind < 208) return raw<std::int16_t>();
    return raw<std::int64_t>();
  }

  // Any bits, or one of those that arithmetic stumbles over.
  float real() {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    constexpr float kEdges[] = {0.0f,   -0.0f, 1.0f,     -1.0f,      3e38f, -3e38f,
                                1e-45f, 1e-38f, kInfinity, -kInfinity, 1e30f, 65520.0f};
    const std::uint8_t kind = byte();
    if (kind < 128) return number();
    if (kind < 192) return kEdges[byte() % (sizeof kEdges / sizeof *kEdges)];
    if (kind < 200) return std::numeric_limits<float>::quiet_NaN();
    return raw<float>();
  }

  template <typename T, typename Draw>
  T* fill(std::vector<std::unique_ptr<std::uint8_t[]>>& owner, std::int64_t count, Draw draw) {
    owner.emplace_back(new std::uint8_t[static_cast<std::size_t>(count) * sizeof(T)]);
    T* values = reinterpret_cast<T*>(owner.back().get());
    for (std::int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(draw());
    return values;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_, at_ = 0;
};

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// To the bit; of what is no number there are many kinds.
inline bool same(float a, float b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof a) == 0;
}

inline bool same(std::uint16_t a, std::uint16_t b) {
  return a == b || ((a & 0x7fff) > 0x7c00 && (b & 0x7fff) > 0x7c00);
}

inline void in_turn(std::size_t count, const std::function<void(std::size_t)>& work) {
  for (std::size_t i = 0; i < count; ++i) work(i);
}

}  // namespace lighttoken::fuzz
