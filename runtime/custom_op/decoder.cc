#include "decoder.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/kernels.h"
#include "room.h"

namespace lighttoken {
namespace {

constexpr std::size_t kMove = 16;  // bytes that every processor here moves at once

constexpr std::size_t kMostIds = 1u << 31;  // of a call: their indices are of 32 bits

// Memory that a thread keeps from call to call.
struct Scratch {
  Buffer<std::uint8_t> codes;
  Buffer<std::uint8_t> latents;
  Buffer<float> rows;
};

// Where each id of a call first stood.
struct Firsts {
  Buffer<std::uint32_t> slots;   // a hash table of indices, plus one
  std::vector<std::uint32_t> unique;  // indices of ids seen for the first time
  Buffer<std::uint32_t> first;   // of each id, the index where it first stood
};

Scratch& scratch() {
  thread_local Scratch mine;
  return mine;
}

Firsts& firsts() {
  thread_local Firsts mine;
  return mine;
}

// Entries of at most kMove bytes: what a move writes too much, the next one writes over.
void look_up(const std::uint8_t* __restrict codes, std::size_t bytes, std::size_t k,
             const std::uint8_t* __restrict book, std::uint8_t* __restrict latents) {
  for (std::size_t b = 0; b < bytes; ++b, latents += k) {
    std::memcpy(latents, book + codes[b] * kMove, kMove);
  }
}

// Keeps what is rare out of a hot loop's way.
#if defined(__GNUC__)
#define LIGHTTOKEN_ASIDE __attribute__((noinline))
#else
#define LIGHTTOKEN_ASIDE
#endif

// The codes of a position column-major, one after the other.
LIGHTTOKEN_ASIDE const std::uint8_t* gathered(const Stage& stage, std::int64_t position) {
  std::uint8_t* codes = room(scratch().codes, static_cast<std::size_t>(stage.bytes));
  for (std::int64_t b = 0; b < stage.bytes; ++b) codes[b] = stage.codes[b * stage.stride + position];
  return codes;
}

LIGHTTOKEN_ASIDE void prefetch_columns(const Stage& stage, std::int64_t position) {
#if defined(__GNUC__)
  for (std::int64_t b = 0; b < stage.bytes; ++b) {
    __builtin_prefetch(stage.codes + b * stage.stride + position);
  }
#else
  static_cast<void>(stage), static_cast<void>(position);
#endif
}

// int8 [latents, width] as [tiles][quads][kTile][kQuad], filled up with zeros.
Buffer<std::int8_t> pack(const Stage& stage, std::size_t width, std::size_t tiles) {
  const std::size_t latents = static_cast<std::size_t>(stage.latents);
  const std::size_t quads = (latents + kQuad - 1) / kQuad;
  Buffer<std::int8_t> packed(tiles * quads * kTile * kQuad);
  for (std::size_t l = 0; l < latents; ++l) {
    for (std::size_t c = 0; c < width; ++c) {
      const std::size_t tile = c / kTile, quad = l / kQuad;
      packed[((tile * quads + quad) * kTile + c % kTile) * kQuad + l % kQuad] =
          stage.weight[l * width + c];
    }
  }
  return packed;
}

// A codebook [256, k] as [256, kMove]; empty where an entry is longer.
Buffer<std::uint8_t> spaced(const Stage& stage) {
  const std::size_t k = static_cast<std::size_t>(stage.k);
  if (k > kMove) return {};
  Buffer<std::uint8_t> book(256 * kMove);
  for (std::size_t entry = 0; entry < 256; ++entry) {
    std::copy_n(stage.codebook + entry * k, k, book.data() + entry * kMove);
  }
  return book;
}

Buffer<std::int32_t> zero_point_sums(const Stage& stage, std::size_t width) {
  Buffer<std::int32_t> sums(width);
  for (std::int64_t l = 0; l < stage.latents; ++l) {
    for (std::size_t c = 0; c < width; ++c) sums[c] += stage.weight[l * width + c];
  }
  for (std::int32_t& sum : sums) sum *= stage.zero;
  return sums;
}

}  // namespace

// Decodes up to kRowsAtOnce rows.
struct Rows {
  const Decoder& decoder;
  const Kernel& kernel = *decoder.kernel_;
  const Table& table = decoder.table_;
  std::size_t width = static_cast<std::size_t>(decoder.table_.width);
  std::size_t count = 0;
  std::int64_t ids[kRowsAtOnce] = {};
  std::int64_t positions[kRowsAtOnce] = {};
  float* out[kRowsAtOnce] = {};
  bool begun[kRowsAtOnce] = {};  // whether anything has been written to the row

