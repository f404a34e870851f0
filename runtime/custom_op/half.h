// Numbers of half precision, as their 16 bits.

#pragma once

#include <cstdint>
#include <cstring>

namespace lighttoken {

inline float from_half(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  std::uint32_t bits = (magnitude << 13) + 0x38000000u;  // another exponent's bias
  if (magnitude >= 0x7c00u) bits = (magnitude << 13) | 0x7f800000u;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  if (magnitude < 0x0400u) value = static_cast<float>(magnitude) * 0x1p-24f;
  return sign ? -value : value;
}

}  // namespace lighttoken
