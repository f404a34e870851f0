// AVX-512 with VNNI: one instruction multiplies four latents into sixteen columns.

#include <immintrin.h>

#include "kernels.h"
#include "trellis_vbmi.h"

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

// A column's table for vpermt2w, 64 words at a time: word i of the first two registers holds entries
// i and i + 64, of the others i + 128 and i + 192. Six bits of a code choose the word, the seventh
// the byte in it, the eighth the pair of registers. (One instruction looks 64 bytes up in 128 where
// there is VBMI; this needs AVX-512BW alone.)
struct ColumnTable {
  __m512i low[2], high[2];

  explicit ColumnTable(const std::uint8_t* entries)
      : low{words(entries), words(entries + 32)}, high{words(entries + 128), words(entries + 160)} {}

  static __m512i words(const std::uint8_t* entries) {
    const __m512i first = widened(entries), second = widened(entries + 64);
    return _mm512_or_si512(first, _mm512_slli_epi16(second, 8));
  }

  static __m512i widened(const std::uint8_t* entries) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(entries)));
  }

  // Entries of 32 codes, which stand in the low bytes of words; the high bytes do not matter.
  __m512i at(__m512i codes, __mmask32 seventh, __mmask32 eighth) const {
    const __m512i below = _mm512_permutex2var_epi16(low[0], codes, low[1]);
    const __m512i above = _mm512_permutex2var_epi16(high[0], codes, high[1]);
    const __m512i both = _mm512_mask_blend_epi16(eighth, below, above);
    return _mm512_and_si512(_mm512_mask_srli_epi16(both, seventh, both, 8),
                            _mm512_set1_epi16(0xff));
  }
};

// Sums of even and of odd rows apart: codes come as words of two rows.
template <std::size_t kColumns>
void add_columns(const Columns& work, std::size_t column, std::size_t rows, std::uint16_t* even,
                std::uint16_t* odd) {
  static_assert(kColumns == 1 || kColumns == 2, "more tables than registers");
  const std::uint8_t* codes = work.codes + column * work.stride;
  const bool last = column + kColumns >= work.columns;
  const std::uint8_t* next = last ? work.next : codes + kColumns * work.stride;
  const std::uint8_t* tables = work.tables + column * 256;
  const ColumnTable table(tables), second(tables + (kColumns - 1) * 256);
  const __m512i bit6 = _mm512_set1_epi16(1 << 6), bit7 = _mm512_set1_epi16(1 << 7);
  for (std::size_t r = 0; r < rows; r += 64) {
    __m512i sums = _mm512_loadu_si512(even + r / 2), odd_sums = _mm512_loadu_si512(odd + r / 2);
    for (std::size_t p = 0; p < kColumns; ++p) {
      const ColumnTable& here = p ? second : table;
      // Processors foresee what follows in a column, not the next column.
      _mm_prefetch(reinterpret_cast<const char*>(next + p * work.stride + r), _MM_HINT_T0);
      const __m512i words = _mm512_loadu_si512(codes + p * work.stride + r);
      sums = _mm512_add_epi16(sums, here.at(words, _mm512_test_epi16_mask(words, bit6),
                                            _mm512_test_epi16_mask(words, bit7)));
      // The odd rows' highest bits are signs of words: found by another of the processor's ports.
      const __mmask32 seventh = _mm512_movepi16_mask(_mm512_slli_epi16(words, 1));
      odd_sums = _mm512_add_epi16(odd_sums, here.at(_mm512_srli_epi16(words, 8), seventh,
                                                    _mm512_movepi16_mask(words)));
    }
    _mm512_storeu_si512(even + r / 2, sums);
    _mm512_storeu_si512(odd + r / 2, odd_sums);
  }
}

std::size_t sum_whole(const Columns& work) {
  const std::size_t rows = work.rows / 64 * 64;
  alignas(64) std::uint16_t even[kColumnRows / 2], odd[kColumnRows / 2];
  std::fill(even, even + rows / 2, std::uint16_t{0});
  std::fill(odd, odd + rows / 2, std::uint16_t{0});
  std::size_t column = 0;
  for (; column + 2 <= work.columns; column += 2) add_columns<2>(work, column, rows, even, odd);
  if (column < work.columns) add_columns<1>(work, column, rows, even, odd);
  for (std::size_t i = 0; i < rows / 2; ++i) {
    work.sums[2 * i] = even[i];
    work.sums[2 * i + 1] = odd[i];
  }
  return rows;
}

// The two tables of a column of halves, each four times: vpshufb looks up within sixteen bytes.
struct HalfTables {
  __m512i upper, lower;

  explicit HalfTables(const std::uint8_t* entries)
      : upper(fourfold(entries)), lower(fourfold(entries + kHalf)) {}

  static __m512i fourfold(const std::uint8_t* entries) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
  }

  __m512i at(__m512i codes) const {
    const __m512i half = _mm512_set1_epi8(15);
    return _mm512_add_epi8(
        _mm512_shuffle_epi8(lower, _mm512_and_si512(codes, half)),
        _mm512_shuffle_epi8(upper, _mm512_and_si512(_mm512_srli_epi16(codes, 4), half)));
  }
};

