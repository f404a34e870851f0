// Any ids in a sound table: those inside give the rows of the portable kernel, to the bit, in every
// instruction set; others are named.

#include <stdexcept>

#include "bytes.h"
#include "decoder.h"
#include "kernels/kernels.h"
#include "nodes.h"

using namespace lighttoken;

namespace {

template <typename Id, typename Out>
void look_up(fuzz::Bytes& in, const Table& table, const Decoder& decoder, const Decoder& portable) {
  std::vector<Id> ids(std::min<std::size_t>(in.byte() % 48, in.left() + 1));
  bool outside = false;
  const std::int64_t most = table.rows;
  for (Id& id : ids) {
    const std::uint8_t kind = in.byte();
    const std::int64_t inside = kind % 64 % most - (kind & 64 ? most : 0);
    id = kind < 254 ? static_cast<Id>(inside) : static_cast<Id>(in.integer());
    outside |= id < -most || id >= most;
  }
  const std::size_t values = ids.size() * static_cast<std::size_t>(table.width);
  const std::unique_ptr<Out[]> rows(new Out[values]), expected(new Out[values]);
  try {
    decoder.decode(ids.data(), ids.size(), rows.get(), fuzz::in_turn);
    if (outside) fuzz::fail("took an id outside the table");
    portable.decode(ids.data(), ids.size(), expected.get(), fuzz::in_turn);
    for (std::size_t i = 0; i < values; ++i) {
        if (!fuzz::same(rows[i], expected[i])) fuzz::fail("kernels differ");
    }
  } catch (const std::out_of_range&) {
    if (!outside) fuzz::fail("refused ids that are all inside the table");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::string> kernels = kernel_names();
  fuzz::Bytes in(data, size);
  const std::uint8_t how = in.byte();
  const Node node = fuzz::NodeMaker(in, false).draw(how & 1);
  const Table table = read_table(node);
  const Decoder decoder(table, kernels[(how >> 3) % kernels.size()]), portable(table, "scalar");
  switch (how >> 1 & 3) {
    case 0: look_up<std::int64_t, float>(in, table, decoder, portable); break;
    case 1: look_up<std::int32_t, float>(in, table, decoder, portable); break;
    case 2: look_up<std::int64_t, std::uint16_t>(in, table, decoder, portable); break;
    default: look_up<std::int32_t, std::uint16_t>(in, table, decoder, portable);
  }
  return 0;
}
