// A symmetric separable filter: the blurs of maps and of paint.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

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

// Blurs with halves of symmetric kernels, from their centres on. fetch(y, row) writes row y of what is to be blurred;
// border(at, size) says which of `size` numbers stands for the one at `at` beyond them.
template <typename Border, typename Fetch>
void smooth(int width, int height, const std::vector<float>& across, const std::vector<float>& down,
            const Border& border, const Fetch& fetch, float* between, float* out) {
  const int reach_x = static_cast<int>(across.size()) - 1, reach_y = static_cast<int>(down.size()) - 1;
  std::vector<float> padded(static_cast<std::size_t>(width + 2 * reach_x));
  std::vector<const float*> pairs(2 * std::max(across.size(), down.size()));
  float* row = padded.data() + reach_x;
  for (int k = 1; k <= reach_x; ++k) {
    pairs[2 * static_cast<std::size_t>(k)] = row - k;
    pairs[2 * static_cast<std::size_t>(k) + 1] = row + k;
  }
  for (int y = 0; y < height; ++y) {
    fetch(y, row);
    for (int k = 1; k <= reach_x; ++k) {
      row[-k] = row[border(-k, width)];
      row[width - 1 + k] = row[border(width - 1 + k, width)];
    }
    for_width<Symmetric>(static_cast<const float*>(row), pairs.data(), across.data(), reach_x, width,
                         between + static_cast<std::int64_t>(y) * width);
  }
  for (int y = 0; y < height; ++y) {
    for (int k = 1; k <= reach_y; ++k) {
      pairs[2 * static_cast<std::size_t>(k)] = between + static_cast<std::int64_t>(border(y - k, height)) * width;
      pairs[2 * static_cast<std::size_t>(k) + 1] = between + static_cast<std::int64_t>(border(y + k, height)) * width;
    }
    for_width<Symmetric>(static_cast<const float*>(between + static_cast<std::int64_t>(y) * width), pairs.data(),
                         down.data(), reach_y, width, out + static_cast<std::int64_t>(y) * width);
  }
}

}  // namespace dfer::synthesis
