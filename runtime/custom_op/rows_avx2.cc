// AVX2. Latents are of seven bits, so two products fit the sixteen bits they are first added in.

#include <immintrin.h>

#include "loops.h"

namespace lighttoken {
namespace {

// Sixteen columns are two registers; 4 rows x 2 sums, 2 weights, a latent and ones, of 16.
template <std::size_t kRows>
void multiply_rows(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    __m256i total[kRows][2];
    for (std::size_t r = 0; r < kRows; ++r) {
      total[r][0] = total[r][1] = _mm256_setzero_si256();
    }
    for (std::size_t quad = 0; quad < quads; ++quad) {
      const auto* here =
          reinterpret_cast<const __m256i*>(packed + (tile * quads + quad) * kTile * kQuad);
      const __m256i low = _mm256_loadu_si256(here), high = _mm256_loadu_si256(here + 1);
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t four;
        std::memcpy(&four, z + r * stride + quad * kQuad, sizeof four);
        const __m256i latents = _mm256_set1_epi32(four);
        total[r][0] = _mm256_add_epi32(
            total[r][0], _mm256_madd_epi16(_mm256_maddubs_epi16(latents, low), ones));
        total[r][1] = _mm256_add_epi32(
            total[r][1], _mm256_madd_epi16(_mm256_maddubs_epi16(latents, high), ones));
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      auto* out = reinterpret_cast<__m256i*>(sums + (r * tiles + tile) * kTile);
      _mm256_storeu_si256(out, total[r][0]);
      _mm256_storeu_si256(out + 1, total[r][1]);
    }
  }
}

#include "fours.inl"
#include "loops.inl"

bool runs_here() { return __builtin_cpu_supports("avx2"); }

}  // namespace

const Kernel& avx2_kernel() {
  static const Kernel kernel = LIGHTTOKEN_KERNEL("avx2", runs_here);
  return kernel;
}

}  // namespace lighttoken
