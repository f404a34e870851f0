// AVX2. Latents are of seven bits, so two products fit the sixteen bits they are first added in.

#include <immintrin.h>

#include "kernels.h"

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

// A table of 256 in sixteen registers of sixteen entries. vpshufb looks up by the lowest four bits
// and gives zero for negative indices. So with each register's entries stored as what changes from
// the register before (exclusive or), and sixteen taken from the index at each step until it is
// negative, the exclusive or of all that was found is the entry. The upper half of the table, of
// codes whose eighth bit is set, goes the same way with that bit turned.
struct ColumnTable {
  __m256i changes[16];

  explicit ColumnTable(const std::uint8_t* entries) {
    __m128i before = _mm_setzero_si128();
    for (std::size_t j = 0; j < 16; ++j) {
      const __m128i here = _mm_loadu_si128(reinterpret_cast<const __m128i*>(entries) + j);
      changes[j] = _mm256_broadcastsi128_si256(j == 8 ? here : _mm_xor_si128(here, before));
      before = here;
    }
  }

  __m256i at(__m256i codes) const {
    const __m256i sixteen = _mm256_set1_epi8(16);
    __m256i low = codes, high = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    __m256i found = _mm256_setzero_si256(), more = found;
    for (std::size_t j = 0; j < 8; ++j) {
      found = _mm256_xor_si256(found, _mm256_shuffle_epi8(changes[j], low));
      more = _mm256_xor_si256(more, _mm256_shuffle_epi8(changes[8 + j], high));
      low = _mm256_subs_epi8(low, sixteen);
      high = _mm256_subs_epi8(high, sixteen);
    }
    return _mm256_xor_si256(found, more);
  }
};

// The two tables of a column of halves, each twice.
struct HalfTables {
  __m256i upper, lower;

  explicit HalfTables(const std::uint8_t* entries)
      : upper(twofold(entries)), lower(twofold(entries + kHalf)) {}

  static __m256i twofold(const std::uint8_t* entries) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
  }

  __m256i at(__m256i codes) const {
    const __m256i half = _mm256_set1_epi8(15);
    return _mm256_add_epi8(
        _mm256_shuffle_epi8(lower, _mm256_and_si256(codes, half)),
        _mm256_shuffle_epi8(upper, _mm256_and_si256(_mm256_srli_epi16(codes, 4), half)));
  }
};

// Of the words of two rows, sums of all sixteen bits and of the upper eight: what is left of the
// first without the second are the even rows'.
template <typename Tables>
std::size_t sum_words(const Columns& work, std::size_t entries) {
  const std::size_t rows = work.rows / 32 * 32;
  alignas(64) std::uint16_t words[kColumnRows / 2], odd[kColumnRows / 2];
  std::fill(words, words + rows / 2, std::uint16_t{0});
  std::fill(odd, odd + rows / 2, std::uint16_t{0});
  for (std::size_t p = 0; p < work.columns; ++p) {
    const Tables tables(work.tables + p * entries);
    const std::uint8_t* codes = work.codes + p * work.stride;
    const std::uint8_t* next = p + 1 < work.columns ? codes + work.stride : work.next;
    for (std::size_t r = 0; r < rows; r += 32) {
      // Processors foresee what follows in a column, not the next column.
      if (r % 64 == 0) _mm_prefetch(reinterpret_cast<const char*>(next + r), _MM_HINT_T0);
      const __m256i found =
          tables.at(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + r)));
      auto* all = reinterpret_cast<__m256i*>(words + r / 2);
      auto* upper = reinterpret_cast<__m256i*>(odd + r / 2);
      _mm256_storeu_si256(all, _mm256_add_epi16(_mm256_loadu_si256(all), found));
      _mm256_storeu_si256(
          upper, _mm256_add_epi16(_mm256_loadu_si256(upper), _mm256_srli_epi16(found, 8)));
    }
  }
  for (std::size_t i = 0; i < rows / 2; ++i) {
    work.sums[2 * i] = static_cast<std::uint16_t>(words[i] - (odd[i] << 8));
    work.sums[2 * i + 1] = odd[i];
  }
  return rows;
}

std::size_t sum_whole(const Columns& work) { return sum_words<ColumnTable>(work, kEntries); }

std::size_t sum_whole_halves(const Columns& work) { return sum_words<HalfTables>(work, 2 * kHalf); }

#include "fours.inl"
#include "loops.inl"

bool runs_here() { return __builtin_cpu_supports("avx2"); }

}  // namespace

const Kernel& avx2_kernel() {
  static const Kernel kernel = LIGHTTOKEN_KERNEL("avx2", runs_here);
  return kernel;
}

}  // namespace lighttoken
