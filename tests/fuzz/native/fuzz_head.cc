// Any hidden states, numbers or not, times a sound table: logits are equal in every instruction set.

#include "bytes.h"
#include "head.h"
#include "kernels/kernels.h"
#include "nodes.h"

using namespace lighttoken;

namespace {

template <typename T, typename Draw>
void project(fuzz::Bytes& in, const Table& table, const Head& head, const Head& portable,
             Draw draw) {
  const std::size_t count = 1 + in.byte() % 3, width = static_cast<std::size_t>(table.width);
  const std::size_t values = count * static_cast<std::size_t>(table.rows);
  const std::unique_ptr<T[]> hidden(new T[count * width]());
  const T often = draw();
  for (std::size_t i = 0; i < count * width; ++i) hidden[i] = in.left() ? draw() : often;
  const std::unique_ptr<T[]> logits(new T[values]), expected(new T[values]);
  head.project(hidden.get(), count, logits.get(), fuzz::in_turn);
  portable.project(hidden.get(), count, expected.get(), fuzz::in_turn);
  for (std::size_t i = 0; i < values; ++i) {
    if (!fuzz::same(logits[i], expected[i])) fuzz::fail("kernels differ");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::string> kernels = kernel_names();
  fuzz::Bytes in(data, size);
  const std::uint8_t how = in.byte();
  const Node node = fuzz::NodeMaker(in, false).draw(true);
  const Table table = read_table(node);
  const Head head(table, kernels[(how >> 1) % kernels.size()]), portable(table, "scalar");
  if (how & 1) {
    project<float>(in, table, head, portable, [&] { return in.real(); });
  } else {
    project<std::uint16_t>(in, table, head, portable, [&] { return in.raw<std::uint16_t>(); });
  }
  return 0;
}
