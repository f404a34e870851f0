// What the operators do when a session opens: attributes and tensors of any kind become a table, a
// decoder and a head, or are refused. What is taken decodes two rows and has logits.

#include <stdexcept>

#include "bytes.h"
#include "decoder.h"
#include "head.h"
#include "kernels/kernels.h"
#include "nodes.h"

using namespace lighttoken;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::string> kernels = kernel_names();
  fuzz::Bytes in(data, size);
  const std::uint8_t how = in.byte();
  const bool damaged = how & 1;
  const Node node = fuzz::NodeMaker(in, damaged).draw(how & 2);
  const std::string& kernel = kernels[(how >> 3) % kernels.size()];
  try {
    const Table table = read_table(node);
    const std::size_t width = static_cast<std::size_t>(table.width);
    if (how & 4) {
      const Decoder decoder(table, kernel);
      const std::int64_t ids[] = {0, table.rows - 1};
      const std::unique_ptr<float[]> rows(new float[2 * width]);
      decoder.decode(ids, 2, rows.get(), fuzz::in_turn);
    } else {
      const Head head(table, kernel);
      if (table.rows > 5000) return 0;
      const std::unique_ptr<float[]> hidden(new float[width]());
      const std::unique_ptr<float[]> logits(new float[static_cast<std::size_t>(table.rows)]);
      hidden[0] = in.real();
      head.project(hidden.get(), 1, logits.get(), fuzz::in_turn);
    }
  } catch (const std::invalid_argument& error) {
    if (!damaged && (how & 6)) fuzz::fail(error.what());  // heads ask for columns
  }
  return 0;
}
