// The frame of a self-test: compares a loop with straightforward scalar code, on whatever machine it is compiled for.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace selftest {

// Deterministic noise; the C++ library's distributions differ between implementations.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed * 2862933555777941757ull + 3037000493ull) {}
  std::uint32_t bits() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<std::uint32_t>(state_ >> 33);
  }
  std::uint8_t byte() { return static_cast<std::uint8_t>(bits() >> 7); }
  float unit() { return static_cast<float>(bits() % 2000001) / 1000000.0f - 1.0f; }  // -1 to 1

 private:
  std::uint64_t state_;
};

inline int failures = 0;
inline int checks = 0;

// Counts a comparison and prints the first failures.
inline void expect(bool right, const char* what, long long at) {
  ++checks;
  if (right) return;
  if (++failures <= 10) std::printf("wrong: %s at %lld\n", what, at);
}

inline int result(const char* op) {
  std::printf("%s: %d checks, %d failures\n", op, checks, failures);
  return failures == 0 && checks > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace selftest
