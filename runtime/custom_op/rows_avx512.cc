// AVX-512 with VNNI: one instruction multiplies four latents into sixteen columns.

#include <immintrin.h>

#include "loops.h"

namespace lighttoken {
namespace {

constexpr std::size_t kTiles = 4;  // at once: 4 rows x 4 sums, 4 weights and a latent, of 32

__m512i latents_at(const std::uint8_t* z) {
  std::int32_t four;
  std::memcpy(&four, z, sizeof four);
  return _mm512_set1_epi32(four);
}

// Sums have names, not indices: compilers keep arrays of them in memory.
#define ZERO_ROW(r) \
  __m512i r##0 = zero, r##1 = zero, r##2 = zero, r##3 = zero;
#define ADD_ROW(r, row)                                                  \
  if constexpr (kRows > row) {                                           \
    const __m512i latents = latents_at(z + row * stride + quad * kQuad); \
    r##0 = _mm512_dpbusd_epi32(r##0, latents, weights0);                 \
    r##1 = _mm512_dpbusd_epi32(r##1, latents, weights1);                 \
    r##2 = _mm512_dpbusd_epi32(r##2, latents, weights2);                 \
    r##3 = _mm512_dpbusd_epi32(r##3, latents, weights3);                 \
  }
#define STORE_ROW(r, row)                                 \
  if constexpr (kRows > row) {                            \
    std::int32_t* out = sums + row * tiles * kTile;       \
    _mm512_storeu_si512(out, r##0);                       \
    _mm512_storeu_si512(out + kTile, r##1);               \
    _mm512_storeu_si512(out + 2 * kTile, r##2);           \
    _mm512_storeu_si512(out + 3 * kTile, r##3);           \
  }

template <std::size_t kRows>
void multiply_four(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  const std::size_t step = quads * kTile * kQuad;
  const __m512i zero = _mm512_setzero_si512();
  ZERO_ROW(a) ZERO_ROW(b) ZERO_ROW(c) ZERO_ROW(d)
  for (std::size_t quad = 0; quad < quads; ++quad) {
    const std::int8_t* here = packed + quad * kTile * kQuad;
    const __m512i weights0 = _mm512_loadu_si512(here);
    const __m512i weights1 = _mm512_loadu_si512(here + step);
    const __m512i weights2 = _mm512_loadu_si512(here + 2 * step);
    const __m512i weights3 = _mm512_loadu_si512(here + 3 * step);
    ADD_ROW(a, 0) ADD_ROW(b, 1) ADD_ROW(c, 2) ADD_ROW(d, 3)
  }
  STORE_ROW(a, 0) STORE_ROW(b, 1) STORE_ROW(c, 2) STORE_ROW(d, 3)
}

void multiply_one(const std::uint8_t* z, std::size_t quads, const std::int8_t* packed,
                  std::int32_t* sums) {
  __m512i total = _mm512_setzero_si512();
  for (std::size_t quad = 0; quad < quads; ++quad) {
    const __m512i weights = _mm512_loadu_si512(packed + quad * kTile * kQuad);
    total = _mm512_dpbusd_epi32(total, latents_at(z + quad * kQuad), weights);
  }
  _mm512_storeu_si512(sums, total);
}

template <std::size_t kRows>
void multiply_rows(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  const std::size_t step = quads * kTile * kQuad;
  std::size_t tile = 0;
  for (; tile + kTiles <= tiles; tile += kTiles) {
    multiply_four<kRows>(z, stride, quads, packed + tile * step, tiles, sums + tile * kTile);
  }
  for (; tile < tiles; ++tile) {
    for (std::size_t r = 0; r < kRows; ++r) {
      multiply_one(z + r * stride, quads, packed + tile * step, sums + (r * tiles + tile) * kTile);
    }
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
