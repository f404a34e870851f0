// Bytes of a trellis decoded, and multiplied with a row, by AVX-512 with VBMI, which looks 64 bytes up
// at once.

#include "trellis_vbmi.h"

#include <immintrin.h>

namespace lighttoken {
namespace {

constexpr std::size_t kAhead = 3;  // quads of rows that are asked for beforehand
// Entries for the upper `kBits` of a byte (kUpper), or for its lower ones; up to six bits are one table
// of 64, which has them several times over, since an instruction reads six.
template <int kBits, bool kUpper>
struct Lookup {
  static_assert(kBits <= 6 || kBits == 8, "tables of 64 or 256");
  __m512i part[kBits <= 6 ? 1 : 4];

  // Of `number`, from [256, per_byte].
  Lookup(const std::int8_t* entries, std::size_t per_byte, std::size_t number) {
    alignas(64) std::int8_t table[kEntries];
    for (std::size_t i = 0; i < kEntries; ++i) {
      const std::size_t low = i & ((std::size_t{1} << kBits) - 1);
      table[i] = entries[(kUpper ? low << (8 - kBits) : low) * per_byte + number];
    }
    for (std::size_t i = 0; i < (kBits <= 6 ? 1 : 4); ++i) {
      part[i] = _mm512_load_si512(table + 64 * i);
    }
  }

  __m512i at(__m512i bytes) const {
    if constexpr (kBits <= 6) {
      const __m512i index = kUpper ? _mm512_srli_epi16(bytes, 8 - kBits) : bytes;
      return _mm512_permutexvar_epi8(index, part[0]);
    } else {
      const __m512i below = _mm512_permutex2var_epi8(part[0], bytes, part[1]);
      const __m512i above = _mm512_permutex2var_epi8(part[2], bytes, part[3]);
      return _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), below, above);
    }
  }
};

template <std::size_t kPerByte, std::size_t kNumber>
struct NumberTables {
  Lookup<own_bits(kPerByte, kNumber), true> current;
  Lookup<bits_before(kPerByte, kNumber), false> previous;

  explicit NumberTables(const TrellisTables& tables)
      : current(tables.current, kPerByte, kNumber), previous(tables.previous, kPerByte, kNumber) {}

  __m512i at(__m512i bytes, __m512i before) const {
    return _mm512_add_epi8(current.at(bytes), previous.at(before));
  }
};

// The tables of all numbers of a byte; of numbers beyond, those of another, never looked up in.
template <std::size_t kPerByte>
struct ByteTables {
  NumberTables<kPerByte, 0> a;
  NumberTables<kPerByte, 1> b;
  NumberTables<kPerByte, kPerByte == 2 ? 1 : 2> c;
  NumberTables<kPerByte, kPerByte == 4 ? 3 : 1> d;

  explicit ByteTables(const TrellisTables& tables) : a(tables), b(tables), c(tables), d(tables) {}
};

// Sixteen bytes of four rows, those of one place side by side; zeros where `wanted` has none.
__m512i four_rows(const std::uint8_t* from, std::size_t stride, __m512i order,
                  __mmask16 wanted = 0xffff) {
  const auto row = [&](std::size_t r) { return _mm_maskz_loadu_epi8(wanted, from + r * stride); };
  const __m256i lower = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
  const __m256i upper = _mm256_inserti128_si256(_mm256_castsi128_si256(row(2)), row(3), 1);
  return _mm512_permutexvar_epi8(order,
                                 _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1));
}

__m512i order_of_four() {
  alignas(64) std::uint8_t places[64];
  for (std::size_t i = 0; i < 64; ++i) places[i] = static_cast<std::uint8_t>(i % 4 * 16 + i / 4);
  return _mm512_load_si512(places);
}

// What stands before the first bytes of rows: nothing, and each of the others moves up by one place.
__m512i moved_up(__m512i bytes) {
  const __m512i from = _mm512_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
  return _mm512_maskz_permutexvar_epi32(0xfffe, from, bytes);
}

// The same of bytes that follow others.
__m512i one_later(__m512i others, __m512i bytes) { return _mm512_alignr_epi32(bytes, others, 15); }

template <std::size_t kPerByte>
void decode(const TrellisCodes& work) {
  const __m512i order = order_of_four();
  const ByteTables<kPerByte> tables(*work.tables);
  const std::size_t quads = work.rows / kQuad, step = quads * kTile * kQuad;
  const auto wanted = static_cast<__mmask16>((1u << work.bytes) - 1);
  for (std::size_t quad = 0; quad < quads; ++quad) {
    const std::uint8_t* from = work.codes + quad * kQuad * work.stride;
    const __m512i bytes = four_rows(from, work.stride, order, wanted);
    const __m512i before =
        work.first ? moved_up(bytes) : four_rows(from - 1, work.stride, order, wanted);
    std::int8_t* to = work.packed + quad * kTile * kQuad;
    _mm512_storeu_si512(to, tables.a.at(bytes, before));
    _mm512_storeu_si512(to + step, tables.b.at(bytes, before));
    if constexpr (kPerByte > 2) _mm512_storeu_si512(to + 2 * step, tables.c.at(bytes, before));
    if constexpr (kPerByte > 3) _mm512_storeu_si512(to + 3 * step, tables.d.at(bytes, before));
  }
}

