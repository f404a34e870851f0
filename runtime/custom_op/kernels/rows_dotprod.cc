// NEON with the dot product instructions of ARMv8.2: what most phones since 2018 have.

#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace lighttoken {
namespace {

constexpr std::size_t kParts = kTile / 4;  // registers of four columns by four latents

template <std::size_t kRows>
void multiply_rows(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    int32x4_t total[kRows][kParts];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t p = 0; p < kParts; ++p) total[r][p] = vdupq_n_s32(0);
    }
    for (std::size_t quad = 0; quad < quads; ++quad) {
      const std::int8_t* here = packed + (tile * quads + quad) * kTile * kQuad;
      int8x16_t weights[kParts];
      for (std::size_t p = 0; p < kParts; ++p) weights[p] = vld1q_s8(here + p * 16);
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t four;
        std::memcpy(&four, z + r * stride + quad * kQuad, sizeof four);
        // Latents are of seven bits, so they are signed bytes too.
        const int8x16_t latents = vreinterpretq_s8_s32(vdupq_n_s32(four));
        for (std::size_t p = 0; p < kParts; ++p) {
          total[r][p] = vdotq_s32(total[r][p], latents, weights[p]);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t p = 0; p < kParts; ++p) {
        vst1q_s32(sums + (r * tiles + tile) * kTile + p * 4, total[r][p]);
      }
    }
  }
}

#include "fours.inl"
#include "columns_neon.inl"
#include "loops.inl"

bool runs_here() {
#if defined(__linux__)
  return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__APPLE__)
  return true;  // every Apple processor that runs arm64 macOS or a current iOS
#else
  return false;
#endif
}

}  // namespace

const Kernel& dotprod_kernel() {
  static const Kernel kernel = LIGHTTOKEN_KERNEL("dotprod", runs_here);
  return kernel;
}

}  // namespace lighttoken
