// The passes of a gate over the feature map, ring 1: statistics, CBAM's planes, gate with pooling.
#pragma once

#include "attention_gate/attention_gate_cuda.h"
#include "common/elements.cuh"
#include "common/kernel_launch.cuh"

namespace dfer {

constexpr int kGateThreads = 128;
constexpr int kGateChannels = 32;  // of a block of the statistics

__device__ inline float gate_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// As torch's max pooling: NaN wins.
__device__ inline float gate_larger(float a, float b) { return a > b || a != a ? a : b; }

__device__ inline float gate_warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

__device__ inline float gate_warp_max(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value = gate_larger(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

// Over a block's kVector * kGateThreads pixels and kGateChannels channels: sums (and maxima) of each channel
// [N, pixel blocks, C], and sums of each pixel [N, channel blocks, P]. Each block writes its own: no atomics, and the
// same result every time.
template <typename T, int kVector, bool kMaximum, bool kPlane>
__global__ void __launch_bounds__(kGateThreads)
    gate_statistics_kernel(const T* __restrict__ x, int channels, std::int64_t pixels, float* __restrict__ sums,
                           float* __restrict__ maxima, float* __restrict__ planes) {
  __shared__ float sum_of[kGateChannels][kGateThreads];
  __shared__ float max_of[kMaximum ? kGateChannels : 1][kGateThreads];
  const std::int64_t n = blockIdx.z, p = (static_cast<std::int64_t>(blockIdx.x) * kGateThreads + threadIdx.x) * kVector;
  const int first = blockIdx.y * kGateChannels, count = min(kGateChannels, channels - first);
  // Threads beyond the map read its last word and count nothing: a branch would leave one load under way at a time.
  const bool inside = p < pixels;
  const T* const source = x + (n * channels + first) * pixels + (inside ? p : pixels - kVector);
  float plane[kVector] = {};
#pragma unroll 4
  for (int c = 0; c < count; ++c) {
    float sum = 0, highest = -INFINITY;
    const Pack<T, kVector> pack = load_pack<T, kVector>(source + c * pixels);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      const float value = to_float(pack.value[v]);
      sum += value;
      if (kPlane) plane[v] += value;
      if (kMaximum) highest = gate_larger(highest, value);
    }
    sum_of[c][threadIdx.x] = inside ? sum : 0.0f;
    if (kMaximum) max_of[c][threadIdx.x] = inside ? highest : -INFINITY;
  }
  if (kPlane && inside) {
    float* const target = planes + (n * gridDim.y + blockIdx.y) * pixels + p;
#pragma unroll
    for (int v = 0; v < kVector; ++v) target[v] = plane[v];
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int c = threadIdx.x / 32; c < count; c += kGateThreads / 32) {
    float sum = 0, highest = -INFINITY;
    for (int i = lane; i < kGateThreads; i += 32) {
      sum += sum_of[c][i];
      if (kMaximum) highest = gate_larger(highest, max_of[c][i]);
    }
    sum = gate_warp_sum(sum);
    if (kMaximum) highest = gate_warp_max(highest);
    const std::int64_t at = (n * gridDim.x + blockIdx.x) * channels + first + c;
    if (lane == 0) sums[at] = sum;
    if (kMaximum && lane == 0) maxima[at] = highest;
  }
}

constexpr int kExtremesThreads = 512;

// CBAM: maximum and mean over the channels of y = x scale, planes [N, 2, P]. A warp takes every sixteenth channel:
// one image has few words of pixels, and its channels are all that is there to share. One block a multiprocessor is named
// so that registers last for loads under way together.
template <typename T, int kVector>
__global__ void __launch_bounds__(kExtremesThreads, 1)
    gate_extremes_kernel(const T* __restrict__ x, const float* __restrict__ scale, int channels, std::int64_t pixels,
                         float* __restrict__ planes) {
  constexpr int kWarps = kExtremesThreads / 32;
  __shared__ float high_of[kWarps][32 * kVector], sum_of[kWarps][32 * kVector];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const std::int64_t n = blockIdx.y, p = (static_cast<std::int64_t>(blockIdx.x) * 32 + lane) * kVector;
  float highest[kVector], total[kVector] = {};
#pragma unroll
  for (int v = 0; v < kVector; ++v) highest[v] = -INFINITY;
  if (p < pixels) {
#pragma unroll 4
    for (int c = warp; c < channels; c += kWarps) {
      const Pack<T, kVector> pack = load_pack<T, kVector>(x + (n * channels + c) * pixels + p);
      const float factor = scale[n * channels + c];
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        const float y = to_float(pack.value[v]) * factor;
        highest[v] = gate_larger(highest[v], y);
        total[v] += y;
      }
    }
  }
#pragma unroll
  for (int v = 0; v < kVector; ++v) {
    high_of[warp][lane * kVector + v] = highest[v];
    sum_of[warp][lane * kVector + v] = total[v];
  }
  __syncthreads();
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * 32 * kVector;
  for (int i = threadIdx.x; i < 32 * kVector && begin + i < pixels; i += kExtremesThreads) {
    float high = -INFINITY, sum = 0;
    for (int part = 0; part < kWarps; ++part) {
      high = gate_larger(high, high_of[part][i]);
      sum += sum_of[part][i];
    }
    planes[n * 2 * pixels + begin + i] = high;
    planes[(n * 2 + 1) * pixels + begin + i] = sum / static_cast<float>(channels);
  }
}

// Sigmoid of a product of two sigmoids, which lies in [0, 1]: there it is 1/2 + z P(z^2) to 5e-8 in float32, with the
// polynomial of gate_passes.h, and to 3e-6 for elements of 16 bits, which are rounded to 5e-4. An exponential and a division
// would be calls, between which no load is moved.
template <typename T>
__device__ inline float gate_of_gates(float z) {
  const float square = z * z;
  if constexpr (sizeof(T) == 2)
    return fmaf(z, fmaf(fmaf(square, 1.75845e-3f, -2.067843e-2f), square, 0.24998121f), 0.5f);
  float p = fmaf(square, 1.6345331e-5f, -2.06102195e-4f);
  p = fmaf(p, square, 2.08133925e-3f);
  p = fmaf(p, square, -2.08329856e-2f);
  p = fmaf(p, square, 0.25f);
  return fmaf(z, p, 0.5f);
}

// x under its gate.
template <typename T, GateKind kKind>
__device__ inline float gated(float x, float scale, float plane) {
  if constexpr (kKind == GateKind::se) return x * scale;
  if constexpr (kKind == GateKind::cbam) return x * scale * plane;
  return x * gate_of_gates<T>(scale * plane);
}

// kCount floats of a plane, which begin on as many bytes as x's words: 16 at a time.
template <int kCount>
__device__ inline void load_plane(const float* from, float (&values)[kCount]) {
  constexpr int kWord = kCount % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int part = 0; part < kCount; part += kWord) {
    const Pack<float, kWord> pack = load_pack<float, kWord>(from + part);
#pragma unroll
    for (int v = 0; v < kWord; ++v) values[part + v] = pack.value[v];
  }
}

