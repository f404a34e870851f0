// NEON, for every 64-bit ARM. Latents are of seven bits, so they are signed bytes too.

#include <arm_neon.h>

#include "kernels.h"

namespace lighttoken {
namespace {

constexpr std::size_t kParts = kTile / 4;  // registers of four columns by four latents

template <std::size_t kRows>
void multiply_rows(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    // Of each column's four products, the sums of two pairs; they meet at the end.
    int32x4_t low[kRows][kParts], high[kRows][kParts];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t p = 0; p < kParts; ++p) low[r][p] = high[r][p] = vdupq_n_s32(0);
    }
    for (std::size_t quad = 0; quad < quads; ++quad) {
      const std::int8_t* here = packed + (tile * quads + quad) * kTile * kQuad;
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t four;
        std::memcpy(&four, z + r * stride + quad * kQuad, sizeof four);
        const int8x8_t latents = vreinterpret_s8_s32(vdup_n_s32(four));
        for (std::size_t p = 0; p < kParts; ++p) {
          const int8x16_t weights = vld1q_s8(here + p * 16);
          low[r][p] = vpadalq_s16(low[r][p], vmull_s8(latents, vget_low_s8(weights)));
          high[r][p] = vpadalq_s16(high[r][p], vmull_s8(latents, vget_high_s8(weights)));
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t p = 0; p < kParts; ++p) {
        vst1q_s32(sums + (r * tiles + tile) * kTile + p * 4, vpaddq_s32(low[r][p], high[r][p]));
      }
    }
  }
}

void multiply(const std::uint8_t* z, std::size_t stride, std::size_t rows, std::size_t quads,
              const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  for (; rows >= 2; rows -= 2, z += 2 * stride, sums += 2 * tiles * kTile) {
    multiply_rows<2>(z, stride, quads, packed, tiles, sums);
  }
  if (rows) multiply_rows<1>(z, stride, quads, packed, tiles, sums);
}

#include "columns_neon.inl"
#include "loops.inl"

bool runs_here() { return true; }

}  // namespace

const Kernel& neon_kernel() {
  static const Kernel kernel = LIGHTTOKEN_KERNEL("neon", runs_here);
  return kernel;
}

}  // namespace lighttoken
