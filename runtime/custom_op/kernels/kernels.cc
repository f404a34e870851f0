#include <stdexcept>

#include "kernels.h"

namespace lighttoken {
namespace {

std::vector<const Kernel*> kernels() {
  std::vector<const Kernel*> built;
#if defined(LIGHTTOKEN_X86)
  built.push_back(&avx512_kernel());
  built.push_back(&avx2_kernel());
#elif defined(LIGHTTOKEN_ARM64)
  built.push_back(&dotprod_kernel());
  built.push_back(&neon_kernel());
#endif
  built.push_back(&scalar_kernel());
  std::vector<const Kernel*> found;
  for (const Kernel* kernel : built) {
    if (kernel->runs_here()) found.push_back(kernel);
  }
  return found;
}

}  // namespace

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Kernel* kernel : kernels()) names.emplace_back(kernel->name);
  return names;
}

const Kernel& find_kernel(const std::string& name) {
  std::string known;
  for (const Kernel* kernel : kernels()) {
    if (name.empty() || name == kernel->name) return *kernel;
    known += known.empty() ? kernel->name : std::string(", ") + kernel->name;
  }
  throw std::invalid_argument("no kernel '" + name + "' runs here; there is " + known);
}

}  // namespace lighttoken