// Channels of a thread, which share their pixels' words of the plane.
constexpr int kGateMaps = 4;

// out [N, C, P] = gated x, kVector pixels of kGateMaps channels a thread.
template <typename T, int kVector, GateKind kKind>
__global__ void __launch_bounds__(kGateThreads)
    gate_apply_kernel(const T* __restrict__ x, const float* __restrict__ scale, const float* __restrict__ plane,
                      int channels, std::int64_t pixels, T* __restrict__ out) {
  const std::int64_t n = blockIdx.z, p = (static_cast<std::int64_t>(blockIdx.x) * kGateThreads + threadIdx.x) * kVector;
  if (p >= pixels) return;
  const int first = blockIdx.y * kGateMaps, most = channels - 1 - first;
  const std::int64_t map = n * channels + first;
  const T* const source = x + map * pixels + p;
  const auto step = static_cast<unsigned>(pixels);
  Pack<T, kVector> pack[kGateMaps];
  float factor[kGateMaps], s[kVector] = {};
  // All words first, so that their loads are under way together; channels beyond the last read it again.
#pragma unroll
  for (int m = 0; m < kGateMaps; ++m) {
    const auto at = static_cast<unsigned>(min(m, most));
    pack[m] = load_pack<T, kVector>(source + std::uint64_t{at} * step);
    factor[m] = scale[map + at];
  }
  if constexpr (kKind != GateKind::se) load_plane<kVector>(plane + n * pixels + p, s);
  T* target = out + map * pixels + p;
#pragma unroll
  for (int m = 0; m < kGateMaps; ++m) {
    Pack<T, kVector> done;
#pragma unroll
    for (int v = 0; v < kVector; ++v)
      done.value[v] = from_float<T>(gated<T, kKind>(to_float(pack[m].value[v]), factor[m], s[v]));
    if (m <= most) store_pack<T, kVector>(target, done);
    target += step;
  }
}

// out [N, C, H / 2, W / 2] = max pooling of gated x; a thread pools kVector columns of two rows.
template <typename T, int kVector, GateKind kKind>
__global__ void __launch_bounds__(kGateThreads)
    gate_pool_kernel(const T* __restrict__ x, const float* __restrict__ scale, const float* __restrict__ plane,
                     int channels, int height, int width, T* __restrict__ out) {
  const std::int64_t n = blockIdx.z, map = n * channels + blockIdx.y;
  // Unsigned 32 bits, which the launcher sees to: a division of 64 bits is a call.
  const unsigned columns = static_cast<unsigned>(width / 2 * 2 / kVector), i = blockIdx.x * kGateThreads + threadIdx.x;
  const int h = static_cast<int>(i / columns), w = static_cast<int>(i % columns) * kVector;
  if (h >= height / 2) return;
  const std::int64_t at = static_cast<std::int64_t>(2 * h) * width + w, pixels = static_cast<std::int64_t>(height) * width;
  const T* const source = x + map * pixels + at;
  // Pairs are whole words only where a row begins on one.
  constexpr int kWord = kVector > 2 ? kVector : 1, kWords = kVector / kWord;
  // Both rows' words first, so that their loads are under way together.
  Pack<T, kWord> pack[2][kWords];
  float s[2][kWords][kWord] = {}, best[kVector] = {};
#pragma unroll
  for (int row = 0; row < 2; ++row)
#pragma unroll
    for (int part = 0; part < kWords; ++part) {
      pack[row][part] = load_pack<T, kWord>(source + row * width + part * kWord);
      if constexpr (kKind != GateKind::se)
        load_plane<kWord>(plane + n * pixels + at + row * width + part * kWord, s[row][part]);
    }
  const float factor = scale[map];
#pragma unroll
  for (int row = 0; row < 2; ++row)
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      const float value = gated<T, kKind>(to_float(pack[row][v / kWord].value[v % kWord]), factor, s[row][v / kWord][v % kWord]);
      best[v] = row ? gate_larger(best[v], value) : value;
    }
  Pack<T, kVector / 2> pooled;
#pragma unroll
  for (int v = 0; v < kVector / 2; ++v) pooled.value[v] = from_float<T>(gate_larger(best[2 * v], best[2 * v + 1]));
  T* const target = out + (map * (height / 2) + h) * (width / 2) + w / 2;
  store_pack<T, kVector / 2>(target, pooled);
}

}  // namespace dfer