  void add(std::int64_t id, float* to) {
    ids[count] = id;
    positions[count] = table.shifts ? id + table.shifts[id / table.block] : id;
    out[count] = to;
    begun[count] = false;
    prefetch(positions[count++]);
  }

  // The codes of a row, which lie anywhere in the table: asked for here, read by add_stage.
  void prefetch(std::int64_t position) const {
#if defined(__GNUC__)
    for (const Stage& stage : table.stages) {
      if (position >= stage.rows) continue;
      if (table.column_major) {
        prefetch_columns(stage, position);
        continue;
      }
      const std::uint8_t* codes = stage.codes + position * stage.bytes;
      __builtin_prefetch(codes);
      __builtin_prefetch(codes + stage.bytes - 1);
    }
#else
    static_cast<void>(position);
#endif
  }

  void decode() {
    if (table.low_rank.rank) add_low_rank();
    for (std::size_t s = 0; s < table.stages.size(); ++s) add_stage(s);
    for (std::size_t r = 0; r < count; ++r) {
      if (table.is_zero(ids[r])) {
        std::fill(out[r], out[r] + width, 0.0f);
        continue;
      }
      begin(r);
      const bool tail = table.tail && positions[r] >= decoder.covered_;
      const bool has_gain = table.gain_codes && positions[r] < table.gain_rows;
      const float gain = has_gain ? table.gain_levels[table.gain_codes[positions[r]]] : 1.0f;
      kernel.finish(gain, has_gain, tail ? table.tail : table.mean, width, out[r]);
    }
  }

  // Before anything is added to what has to be zero then.
  void begin(std::size_t r) {
    if (!begun[r]) std::fill(out[r], out[r] + width, 0.0f);
    begun[r] = true;
  }

  void add_low_rank() {
    const LowRank& factors = table.low_rank;
    for (std::size_t r = 0; r < count; ++r) {
      begin(r);
      for (std::int64_t k = 0; k < factors.rank; ++k) {
        const std::int64_t place =
            table.column_major ? k * table.rows + ids[r] : ids[r] * factors.rank + k;
        if (factors.left) {
          kernel.add_int8_row(static_cast<float>(factors.left[place]),
                              factors.right + k * table.width, factors.scale[k], width, out[r]);
        } else {
          kernel.add_row(factors.float_left[place], factors.float_right + k * table.width, width,
                         out[r]);
        }
      }
    }
  }

  void add_stage(std::size_t index) {
    const Stage& stage = table.stages[index];
    const std::size_t quads = static_cast<std::size_t>(stage.latents + kQuad - 1) / kQuad;
    const std::size_t bytes = static_cast<std::size_t>(stage.bytes * stage.k);
    const std::size_t stride = std::max(quads * kQuad, bytes) + kMove;
    std::uint8_t* latents = room(scratch().latents, kRowsAtOnce * stride);
    std::size_t covered[kRowsAtOnce], n = 0;
    for (std::size_t r = 0; r < count; ++r) {
      if (positions[r] >= stage.rows) continue;
      unpack(index, positions[r], latents + n * stride);
      covered[n++] = r;
    }
    if (stage.weight && n) {
      bool first[kRowsAtOnce];
      float* to[kRowsAtOnce];
      for (std::size_t i = 0; i < n; ++i) {
        first[i] = !begun[covered[i]];
        begun[covered[i]] = true;
        to[i] = out[covered[i]];
      }
      kernel.add_dense({latents, stride, n, quads, decoder.packed_[index].data(),
                        decoder.offset_[index].data(), stage.scale, width, first, to});
      return;
    }
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t r = covered[i];
      if (stage.float_weight) {
        add_float_stage(stage, latents + i * stride, r);
      } else {
        kernel.add_columns(latents + i * stride, stage.zero, stage.scale, width, !begun[r], out[r]);
        begun[r] = true;
      }
    }
  }

  void add_float_stage(const Stage& stage, const std::uint8_t* latents, std::size_t r) {
    begin(r);
    for (std::int64_t l = 0; l < stage.latents; ++l) {
      kernel.add_row(static_cast<float>(static_cast<int>(latents[l]) - stage.zero),
                     stage.float_weight + l * table.width, width, out[r]);
    }
  }

  // The latents of a position, zeros (whose weights are zeros too) up to a whole quad.
  void unpack(std::size_t index, std::int64_t position, std::uint8_t* latents) const {
    const Stage& stage = table.stages[index];
    const std::uint8_t* codes =
        table.column_major ? gathered(stage, position) : stage.codes + position * stage.bytes;
    const std::size_t bytes = static_cast<std::size_t>(stage.bytes);
    const std::size_t k = static_cast<std::size_t>(stage.k);
    if (k <= kMove) {
      look_up(codes, bytes, k, decoder.books_[index].data(), latents);
    } else {
      for (std::size_t b = 0; b < bytes; ++b) {
        std::memcpy(latents + b * k, stage.codebook + codes[b] * k, k);
      }
    }
    std::memset(latents + stage.latents, 0, kQuad);
  }
};

