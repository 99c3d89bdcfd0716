// Inputs for a CUDA form and for the float loops it is compared with.
#pragma once

#include <cmath>
#include <vector>

#include "common/elements.cuh"
#include "selftest/selftest.h"

namespace selftest {

using Floats = std::vector<float>;

inline Floats draw(std::int64_t count, Noise& noise) {
  Floats values(static_cast<std::size_t>(count));
  for (auto& value : values) value = noise.unit();
  return values;
}

// Noise as T, and the same values as float. `skip` elements before the first take it off its alignment.
template <typename T>
class Both {
 public:
  Both(std::int64_t count, Noise& noise, std::size_t skip = 0, float scale = 1)
      : narrow_(static_cast<std::size_t>(count) + skip), wide_(draw(count, noise)), skip_(skip) {
    for (std::size_t i = 0; i < wide_.size(); ++i) {
      narrow_[i + skip] = dfer::from_float<T>(wide_[i] * scale);
      wide_[i] = dfer::to_float(narrow_[i + skip]);
    }
  }
  const T* narrow() const { return narrow_.data() + skip_; }
  const float* wide() const { return wide_.data(); }

 private:
  std::vector<T> narrow_;
  Floats wide_;
  std::size_t skip_;
};

// Errors relative to the largest value; NaN is wrong.
template <typename T>
void close(const std::vector<T>& actual, const Floats& expected, double tolerance, const char* what) {
  double largest = 0;
  for (float value : expected) largest = std::fmax(largest, std::fabs(value));
  for (std::size_t i = 0; i < actual.size(); ++i)
    expect(std::fabs(dfer::to_float(actual[i]) - expected[i]) <= tolerance * largest, what, static_cast<long long>(i));
}

}  // namespace selftest
