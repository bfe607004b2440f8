// An array that starts on a cache line, so that vector loads from it never straddle two.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace bitnet {

template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(size_t n) : data_(static_cast<T*>(::operator new(n * sizeof(T), kAlign))) {}
  T* data() const { return data_.get(); }
  T& operator[](size_t i) const { return data_.get()[i]; }

 private:
  static constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlign); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace bitnet
