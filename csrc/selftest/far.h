// Memory whose indices need more than 32 bits, of which only the pages that are touched exist; the rest reads as zero.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace selftest {

constexpr std::int64_t kBeyond32 = std::int64_t{1} << 31;

template <typename T>
class Far {
 public:
  explicit Far(std::int64_t count) : bytes_(static_cast<std::size_t>(count) * sizeof(T)) {
    void* const memory =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::printf("no address space for %zu bytes\n", bytes_);
      std::exit(EXIT_FAILURE);
    }
    data_ = static_cast<T*>(memory);
  }
  ~Far() { munmap(data_, bytes_); }
  Far(const Far&) = delete;
  Far& operator=(const Far&) = delete;
  T* data() const { return data_; }
  T& operator[](std::int64_t index) const { return data_[index]; }

 private:
  std::size_t bytes_;
  T* data_;
};

}  // namespace selftest
