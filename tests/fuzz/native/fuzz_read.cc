// Attributes and tensors of any kind become a table, or are refused in one line. Reads and checks, as
// fuzz_load does too, and makes no decoder of what is sound: many times the inputs in the same time.

#include <stdexcept>

#include "bytes.h"
#include "nodes.h"

using namespace lighttoken;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Bytes in(data, size);
  const std::uint8_t how = in.byte();
  const bool damaged = how & 3;
  const Node node = fuzz::NodeMaker(in, damaged).draw(how & 4);
  try {
    check(read_table(node));
  } catch (const std::invalid_argument& error) {
    if (!damaged) fuzz::fail(error.what());
    if (std::strchr(error.what(), '\n')) fuzz::fail("more than a line");
  }
  return 0;
}
