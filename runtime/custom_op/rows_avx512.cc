// AVX-512 with VNNI: one instruction multiplies four latents into sixteen columns.

#include <immintrin.h>

#include "loops.h"

namespace lighttoken {
namespace {

__m512i latents_at(const std::uint8_t* z) {
  std::int32_t four;
  std::memcpy(&four, z, sizeof four);
  return _mm512_set1_epi32(four);
}

// Sums have names, not indices: compilers keep arrays of them in memory. Rows or tiles beyond the
// template's numbers are dropped by the compiler.
#define EACH_TILE(DO, r) DO(r, 0) DO(r, 1) DO(r, 2) DO(r, 3) DO(r, 4) DO(r, 5)
#define EACH_ROW(DO) DO(a, 0) DO(b, 1) DO(c, 2) DO(d, 3) DO(e, 4) DO(f, 5) DO(g, 6) DO(h, 7)

#define ZERO(r, t) __m512i r##t = zero;
#define ZERO_ROW(r, row) EACH_TILE(ZERO, r)
#define LOAD(r, t) const __m512i weights##t = kTiles > t ? _mm512_loadu_si512(here + t * step) : zero;
#define ADD(r, t) \
  if constexpr (kTiles > t) r##t = _mm512_dpbusd_epi32(r##t, latents, weights##t);
#define ADD_ROW(r, row)                                                  \
  if constexpr (kRows > row) {                                           \
    const __m512i latents = latents_at(z + row * stride + quad * kQuad); \
    EACH_TILE(ADD, r)                                                    \
  }
#define STORE(r, t) if constexpr (kTiles > t) _mm512_storeu_si512(out + t * kTile, r##t);
#define STORE_ROW(r, row)                                 \
  if constexpr (kRows > row) {                            \
    std::int32_t* out = sums + row * tiles * kTile;       \
    EACH_TILE(STORE, r)                                   \
  }

template <std::size_t kRows, std::size_t kTiles>
void multiply_tiles(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                    const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  static_assert(kRows <= 8 && kTiles <= 6 && kRows * kTiles + kTiles < 32, "too few registers");
  const std::size_t step = quads * kTile * kQuad;
  const __m512i zero = _mm512_setzero_si512();
  EACH_ROW(ZERO_ROW)
  for (std::size_t quad = 0; quad < quads; ++quad) {
    const std::int8_t* here = packed + quad * kTile * kQuad;
    EACH_TILE(LOAD, )
    EACH_ROW(ADD_ROW)
  }
  EACH_ROW(STORE_ROW)
}

static_assert(kBlockTiles == 6 && kBlockRows == 8, "tiles below divide the block's");

// More tiles where there are few rows: enough sums at once to hide how long one takes.
template <std::size_t kRows>
void multiply_rows(const std::uint8_t* z, std::size_t stride, std::size_t quads,
                   const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  constexpr std::size_t kTiles = kRows <= 4 ? 6 : 3;
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
    case 4: return multiply_rows<4>(z, stride, quads, packed, tiles, sums);
    case 5: return multiply_rows<5>(z, stride, quads, packed, tiles, sums);
    case 6: return multiply_rows<6>(z, stride, quads, packed, tiles, sums);
    case 7: return multiply_rows<7>(z, stride, quads, packed, tiles, sums);
    default: return multiply_rows<8>(z, stride, quads, packed, tiles, sums);
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
