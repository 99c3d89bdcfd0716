// The folded head on the GPU, ring 1. A warp makes one hidden unit of every token; the block that finishes last, known by
// a counter, classifies. At batch 1 that is a single launch which reads every weight once.
#pragma once

#include "common/elements.cuh"
#include "common/kernel_launch.cuh"
#include "token_attention/token_attention_cuda.h"

namespace dfer {

constexpr int kTokenThreads = 128;
constexpr int kTokenWarps = kTokenThreads / 32;
constexpr int kTokenTokens = 4;  // summed at a time, so that a weight is read once for four

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// Products of one weight row with kTokens tokens, each lane's share.
template <typename T, int kVector, int kTokens>
__device__ inline void token_products(const T* weight, const T* x, int width, int lane, float (&sums)[kTokens]) {
#pragma unroll 4
  for (int d = lane * kVector; d < width; d += 32 * kVector) {
    const Pack<T, kVector> row = load_pack<T, kVector>(weight + d);
#pragma unroll
    for (int b = 0; b < kTokens; ++b) {
      const Pack<T, kVector> token = load_pack<T, kVector>(x + static_cast<std::int64_t>(b) * width + d);
#pragma unroll
      for (int v = 0; v < kVector; ++v) sums[b] += to_float(row.value[v]) * to_float(token.value[v]);
    }
  }
}

template <typename T, int kVector, int kTokens>
__device__ inline void token_hidden(const TokenShape& shape, const TokenArrays& arrays, int unit, std::int64_t first,
                                    int lane) {
  float sums[kTokens] = {};
  const T* const weight = static_cast<const T*>(arrays.weight) + static_cast<std::int64_t>(unit) * shape.width;
  token_products<T, kVector, kTokens>(weight, static_cast<const T*>(arrays.x) + first * shape.width, shape.width, lane, sums);
  const float bias = to_float(static_cast<const T*>(arrays.bias)[unit]);
#pragma unroll
  for (int b = 0; b < kTokens; ++b) {
    const float value = warp_sum(sums[b]) + bias;
    if (lane == 0) arrays.hidden[(first + b) * shape.units + unit] = value < 0 ? 0.0f : value;  // NaN stays
  }
}

// Scores of one token by the whole block; hidden units come from other blocks, so around the first-level cache.
template <typename T>
__device__ inline void token_classify(const TokenShape& shape, const TokenArrays& arrays, std::int64_t b, float* scores) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int k = warp; k < shape.classes; k += kTokenWarps) {
    const T* const weight = static_cast<const T*>(arrays.classifier) + static_cast<std::int64_t>(k) * shape.units;
    float total = 0;
    for (int i = lane; i < shape.units; i += 32) total += to_float(weight[i]) * __ldcg(arrays.hidden + b * shape.units + i);
    total = warp_sum(total);
    if (lane == 0) scores[k] = total + to_float(static_cast<const T*>(arrays.classifier_bias)[k]);
  }
  __syncthreads();
  T* const out = static_cast<T*>(arrays.out) + b * shape.classes;
  for (int k = threadIdx.x; k < shape.classes; k += kTokenThreads) {
    float score = scores[k];
    if (shape.softmax) {
      float highest = scores[0], total = 0;
      for (int i = 1; i < shape.classes; ++i) highest = fmaxf(highest, scores[i]);
      for (int i = 0; i < shape.classes; ++i) total += expf(scores[i] - highest);
      score = expf(score - highest) / total;
    }
    out[k] = from_float<T>(score);
  }
  __syncthreads();
}

template <typename T, int kVector>
__global__ void __launch_bounds__(kTokenThreads) token_attention_kernel(TokenShape shape, TokenArrays arrays) {
  __shared__ float scores[kTokenClasses];
  __shared__ bool last;
  const int lane = threadIdx.x % 32, unit = blockIdx.x * kTokenWarps + threadIdx.x / 32;
  if (unit < shape.units) {
    std::int64_t b = 0;
    for (; b + kTokenTokens <= shape.batch; b += kTokenTokens)
      token_hidden<T, kVector, kTokenTokens>(shape, arrays, unit, b, lane);
    for (; b < shape.batch; ++b) token_hidden<T, kVector, 1>(shape, arrays, unit, b, lane);
  }
  // Every hidden unit of this block is out before the block counts itself, and seen by whoever reads the full count.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(arrays.counter, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (std::int64_t b = 0; b < shape.batch; ++b) token_classify<T>(shape, arrays, b, scores);
  if (threadIdx.x == 0) *arrays.counter = 0;  // for the next launch
}

}  // namespace dfer
