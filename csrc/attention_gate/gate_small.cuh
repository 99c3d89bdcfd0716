// The small middle of a gate, ring 1: the channels' MLP, a block an image, and the planes' convolutions, a block a tile;
// both in one launch.
#pragma once

#include "attention_gate/gate_passes.cuh"

namespace dfer {

constexpr int kSmallThreads = 256;
constexpr int kSmallSide = 16;  // of a tile of pixels, one a thread

template <typename T>
struct GateLayers {
  const T *weight1, *bias1, *weight2, *bias2;
  int hidden;
};

// Where the statistics of an image lie: `blocks` partial sums of each channel or pixel.
struct GatePartials {
  const float *sums, *maxima, *planes;
  int pixel_blocks, channel_blocks;
};

// store(row, sum) of the products of weights [rows, columns] with a vector in shared memory: eight lanes make a row, and a
// warp four at a time, by words of kVector elements.
template <int kVector, typename T, typename Store>
__device__ inline void gate_rows(const T* weights, int rows, int columns, const float* vector, const Store& store) {
  constexpr int kLanes = 8, kRows = kSmallThreads / kLanes;
  const int lane = threadIdx.x % kLanes;
  for (int first = 0; first < rows; first += kRows) {
    const int row = first + threadIdx.x / kLanes;
    // Beyond the last row it is read again: a warp keeps together for the sum.
    const T* const source = weights + static_cast<std::int64_t>(min(row, rows - 1)) * columns;
    float sum = 0;
#pragma unroll 4
    for (int c = kVector * lane; c < columns; c += kVector * kLanes) {
      const Pack<T, kVector> pack = load_pack<T, kVector>(source + c);
#pragma unroll
      for (int v = 0; v < kVector; ++v) sum += to_float(pack.value[v]) * vector[c + v];
    }
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == 0 && row < rows) store(row, sum);
  }
  __syncthreads();
}

// scores[c] += (F2 relu F1 pooled)[c], all in shared memory.
template <int kVector, typename T>
__device__ inline void gate_mlp(const GateLayers<T>& layers, int channels, const float* pooled, float* hidden,
                                float* scores) {
  gate_rows<kVector>(layers.weight1, layers.hidden, channels, pooled, [&](int h, float sum) {
    sum += to_float(layers.bias1[h]);
    hidden[h] = sum < 0 ? 0.0f : sum;  // NaN stays
  });
  gate_rows<kVector>(layers.weight2, channels, layers.hidden, hidden,
                     [&](int c, float sum) { scores[c] += sum + to_float(layers.bias2[c]); });
}

// scale[N, C] of image n. Dynamic shared memory: pooled [C], scores [C], hidden.
template <typename T, int kVector, bool kMaximum>
__device__ inline void gate_channels(const GateLayers<T>& average, const GateLayers<T>& maximum, int channels,
                                     std::int64_t pixels, const GatePartials& partials, std::int64_t n, float* shared,
                                     float* scale) {
  float *const pooled = shared, *const scores = pooled + channels, *const hidden = scores + channels;
  for (int c = threadIdx.x; c < channels; c += kSmallThreads) {
    float total = 0;
    for (int block = 0; block < partials.pixel_blocks; ++block)
      total += partials.sums[(n * partials.pixel_blocks + block) * channels + c];
    pooled[c] = total / static_cast<float>(pixels);
    scores[c] = 0;
  }
  __syncthreads();
  gate_mlp<kVector>(average, channels, pooled, hidden, scores);
  if constexpr (kMaximum) {
    for (int c = threadIdx.x; c < channels; c += kSmallThreads) {
      float highest = -INFINITY;
      for (int block = 0; block < partials.pixel_blocks; ++block)
        highest = gate_larger(highest, partials.maxima[(n * partials.pixel_blocks + block) * channels + c]);
      pooled[c] = highest;
    }
    __syncthreads();
    gate_mlp<kVector>(maximum, channels, pooled, hidden, scores);
  }
  for (int c = threadIdx.x; c < channels; c += kSmallThreads) scale[n * channels + c] = gate_sigmoid(scores[c]);
}

template <typename T>
struct GateConvs {
  const T *weight1, *bias1, *weight2, *bias2;
  int planes;
};

