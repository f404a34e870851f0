// Memory that is kept from call to call.

#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace lighttoken {

// At the start of a cache line, so that no move of a whole register crosses one.
template <typename T>
struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  Aligned() = default;
  template <typename U>
  Aligned(const Aligned<U>&) {}

  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), kLine));
  }
  void deallocate(T* values, std::size_t) { ::operator delete(values, kLine); }

  friend bool operator==(const Aligned&, const Aligned&) { return true; }
  friend bool operator!=(const Aligned&, const Aligned&) { return false; }
};

template <typename T>
using Buffer = std::vector<T, Aligned<T>>;

// The first `size` entries of `buffer`, which only ever grows. Their values are anything.
template <typename T>
T* room(Buffer<T>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

}  // namespace lighttoken
