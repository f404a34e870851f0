// Each function of each instruction set on any numbers gives what the portable one gives, to the bit,
// and stays within its buffers. No table: many inputs in little time.

#include "bytes.h"
#include "kernels/kernels.h"

using namespace lighttoken;

namespace {

constexpr std::size_t kRoom = 1024;  // values of the largest buffer below

// A buffer of exactly `count` values, kept: its end is the end of its memory.
template <typename T>
T* room(std::size_t which, std::size_t count) {
  static std::unique_ptr<T[]> kept[4][kRoom + 1];
  std::unique_ptr<T[]>& here = kept[which][count];
  if (!here) here.reset(new T[count]());
  return here.get();
}

template <typename T>
T* drawn(fuzz::Bytes& in, std::size_t which, std::size_t count, int mask = 255) {
  T* values = room<T>(which, count);
  const std::uint8_t start = in.byte(), step = in.byte();
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<T>((start + step * i) & mask);
  for (int changes = in.byte() % 8; changes; --changes) {
    values[in.byte() % count] = static_cast<T>(in.byte() & mask);
  }
  return values;
}

float* reals(fuzz::Bytes& in, std::size_t which, std::size_t count) {
  float* values = room<float>(which, count);
  const float both[] = {in.real(), in.real()};
  for (std::size_t i = 0; i < count; ++i) values[i] = both[i & 1];
  for (int changes = in.byte() % 8; changes; --changes) values[in.byte() % count] = in.real();
  return values;
}

template <typename T>
void need_same(const T* a, const T* b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!fuzz::same(a[i], b[i])) fuzz::fail("instruction sets differ");
  }
}

// `run(kernel, out)` of both, `count` values each, which start as the same ones.
template <typename T, typename Run>
void compare(const Kernel& kernel, std::size_t count, float start, Run run) {
  T* a = room<T>(2, count);
  T* b = room<T>(3, count);
  for (std::size_t i = 0; i < count; ++i) a[i] = b[i] = static_cast<T>(start);
  run(kernel, a);
  run(scalar_kernel(), b);
  need_same(a, b, count);
}

void sums(fuzz::Bytes& in, const Kernel& kernel, bool halves) {
  const std::size_t columns = 1 + in.byte() % 4, rows = 1 + in.byte() % 100;
  const std::uint8_t* codes = drawn<std::uint8_t>(in, 0, columns * rows);
  // Two entries of a byte are at most 255.
  const std::uint8_t* tables =
      halves ? drawn<std::uint8_t>(in, 1, columns * 2 * kHalf, 127)
             : drawn<std::uint8_t>(in, 1, columns * kEntries);
  compare<std::uint16_t>(kernel, rows, 0.0f, [&](const Kernel& each, std::uint16_t* out) {
    const Columns work{codes, rows, columns, rows, tables, codes, out};
    halves ? each.sum_halves(work) : each.sum_columns(work);
  });
}

void dense(fuzz::Bytes& in, const Kernel& kernel) {
  const std::size_t rows = 1 + in.byte() % 9, quads = 1 + in.byte() % 6, width = 1 + in.byte() % 20;
  const std::size_t tiles = (width + kTile - 1) / kTile, stride = quads * kQuad;
  const std::uint8_t* z = drawn<std::uint8_t>(in, 0, rows * stride, 127);
  const std::int8_t* packed = drawn<std::int8_t>(in, 1, tiles * quads * kTile * kQuad);
  const std::int32_t* offset = drawn<std::int32_t>(in, 0, width);
  const float* scale = reals(in, 0, width);
  const bool add = in.coin();
  compare<float>(kernel, rows * width, in.number(), [&](const Kernel& each, float* out) {
    bool first[16];
    float* to[16];
    for (std::size_t r = 0; r < rows; ++r) first[r] = !add, to[r] = out + r * width;
    each.add_dense({z, stride, rows, quads, packed, offset, scale, width, first, to});
  });
}

void rows_of(fuzz::Bytes& in, const Kernel& kernel, int what) {
  const std::size_t width = 1 + in.byte() % 130;
  const float factor = in.real(), start = in.real();
  const float* row = reals(in, 0, width);
  const float* other = reals(in, 1, width);
  const std::int8_t* whole = drawn<std::int8_t>(in, 0, width);
  const std::uint8_t* z = drawn<std::uint8_t>(in, 0, width, 127);
  const std::uint16_t* counts = drawn<std::uint16_t>(in, 0, width);
  const bool flag = in.coin();
  if (what == 9) {
    return compare<std::uint16_t>(kernel, width, 0.0f, [&](const Kernel& each, std::uint16_t* out) {
      each.to_half(row, width, out);
    });
  }
  compare<float>(kernel, width, start, [&](const Kernel& each, float* out) {
    switch (what) {
      case 0: return each.add_columns(z, 64, row, width, flag, out);
      case 1: return each.add_row(factor, row, width, out);
      case 2: return each.add_int8_row(factor, whole, row[0], width, out);
      case 3: return each.finish(factor, flag, row, width, out);
      case 4: return each.add_sums(counts, factor, row[0], width, out);
      case 5: out[0] = each.dot(row, other, width); return;
      case 6: out[0] = each.dot_int8(whole, row, width); return;
      case 7: return each.shift(row, factor, width, out);
      default: out[0] = each.range(row, width).high; return;
    }
  });
}

void tables_of(fuzz::Bytes& in, const Kernel& kernel, bool quantize) {
  const std::size_t count = 1 + in.byte() % 4, width = 32 * (1 + in.byte() % 4);
  const float* rows = reals(in, 0, count * width);
  if (quantize) {
    const float low = in.real(), inverse = in.real();
    std::uint8_t* a = room<std::uint8_t>(2, width);
    std::uint8_t* b = room<std::uint8_t>(3, width);
    kernel.quantize(rows, low, inverse, width, a);
    scalar_kernel().quantize(rows, low, inverse, width, b);
    if (std::memcmp(a, b, width)) fuzz::fail("instruction sets differ");
    return;
  }
  const float* factors = reals(in, 1, count);
  compare<float>(kernel, width, 0.0f, [&](const Kernel& each, float* out) {
    each.combine(factors, rows, count, width, out);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::string> names = kernel_names();
  static const std::vector<const Kernel*> kernels = [] {
    std::vector<const Kernel*> all;
    for (const std::string& name : names) all.push_back(&find_kernel(name));
    return all;
  }();
  fuzz::Bytes in(data, size);
  const Kernel& kernel = *kernels[in.byte() % kernels.size()];
  const int what = in.byte() % 15;
  if (what < 2) {
    sums(in, kernel, what);
  } else if (what == 2) {
    dense(in, kernel);
  } else if (what < 5) {
    tables_of(in, kernel, what == 3);
  } else {
    rows_of(in, kernel, what - 5);
  }
  return 0;
}
