// Landmark pooling on the GPU, ring 1. A block pools kChannels channels of an image at kNodes landmarks. Rows of the map
// are staged in shared memory, already gated, and read from memory once; a thread sums two channels at half of the nodes over
// every second row: over the row with gx, then once with gy, so that a map gy gx is never formed.
#pragma once

#include "common/elements.cuh"
#include "common/kernel_launch.cuh"
#include "landmark_pool/landmark_pool_cuda.h"

namespace dfer {

constexpr int kPoolThreads = 128;
constexpr int kPoolChannels = 64;  // of a block: two of each lane
constexpr int kPoolWarps = kPoolThreads / 32;
// 18 landmarks and the mean, in halves: two warps share a row, so that a thread's sums leave room for more blocks.
constexpr int kPoolHalf = 10, kPoolNodes = 2 * kPoolHalf;
constexpr int kPoolHalfPitch = 12, kPoolPitch = 2 * kPoolHalfPitch;  // floats: each half begins on 16 bytes
constexpr int kPoolGroups = kPoolWarps / 2;                           // warps that take turns with rows
constexpr int kPoolTileBytes = 25600;

template <typename T>
struct PoolTile {
  int rows;   // of the map, staged at a time
  int pitch;  // elements between channels: an odd number of words, so that lanes meet no bank twice

  __host__ __device__ PoolTile(int height, int width) {
    constexpr int kPerWord = 4 / sizeof(T);
    const int room = kPoolTileBytes / (kPoolChannels * static_cast<int>(sizeof(T)));
    rows = (room - 2 * kPerWord) / width;
    rows = rows < 1 ? 1 : rows > height ? height : rows;
    const int words = (rows * width + kPerWord - 1) / kPerWord;
    pitch = (words | 1) * kPerWord;
  }
  __host__ __device__ std::size_t bytes() const { return sizeof(T) * kPoolChannels * pitch; }
};

// Where a node's weight is in a cell's.
__device__ inline int pool_slot(int node) { return node < kPoolHalf ? node : node - kPoolHalf + kPoolHalfPitch; }

// Profiles of kPoolNodes landmarks from `first` on: [cells, kPoolPitch].
__device__ inline void pool_profile(const LandmarkPoolShape& shape, const float* points, int first, int axis, int cells,
                                    float* out) {
  // 2^-(d unit)^2; finite for every sigma above 0.
  const float unit = fminf(0.84932180f / shape.sigma, 1e18f);
  const float last = static_cast<float>(cells - 1);
  for (int i = threadIdx.x; i < cells * kPoolNodes; i += kPoolThreads) {
    const int node = first + i % kPoolNodes;
    const float at = static_cast<float>(i / kPoolNodes);
    float value = node == shape.landmarks ? 1.0f / static_cast<float>(cells) : 0.0f;
    if (node < shape.landmarks) {
      const float centre = points[2 * node + axis];
      const float distance = (at - centre) * unit;
      float exponent = distance * distance;
      if (shape.norm_heat) {
        // The excess over the nearest cell's square, as a product: far outside the two are equal to rounding.
        const float nearest = fminf(fmaxf(rintf(centre), 0.0f), last);
        exponent = at == nearest ? 0.0f : (at - nearest) * unit * ((at - centre + (nearest - centre)) * unit);
        if (isnan(centre)) exponent = centre;
      }
      value = exp2f(-exponent) / (shape.norm_heat ? 1.0f : static_cast<float>(cells));
    }
    out[i / kPoolNodes * kPoolPitch + pool_slot(i % kPoolNodes)] = value;
  }
}

// Divides the profile of every landmark by its sum.
__device__ inline void pool_normalise(const LandmarkPoolShape& shape, int first, int cells, float* profile) {
  const int node = threadIdx.x;
  if (node >= kPoolNodes || first + node >= shape.landmarks) return;
  float total = 0;
  float* const mine = profile + pool_slot(node);
  for (int cell = 0; cell < cells; ++cell) total += mine[cell * kPoolPitch];
  for (int cell = 0; cell < cells; ++cell) mine[cell * kPoolPitch] /= total;
}

// A block's channels: which image, which first channel, how many.
struct PoolPlace {
  std::int64_t image, channel;
  int channels;
};

template <typename T>
__device__ inline float pool_gate(const LandmarkPoolShape& shape, const LandmarkPoolArrays& arrays, const PoolPlace& place,
                                  int c, int cell) {
  const int h = cell / shape.width, w = cell - h * shape.width;
  const std::int64_t map = place.image * shape.channels + place.channel + c;
  const float by_channels = to_float(static_cast<const T*>(arrays.over_channels)[place.image * shape.height * shape.width + cell]);
  const float by_height = to_float(static_cast<const T*>(arrays.over_height)[map * shape.width + w]);
  const float by_width = to_float(static_cast<const T*>(arrays.over_width)[map * shape.height + h]);
  return (by_channels + by_height + by_width) * (1.0f / 3.0f);
}

// Cells [begin, begin + count) of the block's channels into shared memory, kVector of them in a word.
template <typename T, int kVector, bool kGated>
__device__ inline void pool_stage(const LandmarkPoolShape& shape, const LandmarkPoolArrays& arrays, const PoolPlace& place,
                                  int begin, int count, int pitch, T* tile) {
  const int cells = shape.height * shape.width, words = count / kVector;
  const T* source = static_cast<const T*>(arrays.features) + (place.image * shape.channels + place.channel) * cells + begin;
#pragma unroll (kGated ? 2 : 4)
  for (int i = threadIdx.x; i < place.channels * words; i += kPoolThreads) {
    const int c = i / words, k = (i - c * words) * kVector;
    Pack<T, kVector> pack = load_pack<T, kVector>(source + static_cast<std::int64_t>(c) * cells + k);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      if constexpr (kGated)
        pack.value[v] = from_float<T>(to_float(pack.value[v]) * pool_gate<T>(shape, arrays, place, c, begin + k + v));
      tile[c * pitch + k + v] = pack.value[v];
    }
  }
}