// Of the words of two rows, sums of all sixteen bits and of the upper eight: what is left of the
// first without the second are the even rows'.
template <std::size_t kColumns>
void add_halves(const Columns& work, std::size_t column, std::size_t rows, std::uint16_t* words,
                std::uint16_t* odd) {
  static_assert(kColumns == 1 || kColumns == 4, "tables have names, not indices");
  const std::uint8_t* codes = work.codes + column * work.stride;
  const std::uint8_t* next =
      column + kColumns >= work.columns ? work.next : codes + kColumns * work.stride;
  const std::uint8_t* tables = work.tables + column * 2 * kHalf;
  constexpr std::size_t kStep = (kColumns - 1) / 3 * 2 * kHalf;  // 0 where there is one
  const HalfTables a(tables), b(tables + kStep), c(tables + 2 * kStep), d(tables + 3 * kStep);
  for (std::size_t r = 0; r < rows; r += 64) {
    __m512i all = _mm512_loadu_si512(words + r / 2), upper = _mm512_loadu_si512(odd + r / 2);
    for (std::size_t p = 0; p < kColumns; ++p) {
      const HalfTables& here = p == 0 ? a : p == 1 ? b : p == 2 ? c : d;
      const __m512i found = here.at(_mm512_loadu_si512(codes + p * work.stride + r));
      all = _mm512_add_epi16(all, found);
      upper = _mm512_add_epi16(upper, _mm512_srli_epi16(found, 8));
      _mm_prefetch(reinterpret_cast<const char*>(next + p * work.stride + r), _MM_HINT_T0);
    }
    _mm512_storeu_si512(words + r / 2, all);
    _mm512_storeu_si512(odd + r / 2, upper);
  }
}

std::size_t sum_whole_halves(const Columns& work) {
  const std::size_t rows = work.rows / 64 * 64;
  alignas(64) std::uint16_t words[kColumnRows / 2], odd[kColumnRows / 2];
  std::fill(words, words + rows / 2, std::uint16_t{0});
  std::fill(odd, odd + rows / 2, std::uint16_t{0});
  std::size_t column = 0;
  for (; column + 4 <= work.columns; column += 4) add_halves<4>(work, column, rows, words, odd);
  for (; column < work.columns; ++column) add_halves<1>(work, column, rows, words, odd);
  for (std::size_t i = 0; i < rows / 2; ++i) {
    work.sums[2 * i] = static_cast<std::uint16_t>(words[i] - (odd[i] << 8));
    work.sums[2 * i + 1] = odd[i];
  }
  return rows;
}

__m512 sixteen(const float* from) { return _mm512_loadu_ps(from); }

__m512 sixteen(const std::int8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

template <typename T>
float dot_of(const T* row, const float* vector, std::size_t width) {
  static_assert(kLanes == 4 * 16, "four registers");
  __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
  std::size_t column = 0;
  for (; column + kLanes <= width; column += kLanes) {
    const T* from = row + column;
    const float* with = vector + column;
    a = _mm512_add_ps(a, _mm512_mul_ps(sixteen(from), sixteen(with)));
    b = _mm512_add_ps(b, _mm512_mul_ps(sixteen(from + 16), sixteen(with + 16)));
    c = _mm512_add_ps(c, _mm512_mul_ps(sixteen(from + 32), sixteen(with + 32)));
    d = _mm512_add_ps(d, _mm512_mul_ps(sixteen(from + 48), sixteen(with + 48)));
  }
  if (column < width) {  // as a row that goes on with zeros
    T from[kLanes] = {};
    float with[kLanes] = {};
    std::copy(row + column, row + width, from);
    std::copy(vector + column, vector + width, with);
    a = _mm512_add_ps(a, _mm512_mul_ps(sixteen(from), sixteen(with)));
    b = _mm512_add_ps(b, _mm512_mul_ps(sixteen(from + 16), sixteen(with + 16)));
    c = _mm512_add_ps(c, _mm512_mul_ps(sixteen(from + 32), sixteen(with + 32)));
    d = _mm512_add_ps(d, _mm512_mul_ps(sixteen(from + 48), sixteen(with + 48)));
  }
  const __m512 all = _mm512_add_ps(_mm512_add_ps(a, c), _mm512_add_ps(b, d));
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  const __m128 four =
      _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

void combine(const float* factors, const float* rows, std::size_t count, std::size_t width,
             float* out) {
  for (std::size_t first = 0; first < width; first += 2 * 16) {
    __m512 a = _mm512_setzero_ps(), b = a;
    for (std::size_t r = 0; r < count; ++r) {
      const __m512 factor = _mm512_set1_ps(factors[r]);
      const float* row = rows + r * width + first;
      a = _mm512_add_ps(a, _mm512_mul_ps(factor, sixteen(row)));
      b = _mm512_add_ps(b, _mm512_mul_ps(factor, sixteen(row + 16)));
    }
    _mm512_storeu_ps(out + first, a);
    _mm512_storeu_ps(out + first + 16, b);
  }
}

#define LIGHTTOKEN_OWN_SUMS
#include "loops.inl"

bool runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

void decode_trellis_where_faster(const TrellisCodes& work) {
  if (!decode_trellis_vbmi(work)) decode_trellis(work);
}

}  // namespace

const Kernel& avx512_kernel() {
  static const Kernel kernel = [] {
    Kernel made = LIGHTTOKEN_KERNEL("avx512", runs_here);
    if (__builtin_cpu_supports("avx512vbmi")) {
      made.decode_trellis = decode_trellis_where_faster;
      made.multiply_trellis = multiply_trellis_vbmi;
    }
    return made;
  }();
  return kernel;
}

}  // namespace lighttoken
