// Products with any trellis give the same with each instruction set, to the bit; what does not fit is
// refused.

#include <stdexcept>

#include "bytes.h"
#include "trellis.h"

using namespace lighttoken;

namespace {

std::int64_t size(fuzz::Bytes& in, std::int64_t usual) {
  const bool damaged = in.byte() == 255;
  return damaged ? in.integer() : usual;
}

// Tables whose entries of equal bits are equal, most of the time.
std::int8_t* table(fuzz::Bytes& in, std::vector<std::unique_ptr<std::uint8_t[]>>& owner,
                   std::size_t per_byte, bool own) {
  const std::uint8_t start = in.byte(), step = in.byte();
  const std::int64_t count = static_cast<std::int64_t>(kEntries * per_byte);
  std::int8_t* made = in.fill<std::int8_t>(owner, count, [] { return 0; });
  for (std::size_t byte = 0; byte < kEntries; ++byte) {
    for (std::size_t number = 0; number < per_byte; ++number) {
      const int bits = own ? own_bits(per_byte, number) : bits_before(per_byte, number);
      const std::size_t read = own ? byte >> (8 - bits) : byte & ((std::size_t{1} << bits) - 1);
      made[byte * per_byte + number] = static_cast<std::int8_t>(start + step * read + 31 * number);
    }
  }
  if (in.byte() == 255) made[in.byte()] = static_cast<std::int8_t>(in.byte());
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  static const std::vector<std::string> names = kernel_names();
  fuzz::Bytes in(data, length);
  std::vector<std::unique_ptr<std::uint8_t[]>> owner;
  const std::int64_t per_byte = 2 + in.byte() % 3, inputs = 1 + in.byte() % 40;
  const std::int64_t outputs = 1 + in.upto(400), count = 1 + in.byte() % 20;
  const std::int64_t bytes = (outputs - 1) / per_byte + 1;
  TrellisTensors tensors;
  tensors.columns = in.fill<std::uint16_t>(owner, inputs, [&] { return in.byte() << 8; });
  const std::uint8_t start = in.byte(), step = in.byte();
  std::uint8_t place = start;
  tensors.codes = in.fill<std::uint8_t>(owner, inputs * bytes, [&] { return place += step; });
  tensors.factors = in.fill<std::uint8_t>(owner, outputs, [&] { return place += step; });
  tensors.unit = in.real();
  const float both[] = {in.real(), in.real()};
  tensors.steps = in.fill<float>(owner, outputs, [&] { return both[place++ & 1]; });
  tensors.current = table(in, owner, static_cast<std::size_t>(per_byte), true);
  tensors.previous = table(in, owner, static_cast<std::size_t>(per_byte), false);
  const float* rows = in.fill<float>(owner, inputs * count, [&] { return in.real(); });
  tensors.inputs = inputs;
  tensors.block = size(in, inputs & -inputs);
  tensors.outputs = outputs;
  tensors.bytes = size(in, bytes);
  tensors.per_byte = per_byte;
  const ForEach in_turn = [](std::size_t tasks, const std::function<void(std::size_t)>& work) {
    for (std::size_t task = 0; task < tasks; ++task) work(task);
  };
  std::vector<float> wanted;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {  // the portable one is the last
    try {
      const Trellis trellis(tensors, *name);
      std::vector<float> found(static_cast<std::size_t>(outputs * count), -1.0f);
      trellis.multiply(rows, static_cast<std::size_t>(count), found.data(), in_turn);
      if (wanted.empty()) wanted = found;
      for (std::size_t i = 0; i < found.size(); ++i) {
        if (!fuzz::same(found[i], wanted[i])) fuzz::fail("instruction sets differ");
      }
    } catch (const std::invalid_argument&) {
      if (!wanted.empty()) fuzz::fail("instruction sets refuse differently");
    }
  }
  return 0;
}
