// The portable kernel, and the reference of the others.

#include "kernels.h"

namespace lighttoken {
namespace {

void multiply(const std::uint8_t* z, std::size_t stride, std::size_t rows, std::size_t quads,
              const std::int8_t* packed, std::size_t tiles, std::int32_t* sums) {
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    const std::int8_t* weights = packed + tile * quads * kTile * kQuad;
    for (std::size_t r = 0; r < rows; ++r) {
      std::int32_t total[kTile] = {};
      for (std::size_t quad = 0; quad < quads; ++quad) {
        const std::uint8_t* latents = z + r * stride + quad * kQuad;
        const std::int8_t* here = weights + quad * kTile * kQuad;
        for (std::size_t c = 0; c < kTile; ++c) {
          for (std::size_t l = 0; l < kQuad; ++l) total[c] += latents[l] * here[c * kQuad + l];
        }
      }
      std::memcpy(sums + (r * tiles + tile) * kTile, total, sizeof total);
    }
  }
}

// The loops for what is left do it all.
std::size_t sum_whole(const Columns&) { return 0; }
std::size_t sum_whole_halves(const Columns&) { return 0; }

#include "loops.inl"

bool runs_here() { return true; }

}  // namespace

const Kernel& scalar_kernel() {
  static const Kernel kernel = LIGHTTOKEN_KERNEL("scalar", runs_here);
  return kernel;
}

}  // namespace lighttoken