// A cell's weights of half of the nodes.
struct PoolWeights {
  float of[kPoolHalf];

  __device__ explicit PoolWeights(const float* from) {
    const float4 a = *reinterpret_cast<const float4*>(from), b = *reinterpret_cast<const float4*>(from + 4);
    const float2 c = *reinterpret_cast<const float2*>(from + 8);
    of[0] = a.x, of[1] = a.y, of[2] = a.z, of[3] = a.w, of[4] = b.x, of[5] = b.y, of[6] = b.z, of[7] = b.w;
    of[8] = c.x, of[9] = c.y;
  }
};

template <typename T, int kVector, bool kGated>
__global__ void __launch_bounds__(kPoolThreads, 6)
    landmark_pool_kernel(LandmarkPoolShape shape, LandmarkPoolArrays arrays, std::int64_t blocks_of_image) {
  DFER_DYNAMIC_SHARED(shared);
  float* const gx = reinterpret_cast<float*>(shared);
  float* const gy = gx + shape.width * kPoolPitch;
  T* const tile = reinterpret_cast<T*>(gy + shape.height * kPoolPitch);
  const PoolTile<T> layout(shape.height, shape.width);
  PoolPlace place;
  place.image = blockIdx.x / blocks_of_image;
  place.channel = blockIdx.x % blocks_of_image * kPoolChannels;
  place.channels = static_cast<int>(min(shape.channels - place.channel, std::int64_t{kPoolChannels}));
  const int first = blockIdx.y * kPoolNodes, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float* const points = arrays.points + place.image * shape.landmarks * 2;
  pool_profile(shape, points, first, 0, shape.width, gx);
  pool_profile(shape, points, first, 1, shape.height, gy);
  if (shape.norm_heat) {
    __syncthreads();
    pool_normalise(shape, first, shape.width, gx);
    pool_normalise(shape, first, shape.height, gy);
  }
  const int half = warp % 2, group = warp / 2;
  float sums[2][kPoolHalf] = {};
  for (int top = 0; top < shape.height; top += layout.rows) {
    const int rows = min(layout.rows, shape.height - top);
    __syncthreads();
    pool_stage<T, kVector, kGated>(shape, arrays, place, top * shape.width, rows * shape.width, layout.pitch, tile);
    __syncthreads();
    for (int r = group; r < rows; r += kPoolGroups) {
      float row[2][kPoolHalf] = {};
      const T* const upper = tile + lane * layout.pitch + r * shape.width;
      const T* const lower = upper + 32 * layout.pitch;
      for (int w = 0; w < shape.width; ++w) {
        const float a = to_float(upper[w]), b = to_float(lower[w]);
        const PoolWeights weights(gx + w * kPoolPitch + half * kPoolHalfPitch);
#pragma unroll
        for (int j = 0; j < kPoolHalf; ++j) row[0][j] += a * weights.of[j], row[1][j] += b * weights.of[j];
      }
      const PoolWeights weights(gy + (top + r) * kPoolPitch + half * kPoolHalfPitch);
#pragma unroll
      for (int j = 0; j < kPoolHalf; ++j) {
        sums[0][j] += row[0][j] * weights.of[j];
        sums[1][j] += row[1][j] * weights.of[j];
      }
    }
  }
  // The warps' sums meet in the tile's memory, one warp after the other in a fixed order.
  float* const meeting = reinterpret_cast<float*>(tile);  // [kPoolNodes, kPoolChannels]
  for (int turn = 0; turn < kPoolGroups; ++turn) {
    __syncthreads();
    if (group != turn) continue;
#pragma unroll
    for (int j = 0; j < kPoolHalf; ++j)
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        float& total = meeting[(half * kPoolHalf + j) * kPoolChannels + part * 32 + lane];
        total = turn ? total + sums[part][j] : sums[part][j];
      }
  }
  __syncthreads();
  T* const out = static_cast<T*>(arrays.out) + place.image * (shape.landmarks + 1) * shape.channels + place.channel;
  const int nodes = min(kPoolNodes, shape.landmarks + 1 - first);
  for (int i = threadIdx.x; i < nodes * kPoolChannels; i += kPoolThreads) {
    const int j = i / kPoolChannels, c = i % kPoolChannels;
    if (c < place.channels) out[(first + j) * shape.channels + c] = from_float<T>(meeting[i]);
  }
}

}  // namespace dfer