// Sums of the four, or fewer, tiles that start at one byte of the codes.
struct TileSums {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;

  template <std::size_t kPerByte>
  void add(const ByteTables<kPerByte>& tables, __m512i bytes, __m512i before, __m512i latents) {
    a = _mm512_dpbusd_epi32(a, latents, tables.a.at(bytes, before));
    b = _mm512_dpbusd_epi32(b, latents, tables.b.at(bytes, before));
    if constexpr (kPerByte > 2) c = _mm512_dpbusd_epi32(c, latents, tables.c.at(bytes, before));
    if constexpr (kPerByte > 3) d = _mm512_dpbusd_epi32(d, latents, tables.d.at(bytes, before));
  }

  template <std::size_t kPerByte>
  void store(std::int32_t* to) const {
    _mm512_storeu_si512(to, a);
    _mm512_storeu_si512(to + kTile, b);
    if constexpr (kPerByte > 2) _mm512_storeu_si512(to + 2 * kTile, c);
    if constexpr (kPerByte > 3) _mm512_storeu_si512(to + 3 * kTile, d);
  }
};

// `kMoves` times sixteen bytes: what a row asks of memory is read while it is in the nearest cache.
template <std::size_t kPerByte, std::size_t kMoves>
void multiply(const TrellisCodes& work, std::size_t from, const std::uint8_t* latents,
              std::int32_t* sums) {
  static_assert(kMoves == 1 || kMoves == 2 || kMoves == 4, "sums have names, not indices");
  const __m512i order = order_of_four();
  const ByteTables<kPerByte> tables(*work.tables);
  const bool first = work.first && from == 0;
  TileSums w, x, y, z;
  for (std::size_t quad = 0; quad < work.rows / kQuad; ++quad) {
    std::int32_t four;
    std::memcpy(&four, latents + quad * kQuad, sizeof four);
    const __m512i with = _mm512_set1_epi32(four);
    const std::uint8_t* codes = work.codes + quad * kQuad * work.stride + from;
    for (std::size_t r = 0; r < kQuad; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(codes + (kAhead * kQuad + r) * work.stride),
                   _MM_HINT_T0);
    }
    const __m512i start = four_rows(codes, work.stride, order);
    w.add(tables, start, first ? moved_up(start) : four_rows(codes - 1, work.stride, order), with);
    if constexpr (kMoves > 1) {
      const __m512i second = four_rows(codes + kTile, work.stride, order);
      x.add(tables, second, one_later(start, second), with);
      if constexpr (kMoves > 2) {
        const __m512i third = four_rows(codes + 2 * kTile, work.stride, order);
        const __m512i fourth = four_rows(codes + 3 * kTile, work.stride, order);
        y.add(tables, third, one_later(second, third), with);
        z.add(tables, fourth, one_later(third, fourth), with);
      }
    }
  }
  constexpr std::size_t kStep = kPerByte * kTile;
  sums += from * kPerByte;
  w.template store<kPerByte>(sums);
  if constexpr (kMoves > 1) x.template store<kPerByte>(sums + kStep);
  if constexpr (kMoves > 2) {
    y.template store<kPerByte>(sums + 2 * kStep);
    z.template store<kPerByte>(sums + 3 * kStep);
  }
}

template <std::size_t kPerByte>
void multiply_all(const TrellisCodes& work, const std::uint8_t* latents, std::int32_t* sums) {
  constexpr std::size_t kMoves = kPerByte == 4 ? 2 : 4;  // as many as there are registers
  std::size_t from = 0;
  for (; from + kMoves * kTile <= work.bytes; from += kMoves * kTile) {
    multiply<kPerByte, kMoves>(work, from, latents, sums);
  }
  for (; from < work.bytes; from += kTile) multiply<kPerByte, 1>(work, from, latents, sums);
}

}  // namespace

bool decode_trellis_vbmi(const TrellisCodes& work) {
  if (work.rows % kQuad) return false;
  switch (work.tables->per_byte) {
    case 2: decode<2>(work); break;
    case 3: decode<3>(work); break;
    default: decode<4>(work);
  }
  return true;
}

bool multiply_trellis_vbmi(const TrellisCodes& work, const std::uint8_t* latents,
                           std::int32_t* sums) {
  if (work.rows % kQuad || work.bytes % kTile) return false;
  switch (work.tables->per_byte) {
    case 2: multiply_all<2>(work, latents, sums); break;
    case 3: multiply_all<3>(work, latents, sums); break;
    default: multiply_all<4>(work, latents, sums);
  }
  return true;
}

}  // namespace lighttoken
