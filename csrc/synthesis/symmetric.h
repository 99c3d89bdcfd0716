// A symmetric filter over one row: the blurs of maps and of paint.
#pragma once

#include "common/width.h"

namespace dfer::synthesis {

// out = taps[0] * centre + sum of taps[k] * (pairs[2k] + pairs[2k + 1]): a row or a column of a symmetric filter.
struct Symmetric {
  template <int kBytes, int kVectors>
  DFER_INLINE static void block(const float* centre, const float* const* pairs, const float* taps, int radius, int x,
                                float* out) {
    Lanes<kBytes> sums[kVectors], left, right;
    for (int n = 0; n < kVectors; ++n) {
      load<kBytes>(left, centre + x + n * kBytes / 4);
      sums[n] = taps[0] * left;
    }
    for (int k = 1; k <= radius; ++k)
      for (int n = 0; n < kVectors; ++n) {
        load<kBytes>(left, pairs[2 * k] + x + n * kBytes / 4);
        load<kBytes>(right, pairs[2 * k + 1] + x + n * kBytes / 4);
        sums[n] += taps[k] * (left + right);
      }
    for (int n = 0; n < kVectors; ++n) store<kBytes>(out + x + n * kBytes / 4, sums[n]);
  }

  template <int kBytes>
  DFER_INLINE static void run(const float* centre, const float* const* pairs, const float* taps, int radius, int width,
                              float* out) {
    constexpr int kLanes = kBytes / 4;
    int x = 0;
    for (; x + 4 * kLanes <= width; x += 4 * kLanes) block<kBytes, 4>(centre, pairs, taps, radius, x, out);
    for (; x + kLanes <= width; x += kLanes) block<kBytes, 1>(centre, pairs, taps, radius, x, out);
    if (x < width && width >= kLanes) {  // the last vector again covers some of the one before
      block<kBytes, 1>(centre, pairs, taps, radius, width - kLanes, out);
      x = width;
    }
    for (; x < width; ++x) {
      float sum = taps[0] * centre[x];
      for (int k = 1; k <= radius; ++k) sum += taps[k] * (pairs[2 * k][x] + pairs[2 * k + 1][x]);
      out[x] = sum;
    }
  }
};

}  // namespace dfer::synthesis
