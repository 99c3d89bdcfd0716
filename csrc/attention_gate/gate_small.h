// The small middle of a gate, between its passes over the feature map: the channels' MLP and the planes' convolutions.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention_gate/attention_gate_cpu.h"
#include "common/simd.h"
#include "common/width.h"

namespace dfer {

inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

template <int kBytes>
DFER_INLINE float dot(const float* a, const float* b, std::int64_t count) {
  constexpr std::int64_t kLanes = kBytes / 4;
  Lanes<kBytes> sums[4] = {}, left, right;
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    for (int part = 0; part < 4; ++part) {
      load<kBytes>(left, a + i + part * kLanes);
      load<kBytes>(right, b + i + part * kLanes);
      sums[part] += left * right;
    }
  float total = sum<kBytes>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

// scores[c] += (F2 relu F1 pooled)[c]
template <int kBytes>
DFER_INLINE void add_mlp(const GateMlp& mlp, const float* pooled, std::int64_t channels, float* scores) {
  std::vector<float> hidden(static_cast<std::size_t>(mlp.hidden));
  for (std::int64_t h = 0; h < mlp.hidden; ++h) {
    const float value = mlp.bias1[h] + dot<kBytes>(mlp.weight1 + h * channels, pooled, channels);
    hidden[static_cast<std::size_t>(h)] = value < 0 ? 0 : value;  // keeps NaN
  }
  for (std::int64_t c = 0; c < channels; ++c)
    scores[c] += mlp.bias2[c] + dot<kBytes>(mlp.weight2 + c * mlp.hidden, hidden.data(), mlp.hidden);
}

// Planes [count, H, W] with a border of zeros, so that a convolution needs no branches.
struct Padded {
  Padded(std::int64_t count, std::int64_t height, std::int64_t width, std::int64_t border)
      : border(border),
        stride(width + 2 * border),
        plane((height + 2 * border) * stride),
        values(static_cast<std::size_t>(count * plane)) {}
  float* row(std::int64_t index, std::int64_t h) {
    return values.data() + index * plane + (h + border) * stride + border;
  }
  std::int64_t border, stride, plane;
  std::vector<float> values;
};

// out = bias + weight * input, stride 1; input has a border of kernel / 2.
DFER_INLINE void convolve(const GateConv& conv, Padded& input, std::int64_t out, std::int64_t h, std::int64_t width,
                          float* DFER_RESTRICT result) {
  std::fill(result, result + width, conv.bias[out]);
  const std::int64_t reach = conv.kernel / 2;
  const float* weight = conv.weight + out * conv.in * conv.kernel * conv.kernel;
  for (std::int64_t in = 0; in < conv.in; ++in)
    for (std::int64_t dy = -reach; dy <= reach; ++dy) {
      const float* row = input.row(in, h + dy) - reach;
      for (std::int64_t dx = 0; dx < conv.kernel; ++dx, ++weight)
        for (std::int64_t w = 0; w < width; ++w) result[w] += *weight * row[w + dx];
    }
}

}  // namespace dfer
