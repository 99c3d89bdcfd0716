// The passes of a gate over the feature map: statistics, and gate with max pooling.
#pragma once

#include <algorithm>
#include <cmath>

#include "attention_gate/attention_gate_cpu.h"
#include "common/width.h"

namespace dfer {

// As torch's max pooling: NaN wins.
template <typename V>
DFER_INLINE V larger(const V& a, const V& b) {
  return ((a > b) | (a != a)) ? a : b;
}

inline float larger(float a, float b) { return a > b || a != a ? a : b; }

// means[i], maxima[i] over the pixels of channel i; plane += sum over these channels. Any of the outputs may be null.
template <int kBytes, int kChannels>
DFER_INLINE void channel_statistics(const float* x, std::int64_t pixels, float* means, float* maxima, float* plane) {
  constexpr std::int64_t kLanes = kBytes / 4;
  Lanes<kBytes> sums[kChannels] = {}, highest[kChannels], value, total = {};
  for (auto& lanes : highest) lanes = Lanes<kBytes>{} - INFINITY;
  std::int64_t p = 0;
  for (; p + kLanes <= pixels; p += kLanes) {
    if (plane) load<kBytes>(total, plane + p);
    for (int c = 0; c < kChannels; ++c) {
      load<kBytes>(value, x + c * pixels + p);
      sums[c] += value;
      if (plane) total += value;
      if (maxima) highest[c] = larger(highest[c], value);
    }
    if (plane) store<kBytes>(plane + p, total);
  }
  for (int c = 0; c < kChannels; ++c) {
    float all = sum<kBytes>(sums[c]), most = -INFINITY;
    if (maxima)
      for (std::int64_t lane = 0; lane < kLanes; ++lane) most = larger(most, highest[c][lane]);
    for (std::int64_t rest = p; rest < pixels; ++rest) {
      const float one = x[c * pixels + rest];
      all += one;
      most = larger(most, one);
      if (plane) plane[rest] += one;
    }
    means[c] = all / static_cast<float>(pixels);
    if (maxima) maxima[c] = most;
  }
}

// A gate takes neighbouring pixels x and the plane s at the same pixels, and gives x gated.
struct PlainGate {
  template <int kBytes>
  DFER_INLINE Lanes<kBytes> apply(const Lanes<kBytes>& x, const float*) const {
    return x;
  }
};

// x s, the channel's factor taken out of the pooling.
struct SpatialGate {
  template <int kBytes>
  DFER_INLINE Lanes<kBytes> apply(const Lanes<kBytes>& x, const float* s) const {
    Lanes<kBytes> factor;
    load<kBytes>(factor, s);
    return x * factor;
  }
};

// x sigmoid(a s). Both are sigmoids, so z = a s lies in [0, 1], where sigmoid(z) = 1/2 + z P(z^2) to 1.6e-9 with the
// minimax P of degree 4; in float32 the error is below 5e-8.
struct AgGate {
  float a;
  template <int kBytes>
  DFER_INLINE Lanes<kBytes> apply(const Lanes<kBytes>& x, const float* s) const {
    Lanes<kBytes> z;
    load<kBytes>(z, s);
    z *= a;
    const Lanes<kBytes> square = z * z;
    Lanes<kBytes> p = square * 1.6345331e-5f - 2.06102195e-4f;
    p = p * square + 2.08133925e-3f;
    p = p * square - 2.08329856e-2f;
    p = p * square + 0.25f;
    return x * (z * p + 0.5f);
  }
};

// Even and odd lanes of two vectors side by side, the larger of each pair.
template <int kBytes>
DFER_INLINE Lanes<kBytes> larger_of_pairs(const Lanes<kBytes>& first, const Lanes<kBytes>& second) {
  typename LanesOf<kBytes>::index even{}, odd{};
  for (int lane = 0; lane < kBytes / 4; ++lane) {
    even[lane] = 2 * lane;
    odd[lane] = 2 * lane + 1;
  }
  return larger(Lanes<kBytes>(__builtin_shuffle(first, second, even)),
                Lanes<kBytes>(__builtin_shuffle(first, second, odd)));
}

// A row of at least kBytes / 4 pooled pixels from two rows of the map, scaled; the last vector overlaps the one before.
template <int kBytes, typename Gate>
DFER_INLINE void pool_pixels(const Gate& gate, const float* x, const float* s, std::int64_t width, float scale,
                             float* out) {
  constexpr std::int64_t kLanes = kBytes / 4;
  const std::int64_t pooled = width / 2;
  for (std::int64_t w = 0; w < pooled; w += kLanes) {
    const std::int64_t at = std::min(w, pooled - kLanes);
    Lanes<kBytes> best[2];
    for (int half = 0; half < 2; ++half) {
      const std::int64_t from = 2 * at + half * kLanes;
      Lanes<kBytes> upper, lower;
      load<kBytes>(upper, x + from);
      load<kBytes>(lower, x + width + from);
      best[half] = larger(gate.template apply<kBytes>(upper, s + from), gate.template apply<kBytes>(lower, s + width + from));
    }
    store<kBytes>(out + at, larger_of_pairs<kBytes>(best[0], best[1]) * scale);
  }
}

template <int kBytes, typename Gate>
DFER_INLINE void gate_pixels(const Gate& gate, const float* x, const float* s, std::int64_t pixels, float scale,
                             float* out) {
  constexpr std::int64_t kLanes = kBytes / 4;
  for (std::int64_t p = 0; p < pixels; p += kLanes) {
    const std::int64_t at = std::min(p, pixels - kLanes);
    Lanes<kBytes> value;
    load<kBytes>(value, x + at);
    store<kBytes>(out + at, gate.template apply<kBytes>(value, s + at) * scale);
  }
}

// One channel, gated and pooled. s is the plane [H, W]; PlainGate does not read it.
template <int kBytes, typename Gate>
DFER_INLINE void gate_channel(const GateShape& shape, const Gate& gate, const float* x, const float* s, float scale,
                              float* out) {
  const std::int64_t pixels = shape.height * shape.width, pooled = shape.width / 2;
  if (!shape.pool) {
    if (pixels >= kBytes / 4)
      gate_pixels<kBytes>(gate, x, s, pixels, scale, out);
    else
      gate_pixels<4>(gate, x, s, pixels, scale, out);
    return;
  }
  for (std::int64_t h = 0; h + 1 < shape.height; h += 2, x += 2 * shape.width, s += 2 * shape.width, out += pooled) {
    if (pooled >= kBytes / 4)
      pool_pixels<kBytes>(gate, x, s, shape.width, scale, out);
    else if (kBytes > 16 && pooled >= kBytes / 8)
      pool_pixels<kBytes / 2>(gate, x, s, shape.width, scale, out);
    else
      pool_pixels<4>(gate, x, s, shape.width, scale, out);
  }
}

}  // namespace dfer