// s = sigmoid(conv3x3 relu conv3x3 of the mean over channels) on a tile.
template <typename T>
__device__ inline void gate_tile(const GateConvs<T>& convs, int channels, int height, int width,
                                 const GatePartials& partials, std::int64_t n, int tile, float* s) {
  constexpr int kOuter = kSmallSide + 4, kInner = kSmallSide + 2;
  __shared__ float mean[kOuter * kOuter], hidden[kInner * kInner];
  const int across = (width + kSmallSide - 1) / kSmallSide;
  const int top = tile / across * kSmallSide, left = tile % across * kSmallSide;
  const std::int64_t pixels = static_cast<std::int64_t>(height) * width;
  for (int i = threadIdx.x; i < kOuter * kOuter; i += kSmallThreads) {
    const int h = top + i / kOuter - 2, w = left + i % kOuter - 2;
    float total = 0;
    if (h >= 0 && w >= 0 && h < height && w < width)
      for (int block = 0; block < partials.channel_blocks; ++block)
        total += partials.planes[(n * partials.channel_blocks + block) * pixels + static_cast<std::int64_t>(h) * width + w];
    mean[i] = total / static_cast<float>(channels);
  }
  const int y = threadIdx.x / kSmallSide, x = threadIdx.x % kSmallSide;
  float score = to_float(convs.bias2[0]);
  for (int plane = 0; plane < convs.planes; ++plane) {
    __syncthreads();  // the mean is there; the plane before has been read
    for (int i = threadIdx.x; i < kInner * kInner; i += kSmallThreads) {
      const int h = i / kInner, w = i % kInner;
      float value = to_float(convs.bias1[plane]);
      for (int tap = 0; tap < 9; ++tap)
        value += to_float(convs.weight1[plane * 9 + tap]) * mean[(h + tap / 3) * kOuter + w + tap % 3];
      const int row = top + h - 1, column = left + w - 1;
      const bool inside = row >= 0 && column >= 0 && row < height && column < width;
      hidden[i] = !inside || value < 0 ? 0.0f : value;
    }
    __syncthreads();
    for (int tap = 0; tap < 9; ++tap)
      score += to_float(convs.weight2[plane * 9 + tap]) * hidden[(y + tap / 3) * kInner + x + tap % 3];
  }
  if (top + y < height && left + x < width)
    s[n * pixels + static_cast<std::int64_t>(top + y) * width + left + x] = gate_sigmoid(score);
}

// Block 0 of an image: scale [N, C]. The others, for AGFER: a tile each of s [N, P].
template <typename T, int kVector, bool kMaximum>
__global__ void __launch_bounds__(kSmallThreads)
    gate_middle_kernel(GateLayers<T> average, GateLayers<T> maximum, GateConvs<T> convs, int channels, int height,
                       int width, GatePartials partials, float* scale, float* s) {
  DFER_DYNAMIC_SHARED(memory);
  const std::int64_t n = blockIdx.y;
  if (blockIdx.x == 0)
    gate_channels<T, kVector, kMaximum>(average, maximum, channels, static_cast<std::int64_t>(height) * width, partials, n,
                               reinterpret_cast<float*>(memory), scale);
  else
    gate_tile(convs, channels, height, width, partials, n, static_cast<int>(blockIdx.x) - 1, s);
}

// CBAM: s [N, P] = sigmoid(conv7x7 of planes [N, 2, P]), a pixel a thread.
template <typename T>
__global__ void __launch_bounds__(kSmallThreads)
    gate_spatial_kernel(const T* __restrict__ weight, const T* __restrict__ bias, const float* __restrict__ planes,
                        int height, int width, float* __restrict__ s) {
  constexpr int kOuter = kSmallSide + 6;
  __shared__ float tile[2][kOuter * kOuter];
  const int across = (width + kSmallSide - 1) / kSmallSide;
  const int top = blockIdx.x / across * kSmallSide, left = blockIdx.x % across * kSmallSide;
  const std::int64_t n = blockIdx.y, pixels = static_cast<std::int64_t>(height) * width;
  for (int i = threadIdx.x; i < 2 * kOuter * kOuter; i += kSmallThreads) {
    const int plane = i / (kOuter * kOuter), k = i % (kOuter * kOuter);
    const int h = top + k / kOuter - 3, w = left + k % kOuter - 3;
    const bool inside = h >= 0 && w >= 0 && h < height && w < width;
    tile[plane][k] = inside ? planes[(n * 2 + plane) * pixels + static_cast<std::int64_t>(h) * width + w] : 0.0f;
  }
  __syncthreads();
  const int y = threadIdx.x / kSmallSide, x = threadIdx.x % kSmallSide;
  if (top + y >= height || left + x >= width) return;
  float score = to_float(bias[0]);
  for (int plane = 0; plane < 2; ++plane)
#pragma unroll
    for (int tap = 0; tap < 49; ++tap)
      score += to_float(weight[plane * 49 + tap]) * tile[plane][(y + tap / 7) * kOuter + x + tap % 7];
  s[n * pixels + static_cast<std::int64_t>(top + y) * width + left + x] = gate_sigmoid(score);
}

}  // namespace dfer