Decoder::Decoder(const Table& table, const std::string& kernel)
    : table_(table), kernel_(&find_kernel(kernel)), covered_(table.covered()) {
  check(table_);
  const std::size_t width = static_cast<std::size_t>(table_.width);
  const std::size_t tiles = (width + kTile - 1) / kTile;
  packed_.resize(table_.stages.size());
  offset_.resize(table_.stages.size());
  books_.resize(table_.stages.size());
  for (std::size_t s = 0; s < table_.stages.size(); ++s) {
    const Stage& stage = table_.stages[s];
    books_[s] = spaced(stage);
    if (!stage.weight) continue;
    packed_[s] = pack(stage, width, tiles);
    offset_[s] = zero_point_sums(stage, width);
  }
}

namespace {

// Marks equal ids: `unique` holds where each was first seen. One pass, open addressing.
template <typename Id>
Firsts& find_firsts(const Id* ids, std::size_t count) {
  Firsts& found = firsts();
  std::size_t size = 16;
  while (size < 2 * count) size *= 2;
  std::uint32_t* slots = room(found.slots, size);
  std::fill(slots, slots + size, 0u);
  std::uint32_t* first = room(found.first, count);
  found.unique.clear();
  found.unique.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t slot = (static_cast<std::uint64_t>(ids[i]) * 0x9e3779b97f4a7c15u >> 32) & (size - 1);
    while (slots[slot] && ids[slots[slot] - 1] != ids[i]) slot = (slot + 1) & (size - 1);
    if (!slots[slot]) {
      slots[slot] = static_cast<std::uint32_t>(i + 1);
      found.unique.push_back(static_cast<std::uint32_t>(i));
    }
    first[i] = slots[slot] - 1;
  }
  return found;
}

void write(const Kernel&, const float*, std::size_t, float*) {}

void write(const Kernel& kernel, const float* row, std::size_t width, std::uint16_t* out) {
  kernel.to_half(row, width, out);
}

float* row_buffer(float* out, std::size_t, std::size_t) { return out; }

float* row_buffer(std::uint16_t*, std::size_t r, std::size_t width) {
  return scratch().rows.data() + r * width;
}

}  // namespace

template <typename Id, typename Out>
void Decoder::decode(const Id* ids, std::size_t count, Out* out, const ForEach& for_each) const {
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t id = ids[i];
    if (id < -table_.rows || id >= table_.rows) {
      throw std::out_of_range("id " + std::to_string(id) + " is outside " +
                              std::to_string(-table_.rows) + " .. " +
                              std::to_string(table_.rows - 1) + "; check the tokenizer");
    }
  }
  if (count > kMostIds) {
    throw std::out_of_range(std::to_string(count) + " ids in one call, and at most " +
                            std::to_string(kMostIds) + " can be looked up");
  }
  const std::size_t width = static_cast<std::size_t>(table_.width);
  const Firsts& found = find_firsts(ids, count);
  const std::uint32_t* unique = found.unique.data();
  const std::size_t distinct = found.unique.size();
  for_each((distinct + kRowsAtOnce - 1) / kRowsAtOnce, [&](std::size_t task) {
    const std::uint32_t* places = unique + task * kRowsAtOnce;
    const std::size_t here = std::min(kRowsAtOnce, distinct - task * kRowsAtOnce);
    room(scratch().rows, kRowsAtOnce * width);
    Rows rows{*this};
    for (std::size_t r = 0; r < here; ++r) {
      const std::int64_t id = ids[places[r]];
      rows.add(id < 0 ? id + table_.rows : id, row_buffer(out + places[r] * width, r, width));
    }
    rows.decode();
    for (std::size_t r = 0; r < here; ++r) {
      write(*kernel_, rows.out[r], width, out + places[r] * width);
    }
  });
  if (distinct == count) return;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t first = found.first[i];
    if (first != i) std::copy_n(out + first * width, width, out + i * width);
  }
}

template void Decoder::decode(const std::int32_t*, std::size_t, float*, const ForEach&) const;
template void Decoder::decode(const std::int64_t*, std::size_t, float*, const ForEach&) const;
template void Decoder::decode(const std::int32_t*, std::size_t, std::uint16_t*,
                              const ForEach&) const;
template void Decoder::decode(const std::int64_t*, std::size_t, std::uint16_t*,
                              const ForEach&) const;

}  // namespace lighttoken
