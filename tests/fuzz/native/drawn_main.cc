// TARGET RUNS: that many inputs, drawn from a fixed seed, where there is no libFuzzer.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  const long runs = argc > 1 ? std::atol(argv[1]) : 1000;
  std::uint64_t state = 0x2545f4914f6cdd1du;
  for (long run = 0; run < runs; ++run) {
    std::vector<std::uint8_t> input(static_cast<std::size_t>(64 + run % 4000));
    for (std::uint8_t& byte : input) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      byte = static_cast<std::uint8_t>(state >> 32);
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%ld inputs\n", runs);
}
