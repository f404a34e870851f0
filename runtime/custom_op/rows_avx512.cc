// AVX-512 with VNNI: one instruction multiplies four latents into sixteen columns.

#include <immintrin.h>

#include "loops.h"

namespace lighttoken {
namespace {

constexpr std::size_t kTiles = 6;  // at once: 4 rows x 6 sums, 6 weights and a latent, of 32

template <std::size_t kRows, std::size_t kCount>
void multiply_tiles(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                    const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  __m512i total[kRows][kCount];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t t = 0; t < kCount; ++t) total[r][t] = _mm512_setzero_si512();
  }
  for (std::size_t quad = 0; quad < quads; ++quad) {
    __m512i weights[kCount];
    for (std::size_t t = 0; t < kCount; ++t) {
      weights[t] = _mm512_loadu_si512(packed + (t * quads + quad) * kTile * kQuad);
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      std::int32_t four;
      std::memcpy(&four, z + r * stride + quad * kQuad, sizeof four);
      const __m512i latents = _mm512_set1_epi32(four);
      for (std::size_t t = 0; t < kCount; ++t) {
        total[r][t] = _mm512_dpbusd_epi32(total[r][t], latents, weights[t]);
      }
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t t = 0; t < kCount; ++t) {
      _mm512_storeu_si512(sums + (r * tiles + t) * kTile, total[r][t]);
    }
  }
}

template <std::size_t kRows>
void multiply_rows(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  const std::size_t step = quads * kTile * kQuad;
  std::size_t tile = 0;
  for (; tile + kTiles <= tiles; tile += kTiles) {
    multiply_tiles<kRows, kTiles>(z, stride, quads, packed + tile * step, tiles,
                                  sums + tile * kTile);
  }
  for (; tile < tiles; ++tile) {
    multiply_tiles<kRows, 1>(z, stride, quads, packed + tile * step, tiles, sums + tile * kTile);
  }
}

void multiply(const std::uint8_t* z, std::size_t stride, std::size_t rows, std::size_t quads,
              const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  switch (rows) {
    case 1: return multiply_rows<1>(z, stride, quads, packed, tiles, sums);
    case 2: return multiply_rows<2>(z, stride, quads, packed, tiles, sums);
    case 3: return multiply_rows<3>(z, stride, quads, packed, tiles, sums);
    default: return multiply_rows<4>(z, stride, quads, packed, tiles, sums);
  }
}

#include "loops.inl"

bool runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

const Kernel& avx512_kernel() {
  static const Kernel kernel = LIGHTTOKEN_KERNEL("avx512", runs_here);
  return kernel;
}

}  // namespace lighttoken
